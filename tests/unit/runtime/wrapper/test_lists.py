"""What lists show: all that commands may touch, and nothing else, whatever the line filters by."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.runtime.gpu.engines import engine_with, inspected
from tests.unit.runtime.wrapper.desks import desk_of, events, line, make_paths
from tests.unit.runtime.wrapper.test_owners import policy

from ds01.core.paths import HostPaths
from ds01.runtime.containers.claims import Claim, write_claim
from ds01.runtime.wrapper.desk import DeniedError
from ds01.runtime.wrapper.lists import by_label, list_line
from ds01.runtime.wrapper.owners import check_owner


def containers(me: str) -> list[dict[str, object]]:
    """One of each kind; their names say whose."""
    labels = {
        "mine": {"ds01.user": me},
        "older": {"aime.mlc.USER": me},
        "editor": {"devcontainer.local_folder": f"/home/{me}/project"},
        "theirs": {"ds01.user": "alice"},
        "claimed": {"ds01.user": "alice"},
        "given": {},
        "compose": {"com.docker.compose.project": "web"},
    }
    return [inspected(name, labels=each) for name, each in labels.items()]


def claim(paths: HostPaths, **users: str) -> None:
    paths.claims.parent.mkdir(parents=True, exist_ok=True)
    for name, user in users.items():
        write_claim(paths, Claim(str(inspected(name)["Id"]), user, "root", datetime(2026, 3, 1, tzinfo=UTC), name))


def id_of(name: str) -> str:
    return str(inspected(name)["Id"])


def shown(paths: HostPaths, me: str, *words: str) -> tuple[list[str], tuple[str, ...]]:
    """Return the names of those whose ids a line is made to ask for, and the rest of it."""
    with engine_with(paths.engine, *containers(me)):
        made = list_line(desk_of(paths, *words), line(*words))
    ids = [word.removeprefix("--filter=id=") for word in made if word.startswith("--filter=id=")]
    names = {id_of(str(each["Name"])[1:]): str(each["Name"])[1:] for each in containers(me)}
    return [names.get(each, each) for each in ids], tuple(word for word in made if "id=" not in word)


@pytest.mark.parametrize("unowned", ["allow", "deny"])
def test_what_a_command_may_touch_is_listed_and_nothing_else(tmp_path: Path, student: str, unowned: str) -> None:
    paths = make_paths(tmp_path, policy(unowned=unowned), me=student)
    claim(paths, claimed=student, given="alice")
    names, rest = shown(paths, student, "container", "ls", "-a", "--format=json")
    assert rest == ("container", "ls", "--all", "--format=json")
    assert names == ["mine", "older", "editor", "claimed", *(["compose"] if unowned == "allow" else [])]
    assert events(paths) == []
    touched = []
    with engine_with(paths.engine, *containers(student)):
        for each in containers(student):
            name = str(each["Name"])[1:]
            try:
                touched += check_owner(desk_of(paths), [name], "stop")
            except DeniedError:
                continue
    assert touched == names


@pytest.mark.parametrize(
    ("words", "names", "rest"),
    [
        (("ps", "-f", "id=MINE"), ["mine"], ("ps",)),
        (("ps", "-qf", "id=MINE", "--filter", " ID = OLDER "), ["mine", "older"], ("ps", "--quiet")),
        (("ps", "--filter=id=MINE", "-f", "id=THEIRS"), ["mine"], ("ps",)),
        (("ps", "--filter=id=THEIRS", "-f", "name=x"), ["none"], ("ps", "--filter=name=x")),
        # A beginning that several have is nobody's.
        (("ps", "--filter=id=6"), ["none"], ("ps",)),
        (("ps", "--filter=id="), ["none"], ("ps",)),
    ],
)
def test_the_ids_of_a_line_are_kept_to_ones_own(
    tmp_path: Path, student: str, words: tuple[str, ...], names: list[str], rest: tuple[str, ...]
) -> None:
    paths = make_paths(tmp_path, me=student)
    for name in ("mine", "older", "theirs"):
        words = tuple(word.replace(name.upper(), id_of(name)[:12]) for word in words)
    assert shown(paths, student, *words) == (names, rest)


def test_older_and_newer_than_somebody_elses_container_cannot_be_asked(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], student: str
) -> None:
    paths = make_paths(tmp_path, me=student)
    names, rest = shown(paths, student, "ps", "--filter=since=older")
    assert (names, rest) == (["mine", "older", "editor", "given", "compose"], ("ps", "--filter=since=older"))
    with pytest.raises(DeniedError):
        shown(paths, student, "ps", "--filter", "before=theirs")
    assert capfd.readouterr().err == "Permission denied: container owned by alice (theirs)\n"


def test_who_has_none_sees_none(tmp_path: Path, student: str) -> None:
    paths = make_paths(tmp_path, me=student)
    with engine_with(paths.engine, inspected("theirs", labels={"ds01.user": "alice"})):
        assert list_line(desk_of(paths, "ps"), line("ps")) == ("ps", "--filter=id=none")


@pytest.mark.parametrize("mode", ["warn", "off"])
def test_where_the_rule_is_not_enforced_the_line_stays(tmp_path: Path, student: str, mode: str) -> None:
    paths = make_paths(tmp_path, policy(mode), me=student)
    assert shown(paths, student, "ps", "-aq") == ([], ("ps", "-aq"))


def test_where_all_are_ones_own_the_line_stays(tmp_path: Path, student: str) -> None:
    paths = make_paths(tmp_path, me=student)
    with engine_with(paths.engine, inspected("mine", labels={"ds01.user": student}), inspected("old")):
        assert list_line(desk_of(paths, "ps", "-aq"), line("ps", "-aq")) == ("ps", "-aq")


def test_without_an_engine_the_client_says_what_is_wrong(tmp_path: Path, student: str) -> None:
    paths = make_paths(tmp_path, me=student)
    wanted = ("ps", "--all", f"--filter=label=ds01.user={student}")
    assert list_line(desk_of(paths, "ps", "-a"), line("ps", "-a")) == by_label(line("ps", "-a"), student) == wanted


def test_claims_that_cannot_be_read_hide_what_no_label_gives_to_anybody(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], student: str
) -> None:
    paths = make_paths(tmp_path, me=student)
    paths.claims.parent.mkdir(parents=True)
    paths.claims.write_text("{")
    assert shown(paths, student, "ps") == (["mine", "older", "editor"], ("ps",))
    assert capfd.readouterr().err.startswith("ds01: notice: containers without a label are not shown: ")
