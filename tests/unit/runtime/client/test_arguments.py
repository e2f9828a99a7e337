"""A command line is read as the client reads it, and written so that it means the same but for what was changed.

What the real clients say to it is in tests/integration/test_client.py.
"""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds01.runtime.client.arguments import (
    BadSyntaxError,
    Given,
    MissingValueError,
    Parsed,
    UnknownOptionError,
    parse,
    write,
)
from ds01.runtime.client.tables import known_versions, load

TABLE = load("28.2")


def read(line: str) -> Parsed:
    return parse(shlex.split(line), TABLE)


def options(line: str) -> list[tuple[str, str | None]]:
    return [(given.name, given.value) for given in read(line).options]


def test_a_whole_line_is_taken_apart() -> None:
    assert read(
        "-D --context=lab container run -itm2g --net host -v /a:/b --rm=false -- ubuntu bash -c --memory"
    ) == Parsed(
        global_options=(Given("debug", None, "-D"), Given("context", "lab", "--context=lab")),
        verb=("container", "run"),
        topic="run",
        options=(
            Given("interactive", None, "-i"),
            Given("tty", None, "-t"),
            Given("memory", "2g", "-m2g"),
            Given("network", "host", "--net host", "net"),
            Given("volume", "/a:/b", "-v /a:/b"),
            Given("rm", "false", "--rm=false"),
        ),
        operands=("ubuntu", "bash", "-c", "--memory"),
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("run --name=v x", [("name", "v")]),
        ("run --name v x", [("name", "v")]),
        ("run --name= x", [("name", "")]),
        ("run --name '' x", [("name", "")]),
        ("run --name=a=b x", [("name", "a=b")]),
        ("run --name --rm x", [("name", "--rm")]),
        ("run --name -- x", [("name", "--")]),
        ("run -m2g x", [("memory", "2g")]),
        ("run -m=2g x", [("memory", "2g")]),
        ("run -m 2g x", [("memory", "2g")]),
        ("run -e= x", [("env", "=")]),
        ("run -e=A=1 x", [("env", "A=1")]),
        ("run -itd x", [("interactive", None), ("tty", None), ("detach", None)]),
        ("run -itm2g x", [("interactive", None), ("tty", None), ("memory", "2g")]),
        ("run -im 2g x", [("interactive", None), ("memory", "2g")]),
        ("run -im=2g x", [("interactive", None), ("memory", "2g")]),
        ("run -it=false x", [("interactive", None), ("tty", "false")]),
        ("run --rm=false x", [("rm", "false")]),
        ("run --rm false x", [("rm", None)]),
        ("run -e A=1 -e B=2 x -e C=3", [("env", "A=1"), ("env", "B=2")]),
        ("run -h box x", [("hostname", "box")]),
        ("run --net=a --network b --net-alias=c --dns-opt d x", [
            ("network", "a"), ("network", "b"), ("network-alias", "c"), ("dns-option", "d"),
        ]),
        ("stop -t 3 a --time=4", [("timeout", "3"), ("timeout", "4")]),
        ("stop a -h", [("help", None)]),
        ("rm a -fv b", [("force", None), ("volumes", None)]),
        ("exec -it a ls -la", [("interactive", None), ("tty", None)]),
        ("top a -ef", []),
        ("commit a -m", []),
    ],
)  # fmt: skip
def test_options_are_read_in_all_their_forms(line: str, expected: list[tuple[str, str | None]]) -> None:
    assert options(line) == expected


@pytest.mark.parametrize(
    ("line", "topic", "operands"),
    [
        ("run ubuntu --memory 1g", "run", ("ubuntu", "--memory", "1g")),
        ("run ubuntu -- x", "run", ("ubuntu", "--", "x")),
        ("run -- -it ubuntu", "run", ("-it", "ubuntu")),
        ("run -- -- x", "run", ("--", "x")),
        ("run - x", "run", ("-", "x")),
        ("run '' x", "run", ("", "x")),
        ("rm a -f b", "rm", ("a", "b")),
        ("rm a -- -f b", "rm", ("a", "-f", "b")),
        ("exec a -- ls", "exec", ("a", "--", "ls")),
        ("container ls", "ps", ()),
        ("remove a", "rm", ("a",)),
        ("-- run x", "run", ("x",)),
    ],
)
def test_operands_are_what_is_left(line: str, topic: str, operands: tuple[str, ...]) -> None:
    assert (read(line).topic, read(line).operands) == (topic, operands)


@pytest.mark.parametrize(
    ("line", "parsed"),
    [
        ("", Parsed((), (), None, (), ())),
        ("-v", Parsed((Given("version", None, "-v"),), (), None, (), ())),
        ("build -t x .", Parsed((), ("build",), None, (), ("-t", "x", "."))),
        ("compose -f x up -- -d", Parsed((), ("compose",), None, (), ("-f", "x", "up", "--", "-d"))),
        ("container", Parsed((), ("container",), None, (), ())),
        ("container prune -f", Parsed((), ("container", "prune"), None, (), ("-f",))),
        ("- run", Parsed((), ("-",), None, (), ("run",))),
        ("'' run", Parsed((), ("",), None, (), ("run",))),
    ],
)
def test_what_is_no_verb_of_ours_is_left_as_it_is(line: str, parsed: Parsed) -> None:
    assert read(line) == parsed
    assert write(parsed) == tuple("--version" if word == "-v" else word for word in shlex.split(line))


@pytest.mark.parametrize(
    ("line", "error", "brief"),
    [
        ("run --no-such x", UnknownOptionError, "docker run has no option --no-such (docker 28.2)"),
        ("run --no-such=v x", UnknownOptionError, "docker run has no option --no-such (docker 28.2)"),
        ("run --mem 1g x", UnknownOptionError, "docker run has no option --mem (docker 28.2)"),
        ("container run -itx x", UnknownOptionError, "docker container run has no option -x in -itx (docker 28.2)"),
        ("run -D x", UnknownOptionError, "docker run has no option -D (docker 28.2)"),
        ("run -t= x", UnknownOptionError, "docker run has no option -= in -t= (docker 28.2)"),
        ("create -d x", UnknownOptionError, "docker create has no option -d (docker 28.2)"),
        ("stop a --force", UnknownOptionError, "docker stop has no option --force (docker 28.2)"),
        ("--no-such run x", UnknownOptionError, "docker has no option --no-such (docker 28.2)"),
        ("container -D run x", UnknownOptionError, "docker container has no option -D (docker 28.2)"),
        ("container -- run x", UnknownOptionError, "docker container has no option -- (docker 28.2)"),
        ("run $'--a\\nb' x", UnknownOptionError, "docker run has no option --a\\nb (docker 28.2)"),
        ("run --name", MissingValueError, "docker run: --name needs a value (string)"),
        ("run -itm", MissingValueError, "docker run: -m needs a value (bytes)"),
        ("stop a -t", MissingValueError, "docker stop: -t needs a value (int)"),
        ("-H", MissingValueError, "docker: -H needs a value (list)"),
        ("run --=x x", BadSyntaxError, "docker run: bad flag syntax: --=x"),
        ("run ---rm x", BadSyntaxError, "docker run: bad flag syntax: ---rm"),
        ("container --help=maybe run x", BadSyntaxError, "docker container: --help=maybe is neither true nor false"),
        ("-- -D run x", BadSyntaxError, "docker: -D stands where a command should"),
    ],
)
def test_what_the_client_refuses_is_refused_by_name(line: str, error: type[BadSyntaxError], brief: str) -> None:
    words = shlex.split(line.replace("$'--a\\nb'", "'--a\nb'"))
    with pytest.raises(error) as caught:
        parse(words, TABLE)
    assert (type(caught.value), caught.value.brief) == (error, brief)


def test_each_version_has_its_own_options() -> None:
    line = ["run", "--use-api-socket", "x"]
    assert parse(line, load("28.2")).options == (Given("use-api-socket", None, "--use-api-socket"),)
    with pytest.raises(UnknownOptionError) as caught:
        parse(line, load("26.1"))
    assert caught.value.render() == (
        "docker run has no option --use-api-socket (docker 26.1)\nTo fix: docker run --help lists them"
    )
    assert [given.name for given in parse(["stop", "--time=3", "a"], load("20.10")).options] == ["time"]


@pytest.mark.parametrize(
    ("line", "asks"),
    [
        ("run --help", True),
        ("run -it --help x", True),
        ("run --help=true", True),
        ("run --help=false x", False),
        ("run --help --help=0 x", False),
        ("run x --help", False),
        ("run -h box x", False),
        ("--help run x", False),
        ("container --help run x", False),
        ("stop a --help", True),
        ("stop -h a", True),
        ("stop -- --help", False),
        ("--help stop a", True),
        ("container -h stop a", True),
        ("container --help stop --help=false a", False),
        ("exec a --help", False),
        ("--help", True),
        ("--help=false", False),
        ("help run", True),
        ("--help build", True),
        ("container --help", True),
        ("container --help prune", True),
        ("build --help", False),
        ("", False),
    ],
)
def test_who_asks_for_help_is_known(line: str, *, asks: bool) -> None:
    assert read(line).asks_help == asks


def test_values_and_switches_are_found_by_name() -> None:
    parsed = read("run --rm --rm=false -e A=1 --env=B=2 -d=T --init=no --volume= x")
    assert [parsed.values(name) for name in ("env", "volume", "name")] == [("A=1", "B=2"), ("",), ()]
    assert [parsed.is_on(name) for name in ("rm", "detach", "init", "tty")] == [False, True, False, False]


# --- write --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "written"),
    [
        ("run -itm2g x", "run --interactive --tty --memory=2g x"),
        ("-Dc lab run --net host x -it", "--debug --context=lab run --net=host x -it"),
        ("restart --time 3 -t4 a", "restart --time=3 --timeout=4 a"),
        ("run --rm=false -e '' x", "run --rm=false --env= x"),
        ("run -- x y", "run x y"),
        ("run -- -x y", "run -- -x y"),
        ("run x -- y", "run x -- y"),
        ("run -- -- y", "run -- -- y"),
        ("run - --rm", "run - --rm"),
        ("rm a -f -- b -c", "rm --force -- a b -c"),
        ("rm a -f -- b -", "rm --force a b -"),
        ("container --help=0 stop a", "container stop --help=0 a"),
        ("container --help run x", "container run x"),
        ("container --help prune -f", "container --help prune -f"),
        ("-D build -t x .", "--debug build -t x ."),
    ],
)
def test_a_line_is_written_in_one_form(line: str, written: str) -> None:
    assert write(read(line)) == tuple(shlex.split(written))


def test_options_are_left_out_and_added() -> None:
    parsed = read("run -itdm 2g --cgroup-parent=a --name n --cgroup-parent b -- -x --cgroup-parent c")
    gone = {"cgroup-parent", "tty"}
    changed = write(parsed, lambda given: given.name not in gone, ("--cgroup-parent=lab.slice", "--label=a=b"))
    assert changed == (
        *("run", "--interactive", "--detach", "--memory=2g", "--name=n", "--cgroup-parent=lab.slice", "--label=a=b"),
        *("--", "-x", "--cgroup-parent", "c"),
    )


WORDS = st.one_of(
    st.sampled_from(
        [*("-it", "-m", "-m2g", "--rm", "--", "-", "--name", "--net=host", "-e", "-h", "--help", "x", "-t=")]
    ),
    st.text(max_size=4),
    st.text(alphabet="-=itmdvhx", max_size=6),
)


@pytest.mark.parametrize("version", known_versions())
@given(
    before=st.lists(WORDS, max_size=2),
    verb=st.sampled_from(["run", "rm", "exec", "stop", "build"]),
    words=st.lists(WORDS),
)
def test_what_was_written_reads_the_same(version: str, before: list[str], verb: str, words: list[str]) -> None:
    table = load(version)
    try:
        parsed = parse([*before, verb, *words], table)
    except (UnknownOptionError, MissingValueError, BadSyntaxError):
        return
    written = write(parsed)
    again = parse(written, table)
    assert write(again) == written
    plain = [[(given.name, given.value) for given in each.options] for each in (parsed, again)]
    assert plain[0] == plain[1]
    assert (again.verb, again.topic, again.operands) == (parsed.verb, parsed.topic, parsed.operands)
