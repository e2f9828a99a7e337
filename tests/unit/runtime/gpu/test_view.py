"""What keeps a unit from being given, and the words for it."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.unit.runtime.gpu.hosts import LAB, LIMITS, NOON, held, ledger, outside, split, whole

from ds01.core.value import replace
from ds01.runtime.gpu.answer import Holding, Reason, Refusal
from ds01.runtime.gpu.hardware import Devices, GpuProcess, GpuUuid
from ds01.runtime.gpu.ledger import Ledger
from ds01.runtime.gpu.view import View


def view(devices: Devices = LAB, book: Ledger | None = None, *, avoid: bool = True) -> View:
    return View.of(devices, book or Ledger(), replace(LIMITS, avoid_busy=avoid))


def free(of: View) -> list[str]:
    return [unit.slot for unit in of.units if of.is_free(unit)]


def test_everything_is_free_on_an_idle_host() -> None:
    assert free(view()) == ["0", "1", "2:0", "2:1", "2:2", "3:0", "3:1", "3:2"]


def test_a_held_unit_is_not_free_and_a_whole_gpus_holder_holds_its_instances() -> None:
    parent = replace(held(None, "2:0", name="stray"), uuids=(GpuUuid("GPU-2"),))
    of = view(book=ledger(held("bob", "0"), parent))
    assert free(of) == ["1", "3:0", "3:1", "3:2"]
    assert [unit.slot for unit in of.held_units] == ["0", "2:0", "2:1", "2:2"]


def test_a_process_outside_containers_keeps_its_unit_and_one_on_a_split_gpu_all_of_it() -> None:
    busy = outside(outside(LAB, "MIG-21"), "GPU-3", pid=4712)
    assert free(view(busy)) == ["0", "1", "2:0", "2:2"]
    assert free(view(busy, avoid=False)) == free(view())


def test_a_process_in_a_container_that_holds_the_unit_is_nobodys_business() -> None:
    mine = held("bob", "0")
    inside = GpuProcess(7, GpuUuid("GPU-0"), "bob", "python", container_id=mine.container_id)
    of = view(Devices(LAB.gpus, (inside,)), ledger(mine))
    assert of.processes(of.units[0]) == ()


def test_a_process_in_a_container_that_holds_nothing_keeps_its_unit_too() -> None:
    inside = GpuProcess(7, GpuUuid("GPU-1"), "bob", "python", container_id="f" * 64)
    of = view(Devices(LAB.gpus, (inside,)), ledger(held("bob", "0")))
    assert free(of) == ["2:0", "2:1", "2:2", "3:0", "3:1", "3:2"]
    assert of.in_use(of.units[1:2], (), named=True, number=1).text == (
        "GPU 1 is used by bob's python (pid 7) in container ffffffffffff, which was given no GPU"
    )


def test_units_of_a_broken_gpu_are_not_free_and_its_problem_is_the_refusal() -> None:
    lost = Devices((whole(0), split(1, 2, 2, problem="fell off the bus")))
    of = view(lost, ledger(held("bob", "1:0", devices=lost)))
    assert free(of) == ["0"]
    assert of.broken(of.units[1:]) == Refusal(
        Reason.BROKEN,
        "GPU 1: fell off the bus",
        "tell an administrator",
        (Holding("1:0", "bob", "bob-1:0", NOON),),
    )


def test_a_name_that_is_no_unit_is_explained() -> None:
    of = view(Devices((whole(0), split(1, 2, 2), split(2))))
    assert {name: of.missing(name).text for name in ("7", "GPU-x", "1", "GPU-1", "2", "1:9")} == {
        "7": "this machine has no GPU 7 now",
        "GPU-x": "this machine has no GPU GPU-x now",
        "1": "GPU 1 is in MIG mode: name one of its instances (1:0, 1:1)",
        "GPU-1": "GPU GPU-1 is in MIG mode: name one of its instances (1:0, 1:1)",
        "2": "GPU 2 is in MIG mode: name one of its instances (it has none)",
        "1:9": "this machine has no GPU 1:9 now",
    }
    assert (of.find("1:1"), of.find("MIG-10"), of.find("1")) == (of.units[2], of.units[1], None)


def test_what_may_be_on_a_gpu_that_cannot_be_seen_is_not_said_to_be_absent() -> None:
    of = view(Devices((whole(0), split(1, problem="fell off the bus"))))
    said = {name: (of.missing(name).reason, of.missing(name).text) for name in ("1:0", "1", "MIG-10", "GPU-1", "7")}
    broken = "cannot be given: GPU 1: fell off the bus"
    assert said == {
        "1:0": (Reason.BROKEN, f"GPU 1:0 {broken}"),
        "1": (Reason.BROKEN, f"GPU 1 {broken}"),
        "MIG-10": (Reason.BROKEN, f"GPU MIG-10 {broken}"),
        "GPU-1": (Reason.BROKEN, f"GPU GPU-1 {broken}"),
        "7": (Reason.NO_SUCH_GPU, "this machine has no GPU 7 now"),
    }


def test_what_is_in_the_way_is_said_in_one_line() -> None:
    book = ledger(
        held("bob", "0", name="train"), held(None, "1", name="stray"), held("alice", "2:0", name="nb", stopped_at=NOON)
    )
    of = view(outside(LAB, "MIG-21", user="carol"), book)
    units = {unit.slot: unit for unit in of.units}
    said = {slot: of.in_use((units[slot],), (), named=True, number=1).text for slot in ("0", "1", "2:0", "2:1")}
    assert said == {
        "0": "GPU 0 is held by bob's train",
        "1": "GPU 1 is held by container stray",
        "2:0": "GPU 2:0 is held by alice's stopped nb",
        "2:1": "GPU 2:1 is used by carol's python (pid 4711) outside a container",
    }
    several = of.in_use(of.units, (units["3:0"],), named=False, number=2)
    assert (several.reason, several.text, several.waitable) == (
        Reason.TAKEN,
        "1 of 8 GPU units is free, 2 are asked for",
        True,
    )
    assert [each.slot for each in several.holdings] == ["0", "1", "2:0", "2:1"]
    line = of.in_use(of.units, (units["3:0"], units["3:1"]), named=False, number=2)
    assert (line.reason, line.text) == (Reason.IN_LINE, "3:0, 3:1 would do, but others in the line come first")


def test_what_computes_in_the_holders_container_is_named_with_its_start() -> None:
    mine = held("alice", "2:0", name="nb")
    start = NOON - timedelta(hours=2, minutes=48)
    inside = [
        GpuProcess(pid, GpuUuid(uuid), "root", command, container_id=mine.container_id, since=since)
        for pid, uuid, command, since in (
            (8, "MIG-20", "python", NOON),
            (7, "MIG-20", "jupyter", start),
            (9, "MIG-20", "bash", None),
        )
    ]
    other = GpuProcess(5, GpuUuid("MIG-20"), "bob", "stray", container_id="f" * 64, since=start - timedelta(days=1))
    book = ledger(mine, held("bob", "2:1", name="train"))
    unit = {each.slot: each for each in LAB.units}["2:0"]

    def said(*processes: GpuProcess, now: datetime | None = NOON) -> str:
        of = View.of(Devices(LAB.gpus, processes), book, LIMITS, now)
        return of.in_use((unit,), (), named=True, number=1).text

    local = start.astimezone()
    assert said(other, *inside) == f"GPU 2:0 is in use by alice's jupyter since {local:%H:%M}, in container nb"
    assert said(inside[2]) == "GPU 2:0 is in use by alice's bash, in container nb"
    later = said(inside[1], now=NOON + timedelta(days=1))
    assert later == said(inside[1], now=None)
    assert later == f"GPU 2:0 is in use by alice's jupyter since {local:%Y-%m-%d %H:%M}, in container nb"
    assert said(other) == "GPU 2:0 is held by alice's nb"
    # Of a process on an instance a driver may name the whole GPU.
    assert said(replace(inside[1], uuid=GpuUuid("GPU-2"))) == said(inside[1])
    assert View.of(Devices(LAB.gpus, (inside[1],)), book, LIMITS, NOON).in_use(
        (unit,), (), named=True, number=1
    ).holdings == (Holding("2:0", "alice", "nb", NOON, command="jupyter", command_since=start),)


def test_a_process_outside_is_named_with_its_start_too() -> None:
    busy = outside(LAB, "GPU-1", user="carol")
    busy = replace(busy, processes=tuple(replace(each, since=NOON) for each in busy.processes))
    of = View.of(busy, Ledger(), LIMITS, NOON)
    assert of.in_use(of.units[1:2], (), named=True, number=1).text == (
        f"GPU 1 is used by carol's python (pid 4711) outside a container since {NOON.astimezone():%H:%M}"
    )


def test_processes_on_the_host_count_where_policy_says_so_and_doubtful_ones_never() -> None:
    busy = outside(LAB, "GPU-1")
    doubtful = replace(busy.processes[0], doubt="it may run in a container")
    inside = replace(busy.processes[0], container_id="f" * 64)
    devices = replace(busy, processes=(*busy.processes, doubtful, inside))
    assert View.of(devices, Ledger(), LIMITS).outside == busy.processes
    assert View.of(devices, Ledger(), replace(LIMITS, count_outside=False)).outside == ()


def test_of_several_processes_on_a_unit_one_is_named() -> None:
    of = view(outside(outside(LAB, "GPU-1", user="carol"), "GPU-1", user="dan", pid=4712))
    refusal = of.in_use(of.units[1:2], (), named=True, number=1)
    assert refusal.text == "GPU 1 is used by carol's python (pid 4711) outside a container"
    assert len(refusal.holdings) == 1


def test_what_is_taken_in_thought_is_held_and_the_view_before_is_as_it_was() -> None:
    before = view(book=ledger(held("bob", "0")))
    after = before.taken(held("alice", "2:0", "2:1"))
    assert free(after) == ["1", "2:2", "3:0", "3:1", "3:2"]
    assert free(before) == ["1", "2:0", "2:1", "2:2", "3:0", "3:1", "3:2"]


def test_two_names_of_which_one_is_taken_and_one_used_outside_are_both_explained() -> None:
    of = view(outside(LAB, "GPU-1", user="carol"), ledger(held("bob", "0", name="train")))
    assert of.in_use(of.units[:2], (), named=True, number=2).text == (
        "GPU 0 is held by bob's train; GPU 1 is used by carol's python (pid 4711) outside a container"
    )
