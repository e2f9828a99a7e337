"""Which containers a command line names. Pure; whether they exist, and whose they are, others decide."""

from __future__ import annotations

from ds01.core.typed import Final

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ds01.runtime.client.arguments import Given, Parsed

_ALL: Final = frozenset(
    {"stop", "kill", "start", "restart", "pause", "unpause", "rm", "wait", "stats", "update", "diff", "export"}
    | {"logs", "attach", "container inspect"}
)
_FIRST: Final = frozenset(
    {"exec", "top", "port", "commit", "rename", "checkpoint create", "checkpoint ls", "checkpoint rm"}
)
_SECOND: Final = frozenset({"network connect", "network disconnect"})
_BUILDS: Final = (("build",), ("image", "build"), ("builder", "build"))
_CREATES: Final = frozenset({"run", "create"})
# Namespaces that a container can share with another. Source: docker run --help; --uts and --cgroupns take none.
_NAMESPACES: Final = ("ipc", "pid")
_SHARED: Final = "container:"
# Filters of ps whose value is a container. Source: docker ps reference, "Filtering".
_AGES: Final = frozenset({"before", "since"})


def containers_named(parsed: Parsed) -> tuple[str, ...]:
    """Return the names and ids of containers that a line acts on or reaches into, as written, in order.

    For run, create and a build these are the ones that its options name; for cp those of both sides.
    """
    match parsed.topic:
        case topic if topic in _ALL:
            return parsed.operands
        case topic if topic in _FIRST:
            return parsed.operands[:1]
        case topic if topic in _SECOND:
            return (*parsed.operands[1:2], *_linked(parsed))
        case "inspect":
            # Without --type the client looks for a container first. Source: docker/cli, system/inspect.go.
            kinds = parsed.values("type")
            return parsed.operands if not kinds or kinds[-1] in {"", "container"} else ()
        case "cp":
            return tuple(name for name in map(_copied, parsed.operands) if name)
        case topic if topic in _CREATES:
            return tuple(dict.fromkeys(_joined(parsed)))
        case "ps":
            filters = map(filter_of, parsed.options)
            return tuple(value for name, value in filters if name in _AGES)
        case None:
            return tuple(dict.fromkeys(_built_beside(parsed)))
        case _:
            return ()


def filter_of(given: Given) -> tuple[str, str]:
    """Return name and value of a `--filter NAME=VALUE`; ("", "") for any other option.

    Source: docker/cli, opts/opts.go, FilterOpt: the name in any case, blanks around both.
    """
    if given.name != "filter":
        return "", ""
    name, _, value = (given.value or "").partition("=")
    return name.strip().lower(), value.strip()


def _copied(side: str) -> str:
    """Return the container in one side of cp, "" when it is a local path or `-`.

    Source: docker/cli, cli/command/container/cp.go, splitCpArg.
    """
    name, colon, _ = side.partition(":")
    return "" if not colon or side.startswith("/") or name.startswith(".") else name


def _linked(parsed: Parsed) -> Iterator[str]:
    return (value.partition(":")[0] for value in parsed.values("link"))


def _built_beside(parsed: Parsed) -> Iterator[str]:
    """Yield the containers whose network a build joins; every word that could say so counts, for it has no table.

    Source: docker build reference, --network; only builders before BuildKit join one.
    """
    words = (*parsed.verb, *parsed.operands)
    if not any(words[: len(each)] == each for each in _BUILDS):
        return
    for word, following in zip(words, (*words[1:], ""), strict=True):
        name, equals, value = word.partition("=")
        if name == "--network":
            yield from _shared(value if equals else following)


def _joined(parsed: Parsed) -> Iterator[str]:
    for given in parsed.options:
        value = given.value or ""
        if given.name in {"volumes-from", "link"}:
            yield value.partition(":")[0]
        elif given.name == "network":
            yield from _shared(_target(value))
        elif given.name in _NAMESPACES:
            yield from _shared(value)


def _shared(mode: str) -> Iterator[str]:
    if mode.startswith(_SHARED):
        yield mode.removeprefix(_SHARED)


def _target(value: str) -> str:
    """Return the network of `--network NAME` and of `--network name=NAME,alias=…`.

    Source: docker/cli, opts/network.go: with a `key=` in it, it is a line of CSV, whose keys and values count in
    lower case. A name has no quotes and no commas, so those need no more than to be taken off.
    """
    if "=" not in value:
        return value
    fields = (field.strip('"').lower().partition("=") for field in value.split(","))
    targets = [target.strip() for key, _, target in fields if key.strip() == "name"]
    return targets[-1] if targets else ""
