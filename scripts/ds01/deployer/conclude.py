"""The last part of a deploy: handlers and checks on files that are in place, then keep them or put everything back.

Also what an interrupted deploy needs: it is undone, or goes through this part once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from ds01.core.errors import Ds01Error
from ds01.core.paths import HostPaths
from ds01.core.process import Run
from ds01.core.terminal import say
from ds01.core.value import replace
from ds01.deployer.apply import Outcome, Transaction, recover
from ds01.deployer.handlers import (
    DAEMON_RELOAD,
    DOCKER_RELOAD,
    DOCKER_RESTART,
    SERVICE_RESTARTS,
    Handler,
    HandlerError,
    in_order,
    run_handler,
)
from ds01.deployer.owned import Owned, read_owned
from ds01.deployer.plan import Scope
from ds01.deployer.release import RELEASES
from ds01.deployer.releases import remove_unused
from ds01.deployer.systemd import is_running
from ds01.deployer.verify import Status, verify_applied


class DeployError(Ds01Error):
    """A deploy failed and was rolled back; says what became of the host."""


def finish_interrupted(paths: HostPaths, run: Run, *, at_boot: bool = False) -> bool:
    """Finish or undo a deploy that was cut off; says which.

    Args:
        at_boot: systemd has read the files as the power cut left them, and neither Docker nor a service of ours has
            started yet. Then systemd reads them once more, and nothing waits for those: they start on what is left in
            place. A daemon.json that no Docker has proved yet is taken back, since nobody is there to see that it keeps
            Docker down.

    Returns:
        Whether there was one.

    Raises:
        DeployError: its files were in place, but handlers or checks failed now; it was rolled back.
        BusyError, FilesError, JournalError: it could not be finished or undone; the next call tries again.
    """
    recovered = recover(paths)
    if recovered is None:
        return False
    number = recovered.context.get("generation")
    if recovered.transaction is None:
        undone = recovered.outcome is Outcome.UNDONE
        state = "was undone: the host is as before it" if undone else "had succeeded and is tidied up"
        say(f"An interrupted deploy (generation {number}) {state}.")
        _say_kept(recovered.kept)
        if at_boot:
            _read_again(paths, run)
        return True
    handlers = recovered.context.get("handlers")
    named = [str(name) for name in handlers] if isinstance(handlers, list) and paths.is_live else []
    if at_boot and {DOCKER_RELOAD, DOCKER_RESTART} & set(named):
        kept = recovered.transaction.undo()
        _read_again(paths, run)
        say(f"An interrupted deploy (generation {number}) was undone: Docker had not yet been seen to take its file.")
        _say_kept(kept)
        return True
    say(f"An interrupted deploy (generation {number}) had all its files in place; finishing it.")
    if at_boot:
        reload = [DAEMON_RELOAD] if is_running(paths) else []
        named = [*reload, *(name for name in named if name not in SERVICE_RESTARTS)]
    conclude(recovered.transaction, named, paths, run)
    return True


def _say_kept(kept: Iterable[PurePosixPath]) -> None:
    for path in kept:
        say(f"notice: {path} was edited meanwhile and is left as it is; the old version is beside it")


def _read_again(paths: HostPaths, run: Run) -> None:
    if is_running(paths):
        for handler in in_order([DAEMON_RELOAD]):
            run_handler(handler, run)


def conclude(transaction: Transaction, handlers: Iterable[str], paths: HostPaths, run: Run) -> None:
    """Run handlers and checks on files that are in place, then keep them, or put everything back.

    Raises:
        DeployError: something failed and everything was put back.
    """
    begun: list[str] = []
    try:
        named = in_order(handlers)
        _run([handler for handler in named if not handler.on_demand], begun, run)
        _check(transaction, paths, run)
        # Last, since taking a restart back is another one, with a file that may not know live-restore.
        _run([handler for handler in named if handler.on_demand], begun, run)
    except Ds01Error as error:
        _put_back(transaction, begun, run, error)
    except KeyboardInterrupt:
        say(
            "interrupted: the files are in place, but handlers and checks are not through; ./inv deploy goes on with it"
        )
        raise
    transaction.finish()
    sweep(paths)


def _run(handlers: Iterable[Handler], begun: list[str], run: Run) -> None:
    """Run handlers; `begun` gets the name of each before it is run."""
    for handler in handlers:
        say(f"{handler.name}: {handler.purpose}")
        begun.append(handler.name)
        run_handler(handler, run)


def _check(transaction: Transaction, paths: HostPaths, run: Run) -> None:
    owned = _deployed(read_owned(paths), transaction.context)
    failed = [check for check in verify_applied(paths, owned, run) if check.status is Status.FAILED]
    if failed:
        raise DeployError("the host does not do what was deployed", "\n".join(f"  {check}" for check in failed))


def _deployed(owned: Owned, context: Mapping[str, object]) -> Owned:
    """Return what a deploy was about: what it left alone on purpose may be wrong without being its fault."""
    stored = context.get("scope")
    if not isinstance(stored, dict):
        return owned
    scope = Scope.from_json(stored)
    inside = {path: file for path, file in owned.files.items() if scope.covers(path, file.account, file.part)}
    return replace(owned, files=inside)


def sweep(paths: HostPaths) -> None:
    """Remove releases of the runtime that nothing needs any more; what cannot be removed is only said."""
    try:
        edited = remove_unused(paths)
    except (OSError, Ds01Error) as error:
        say(f"notice: old releases of the runtime could not be removed: {error}; the next deploy tries again")
        return
    for name in edited:
        say(f"notice: {RELEASES / name} is not needed, but was edited by hand: look at it, then remove it (rm -r)")


def _put_back(transaction: Transaction, handlers: Iterable[str], run: Run, cause: Ds01Error) -> None:
    """Undo the files, and let what read the new ones read the old ones again.

    Args:
        handlers: those that were begun; a service that read nothing is left alone.

    Raises:
        DeployError: always; names the cause and what became of the host.
    """
    say(f"failed: {cause.brief}; putting the files back")
    left = [f"{path} was edited meanwhile and is left as it is" for path in transaction.undo()]
    for handler in in_order(handlers):
        try:
            run_handler(handler, run)
        except HandlerError as error:
            left.append(f"{handler.name} failed again with the old files: {error.brief}")
    read_again = " and services have read them again" if handlers else ""
    state = "the files are as before the deploy" + (f"; but {'; '.join(left)}" if left else read_again)
    raise DeployError(
        f"not deployed: {cause.brief}",
        "\n".join(part for part in (cause.details, f"Rolled back: {state}.") if part),
        cause.resolution,
    ) from cause
