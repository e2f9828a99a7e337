"""Following an engine's messages across everything that ends a connection; played on a real socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.runtime.telemetry.played import START_NANO, PlayedEngine, id_of, until

from ds01.runtime.containers.engine import Engine
from ds01.runtime.telemetry.happening import Happening, Key, Passed
from ds01.runtime.telemetry.stream import Broken, Connected, Item, Stream, Unreadable


@pytest.fixture
def played(tmp_path: Path) -> Iterator[PlayedEngine]:
    with PlayedEngine(tmp_path / "docker.sock") as engine:
        yield engine


class Listener:
    """A stream in its thread, and what came of it."""

    def __init__(self, path: Path, last: Key | None = None) -> None:
        self.items: list[Item] = []
        self.bytes = 0
        self.stream = Stream(Engine(path), self._put, time.time_ns(), last)
        self.thread = threading.Thread(target=self.stream.run)

    def _put(self, item: Item, size: int) -> None:
        self.items.append(item)
        self.bytes += size

    def __enter__(self) -> Listener:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        self.thread.join(10)
        assert not self.thread.is_alive()

    def of(self, kind: type[Item]) -> list[Item]:
        return [each for each in self.items if isinstance(each, kind)]

    def expect(self, kind: type[Item], number: int = 1) -> Item:
        until(lambda: len(self.of(kind)) >= number)
        return self.of(kind)[number - 1]

    def actions(self) -> list[str]:
        return [each.key.action for each in self.items if isinstance(each, (Happening, Passed))]


def test_messages_come_as_they_happen(played: PlayedEngine) -> None:
    with Listener(played.path) as listener:
        assert listener.expect(Connected) == Connected(None, None)
        played.run("train", **{"ds01.user": "alice"})
        played.tell("exec_create: sh", "train")
        listener.expect(Passed)
        assert listener.actions() == ["create", "start", "exec_create"]
        assert listener.bytes > 300
    assert all("filters=" in each for each in played.asked)


def test_it_goes_on_after_the_last_message_and_knows_that_none_is_missing(played: PlayedEngine) -> None:
    first = played.tell("create", "a")
    second = played.tell("start", "a")
    third = played.tell("exec_die", "a")
    for number in range(20):
        played.tell("connect", f"network{number}", kind="network")
    last = Key(third["timeNano"], id_of("a"), "exec_die")
    played.tell("die", "a")
    with Listener(played.path, last) as listener:
        assert listener.expect(Connected) == Connected(last, None)
        listener.expect(Happening, 3)
        assert listener.actions() == ["create", "start", "exec_die", "die"]
        assert listener.stream.last is not None
        assert listener.stream.last.action == "die"
    assert first["timeNano"] < second["timeNano"] < third["timeNano"]


def test_an_engine_that_comes_back_has_forgotten(played: PlayedEngine) -> None:
    with Listener(played.path) as listener:
        listener.expect(Connected)
        said = played.tell("create", "a")
        listener.expect(Happening)
        played.restart()
        played.tell("start", "a")
        again = listener.expect(Connected, 2)
        assert again == Connected(
            Key(said["timeNano"], id_of("a"), "create"), "the engine was started anew and remembers nothing from before"
        )
        listener.expect(Happening, 2)
        assert listener.actions() == ["create", "start"]
        assert Broken(None) in listener.items


def test_messages_whose_times_are_not_in_their_order_all_come(played: PlayedEngine) -> None:
    """As moby looks for them: from the newest back to the first that is older than asked for."""
    first = played.tell("create", "a")
    late = played.tell("create", "b")
    late["timeNano"] = first["timeNano"] - 1000
    with Listener(played.path, Key(first["timeNano"], id_of("a"), "create")) as listener:
        assert listener.expect(Connected) == Connected(Key(first["timeNano"], id_of("a"), "create"), None)
        listener.expect(Happening, 2)
        assert [each.name for each in listener.of(Happening) if isinstance(each, Happening)] == ["a", "b"]


def test_more_than_the_engine_remembers_is_missing(played: PlayedEngine) -> None:
    last = Key(played.tell("create", "a")["timeNano"], id_of("a"), "create")
    for number in range(300):
        played.tell("create", f"c{number}")
    with Listener(played.path, last) as listener:
        assert listener.expect(Connected) == Connected(last, "more happened than the engine remembers (256 messages)")
        listener.expect(Happening, 256)
        assert len(listener.actions()) == 256


def test_an_engine_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    played = PlayedEngine(tmp_path / "docker.sock")
    with Listener(played.path) as listener:
        broken = listener.expect(Broken)
        assert isinstance(broken, Broken)
        assert broken.why == f"there is no Docker engine at {played.path}: no such socket"
        with played:
            listener.expect(Connected)
            played.run("a")
            listener.expect(Happening, 2)


def test_a_message_that_cannot_be_read_hides_no_other(played: PlayedEngine) -> None:
    played.garbage = b"{\n\n" + b"x" * (2 * 1024**2) + b"\n"
    with Listener(played.path) as listener:
        listener.expect(Connected)
        listener.expect(Unreadable, 2)
        played.run("a")
        listener.expect(Happening, 2)
        assert len(listener.of(Unreadable)) == 2


def test_since_has_all_digits(played: PlayedEngine) -> None:
    last = Key(START_NANO + 7, id_of("a"), "create")
    with Listener(played.path, last) as listener:
        listener.expect(Connected)
    assert any(each.endswith("&since=1772366395.000000007") for each in played.asked)


def test_the_first_time_it_begins_when_it_is_told(played: PlayedEngine) -> None:
    played.tell("create", "before")
    listener = Listener(played.path)
    played.tell("create", "since")
    with listener:
        listener.expect(Happening)
        played.tell("create", "after")
        listener.expect(Happening, 2)
    assert [each.name for each in listener.items if isinstance(each, Happening)] == ["since", "after"]


def test_it_ends_at_once_also_while_it_waits(tmp_path: Path, played: PlayedEngine) -> None:
    with Listener(played.path) as listener:
        listener.expect(Connected)
    with Listener(tmp_path / "nowhere") as waiting:
        waiting.expect(Broken, 3)
