"""`ds01 claim`: an administrator says whose a container is that no label to be believed gives to anybody."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from ds01.core.clock import format_instant
from ds01.core.command import host_paths, parser, run_command
from ds01.core.errors import BadInputError, Ds01Error, ExitCode, RefusedError
from ds01.core.events import Event, EventLog
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy, read_policy
from ds01.core.terminal import print_json, say
from ds01.core.typed import Final
from ds01.core.visible import visible
from ds01.core.words import table
from ds01.runtime.accounts import is_known
from ds01.runtime.administrator import administrator, require_root
from ds01.runtime.containers.claims import Claim, prune_claims, read_claims, remove_claim, write_claim
from ds01.runtime.containers.container import Container
from ds01.runtime.containers.engine import Engine, EngineError, engine_socket
from ds01.runtime.containers.vouched import vouched_owner
from ds01.runtime.identity import Caller

SOURCE: Final = "claim"
JSON_VERSION: Final = 1
_SHOWN_ID: Final = 12


def main(argv: Sequence[str] | None = None) -> int:
    """Do what was asked for; returns the exit code."""
    made = parser("ds01 claim", "Say whose a container is that no label gives to anybody. For administrators.")
    made.usage = (
        "ds01 claim [OPTION…] CONTAINER ACCOUNT\n       ds01 claim --remove CONTAINER\n       ds01 claim --list"
    )
    made.add_argument("container", nargs="?", metavar="CONTAINER", help="its name, its id, or the beginning of its id")
    made.add_argument("account", nargs="?", metavar="ACCOUNT", help="whose it is, as id -un says")
    which = made.add_mutually_exclusive_group()
    which.add_argument("--remove", action="store_true", help="take the claim of a container back")
    which.add_argument("--list", action="store_true", help="show all claims")
    made.add_argument(
        "--force", action="store_true", help="also when DS01 let another account make it, as its label says"
    )
    made.add_argument("--json", action="store_true", help="print one JSON object")

    def act(options: argparse.Namespace) -> int:
        wanted = 0 if options.list else 1 if options.remove else 2
        given = sum(each is not None for each in (options.container, options.account))
        if given != wanted or "" in {options.container, options.account}:
            made.error("name a container and an account, a container with --remove, or nothing with --list")
        return _act(options)

    return run_command(made, argv, act)


def _act(options: argparse.Namespace) -> int:
    paths = host_paths(options.root)
    require_root(paths, "whose containers are is said and read")
    policy = read_policy(paths.policy, of_root=True)
    who = administrator(policy, uid=os.getuid(), environment=os.environ)
    if options.list:
        return _list(paths, json=options.json)
    if options.remove:
        return _remove(paths, who, options)
    return _claim(paths, policy, who, options)


# --- Claiming ---------------------------------------------------------------------------------------------------------


def _claim(paths: HostPaths, policy: Policy, who: Caller, options: argparse.Namespace) -> int:
    if not is_known(policy, options.account):
        raise BadInputError(
            f"there is no account {visible(options.account)!r}", None, "write it as in the inventory, or as id -un does"
        )
    engine = Engine(engine_socket(paths))
    container = _meant(engine, options.container)
    if container is None:
        raise BadInputError(
            f"there is no container {visible(options.container)!r}", None, "docker ps --all shows those there are"
        )
    believed = vouched_owner(paths, policy, container)
    if believed is not None and believed != options.account and not options.force:
        raise RefusedError(
            f"{visible(container.name)} is {believed}'s, by a label that DS01 itself gave it",
            None,
            f"leave it; --force claims it for {options.account} all the same",
        )
    name = container.name or container.id[:_SHOWN_ID]  # one whose removal is under way has none
    claim = Claim(container.id, options.account, who.name, datetime.now(UTC).replace(microsecond=0), name)
    write_claim(paths, claim)
    _forget_gone(paths, engine)
    owner = container.owner
    details = _details(claim, who) | {"label_owner": None if owner is None else owner.name}
    _log(paths, Event("container.claimed", claim.user, SOURCE, claim.at, details))
    if options.json:
        print_json({"version": JSON_VERSION, "claimed": as_json(claim)}, sys.stdout)
    else:
        print(f"{visible(claim.name)} is {claim.user}'s now")
        if owner is not None and owner.name != claim.user:
            say(f"notice: its label says {owner.name}; the claim stands above that")
    return ExitCode.DONE


# --- Taking back and showing ------------------------------------------------------------------------------------------


def _remove(paths: HostPaths, who: Caller, options: argparse.Namespace) -> int:
    claim = _find(paths, options.container)
    removed = None if claim is None else remove_claim(paths, claim.container_id)
    if removed is not None:
        _log(paths, Event("container.unclaimed", removed.user, SOURCE, datetime.now(UTC), _details(removed, who)))
    if options.json:
        print_json({"version": JSON_VERSION, "removed": None if removed is None else as_json(removed)}, sys.stdout)
    elif removed is None:
        say(f"nobody claimed {visible(options.container)}; nothing to do")
    else:
        print(f"the claim of {visible(removed.name)} for {removed.user} is taken back")
    return ExitCode.DONE


def _find(paths: HostPaths, called: str) -> Claim | None:
    """Return the claim of a container; of one that is gone, or when Docker does not answer, by what it was called.

    Raises:
        BadInputError: several claims may be meant.
    """
    claims = read_claims(paths)
    try:
        container = _meant(Engine(engine_socket(paths)), called)
    except EngineError as error:
        say(f"notice: {error.brief}; names are those of the time when the containers were claimed")
        container = None
    if container is not None:
        return claims.get(container.id)
    meant = [each for each in claims.values() if each.name == called or each.container_id.startswith(called)]
    if len(meant) > 1:
        ids = ", ".join(each.container_id[:_SHOWN_ID] for each in meant)
        raise BadInputError(f"{visible(called)!r} may be any of {ids}", None, "write more of the id")
    return meant[0] if meant else None


def _list(paths: HostPaths, *, json: bool) -> int:
    claims = sorted(read_claims(paths).values(), key=lambda each: (each.at, each.container_id))
    if json:
        print_json({"version": JSON_VERSION, "claims": [as_json(each) for each in claims]}, sys.stdout)
    elif not claims:
        say("no container is claimed")
    else:
        rows = [
            (visible(each.name), each.container_id[:_SHOWN_ID], each.user, each.by, format_instant(each.at))
            for each in claims
        ]
        print(table([("CONTAINER", "ID", "ACCOUNT", "BY", "SINCE"), *rows]))
    return ExitCode.DONE


def as_json(claim: Claim) -> Mapping[str, object]:
    """Return a claim as programs read it."""
    return {
        "container_id": claim.container_id,
        "container": claim.name,
        "user": claim.user,
        "by": claim.by,
        "at": format_instant(claim.at),
    }


# --- Both -------------------------------------------------------------------------------------------------------------


def _meant(engine: Engine, called: str) -> Container | None:
    """Return the container that is meant; None when there is none.

    Raises:
        BadInputError: no container can be called so; or one has the beginning of another's id for its name, as anybody
            may call his: Docker takes the name then, and whoever wrote the id means the other.
    """
    container = engine.inspect(called, by_beginning=True)
    if container is None or container.id.startswith(called):
        return container
    for each in engine.containers():
        if each.id.startswith(called):
            raise BadInputError(
                f"{visible(called)!r} is the name of a container, and the beginning of the id of {visible(each.name)}",
                None,
                "write the whole id of the one you mean (docker ps --all --no-trunc)",
            )
    return container


def _forget_gone(paths: HostPaths, engine: Engine) -> None:
    """Drop what was said of containers that are no more; when that fails, it is done the next time."""
    try:
        prune_claims(paths, lambda: frozenset(each.id for each in engine.containers()))
    except Ds01Error as error:
        say(f"notice: claims of containers that are gone stay for now: {error.brief}")


def _details(claim: Claim, who: Caller) -> dict[str, object]:
    return {"container": claim.name, "container_id": claim.container_id, "by": who.name}


def _log(paths: HostPaths, event: Event) -> None:
    appended = EventLog(paths.events).append(event)
    if not appended:
        say(f"warning: {appended.reason}")
