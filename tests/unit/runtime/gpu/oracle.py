"""What the allocator has to answer, worked out the slow way: every combination of units is tried.

Nothing of the allocator decides here, save which of several right answers its strategy takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations

from tests.unit.runtime.gpu.hosts import NOON, outside

from ds01.core.value import replace
from ds01.runtime.gpu.allocate import allocate, as_request
from ds01.runtime.gpu.answer import Grant, Refusal
from ds01.runtime.gpu.hardware import Devices, GpuUuid, Unit
from ds01.runtime.gpu.ledger import Allocation, Ledger, Waiter
from ds01.runtime.gpu.request import Count, GpuUnit, Limits, Named, Request

Way = frozenset[str]


def check(devices: Devices, book: Ledger, request: Request, limits: Limits, answer: Grant | Refusal) -> None:
    """Hold an answer to a request that nothing was granted to before against every way to meet it."""
    ways = ways_to_meet(devices, book, request, limits)
    free = free_units(devices, book, limits) - kept_for_others(devices, book, request, limits)
    now = [way for way in ways if way <= free]
    if isinstance(answer, Grant):
        assert frozenset(answer.allocation.uuids) in now
    else:
        assert now == [], "it can be met without taking anything from anybody"
        assert answer.waitable is bool(ways), "time helps where there is a way at all"


def ways_to_meet(devices: Devices, book: Ledger, request: Request, limits: Limits) -> list[Way]:
    """Every set of units that hardware and policy have for a request, whoever has them now."""
    own = limits.of(request.user)
    units = [
        unit
        for unit in devices.units
        if (own.allow_full or own.exempt if unit.is_whole else limits.enable_mig) and unit.problem is None
    ]
    if isinstance(request.wanted, Named):
        sets: Iterator[tuple[Unit, ...]] = iter(
            [tuple(u for u in units if {u.slot, u.uuid} & {*request.wanted.devices})]
        )
        named = {name for name in request.wanted.devices for u in units if name in {u.slot, u.uuid}}
        if named != {*request.wanted.devices}:
            return []
    else:
        sets = _of_one_kind(request, units, limits, devices)
    fit = [each for each in sets if _within_quota(devices, book, request, limits, each)]
    most = max(map(len, fit), default=0)
    wants_most = not isinstance(request.wanted, (Count, Named))
    return [frozenset(unit.uuid for unit in each) for each in fit if not wants_most or len(each) == most]


def _of_one_kind(request: Request, units: list[Unit], limits: Limits, devices: Devices) -> Iterator[tuple[Unit, ...]]:
    unit = limits.of(request.user).unit
    is_split = limits.enable_mig and any(not each.is_whole for each in devices.units)
    for whole in (True, False):
        if unit is (GpuUnit.MIG if whole else GpuUnit.FULL):
            continue
        pool = [each for each in units if each.is_whole is whole]
        match request.wanted:
            case Count(number):
                yield from combinations(pool, number)
            case _ if unit is GpuUnit.MIG or (unit is GpuUnit.ANY and is_split):
                yield from combinations(pool, 1)
            case _:
                for number in range(1, len(pool) + 1):
                    yield from combinations(pool, number)


def _within_quota(devices: Devices, book: Ledger, request: Request, limits: Limits, picked: tuple[Unit, ...]) -> bool:
    own = limits.of(request.user)
    held = [uuid for each in book.allocations.values() if each.user == request.user for uuid in each.uuids]
    sizes = {gpu.uuid: Fraction(1) for gpu in devices.gpus} | {unit.uuid: unit.share for unit in devices.units}
    if limits.count_outside and not own.exempt:
        used = {each.uuid for each in devices.processes if each.container_id is None and each.user == request.user}
        held += sorted(used - {*held})
        # Of a split GPU of which only the whole is named, one instance is used.
        sizes |= {
            gpu.uuid: Fraction(min(i.compute_slices for i in gpu.instances), gpu.slices)
            for gpu in devices.gpus
            if gpu.instances and gpu.uuid in used
        }
    most = request.most_units
    if most is not None and len(held) + len(picked) > most:
        return False
    if own.exempt:
        return True
    if most is None and own.max_units is not None and len(held) + len(picked) > own.max_units:
        return False
    if own.max_per_container is not None and len(picked) > own.max_per_container:
        return False
    size = sum((sizes.get(uuid, Fraction(0)) for uuid in (*held, *(unit.uuid for unit in picked))), Fraction(0))
    return own.max_equivalents is None or size <= own.max_equivalents + Fraction(1, 200)


def free_units(devices: Devices, book: Ledger, limits: Limits) -> Way:
    """What is well, and neither it nor the GPU that it is part of is held, or used outside containers."""
    held = {uuid for each in book.allocations.values() for uuid in each.uuids}
    busy = {each.uuid for each in devices.processes if each.container_id is None} if limits.avoid_busy else set()
    return frozenset(
        unit.uuid for unit in devices.units if unit.problem is None and not {unit.uuid, unit.gpu_uuid} & (held | busy)
    )


def ahead(book: Ledger, request: Request) -> list[Waiter]:
    """Who is served before a request: of higher priority, or of the same and there before."""
    places = [each.id for each in book.queue]
    if request.id not in places:
        return _served([each for each in book.queue if each.priority >= request.priority])
    line = _served(list(book.queue))
    return line[: [each.id for each in line].index(request.id)]


def _served(queue: list[Waiter]) -> list[Waiter]:
    return [
        each
        for priority in sorted({w.priority for w in queue}, reverse=True)
        for each in queue
        if each.priority == priority
    ]


def kept_for_others(devices: Devices, book: Ledger, request: Request, limits: Limits) -> Way:
    """What those ahead would be given, and of those who would be given nothing what they could use."""
    kept: Way = frozenset()
    line, book = ahead(book, request), replace(book, queue=())
    for waiter in line:
        wanted = as_request(waiter)
        if wanted.container in book.allocations:
            continue
        ways = ways_to_meet(devices, book, wanted, limits)
        free = free_units(devices, book, limits) - kept
        if not any(way <= free for way in ways):
            kept |= frozenset(uuid for way in ways for uuid in way) & free
            book = _as_if_given(devices, book, waiter, ways)
            continue
        taken = devices if limits.avoid_busy else replace(devices, processes=())
        for uuid in kept:
            taken = outside(taken, uuid, user="somebody-else")
        answer = allocate(taken, book, wanted, replace(limits, avoid_busy=True), NOON)
        assert isinstance(answer, Grant)
        assert frozenset(answer.allocation.uuids) in ways
        kept |= frozenset(answer.allocation.uuids)
        book = book.granted(replace(answer.allocation, container=f"?{waiter.id}"))
    return kept


def _as_if_given(devices: Devices, book: Ledger, waiter: Waiter, ways: list[Way]) -> Ledger:
    """Who cannot be served yet is counted with the least that it asks for; of several that with whole GPUs, if any."""
    places = {unit.uuid: (unit.share, number) for number, unit in enumerate(sorted(devices.units, key=_whole_first))}
    several = [way for way in ways if len(way) > 1 and all(places[GpuUuid(uuid)][0] == 1 for uuid in way)]
    if not ways:
        return book
    least = min(several or ways, key=lambda way: sorted(places[GpuUuid(uuid)] for uuid in way))
    uuids = tuple(GpuUuid(uuid) for uuid in sorted(least))
    thought = Allocation(f"?{waiter.id}", waiter.id, waiter.user, uuids, uuids, NOON, waiter.priority)
    return book.granted(thought)


def _whole_first(unit: Unit) -> bool:
    return not unit.is_whole
