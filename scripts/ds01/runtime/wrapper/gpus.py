"""The last step of an admission: hand out the GPUs that a container asks for, or had; waits in the line if need be."""

from __future__ import annotations

import os

from ds01.core.gpurequest import Asked, GpuRequest
from ds01.core.rules import Rule
from ds01.core.terminal import say
from ds01.core.value import replace
from ds01.runtime.commands.gpu_words import holding_lines, refusal_words
from ds01.runtime.containers.admission import Refusal
from ds01.runtime.containers.container import Container
from ds01.runtime.containers.request import ContainerRequest
from ds01.runtime.gpu import answer as gpu
from ds01.runtime.gpu.found import lost_request
from ds01.runtime.gpu.host import open_gpus
from ds01.runtime.gpu.operations import Gpus, new_id, request_of
from ds01.runtime.gpu.queue import Line, Place, wait_for_gpu
from ds01.runtime.gpu.request import All, Count, Named, Request, Wanted, format_wanted, parse_devices, wait_seconds
from ds01.runtime.wrapper.desk import Desk

_TITLES = {
    gpu.Reason.QUOTA: "DS01 GPU Quota Exceeded",
    gpu.Reason.TOO_MANY: "DS01 GPU Limit Exceeded",
    gpu.Reason.NOT_ALLOWED: "DS01 GPU Not Allowed",
    gpu.Reason.NO_SUCH_GPU: "DS01 No Such GPU",
    gpu.Reason.BROKEN: "DS01 GPU Broken",
}


def wanted_of(asked: GpuRequest) -> Wanted:
    """Return a container's wish as the allocator takes it.

    Raises:
        BadInputError: a device has no such name.
    """
    match asked.asked:
        case Asked.ALL:
            return All()
        case Asked.COUNT:
            return Count(len(asked.names))
        case _:
            return Named(parse_devices(",".join(asked.names)))


def allocate(desk: Desk, request: ContainerRequest) -> gpu.Grant | Refusal:
    """Give a new container its units, and wait for them as long as the policy says."""
    if request.gpu is None:
        raise ValueError("no GPU is asked for")
    gpus = _open(desk)
    wish = Request(
        id=new_id(),
        user=desk.caller.name,
        wanted=wanted_of(request.gpu),
        priority=gpus.state.account_of(desk.caller.name).priority,
        container=request.container,
    )
    answer = _in_line(desk, gpus, wish)
    if isinstance(answer, gpu.Grant):
        return answer
    gpus.tell_refused(wish, answer)
    return _refusal(desk, answer, format_wanted(wish.wanted))


def _in_line(desk: Desk, gpus: Gpus, wish: Request) -> gpu.Grant | gpu.Refusal:
    me = desk.place.machine.process(os.getpid())
    line = Line(float(wait_seconds(desk.policy)), _tell, desk.keeper if me is None else me)
    return wait_for_gpu(gpus, wish, desk.keeper, line)


def resume(desk: Desk, container: Container) -> gpu.Grant | Refusal | None:
    """Let a container that is about to run have what it had; None when it holds nothing of ours."""
    gpus = _open(desk)
    with gpus.state.change() as book:
        there = book.ledger.find(container.id) or book.ledger.find(container.name)
    again = None
    if there is None:
        again = lost_request(desk.place.engine, gpus.look(), container.name, gpus.state.account_of)
        if again is None:
            return None
    answer = gpus.clear_stopped(container.name if there is None else there, desk.keeper, again)
    if isinstance(answer, gpu.Refusal):
        wish = again if there is None else request_of(there)
        if wish is not None:
            gpus.tell_refused(wish, answer)
        return _refusal(desk, answer, ", ".join(container.gpu_slots) or "what it had")
    return answer


def _open(desk: Desk) -> Gpus:
    """Return what hands out GPUs, and takes them back when the command comes to nothing."""
    gpus = replace(open_gpus(desk.paths, desk.policy), given=[])
    desk.undo.append(gpus.take_back)
    return gpus


def _refusal(desk: Desk, answer: gpu.Refusal, wanted: str) -> Refusal:
    text = answer.text
    if not text.startswith(desk.caller.name):  # a name has no capital that it was not given
        text = text[:1].upper() + text[1:]
    holders = [line.strip() for line in holding_lines(answer.holdings)]
    in_use = tuple(zip(("In use", *[""] * len(holders)), holders, strict=False))
    return Refusal(
        Rule.GPU,
        _TITLES.get(answer.reason, "DS01 No GPU Free"),
        (("Requested", f"GPU {wanted}"), *in_use),
        f"{text}.",
        (_way_out(desk, answer), "See who has which GPU: ds01 gpu status", "Check your limits: check-limits"),
        {"reason": answer.reason.value, "wanted": wanted},
    )


def _way_out(desk: Desk, answer: gpu.Refusal) -> str:
    """Return what can be done, in words of docker: it has no --wait, and the line was stood in already."""
    way = answer.fix
    if way is None and answer.reason is gpu.Reason.DIFFERENT:
        names = " ".join(dict.fromkeys(each.container for each in answer.holdings if each.container is not None))
        way = f"remove that container first (docker rm {names}), or choose another name"
    elif way is None:
        seconds = wait_seconds(desk.policy)
        way = f"run it again: it waits up to {seconds} s for a GPU" if seconds else "run it again later"
    return way[:1].upper() + way[1:]


def _tell(refusal: gpu.Refusal, place: Place) -> None:
    say(f"ds01: {refusal_words(refusal)}")
    say(
        f"ds01: waiting for a GPU: place {place.number} of {place.of} in the line,"
        f" {place.left_seconds:.0f} s left (Ctrl-C to leave)"
    )
