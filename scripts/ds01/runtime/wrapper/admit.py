"""Admit a container, new or old: look, decide and promise under the account's lock, then wait for GPUs without it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from datetime import datetime
from functools import partial

from ds01.core.errors import RefusedError
from ds01.core.labels import PROTECTED
from ds01.core.terminal import say
from ds01.core.value import dataclass
from ds01.runtime.client.arguments import Parsed
from ds01.runtime.client.named import containers_named
from ds01.runtime.containers.admission import Admission, Refusal, admit, settings_for
from ds01.runtime.containers.bypassed import bypassed_words
from ds01.runtime.containers.container import Container, State
from ds01.runtime.containers.denials import Telling
from ds01.runtime.containers.page import Page, take_back
from ds01.runtime.containers.pending import Pending
from ds01.runtime.containers.request import ContainerRequest, Verb
from ds01.runtime.containers.standing import read_standing
from ds01.runtime.wrapper.desk import DeniedError, Desk, ParentError, instant
from ds01.runtime.wrapper.options import Marks, parent_asked, read_request, read_update, write_line, write_update
from ds01.runtime.wrapper.owners import check_owner
from ds01.runtime.wrapper.pages import count_denial, page_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ds01.runtime.gpu.answer import Grant


@dataclass(frozen=True, slots=True)
class _Case:
    """One container that is to run.

    Attributes:
        id: of its promise.
        what: the verb, for messages.
        gpu: gives it its units.
        started_at: when an old one last began to run; None when it never did.
    """

    request: ContainerRequest
    id: str
    what: str
    gpu: Callable[[], Grant | Refusal]
    started_at: datetime | None = None

    def has_made(self, promise: Pending) -> bool:
        """Whether a promise is this one's; a container that starts may be updated meanwhile."""
        return promise.id == self.id and (promise.verb is Verb.UPDATE) == (self.request.verb is Verb.UPDATE)


def admit_new(desk: Desk, parsed: Parsed) -> tuple[tuple[str, ...], Admission]:
    """Admit a container that `run` or `create` makes.

    Returns:
        The line that makes it, and what it was admitted with.

    Raises:
        DeniedError: refused, and said so.
        BadInputError, RefusedError: what is asked for cannot be read, or is not given.
    """
    check_owner(desk, containers_named(parsed), str(parsed.topic))
    request = read_request(parsed, desk.asked.visible_devices)
    parent = _parent(desk, parsed)
    case = _Case(request, instant(), str(parsed.topic), lambda: _units(desk, request))
    admission = _admit(desk, case)
    if (words := bypassed_words(desk.paths, desk.caller.name)) is not None:
        say(f"ds01: notice: {words}")
    protected = desk.caller.is_admin and f"{PROTECTED}=true" in parsed.values("label")
    marks = Marks(desk.caller.name, case.id, parent, protected=protected)
    return write_line(parsed, request, admission, desk.rules, marks), admission


def _units(desk: Desk, request: ContainerRequest) -> Grant | Refusal:
    from ds01.runtime.wrapper import gpus  # noqa: PLC0415 - for those who want a GPU

    return gpus.allocate(desk, request)


def _parent(desk: Desk, parsed: Parsed) -> str:
    """Return the slice that a new container is put into."""
    own, asked = desk.rules.limits.slice_name, parent_asked(parsed)
    if asked is None or asked == own:
        return own
    if not desk.caller.is_admin:
        say(f"ds01: --cgroup-parent is set to {own}: every container of yours counts there")
        return own
    access = desk.policy.document.get("access_control")
    listed = access.get("admin_cgroup_parents") if isinstance(access, dict) else None
    if isinstance(listed, list) and asked in listed:
        return asked
    raise ParentError(
        f"the policy lists no slice {asked!r} for containers of administrators",
        "access_control.admin_cgroup_parents names those there are",
        f"leave --cgroup-parent out: the container then goes to {own}",
    )


# --- Old ones ---------------------------------------------------------------------------------------------------------


def admit_old(desk: Desk, parsed: Parsed) -> None:
    """Admit containers that exist already, all those of a line or none.

    Raises:
        DeniedError: one is refused; whatever was promised for the others is taken back.
    """
    verb = Verb(parsed.topic)
    found = check_owner(desk, parsed.operands, verb.value)
    cases = [_case_of(desk, verb, each) for each in _each(found)]
    _admit_all(desk, [each for each in cases if each is not None])


def _each(found: Mapping[str, Container]) -> Collection[Container]:
    """Return the containers that a line names, each once."""
    return {each.id: each for each in found.values()}.values()


def _admit_all(desk: Desk, cases: Iterable[_Case]) -> None:
    admitted: list[_Case] = []
    try:
        for case in cases:
            _admit(desk, case)
            admitted.append(case)
    except BaseException:
        if admitted:
            take_back(desk.paths.pages, desk.caller.uid, lambda each: any(case.has_made(each) for case in admitted))
        raise


def _case_of(desk: Desk, verb: Verb, container: Container) -> _Case | None:
    if verb is Verb.UNPAUSE and container.state is not State.PAUSED:
        return None  # the engine will say so
    request = ContainerRequest(
        verb=verb,
        container=container.name,
        memory_bytes=container.memory_bytes,
        gpu=container.gpu if container.allocation_id is not None else None,
        is_live=container.is_live,
    )
    return _Case(request, container.id, verb.value, lambda: _again(desk, container), container.started_at)


def _again(desk: Desk, container: Container) -> Grant | Refusal:
    from ds01.runtime.wrapper import gpus  # noqa: PLC0415 - for those who had a GPU

    answer = gpus.resume(desk, container)
    if answer is None:
        # It has a label of ours and no unit: an image's, or one from another machine.
        raise RefusedError(
            f"{container.name} says it has a GPU and nobody knows which",
            None,
            f"re-create it (docker rm {container.name}, docker run --gpus …)",
        )
    return answer


def admit_update(desk: Desk, parsed: Parsed) -> tuple[str, ...]:
    """Admit other limits for containers that exist already: no more than a new one may have, nor all of them together.

    Returns:
        The line that changes them.

    Raises:
        DeniedError: one is somebody else's, or may not have that much.
        BadInputError: what is asked for cannot be read.
    """
    found = _each(check_owner(desk, parsed.operands, Verb.UPDATE.value))
    requests = {each.id: read_update(parsed, each) for each in found}
    _admit_all(
        desk, [_Case(each, id_, Verb.UPDATE.value, partial(_units, desk, each)) for id_, each in requests.items()]
    )
    words = write_update(parsed, found, desk.rules)
    if words is None:
        return desk.asked.words
    if parsed.values("memory-swap") and not any(word.startswith("--memory-swap=") for word in words):
        say("ds01: --memory-swap is left out: no container gets swap")
    return words


# --- Both -------------------------------------------------------------------------------------------------------------


def _admit(desk: Desk, case: _Case) -> Admission:
    """Decide, promise, and tell; the promise stands when this returns.

    Raises:
        DeniedError: refused.
    """
    try:
        answer, telling = _decide(desk, case)
    except BaseException:
        take_back(desk.paths.pages, desk.caller.uid, case.has_made)
        raise
    if isinstance(answer, Refusal):
        desk.tell(answer, telling, case.what)
        raise DeniedError(answer.title)
    desk.tell_overruled(answer.overruled, case.what)
    for note in answer.notes:
        say(f"ds01: notice: {note}")
    return answer


def _decide(desk: Desk, case: _Case) -> tuple[Admission | Refusal, Telling]:
    told = Telling(in_full=True, number=0, unsaid=0)
    with ExitStack() as lock:
        page = lock.enter_context(page_of(desk))
        unlocked = False

        def units() -> Grant | Refusal:
            # Promised before the line for a GPU, in which others of the account must not wait for this lock.
            nonlocal unlocked
            _promise(desk, page, case)
            lock.close()
            unlocked = True
            return case.gpu()

        answer = _look(desk, case, page, units)
        if not unlocked and isinstance(answer, Refusal) and page.promises:
            # A container that started between two looks was seen twice; the second look settles it.
            answer = _look(desk, case, page, units)
        if not unlocked:
            if isinstance(answer, Refusal):
                return answer, count_denial(page, desk)
            _promise(desk, page, case)
    if isinstance(answer, Refusal):
        with page_of(desk) as page:
            page.promises = tuple(each for each in page.promises if not case.has_made(each))
            page.admitted = tuple(each for each in page.admitted if each != case.id)
            return answer, count_denial(page, desk)
    return answer, told


def _look(desk: Desk, case: _Case, page: Page, units: Callable[[], Grant | Refusal]) -> Admission | Refusal:
    standing = read_standing(desk.place, desk.account, page.promises, _itself(case), admitted=page.admitted)
    page.promises = standing.promises
    desk.log_open(standing.usage.unknown, case.what)
    return admit(case.request, desk.caller, desk.rules, standing.usage, units)


def _itself(case: _Case) -> frozenset[str]:
    return frozenset() if case.request.verb.is_new else frozenset({case.id})


def _promise(desk: Desk, page: Page, case: _Case) -> None:
    """Write down what is about to run; what runs already is counted as it is."""
    others = tuple(each for each in page.promises if not case.has_made(each))
    if case.request.verb.is_new and case.id not in page.admitted:
        page.admitted = (*page.admitted, case.id)
    if case.request.is_live and case.request.verb is not Verb.RESTART and not case.request.more_bytes:
        page.promises = others
        return
    reserved = settings_for(case.request, desk.rules).memory_bytes or 0
    promised = Pending(case.id, case.request.verb, reserved, desk.keeper, started_at=case.started_at)
    page.promises = (*others, promised)
