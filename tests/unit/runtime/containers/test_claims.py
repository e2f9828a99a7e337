"""What an administrator said of a container is kept whole, changed by one at a time, and never lost without a word."""

from __future__ import annotations

import json
import multiprocessing
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ds01.core.jsonstate import StateError
from ds01.core.paths import HostPaths
from ds01.core.value import replace
from ds01.runtime.containers.claims import Claim, prune_claims, read_claims, remove_claim, write_claim

AT = datetime(2026, 3, 1, 9, 12, tzinfo=UTC)
TRAIN = Claim("a" * 64, "alice", "root", AT, "train")
BUILD = Claim("b" * 64, "j.doe@lab-x.org", "bob", AT, "build")


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    (tmp_path / "var/lib/ds01").mkdir(parents=True)
    return HostPaths(tmp_path)


def test_what_was_claimed_is_read_again(paths: HostPaths):
    assert read_claims(paths) == {}
    write_claim(paths, TRAIN)
    write_claim(paths, BUILD)
    assert read_claims(paths) == {TRAIN.container_id: TRAIN, BUILD.container_id: BUILD}
    assert json.loads(paths.claims.read_text()) == {
        "version": 1,
        "claims": {
            "a" * 64: {"user": "alice", "by": "root", "at": "2026-03-01T09:12:00Z", "name": "train"},
            "b" * 64: {"user": "j.doe@lab-x.org", "by": "bob", "at": "2026-03-01T09:12:00Z", "name": "build"},
        },
    }
    assert paths.claims.stat().st_mode & 0o777 == 0o640


def test_a_container_has_one_claim_and_the_last_word_stands(paths: HostPaths):
    write_claim(paths, TRAIN)
    write_claim(paths, replace(TRAIN, user="bob"))
    assert read_claims(paths) == {TRAIN.container_id: replace(TRAIN, user="bob")}


def test_a_claim_that_is_taken_back_is_returned(paths: HostPaths):
    write_claim(paths, TRAIN)
    assert remove_claim(paths, BUILD.container_id) is None
    assert remove_claim(paths, TRAIN.container_id) == TRAIN
    assert read_claims(paths) == {}


def test_claims_of_containers_that_are_gone_are_dropped(paths: HostPaths):
    write_claim(paths, TRAIN)
    write_claim(paths, BUILD)
    assert prune_claims(paths, lambda: {BUILD.container_id}) == (TRAIN,)
    assert read_claims(paths) == {BUILD.container_id: BUILD}


def test_without_claims_docker_is_not_asked_which_containers_there_are(paths: HostPaths):
    def never() -> set[str]:
        raise AssertionError("asked")

    assert prune_claims(paths, never) == ()


def test_when_docker_does_not_say_what_is_there_every_claim_stays(paths: HostPaths):
    def fail() -> set[str]:
        raise StateError("Docker cannot be asked")

    write_claim(paths, TRAIN)
    with pytest.raises(StateError, match="Docker cannot be asked"):
        prune_claims(paths, fail)
    assert read_claims(paths) == {TRAIN.container_id: TRAIN}


def claim_of(row: object, version: int = 1) -> str:
    return json.dumps({"version": version, "claims": {"a" * 64: row}})


WHOLE = {"user": "alice", "by": "root", "at": "2026-03-01T09:12:00Z", "name": "train"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Expecting value"),
        ('{"version": 1, "claims"', "Expecting"),
        ("[]", None),
        (claim_of(WHOLE, version=2), "ValueError: its version is 2"),
        ('{"version": 1}', "TypeError: it has no claims"),
        (claim_of("alice"), "TypeError: string indices"),
        (claim_of({**WHOLE, "user": 1001}), "TypeError: the claim of aaaaaaaaaaaa is not whole"),
        (claim_of({**WHOLE, "user": ""}), "TypeError: the claim of aaaaaaaaaaaa is not whole"),
        (claim_of({**WHOLE, "at": "yesterday"}), "InstantError: 'yesterday' is no point in time"),
        (claim_of({"user": "alice"}), "KeyError: 'by'"),
    ],
)
def test_a_damaged_file_is_an_error_that_says_what_to_do_and_nothing_is_written_over_it(
    paths: HostPaths, text: str, why: str | None
):
    paths.claims.write_text(text)
    paths.claims.chmod(0o640)
    for act in (
        lambda: read_claims(paths),
        lambda: write_claim(paths, TRAIN),
        lambda: remove_claim(paths, TRAIN.container_id),
        lambda: prune_claims(paths, set),
    ):
        with pytest.raises(StateError) as caught:
            act()
        assert str(paths.claims) in caught.value.brief
        assert (caught.value.details or "").startswith(why or "")
        assert f"mv {paths.claims} {paths.claims}.bad" in (caught.value.resolution or "")
    assert paths.claims.read_text() == text


@pytest.mark.root
def test_root_believes_only_what_nobody_else_could_have_written(paths: HostPaths):
    write_claim(paths, TRAIN)
    os.chown(paths.claims, 1001, 0)
    with pytest.raises(StateError, match="root does not believe"):
        read_claims(paths)


def _claim_some(root: Path, number: int) -> None:
    for each in range(5):
        write_claim(HostPaths(root), replace(TRAIN, container_id=f"{number}-{each}"))


def test_of_many_who_claim_at_once_nobody_is_forgotten(paths: HostPaths):
    context = multiprocessing.get_context("spawn")
    many = [context.Process(target=_claim_some, args=(paths.root, number)) for number in range(4)]
    for each in many:
        each.start()
    for each in many:
        each.join()
    assert set(read_claims(paths)) == {f"{number}-{each}" for number in range(4) for each in range(5)}
