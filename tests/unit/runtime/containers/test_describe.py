"""All containers, on a played engine: one that it cannot describe, or never answers for, holds up no other."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.runtime.containers.test_engine import DATA, Fake, failure, http
from tests.unit.runtime.gpu.engines import NO_LAYER, engine_of, engine_with, inspected

from ds01.runtime.containers.container import Container, Undescribed
from ds01.runtime.containers.describe import describe, inspect_all
from ds01.runtime.containers.engine import Engine, EngineError

# Of the whole, one that hangs may take a quarter.
SECONDS = 4.0


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Fake]:
    made = Fake(tmp_path / "docker.sock")
    yield made
    made.close()


def names(found: list[Container | Undescribed]) -> tuple[list[str], list[str]]:
    """Those that were described, and those that were not."""
    whole = [each.name for each in found if isinstance(each, Container)]
    return sorted(whole), sorted(each.name for each in found if isinstance(each, Undescribed))


def asked(tmp_path: Path, *containers: str, broken: tuple[str, ...] = (), hung: tuple[str, ...] = ()):
    made = [inspected(each) for each in containers]
    with engine_with(tmp_path / "docker.sock", *made, broken=broken, hung=hung) as engine:
        return list(inspect_all(Engine(engine.path, timeout_seconds=SECONDS)))


def test_one_that_the_engine_fails_at_is_said_to_be_there_and_the_others_are_described(tmp_path: Path) -> None:
    found = asked(tmp_path, "train", "stuck", "web", broken=("stuck",))
    assert names(found) == (["train", "web"], ["stuck"])
    (stuck,) = [each for each in found if isinstance(each, Undescribed)]
    assert stuck.id == inspected("stuck")["Id"]
    assert stuck.why.endswith(f"GET /containers/{stuck.id}/json: 500, {NO_LAYER}")


def test_one_that_is_never_answered_for_is_so_too(tmp_path: Path) -> None:
    found = asked(tmp_path, "stuck", "train", hung=("stuck",))
    assert names(found) == (["train"], ["stuck"])
    (stuck,) = [each for each in found if isinstance(each, Undescribed)]
    assert stuck.why.startswith("the Docker engine did not answer within 1 s: ")


def test_those_that_hang_do_not_add_up(tmp_path: Path) -> None:
    """Eight of them one after the other would take longer than all may."""
    hung = tuple(f"stuck-{number}" for number in range(8))
    assert names(asked(tmp_path, *hung, "train", "web", hung=hung)) == (["train", "web"], list(hung))


def test_one_alone_tells_nothing_of_the_engine(tmp_path: Path) -> None:
    assert names(asked(tmp_path, "stuck", broken=("stuck",))) == ([], ["stuck"])


def test_an_engine_that_describes_nothing_is_an_error(tmp_path: Path) -> None:
    brief, details = failure(lambda: asked(tmp_path, "a", "b", broken=("a", "b")))
    assert brief == f"the Docker engine at {tmp_path / 'docker.sock'} could not describe 2 of 2 containers"
    assert details is not None
    assert NO_LAYER in details


@pytest.mark.parametrize(("broken", "whole", "fails"), [(9, 9, False), (9, 8, True), (8, 1, False)])
def test_an_engine_that_describes_little_of_much_is_an_error(
    broken: int, whole: int, *, fails: bool, tmp_path: Path
) -> None:
    bad = tuple(f"stuck-{number}" for number in range(broken))
    good = tuple(f"train-{number}" for number in range(whole))
    if fails:
        brief, _ = failure(lambda: asked(tmp_path, *good, *bad, broken=bad))
        assert brief.endswith(f"could not describe {broken} of {broken + whole} containers")
    else:
        assert names(asked(tmp_path, *good, *bad, broken=bad)) == (list(good), list(bad))


def test_an_engine_that_goes_down_meanwhile_is_an_error_and_no_containers_that_cannot_be_told(fake: Fake) -> None:
    listed = json.loads((DATA / "containers-20.10.json").read_text())
    fake.says(http(json.dumps(listed)), "/containers/json?all=1")
    first, *rest = listed
    one = json.loads((DATA / "inspect/all.json").read_text())
    fake.says(http(json.dumps(one | {"Id": first["Id"]})), f"/containers/{first['Id']}/json")
    for each in rest[:-1]:
        fake.says(http(json.dumps(one | {"Id": each["Id"]})), f"/containers/{each['Id']}/json")
    fake.says(b"", f"/containers/{rest[-1]['Id']}/json")
    fake.says(http("", "503 Service Unavailable"), "/_ping")
    told = inspect_all(Engine(fake.path))
    with pytest.raises(EngineError, match="has an error of its own"):
        list(told)


def test_what_is_no_description_is_none(fake: Fake) -> None:
    listed = json.loads((DATA / "containers-20.10.json").read_text())[:2]
    one = json.loads((DATA / "inspect/all.json").read_text())
    fake.says(http(json.dumps(listed)), "/containers/json?all=1")
    fake.says(http("OK"), "/_ping")
    fake.says(http(json.dumps(one | {"Id": listed[0]["Id"]})), f"/containers/{listed[0]['Id']}/json")
    fake.says(http('{"Id": "torn'), f"/containers/{listed[1]['Id']}/json")
    whole, torn = inspect_all(Engine(fake.path))
    assert isinstance(whole, Container)
    assert isinstance(torn, Undescribed)
    assert "it is no JSON" in torn.why


def test_what_was_answered_in_time_is_read_however_late(tmp_path: Path) -> None:
    """Its answer waits behind that of one that hangs, or behind what the caller does with another."""
    containers = [inspected(each) for each in ("a", "b", "c")]
    with engine_of(tmp_path / "docker.sock", lambda: containers) as engine:
        slow = Engine(engine.path, timeout_seconds=SECONDS)
        told = describe(slow, slow.containers())
        next(told)
        time.sleep(SECONDS / 4 + 0.1)
        assert names(list(told)) == (["b", "c"], [])


def test_one_that_is_gone_meanwhile_is_left_out(fake: Fake) -> None:
    listed = json.loads((DATA / "containers-20.10.json").read_text())
    fake.says(http(json.dumps(listed)), "/containers/json?all=1")
    plain = json.loads((DATA / "inspect/all.json").read_text())
    plain["HostConfig"]["DeviceRequests"] = None
    given = {"ev-run": "runtime", "ev-cdi": "cdi", "ev-n": "count", "ev-dev": "names"}
    for each in listed:
        name = each["Names"][0][1:]
        answer = http('{"message": "No such container: x"}', "404 Not Found")
        if name == "ev-all":
            answer = http(json.dumps(plain))
        elif name in given:
            answer = http((DATA / "inspect" / f"{given[name]}.json").read_text())
        fake.says(answer, f"/containers/{each['Id']}/json")
    found = {each.name: each.has_gpu for each in inspect_all(Engine(fake.path)) if isinstance(each, Container)}
    assert found == {"ev-run": True, "ev-all": False, "ev-cdi": True, "ev-n": True, "ev-dev": True}


def test_an_engine_that_is_slow_with_each_of_many_does_not_keep_its_caller_for_ever(fake: Fake) -> None:
    listed = json.loads((DATA / "containers-20.10.json").read_text())
    fake.says(http(json.dumps(listed)), "/containers/json?all=1")
    one = json.loads((DATA / "inspect/all.json").read_text())
    for each in listed:
        fake.says(http(json.dumps(one | {"Id": each["Id"]})), f"/containers/{each['Id']}/json")
    told = inspect_all(Engine(fake.path, timeout_seconds=0.2))
    next(told)
    time.sleep(0.3)
    brief, details = failure(lambda: list(told))
    assert brief == f"the Docker engine at {fake.path} is too slow to be asked"
    assert details == f"it told of 1 of {len(listed)} containers within 0.2 s"
