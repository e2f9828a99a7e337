"""What a schema cannot say about an inventory. Pure: documents and the compiled policy in, problems out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from ds01.core import names
from ds01.core.limits import BY_NAME, ResolvedLimits, format_value, resolve, resolve_group
from ds01.core.policy import Policy
from ds01.core.units import format_number, format_size
from ds01.generator.compile import members_of
from ds01.generator.inventory import Documents, Member
from ds01.generator.problems import Place, Problem, did_you_mean
from ds01.generator.yamltext import Path

# Compute slices of an A100 or H100, of which each MIG profile takes the number before the g.
_COMPUTE_SLICES: Final = 7
_LAST_PORT: Final = 65535
_NEVER_BOUND: Final = (
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
    "/var",
)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked.

    Attributes:
        policy: compiled from the documents; None when they are too broken for that.
        host: name of the host the policy is held against.
    """

    documents: Documents
    policy: Policy | None
    host: str

    def key(self, *path: str | int) -> Place:
        """Return the place of a key in the policy file."""
        return self.documents.policy.key_place(path)

    def value(self, *path: str | int) -> Place:
        """Return the place of a value in the policy file."""
        return self.documents.policy.value_place(path)

    def section(self, *path: str) -> dict[str, Any]:
        """Return a mapping of the policy file, empty when it is not there."""
        node: Any = self.documents.policy.data
        for step in path:
            node = node.get(step) if isinstance(node, dict) else None
        return node if isinstance(node, dict) else {}


def check_inventory(subject: Subject) -> tuple[Problem, ...]:
    """Return every problem and notice, in the order of their places."""
    problems = [problem for check in _CHECKS for problem in check(subject)]
    if subject.policy is not None:
        problems += [problem for limit_check in _LIMIT_CHECKS for problem in limit_check(subject, subject.policy)]
    return tuple(sorted(set(problems)))


def _group_names(subject: Subject) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for group in subject.section("groups"):
        place = subject.key("groups", group)
        try:
            names.check_group(group)
        except names.BadNameError as error:
            yield Problem(place, error.brief, error.resolution or "")
        other = seen.setdefault(names.safe(group), group)
        if other != group:
            text = f"groups {other!r} and {group!r} would share {names.group_slice(group)}"
            yield Problem(place, text, "rename one of the two")
    groups = subject.section("groups")
    for group in subject.documents.members:
        if group not in groups:
            place = Place(f"{subject.documents.policy.file.rsplit('/', 1)[0]}/groups/{group}.members")
            fix = did_you_mean(group, groups, "add the group to resource-limits.yaml, or remove the file")
            yield Problem(place, f"there is no group {group!r}", fix)
    default = (subject.documents.policy.data or {}).get("default_group")
    if isinstance(default, str) and default not in groups:
        fix = did_you_mean(default, groups, f"write one of {', '.join(groups)}")
        yield Problem(subject.value("default_group"), f"default_group {default!r} is no group", fix)


def _unix_groups(subject: Subject) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for group, entry in subject.section("groups").items():
        unix_group = entry.get("unix_group") if isinstance(entry, dict) else None
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
                yield Problem(member.place, text, "rename one, or leave one unlisted: its uid then tells them apart")


def _overrides(subject: Subject) -> Iterator[Problem]:
    listed = {m.name for group in subject.section("groups") for m in members_of(subject.documents, group)}
    for account in subject.section("user_overrides"):
        if account not in listed:
            fix = did_you_mean(account, listed, "list it in groups/<group>.members, or remove the override")
            text = f"override for account {account!r}, which is in no group"
            yield Problem(subject.key("user_overrides", account), text, fix)


def _ipc_and_shm(subject: Subject) -> Iterator[Problem]:
    for path, layer in _layers(subject):
        if layer.get("ipc_mode") == "host" and layer.get("shm_size") is not None:
            text = f"{'.'.join(map(str, path))} has ipc_mode: host together with shm_size, which Docker refuses"
            yield Problem(subject.key(*path, "ipc_mode"), text, "remove one of the two")


def _layers(subject: Subject) -> Iterator[tuple[Path, dict[str, Any]]]:
    yield ("defaults",), subject.section("defaults")
    for section in ("groups", "user_overrides"):
        for name in subject.section(section):
            yield (section, name), subject.section(section, name)


def _ports(subject: Subject) -> Iterator[Problem]:
    ports = subject.section("access_control", "publish_ports").get("range")
    if isinstance(ports, str):
        first, last = (int(each) for each in ports.split("-"))
        if not 1 <= first <= last <= _LAST_PORT:
            place = subject.value("access_control", "publish_ports", "range")
            yield Problem(
                place,
                f"publish_ports {ports!r} is no range of ports",
                "write first-last, such as 20000-29999",
            )


def _bind_roots(subject: Subject) -> Iterator[Problem]:
    roots = subject.section("access_control").get("bind_roots")
    host = subject.documents.hosts.get(subject.host)
    disks = (host.data or {}).get("disks") if host else None
    for index, root in enumerate(roots if isinstance(roots, list) else ()):
        path = root.get("path") if isinstance(root, dict) else None
        if not isinstance(path, str):
            continue
        place = subject.value("access_control", "bind_roots", index, "path")
        plain = path.replace("{user}", "user")
        if (
            not path.startswith("/")
            or "//" in path
            or {".", ".."} & set(path.split("/"))
            or set("{}%\\\n") & set(plain)
        ):
            yield Problem(place, f"bind root {path!r} is not a plain absolute path", "write it such as /home/{user}")
        elif (path.rstrip("/") or "/") in _NEVER_BOUND:
            text = f"bind root {path!r} would hand containers a part of the system"
            yield Problem(place, text, "name a folder made for users, such as /data")
        elif root.get("mode") == "rw":
            yield from _unsafe_mount(path, disks if isinstance(disks, list) else [], place)


def _unsafe_mount(path: str, disks: list[Any], place: Place) -> Iterator[Problem]:
    mounts = [each for each in disks if isinstance(each, dict) and isinstance(each.get("mount"), str)]
    above = [each for each in mounts if f"{path}/".startswith(f"{each['mount'].rstrip('/')}/")]
    if not above:
        return
    nearest = max(above, key=lambda each: len(each["mount"]))
    missing = sorted({"nosuid", "nodev"} - set(nearest.get("options") or ()))
    if missing:
        text = (
            f"bind root {path!r} is writable and {nearest['mount']} is not mounted {','.join(missing)}: a container's "
            "root can leave a setuid program there"
        )
        yield Problem(place, text, f"mount {nearest['mount']} with nosuid,nodev", notice=True)


def _aggregates(subject: Subject, policy: Policy) -> Iterator[Problem]:
    for path, limits in _resolved(policy):
        high, most = limits.whole("aggregate.memory_high"), limits.whole("aggregate.memory_max")
        if high is not None and most is not None and high > most:
            text = f"{path[-1]}: memory_high {format_size(high)} is above memory_max {format_size(most)}"
            yield Problem(_limit_place(subject, path, "memory_high"), text, "lower memory_high, or leave it out")
        for key, factor, scale in (
            ("memory_max", "memory", 1),
            ("cpu_quota", "max_cpus", 100),
            ("tasks_max", "pids_limit", 1),
        ):
            total, one = limits.whole(f"aggregate.{key}"), limits[factor].value
            if total is not None and isinstance(one, (int, float)) and total < one * scale:
                shown = format_value(BY_NAME[f"aggregate.{key}"], total)
                each = format_value(BY_NAME[factor], one)
                text = f"{path[-1]}: {key} {shown} over all containers is below one container's {factor} {each}"
                yield Problem(_limit_place(subject, path, key), text, f"raise aggregate.{key}, or lower {factor}")


def _tasks(subject: Subject, policy: Policy) -> Iterator[Problem]:
    for path, limits in _resolved(policy):
        total, one, count = (limits.whole(key) for key in ("aggregate.tasks_max", "pids_limit", "max_containers"))
        mine = _decided_here(path, limits, "aggregate.tasks_max")
        if mine and total is not None and one is not None and count is not None and total != one * count:
            text = f"{path[-1]}: tasks_max {total} is not pids_limit × max_containers = {one} × {count} = {one * count}"
            yield Problem(_limit_place(subject, path, "tasks_max"), text, "check that this is meant", notice=True)


def _vacuous(subject: Subject, policy: Policy) -> Iterator[Problem]:
    host = policy.document["host"]
    memory = host.get("memory_bytes") if isinstance(host, dict) else None
    for path, limits in _resolved(policy):
        quota, most = limits.whole("aggregate.cpu_quota"), limits.whole("aggregate.memory_max")
        own_quota, own_most = (_decided_here(path, limits, f"aggregate.{key}") for key in ("cpu_quota", "memory_max"))
        if own_quota and quota is not None and quota > policy.host_cpus * 100:
            text = f"{path[-1]}: cpu_quota is vacuous: {quota}% on {policy.host_cpus} cores"
            yield Problem(_limit_place(subject, path, "cpu_quota"), text, "lower it to bind", notice=True)
        if own_most and most is not None and isinstance(memory, int) and most > memory:
            text = f"{path[-1]}: memory_max is vacuous: {format_size(most)} on {format_size(memory)} of memory"
            yield Problem(_limit_place(subject, path, "memory_max"), text, "lower it to bind", notice=True)
        if "capped at the host's" in limits["max_cpus"].origin and _decided_here(path, limits, "max_cpus"):
            text = (
                f"{path[-1]}: max_cpus is above the host's {policy.host_cpus} cores, so {policy.host_cpus} is applied"
            )
            yield Problem(subject.key(*path, "max_cpus"), text, "lower it to the host's", notice=True)


def _io(subject: Subject, policy: Policy) -> Iterator[Problem]:
    host = policy.document["host"]
    disks = host.get("disks") if isinstance(host, dict) else None
    deaf = [each["device"] for each in disks or () if each["scheduler"] != "bfq"]
    for path, limits in _resolved(policy):
        if (
            limits.whole("aggregate.io_weight") is not None
            and deaf
            and _decided_here(path, limits, "aggregate.io_weight")
        ):
            text = f"{path[-1]}: io_weight has no effect on {', '.join(deaf)}: only the bfq scheduler heeds it"
            yield Problem(
                _limit_place(subject, path, "io_weight"),
                text,
                "switch to bfq, or use io_*_bw_max",
                notice=True,
            )
        limited = any(
            limits[f"aggregate.io_{key}"].value and _decided_here(path, limits, f"aggregate.io_{key}")
            for key in _IO_MAXIMA
        )
        if limited and not disks:
            text = f"{path[-1]}: IO limits are set, but the host file names no disks to apply them to"
            yield Problem(subject.key(*path, "aggregate"), text, "list the data disks in the host file", notice=True)


_IO_MAXIMA: Final = ("read_bw_max", "write_bw_max", "read_iops_max", "write_iops_max")


def _gpus(subject: Subject, policy: Policy) -> Iterator[Problem]:
    host = policy.document["host"]
    gpus = host["gpus"] if isinstance(host, dict) else []
    profiles = sorted({profile for gpu in gpus for profile in gpu["mig"]})
    units = sum(len(gpu["mig"]) or 1 for gpu in gpus)
    profile = subject.section("gpu_allocation").get("mig_profile")
    if isinstance(profile, str) and profile not in profiles:
        there = f"it has {', '.join(profiles)}" if profiles else "none of its GPUs is split"
        text = f"host {subject.host} has no MIG instance of profile {profile} ({there})"
        yield Problem(subject.value("gpu_allocation", "mig_profile"), text, "correct it, or the host file's gpus")
    for path, limits in _resolved(policy):
        for key, most in (
            ("max_mig_instances", units),
            ("max_mig_per_container", units),
            ("max_gpu_equivalents", len(gpus)),
        ):
            value = limits[key].value
            if isinstance(value, (int, float)) and value > most and key in subject.section(*map(str, path)):
                text = f"{path[-1]}: {key} {format_number(value)} is above the {most} that host {subject.host} has"
                yield Problem(subject.value(*path, key), text, "lower it, or write null for no limit")


def _host(subject: Subject) -> Iterator[Problem]:
    host = subject.documents.hosts.get(subject.host)
    for index, gpu in enumerate((host.data or {}).get("gpus") or () if host else ()):
        if not isinstance(gpu, dict) or host is None:
            continue
        profiles = [each for each in gpu.get("mig") or () if isinstance(each, str)]
        taken = sum(int(each[0]) for each in profiles)
        if taken > _COMPUTE_SLICES:
            text = f"GPU {index} cannot hold these instances: they take {taken} of {_COMPUTE_SLICES} compute slices"
            yield Problem(host.value_place(("gpus", index, "mig")), text, "list what `nvidia-smi mig -lgi` shows")


def _reserves(subject: Subject, policy: Policy) -> Iterator[Problem]:
    host, file = policy.document["host"], subject.documents.hosts.get(subject.host)
    if not isinstance(host, dict) or file is None:
        return
    if host["reserve_cpus"] >= host["cpus"]:
        place = file.value_place(("reserve_cpus",))
        yield Problem(place, f"reserve_cpus leaves nothing of {host['cpus']} CPUs for users", "lower it")
    if host["reserve_memory_bytes"] >= host["memory_bytes"]:
        text = f"reserve_memory leaves nothing of {format_size(host['memory_bytes'])} for users"
        yield Problem(file.value_place(("reserve_memory",)), text, "lower it")


def _resolved(policy: Policy) -> Iterator[tuple[tuple[str, str], ResolvedLimits]]:
    """Yield each group and each overridden account with what holds for it."""
    for group in policy.groups:
        yield ("groups", group), resolve_group(policy, group)
    for account in policy.overrides:
        if account in policy.users:
            yield ("user_overrides", account), resolve(policy, account)


def _decided_here(path: tuple[str, str], limits: ResolvedLimits, name: str) -> bool:
    """Whether an account's own override decided this; what its group decided is told once, for the group."""
    return path[0] == "groups" or limits[name].rank == 0


def _limit_place(subject: Subject, path: tuple[str, str], key: str) -> Place:
    return subject.key(*path, "aggregate", key)


_CHECKS: Final[tuple[Callable[[Subject], Iterator[Problem]], ...]] = (
    _group_names,
    _unix_groups,
    _accounts,
    _overrides,
    _ipc_and_shm,
    _ports,
    _bind_roots,
    _host,
)
_LIMIT_CHECKS: Final[tuple[Callable[[Subject, Policy], Iterator[Problem]], ...]] = (
    _aggregates,
    _tasks,
    _vacuous,
    _io,
    _gpus,
    _reserves,
)
