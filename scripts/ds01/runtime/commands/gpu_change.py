"""What `ds01 gpu` changes: allocate, wait, release, mark-stopped, clear-stopped, reconcile."""

from __future__ import annotations

import argparse
import os
import re
import resource
import sys
from collections.abc import Callable
from contextlib import suppress

from ds01.core.command import host_paths
from ds01.core.errors import BadInputError, ExitCode, RefusedError
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy, read_policy
from ds01.core.terminal import print_json, say
from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.core.words import count, printable
from ds01.runtime.accounts import Caller, caller, is_known
from ds01.runtime.asker import asker
from ds01.runtime.commands.gpu_words import (
    JSON_VERSION,
    allocation_json,
    grant_json,
    refusal_json,
    refusal_words,
    way_out,
)
from ds01.runtime.gpu.answer import Grant, Refusal
from ds01.runtime.gpu.found import is_running, lost_request
from ds01.runtime.gpu.host import open_engine, open_gpus
from ds01.runtime.gpu.launch import docker_args
from ds01.runtime.gpu.ledger import Allocation, nameless
from ds01.runtime.gpu.operations import Gpus, new_id, request_of
from ds01.runtime.gpu.queue import Line, Place, wait_for_gpu
from ds01.runtime.gpu.request import Count, Request, wait_seconds
from ds01.runtime.identity import ProcessRef
from ds01.runtime.machine import Machine
from ds01.runtime.signals import ended_by_signals

# Source: moby, container/container.go, RestrictedNamePattern.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{1,254}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Desk:
    """Where somebody's wish is dealt with.

    Attributes:
        caller: who asks, by the kernel's word or sudo's.
    """

    paths: HostPaths
    policy: Policy
    caller: Caller
    gpus: Gpus

    @property
    def machine(self) -> Machine:
        """The machine's clocks and processes."""
        return self.gpus.state.machine


def _desk(options: argparse.Namespace) -> Desk:
    paths = host_paths(options.root)
    if paths.is_live and os.geteuid() != 0:
        raise RefusedError("who holds which GPU is changed by root alone", None, "run the command through sudo")
    if not paths.is_live and os.geteuid() == 0 and paths.root.stat().st_uid != 0:
        # A folder of somebody else's could lead anywhere by its links, and its policy make anybody an administrator.
        raise RefusedError(f"root changes nothing below {paths.root}, which is another account's", None, "use another")
    if os.geteuid() == 0:
        # Whoever calls through sudo sets it, and could keep an event out of the log or a change off the disk.
        with suppress(ValueError, OSError):  # a container's root may not raise it
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    policy = read_policy(paths.policy, of_root=True)
    who = caller(policy, uid=os.getuid(), environment=os.environ)
    return Desk(paths, policy, who, open_gpus(paths, policy))


# --- Asking -----------------------------------------------------------------------------------------------------------


def allocate(options: argparse.Namespace) -> int:
    """Give a container GPUs, at once or when they are free."""
    desk = _desk(options)
    request = _request(desk, options)
    keeper = _keeper(desk, options.pid)
    seconds = _wait(desk, options)

    def ask(gpus: Gpus) -> Grant | Refusal:
        if not seconds:
            return gpus.allocate(request, keeper)
        me = desk.machine.process(os.getpid())
        return wait_for_gpu(gpus, request, keeper, Line(seconds, _tell, keeper if me is None else me))

    return _hand_out(desk, options, ask, request)


def _hand_out(
    desk: Desk, options: argparse.Namespace, ask: Callable[[Gpus], Grant | Refusal | None], wish: Request | None
) -> int:
    """Ask and answer. Whoever has not heard of a grant when a signal or a failure ends us has none.

    Args:
        wish: what is told of as refused.
    """
    with ended_by_signals() as be_deaf, desk.gpus.taken_back_on_failure() as gpus:
        answer = ask(gpus)
        if answer is None:
            return _done(None, "cleared", options)
        if isinstance(answer, Refusal):
            if wish is not None:
                gpus.tell_refused(wish, answer)
            return _answer(answer, options)
        be_deaf()
        code = _answer(answer, options)
        sys.stdout.flush()
        return code


def _request(desk: Desk, options: argparse.Namespace) -> Request:
    user = desk.caller.name if options.user is None else options.user
    if user != desk.caller.name:
        if not desk.caller.is_admin:
            raise RefusedError(
                f"{desk.caller.name} may not ask for {user}", None, "leave --user out; admins may use it"
            )
        if not is_known(desk.policy, user):
            raise BadInputError(
                f"there is no account {user!r}", None, "write it as in the inventory, or as id -un does"
            )
    if not _NAME.fullmatch(options.container):
        raise BadInputError(
            f"{options.container[:80]!r} is no name that Docker takes", None, "use letters, digits, _ . and -"
        )
    own = desk.gpus.state.account_of(user)
    _only_lower(desk.caller, "--max-gpus", options.max_gpus, own.max_units)
    _only_lower(desk.caller, "--priority", options.priority, own.priority)
    return Request(
        id=options.allocation or new_id(),
        user=user,
        wanted=options.gpu or options.gpus or Count(1),
        priority=own.priority if options.priority is None else options.priority,
        container=options.container,
        most_units=options.max_gpus,
    )


def _only_lower(who: Caller, option: str, value: int | None, policy: int | None) -> None:
    if value is not None and policy is not None and value > policy and not who.is_admin:
        raise RefusedError(f"{option} {value} is more than the policy's {policy}", None, f"write {policy} or less")


def _wait(desk: Desk, options: argparse.Namespace) -> float:
    most = wait_seconds(desk.policy)
    seconds = options.wait if options.wait is not None else most if options.default_wait is None else 0
    if seconds > most and not desk.caller.is_admin:
        raise RefusedError(f"--wait {seconds:g} is more than the policy's {most} s", None, f"write {most} or less")
    return float(seconds)


def _keeper(desk: Desk, pid: int | None) -> ProcessRef:
    """Return the process that keeps a reservation: the one named, else the one that gets our answer."""
    machine = desk.machine
    if pid is not None:
        found = machine.process(pid)
        if found is None:
            raise BadInputError(f"there is no process {pid}", None, "name one that runs until the container is there")
        if not desk.caller.is_admin and machine.uid(pid) != desk.caller.uid:
            raise RefusedError(f"process {pid} is not {desk.caller.name}'s", None, "name one of your own")
        return found
    # Whoever was started by the first process of all, such as a service, has nobody else.
    found = asker(machine, os.getpid()) or machine.process(os.getpid())
    if found is None:
        raise BadInputError("the process that asked is gone already", None, "name one that lives on, with --pid")
    return found


def _tell(refusal: Refusal, place: Place) -> None:
    say(f"{refusal_words(refusal)}")
    say(f"Waiting: place {place.number} of {place.of} in the line, {place.left_seconds:.0f} s left (Ctrl-C to leave)")


def _answer(answer: Grant | Refusal, options: argparse.Namespace) -> int:
    if isinstance(answer, Refusal):
        if options.json:
            print_json(refusal_json(answer), sys.stdout)
        else:
            say(f"error: {refusal_words(answer)}\nTo fix: {way_out(answer)}")
        return ExitCode.REFUSED
    if options.json:
        print_json(grant_json(answer), sys.stdout)
    else:
        as_options = getattr(options, "docker_args", False)
        print(" ".join(docker_args(answer)) if as_options else ",".join(answer.allocation.slots))
        for note in answer.notes:
            say(f"notice: {note}")
    return ExitCode.DONE


# --- Changing ---------------------------------------------------------------------------------------------------------


def release(options: argparse.Namespace) -> int:
    """Take back what a container holds, once it runs no more."""
    desk = _desk(options)
    there = _find(desk, options)
    if there is not None:
        called = there.container_id or (None if there.container == nameless(there.id) else there.container)
        container = None if called is None else open_engine(desk.paths).inspect(called)
        if container is not None and is_running(container):
            raise RefusedError(
                f"{there.container} runs and uses GPU {', '.join(there.slots)}", None, f"docker stop {there.container}"
            )
        there = desk.gpus.release(there)
    return _done(there, "released", options)


def mark_stopped(options: argparse.Namespace) -> int:
    """Begin the hold of a container that has stopped."""
    desk = _desk(options)
    there = _find(desk, options)
    return _done(there and desk.gpus.mark_stopped(there), "held", options)


def clear_stopped(options: argparse.Namespace) -> int:
    """Give a stopped container what it had, before it is started."""
    desk = _desk(options)
    keeper = _keeper(desk, None)
    there = _find(desk, options)
    again = _lost(desk, options) if there is None else None
    if there is None and again is None:
        return _done(None, "cleared", options)
    which = options.container if there is None else there
    wish = again if there is None else request_of(there)
    return _hand_out(desk, options, lambda gpus: gpus.clear_stopped(which, keeper, again), wish)


def _lost(desk: Desk, options: argparse.Namespace) -> Request | None:
    """Return what a container had that the ledger does not know, if the caller may have it again."""
    if options.container is None:
        return None
    again = lost_request(open_engine(desk.paths), desk.gpus.look(), options.container, desk.gpus.state.account_of)
    if again is not None:
        _only_own(desk.caller, again.user, options.container)
    return again


def reconcile(options: argparse.Namespace) -> int:
    """Make the records what Docker has."""
    desk = _desk(options)
    if not desk.caller.is_admin:
        raise RefusedError(f"{desk.caller.name} may not do this", None, "ask an administrator")
    differences = desk.gpus.reconcile()
    if options.json:
        print_json({"version": JSON_VERSION, "corrections": list(differences)}, sys.stdout)
    else:
        print("\n".join([*map(printable, differences), f"{count(len(differences), 'correction')}"]))
    return ExitCode.DONE


def _find(desk: Desk, options: argparse.Namespace) -> Allocation | None:
    """Return what is meant, if the caller may touch it.

    Raises:
        RefusedError: it is somebody else's.
    """
    with desk.gpus.state.change() as book:
        by_id = options.allocation is not None
        there = book.ledger.by_id(options.allocation) if by_id else book.ledger.find(options.container)
    if there is not None:
        _only_own(desk.caller, there.user, there.container)
    return there


def _only_own(who: Caller, user: str | None, container: str) -> None:
    if user != who.name and not who.is_admin:
        raise RefusedError(
            f"{container} is a container of {user or 'nobody that is known'}", None, "name one of your own"
        )


def _name(options: argparse.Namespace) -> str:
    return str(options.allocation or options.container)


def _done(allocation: Allocation | None, what: str, options: argparse.Namespace) -> int:
    if options.json:
        found = None if allocation is None else allocation_json(allocation)
        print_json({"version": JSON_VERSION, what: found}, sys.stdout)
    elif allocation is None:
        say(f"{_name(options)} holds no GPU; nothing to do")
    else:
        print(printable(f"{what} GPU {', '.join(allocation.slots)} of {allocation.container}"))
    return ExitCode.DONE
