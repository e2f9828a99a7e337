"""What `ds01 gpu` shows: every state a unit can be in, and never "none" where nothing could be told."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.fake_nvml.fixture import FakeNvml
from tests.fake_nvml.samples import shipped_host
from tests.unit.runtime.gpu.hosts import ACCOUNTS, LAB, NOON, PROCESS, held, ledger, outside, split, waiting, whole

from ds01.core.paths import HostPaths
from ds01.core.value import replace
from ds01.runtime.commands import gpu
from ds01.runtime.commands.gpu_show import Scene, status_table
from ds01.runtime.commands.gpu_words import since
from ds01.runtime.gpu.hardware import Devices, GpuUuid, Usage
from ds01.runtime.gpu.ledger import Ledger, Reservation
from ds01.runtime.gpu.record import format_ledger
from ds01.runtime.gpu.request import AccountLimits
from ds01.runtime.machine import Machine


def account_of(user: str) -> AccountLimits:
    return ACCOUNTS[user]


USAGE = {
    GpuUuid("GPU-0"): Usage(93, 71 * 1024**3),
    GpuUuid("GPU-1"): Usage(0, 0),
    GpuUuid("MIG-20"): Usage(None, 5 * 1024**3),
}
BOOK = ledger(
    held("bob", "0", name="train"),
    held("alice", "2:0", name="nb", stopped_at=NOON),
    replace(held("alice", "2:1", name="soon"), container_id=None, reservation=Reservation(PROCESS)),
    held("carol", "3:0", name="kept", stopped_at=NOON),
    held(None, "3:1", name="stray\x1b[2J"),
)
SCENE = Scene(outside(LAB, "MIG-22", "dan"), BOOK, USAGE, account_of)


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("  ") if cell] for line in text.splitlines()]


def test_every_state_is_shown_in_a_table() -> None:
    model = "A100-SXM4-80GB"
    at = since(NOON)
    shown = [[cell.strip() for cell in row] for row in rows(status_table(SCENE))]
    assert shown == [
        ["GPU", "SLOT", "PROFILE", "USER", "CONTAINER", "SINCE", "STATE", "UTIL", "MEMORY"],
        [model, "0", "whole", "bob", "train", at, "running", "93%", "71.0/80G"],
        [model, "1", "whole", "-", "-", "-", "free", "0%", "0.0/80G"],
        [
            model,
            "2:0",
            "2g.20gb",
            "alice",
            "nb",
            at,
            f"held until {since(NOON + timedelta(seconds=900))}",
            "-",
            "5.0/20G",
        ],
        [model, "2:1", "2g.20gb", "alice", "soon", at, "reserved", "-", "20G"],
        [model, "2:2", "2g.20gb", "-", "-", "-", "used: dan's python (pid 4711) outside a container", "-", "20G"],
        [model, "3:0", "2g.20gb", "carol", "kept", at, "held", "-", "20G"],
        [model, "3:1", "2g.20gb", "?", "stray\\x1b[2J", at, "running", "-", "20G"],
        [model, "3:2", "2g.20gb", "-", "-", "-", "free", "-", "20G"],
    ]


def test_a_broken_gpu_and_one_that_is_gone_are_told() -> None:
    lost = Devices((whole(0, problem="fell off the bus"), split(2, 2)))
    text = status_table(replace(SCENE, devices=lost))
    assert "broken: fell off the bus" in text
    assert [row[1].strip() for row in rows(text) if "no such GPU now" in row[6]] == ["2:1", "3:0", "3:1"]


def test_of_several_units_just_the_one_that_is_gone_is_told() -> None:
    book = ledger(held("bob", "0", "1", name="two"))
    shown = rows(status_table(Scene(Devices((whole(1),)), book, {}, account_of)))[1:]
    assert [row[1:5] + row[6:7] for row in shown] == [
        ["1", "whole", "bob", "two", "running"],
        ["0", "-", "bob", "two", "running; no such GPU now"],
    ]


def test_a_gpu_that_is_split_since_is_its_holders_with_all_its_parts() -> None:
    book = ledger(held("bob", "0", name="train"))
    text = status_table(Scene(Devices((split(0, 3, 3),)), book, {}, account_of))
    assert [(row[1], row[4]) for row in rows(text)[1:]] == [("0:0", "train"), ("0:1", "train")]


def test_only_ones_own_can_be_asked_for() -> None:
    assert [row[4].strip() for row in rows(status_table(SCENE, "alice"))[1:]] == ["nb", "soon"]
    assert status_table(SCENE, "ghost\x1b") == "ghost\\x1b has no GPU"


def test_none_is_only_said_where_it_is_known() -> None:
    nothing = Scene(Devices(()), Ledger(), {}, account_of)
    assert status_table(nothing) == "this machine has no GPU"
    assert status_table(replace(nothing, devices=None)) == "which GPUs there are cannot be told"
    unseen = status_table(replace(SCENE, devices=None))
    assert "GPU not seen" in unseen
    assert "no such GPU" not in unseen


# --- The command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    (tmp_path / "etc/ds01").mkdir(parents=True)
    shipped = Path(__file__).resolve().parents[4] / "generated/ds01/root/etc/ds01/policy.json"
    (tmp_path / "etc/ds01/policy.json").write_text(shipped.read_text())
    (tmp_path / "var/lib/ds01").mkdir(parents=True)
    return HostPaths(tmp_path)


def write(paths: HostPaths, book: Ledger) -> None:
    paths.gpu_state.write_bytes(format_ledger(book, NOON))


def run(paths: HostPaths, capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = gpu.main([*argv, "--root", str(paths.root)])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_a_fresh_host_is_free_and_says_that_nothing_was_handed_out(
    loaded_nvml: FakeNvml, paths: HostPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded_nvml.write(shipped_host())
    code, out, err = run(paths, capsys, "status")
    assert (code, out.count(" free "), out.count("\n")) == (0, 8, 9)
    assert err == "notice: no GPU was ever handed out here\nTo fix: sudo ds01 gpu reconcile\n"


def test_text_and_json_say_the_same(
    loaded_nvml: FakeNvml, paths: HostPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a row of the table has is in the object too."""
    units = shipped_host().units
    me = Machine().process(1)
    assert me is not None
    real = {slot: GpuUuid(units[number]) for number, slot in enumerate(("0", "1", "2:0", "2:1", "2:2"))}
    soon = replace(held("student01", "2:1", name="soon"), uuids=(real["2:1"],), container_id=None)
    book = ledger(
        replace(held("root", "0", name="train"), uuids=(real["0"],)),
        replace(held("student01", "2:0", name="nb", stopped_at=NOON), uuids=(real["2:0"],)),
        replace(soon, reservation=Reservation(me)),
        replace(held(None, "9", name="stray"), uuids=(GpuUuid("GPU-gone"),)),
    )
    loaded_nvml.write(shipped_host())
    write(paths, book)
    _, text, _ = run(paths, capsys, "status")
    document = json.loads(run(paths, capsys, "status", "--json")[1])
    by_name = {each["container"]: each for each in document["allocations"]}

    def row(unit: dict[str, object]) -> list[str]:
        there = by_name.get(str(unit["container"]))
        at = None if there is None else datetime.fromisoformat(there["allocated_at"])
        until = None if there is None or not there["held_until"] else datetime.fromisoformat(there["held_until"])
        used, total, busy = (unit[name] for name in ("memory_used_bytes", "memory_bytes", "utilisation_percent"))
        assert isinstance(used, int)
        assert isinstance(total, int)
        return [
            str(unit["gpu"]), str(unit["slot"]), str(unit["profile"] or "whole"), str(unit["user"] or "-"),
            str(unit["container"] or "-"), since(at),
            f"{unit['state']}{'' if until is None else f' until {since(until)}'}",
            "-" if busy is None else f"{busy}%", f"{used / 1024**3:.1f}/{total / 1024**3:.0f}G",
        ]  # fmt: skip

    shown = rows(text)[1:]
    assert shown[:-1] == [row(unit) for unit in document["units"]]
    assert shown[-1][1:7] == ["9", "-", "?", "stray", since(NOON), "running; no such GPU now"]
    assert by_name["stray"]["not_seen"] == ["GPU-gone"]
    assert (by_name["soon"]["reserved_by"], by_name["train"]["reserved_by"]) == (1, None)


def test_status_in_json_has_the_same_facts(
    loaded_nvml: FakeNvml, paths: HostPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded_nvml.write(shipped_host())
    run(paths, capsys, "status")
    real = {"2:0": shipped_host().units[2], "0": shipped_host().units[0]}
    book = ledger(
        replace(held("student01", "2:0", name="nb", stopped_at=NOON), uuids=(GpuUuid(real["2:0"]),)),
        replace(held("root", "0", name="train"), uuids=(GpuUuid(real["0"]),)),
    )
    write(paths, book)
    code, out, err = run(paths, capsys, "status", "--json")
    document = json.loads(out)
    assert (code, err, document["version"], document["known"], document["lacking"]) == (0, "", 1, True, [])
    assert [(each["slot"], each["state"], each["user"], each["container"]) for each in document["units"]] == [
        ("0", "running", "root", "train"),
        ("1", "free", None, None),
        ("2:0", "held", "student01", "nb"),
        *((slot, "free", None, None) for slot in ("2:1", "2:2", "3:0", "3:1", "3:2")),
    ]
    assert {each["container"] for each in document["allocations"]} == {"nb", "train"}


def test_a_driver_that_does_not_answer_is_told_and_the_rest_is_shown(
    loaded_nvml: FakeNvml, paths: HostPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded_nvml.write(shipped_host().with_rules("fail nvmlInit DRIVER_NOT_LOADED"))
    write(paths, BOOK)
    code, out, err = run(paths, capsys, "status")
    assert code == 1
    assert "train" in out
    assert "GPU not seen" in out
    assert "NVML_ERROR_DRIVER_NOT_LOADED" in err
    code, out, _ = run(paths, capsys, "status", "--json")
    document = json.loads(out)
    assert (code, document["known"], document["units"], len(document["allocations"])) == (1, False, [], 5)


def test_a_guess_at_the_size_of_shares_is_told(
    loaded_nvml: FakeNvml, paths: HostPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    write(paths, ledger())
    product = str(shipped_host()).replace("NVIDIA A100", "NVIDIA X1")
    silent = "fail nvmlDeviceGetGpuInstanceProfileInfoV NOT_SUPPORTED\n"
    notices = []
    for description in (product, str(shipped_host()) + silent, product + silent):
        loaded_nvml.write(description)
        code, out, _ = run(paths, capsys, "status", "--json")
        notices.append([each.partition(":")[0] for each in json.loads(out)["notices"]])
        assert code == 0
    guessed = [f"how many compute slices GPU {index} (NVIDIA X1-SXM4-80GB) has is not known" for index in (2, 3)]
    assert notices == [[], [], guessed]


def test_a_damaged_record_is_told_and_the_hardware_is_shown(
    loaded_nvml: FakeNvml, paths: HostPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded_nvml.write(shipped_host())
    paths.gpu_state.write_text("{")
    code, out, err = run(paths, capsys, "status")
    assert (code, out.count("A100"), out.count("not known"), out.count("free")) == (1, 8, 8, 0)
    assert "cannot be believed" in err
    assert run(paths, capsys, "status", "--user", "student01")[:2] == (
        1,
        "whether student01 has a GPU cannot be told\n",
    )
    document = json.loads(run(paths, capsys, "status", "--json")[1])
    assert (document["holders_known"], document["waiting"], len(document["lacking"])) == (False, None, 1)
    assert {each["state"] for each in document["units"]} == {"not known"}
    err = run(paths, capsys, "status")[2]
    assert "sudo ds01 gpu reconcile" in err


def test_who_waits_is_shown_in_the_order_of_service(paths: HostPaths, capsys: pytest.CaptureFixture[str]) -> None:
    me = Machine().process(1)
    assert me is not None
    line = tuple(
        replace(each, process=me)
        for each in (waiting("alice", "2", name="a"), waiting("bob", "device=0", name="b\x1b"))
    )
    write(paths, ledger(queue=line))
    code, out, _ = run(paths, capsys, "queue")
    assert (code, [[cell.strip() for cell in row] for row in rows(out)]) == (
        0,
        [
            ["PLACE", "USER", "CONTAINER", "WANTS", "PRIORITY", "SINCE"],
            ["1", "bob", "b\\x1b", "device=0", "50", since(NOON)],
            ["2", "alice", "a", "2", "10", since(NOON)],
        ],
    )
    code, out, _ = run(paths, capsys, "queue", "--json")
    assert [(each["place"], each["user"], each["wanted"]) for each in json.loads(out)["queue"]] == [
        (1, "bob", "device=0"),
        (2, "alice", "2"),
    ]
    write(paths, ledger())
    assert run(paths, capsys, "queue")[1] == "nobody waits for a GPU\n"


def test_a_container_is_held_against_what_it_says_it_has(
    loaded_nvml: FakeNvml, paths: HostPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded_nvml.write(shipped_host())
    mine = replace(held("alice", "2:0", name="nb"), uuids=(GpuUuid(shipped_host().units[2]),))
    write(paths, ledger(mine))
    said = {gpu: run(paths, capsys, "validate", "--container", "nb", "--gpu", gpu)[:2] for gpu in ("2:0", "3:0", "9")}
    assert said == {
        "2:0": (0, "nb holds GPU 2:0, there and well\n"),
        "3:0": (1, "nb does not hold GPU 3:0\n"),
        "9": (1, "this machine has no GPU 9 now; re-create nb to get another one\n"),
    }
    code, out, _ = run(paths, capsys, "validate", "--container", "ghost", "--gpu", "2:0", "--json")
    assert (code, json.loads(out)) == (1, {"version": 1, "valid": False, "problems": ["ghost does not hold GPU 2:0"]})
