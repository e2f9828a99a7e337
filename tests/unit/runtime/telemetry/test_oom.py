"""Out of memory: which container, and at whose limit, from nothing but two looks at counters."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ds01.runtime.telemetry.oom import (
    ContainerCounters,
    Counters,
    Ended,
    Kills,
    SliceCounters,
    Victim,
    Whose,
    find_kills,
    name_rest,
)

GIB = 2**30
A, B = "a" * 64, "b" * 64
AT = datetime(2026, 3, 1, 9, 12, tzinfo=UTC)


def container(kills: int | None = 0, oom: int | None = 0, group: int = 1, limit: int | None = 32 * GIB):
    return ContainerCounters(Counters(group, kills, oom, oom), limit)


def of_slice(
    kills: int | None = 0, oom: int | None = 0, own: int | None = 0, group: int = 1, **containers: ContainerCounters
) -> SliceCounters:
    named = {{"a": A, "b": B}[name]: each for name, each in containers.items()}
    return SliceCounters(Counters(group, kills, oom, own), named)


def hurt(id_: str, whose: Whose, limit: int | None = None) -> Victim:
    return Victim(id_, ended=False, whose=whose, limit_bytes=limit)


BEFORE = of_slice(2, 2, 1, a=container(1, 1), b=container())


@pytest.mark.parametrize(
    ("case", "after", "found"),
    [
        ("nothing", of_slice(2, 2, 1, a=container(1, 1), b=container()), None),
        ("a container came and one went", of_slice(2, 2, 1, b=container()), None),
        (
            "at its own limit",
            of_slice(3, 3, 1, a=container(2, 2), b=container()),
            Kills(1, (hurt(A, Whose.CONTAINER, 32 * GIB),), 0, {}, Whose.ABOVE),
        ),
        (
            "at its own limit, as nobody knows how large",
            of_slice(3, 3, 1, a=container(2, 2, limit=None), b=container()),
            Kills(1, (hurt(A, Whose.CONTAINER, None),), 0, {}, Whose.ABOVE),
        ),
        (
            "at the account's",
            of_slice(4, 3, 2, a=container(1, 1), b=container(2)),
            Kills(2, (hurt(B, Whose.ACCOUNT),), 0, {}, Whose.ACCOUNT),
        ),
        (
            "at neither",
            of_slice(3, 2, 1, a=container(2, 1), b=container()),
            Kills(1, (hurt(A, Whose.ABOVE),), 0, {}, Whose.ABOVE),
        ),
        (
            "both at once, each at another's",
            of_slice(4, 4, 2, a=container(2, 1), b=container(1, 1)),
            Kills(2, (hurt(A, Whose.ACCOUNT), hurt(B, Whose.CONTAINER, 32 * GIB)), 0, {}, Whose.ACCOUNT),
        ),
        (
            "in one that is gone, at its own",
            of_slice(3, 3, 1, b=container()),
            Kills(1, (), 1, {A: 32 * GIB}, Whose.CONTAINER),
        ),
        (
            "in one that is gone, at the account's",
            of_slice(3, 3, 2, b=container()),
            Kills(1, (), 1, {A: 32 * GIB}, Whose.ACCOUNT),
        ),
        (
            "in one that came and went",
            of_slice(3, 3, 1, a=container(1, 1), b=container()),
            Kills(1, (), 1, {}, Whose.CONTAINER),
        ),
        (
            "in one that is new",
            of_slice(3, 3, 1, a=container(1, 1, group=9), b=container()),
            Kills(1, (hurt(A, Whose.CONTAINER, 32 * GIB),), 0, {}, Whose.ABOVE),
        ),
        (
            "in a slice that was made anew",
            of_slice(1, 1, 1, group=9),
            Kills(1, (), 1, {A: 32 * GIB, B: 32 * GIB}, Whose.ACCOUNT),
        ),
    ],
)
def test_kills_are_found_with_their_limit(case: str, after: SliceCounters, found: Kills | None) -> None:
    assert find_kills(BEFORE, after) == found


def test_a_slice_that_was_not_there_began_at_0() -> None:
    assert find_kills(None, of_slice(1, 1, 0, a=container(1, 1))) == Kills(
        1, (hurt(A, Whose.CONTAINER, 32 * GIB),), 0, {}, Whose.ABOVE
    )


def test_what_the_kernel_does_not_tell_is_left_open() -> None:
    unknown = of_slice(None, None, None, a=container(1, 1), b=container())
    assert find_kills(BEFORE, unknown) is None
    assert find_kills(BEFORE, of_slice(3, None, None, a=container(2, None), b=container())) == Kills(
        1, (hurt(A, Whose.UNKNOWN),), 0, {}, Whose.UNKNOWN
    )
    assert find_kills(BEFORE, of_slice(3, 3, None, a=container(1, 1), b=container(1))) == Kills(
        1, (hurt(B, Whose.UNKNOWN),), 0, {}, Whose.UNKNOWN
    )
    assert find_kills(unknown, of_slice(9, 9, 9, a=container(2, 2))) == Kills(
        1, (hurt(A, Whose.CONTAINER, 32 * GIB),), 0, {B: 32 * GIB}, Whose.UNKNOWN
    )


def test_containers_that_cannot_be_listed_are_neither_gone_nor_new() -> None:
    unlisted = SliceCounters(Counters(1, 3, 3, 1), None)
    assert find_kills(BEFORE, unlisted) == Kills(1, (), 1, {}, Whose.CONTAINER)
    assert find_kills(unlisted, of_slice(3, 3, 1, a=container(2, 2))) is None
    assert find_kills(unlisted, of_slice(4, 3, 1, a=container(2, 2))) == Kills(1, (), 1, {}, Whose.ABOVE)


# --- Those that are gone ----------------------------------------------------------------------------------------------


def kills(whose: Whose = Whose.CONTAINER, rest: int = 1) -> Kills:
    return Kills(rest, (), rest, {A: 32 * GIB, B: None}, whose)


def ended(id_: str, code: int, *, oom: bool = False) -> Ended:
    return Ended(id_, code, oom, AT, 16 * GIB)


def gone(id_: str, limit: int | None, at: datetime | None = AT, whose: Whose = Whose.CONTAINER) -> Victim:
    return Victim(id_, ended=True, whose=whose, limit_bytes=limit, at=at)


@pytest.mark.parametrize(
    ("case", "found", "removed", "named"),
    [
        ("nothing points at one", [], [], []),
        ("one was killed", [ended(A, 137), ended(B, 1)], [], [gone(A, 16 * GIB)]),
        ("two were", [ended(A, 137), ended(B, 137)], [], [gone(A, 16 * GIB), gone(B, 16 * GIB)]),
        ("one was killed, another removed", [ended(A, 137)], [B], [gone(A, 16 * GIB)]),
        ("Docker knows of one, another was killed", [ended(A, 137), ended(B, 0, oom=True)], [], [gone(B, 16 * GIB)]),
        ("Docker knows of one, another is removed", [ended(A, 0, oom=True)], [B], [gone(A, 16 * GIB)]),
        ("one is removed, another failed", [ended(B, 1)], [A], [gone(A, 32 * GIB, None)]),
        ("two are removed", [], [A, B], []),
        ("one failed", [ended(A, 0), ended(B, 1)], [], [gone(B, 16 * GIB)]),
        ("two failed", [ended(A, 1), ended(B, 1)], [], []),
        ("all went well", [ended(A, 0), ended(B, 0)], [], []),
    ],
)
def test_the_rest_is_named_by_what_points_at_it(
    case: str, found: list[Ended], removed: list[str], named: list[Victim]
) -> None:
    assert list(name_rest(kills(), found, removed)) == named


def test_the_accounts_limit_is_not_the_containers() -> None:
    assert name_rest(kills(Whose.ACCOUNT), [ended(A, 137)], []) == (gone(A, None, AT, Whose.ACCOUNT),)


def test_without_a_rest_nobody_is_named() -> None:
    assert name_rest(kills(rest=0), [ended(A, 137)], [B]) == ()
