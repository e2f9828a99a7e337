"""What a schema cannot say about an inventory: names and accounts. Pure: documents and policy in, problems out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from ds01.core import names
from ds01.core.policy import Policy
from ds01.generator import access_checks, limit_checks
from ds01.generator.compile import members_of
from ds01.generator.inventory import Member
from ds01.generator.problems import Place, Problem, did_you_mean
from ds01.generator.subject import Subject

# Compute slices of an A100 or H100, of which each MIG profile takes the number before the g.
_COMPUTE_SLICES: Final = 7


def check_inventory(subject: Subject) -> tuple[Problem, ...]:
    """Return every problem and notice, in the order of their places."""
    problems = [problem for check in _CHECKS for problem in check(subject)]
    if subject.policy is not None:
        problems += [problem for limit_check in _LIMIT_CHECKS for problem in limit_check(subject, subject.policy)]
    return tuple(sorted(set(problems)))


def _group_names(subject: Subject) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    groups = subject.section("groups")
    for group in groups:
        place = subject.key("groups", group)
        try:
            names.check_group(group)
        except names.BadNameError as error:
            yield Problem(place, error.brief, error.resolution or "")
        other = seen.setdefault(names.safe(group), group)
        if other != group:
            text = f"groups {other!r} and {group!r} would share {names.group_slice(group)}"
            yield Problem(place, text, "rename one of the two")
    for group in subject.documents.members:
        if not subject.written("groups", group) and groups:
            place = Place(f"{subject.documents.policy.file.rsplit('/', 1)[0]}/groups/{group}.members")
            fix = did_you_mean(group, groups, "add the group to resource-limits.yaml, or remove the file")
            yield Problem(place, f"there is no group {group!r}", fix)


def _memberless(subject: Subject) -> Iterator[Problem]:
    """A .members file that was lost or misnamed would otherwise move all its accounts to the default group unseen."""
    default = (subject.documents.policy.data or {}).get("default_group")
    safe_names = [names.safe(group) for group in subject.section("groups")]
    for group in subject.section("groups"):
        try:
            names.check_group(group)
        except names.BadNameError:
            continue  # told already, and a group that has to be renamed has no list yet
        if safe_names.count(names.safe(group)) > 1:
            continue
        listed = any(True for _ in members_of(subject.documents, group))
        if not listed and group != default and subject.section("groups", group).get("unix_group") is None:
            text = f"group {group!r} has no accounts: who belonged to it gets what group {default!r} has"
            fix = f"list them in groups/{group}.members, or remove the group"
            yield Problem(subject.key("groups", group), text, fix, notice=True)


def _default_group(subject: Subject) -> Iterator[Problem]:
    groups = subject.section("groups")
    default = (subject.documents.policy.data or {}).get("default_group")
    if isinstance(default, str) and not subject.written("groups", default) and groups:
        fix = did_you_mean(default, groups, f"write one of {', '.join(groups)}")
        yield Problem(subject.value("default_group"), f"default_group {default!r} is no group", fix)


def _unix_groups(subject: Subject) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for group in subject.section("groups"):
        unix_group = subject.section("groups", group).get("unix_group")
        if unix_group is None:
            continue
        other = seen.setdefault(unix_group, group)
        if other != group:
            text = f"unix_group {unix_group!r} is claimed by groups {other!r} and {group!r}"
            yield Problem(subject.value("groups", group, "unix_group"), text, "give it to one of the two")


def _accounts(subject: Subject) -> Iterator[Problem]:
    homes: dict[str, tuple[str, Member]] = {}
    slices: dict[str, str] = {}
    for group in subject.section("groups"):
        for member in members_of(subject.documents, group):
            try:
                names.check_listed_user(member.name)
            except names.BadNameError as error:
                yield Problem(member.place, error.brief, error.resolution or "")
                continue
            other_group, first = homes.setdefault(member.name, (group, member))
            if other_group != group:
                text = f"account {member.name!r} is in two groups, {other_group} ({first.place}) and {group}"
                yield Problem(member.place, text, "remove it from one of the two")
            elif first.place != member.place:
                text = f"account {member.name!r} stands twice in group {group} ({first.place})"
                yield Problem(member.place, text, "remove one of the two", notice=True)
            # Slices, container names and image prefixes are made from the safe form, the last in lower case.
            taken = slices.setdefault(names.safe(member.name).lower(), member.name)
            if taken != member.name:
                text = f"accounts {taken!r} and {member.name!r} would share the slice name {names.safe(taken)!r}"
                if names.safe(taken) != names.safe(member.name):
                    text = f"accounts {taken!r} and {member.name!r} would share names of containers and images"
                yield Problem(member.place, text, "rename one, or leave one unlisted: its uid then tells them apart")


def _overrides(subject: Subject) -> Iterator[Problem]:
    groups = [str(path[1]) for path in subject.documents.policy.keys if path[0] == "groups" and len(path) > 1]
    if not all(subject.intact("groups", each) and subject.intact("groups", each, "members") for each in groups):
        return
    listed = {m.name for group in subject.section("groups") for m in members_of(subject.documents, group)}
    for account in subject.section("user_overrides") if groups else ():
        if account not in listed:
            fix = did_you_mean(account, listed, "list it in groups/<group>.members, or remove the override")
            text = f"override for account {account!r}, which is in no group"
            yield Problem(subject.key("user_overrides", account), text, fix)


def _ipc_and_shm(subject: Subject) -> Iterator[Problem]:
    for path, layer in subject.layers():
        if layer.get("ipc_mode") == "host" and layer.get("shm_size") is not None:
            text = f"{'.'.join(map(str, path))} has ipc_mode: host together with shm_size, which Docker refuses"
            yield Problem(subject.key(*path, "ipc_mode"), text, "remove one of the two")


def _host(subject: Subject) -> Iterator[Problem]:
    for index, gpu in enumerate(subject.host_section("gpus")):
        profiles = (gpu.get("mig") if isinstance(gpu, dict) else None) or ()
        taken = sum(int(each[0]) for each in profiles if isinstance(each, str))
        if taken > _COMPUTE_SLICES:
            place = subject.documents.hosts[subject.host].value_place(("gpus", index, "mig"))
            text = f"GPU {index} cannot hold these instances: they take {taken} of {_COMPUTE_SLICES} compute slices"
            yield Problem(place, text, "list what `nvidia-smi mig -lgi` shows")


_CHECKS: Final[tuple[Callable[[Subject], Iterator[Problem]], ...]] = (
    _group_names,
    _memberless,
    _default_group,
    _unix_groups,
    _accounts,
    _overrides,
    _ipc_and_shm,
    _host,
    *access_checks.CHECKS,
)
_LIMIT_CHECKS: Final[tuple[Callable[[Subject, Policy], Iterator[Problem]], ...]] = limit_checks.CHECKS
