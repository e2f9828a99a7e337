"""Options and names of verbs that docker clients take but do not print in their help, listed by hand. Pure.

Each one was tried with the clients of all tables: an unknown option is refused at once, before any daemon is asked.
"""

from __future__ import annotations

from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.runtime.client.table import Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_ALWAYS: Final = (0, 0)
_CREATES: Final = ("run", "create")


@dataclass(frozen=True, slots=True)
class _Hidden:
    """One option that is not printed, from one version on; where it is printed, its own help wins."""

    verbs: tuple[str, ...]
    name: str
    kind: str | None
    same_as: str | None = None
    since: tuple[int, int] = _ALWAYS


_HIDDEN: Final = (
    # Source: docker/cli, cli/command/container/opts.go: two flags with one variable, the old one with MarkHidden.
    _Hidden(_CREATES, "net", "network", "network"),
    _Hidden(_CREATES, "net-alias", "list", "network-alias"),
    _Hidden(_CREATES, "dns-opt", "list", "dns-option"),
    # Source: the same file, annotation "ostype" windows: clients up to 20.10 hide them without a Windows daemon.
    _Hidden(_CREATES, "cpu-count", "int"),
    _Hidden(_CREATES, "cpu-percent", "int"),
    _Hidden(_CREATES, "io-maxbandwidth", "bytes"),
    _Hidden(_CREATES, "io-maxiops", "uint"),
    # Source: docker/cli, cli/command/container/start.go, annotation "experimental".
    _Hidden(("start",), "checkpoint", "string"),
    _Hidden(("start",), "checkpoint-dir", "string"),
    # Source: the client itself, "Flag --time has been deprecated, use --timeout instead".
    _Hidden(("stop", "restart"), "time", "int", "timeout", (28, 0)),
    # Source: docker/cli, cli/command/container/update.go, MarkDeprecated: the kernel's limit is gone.
    _Hidden(("update",), "kernel-memory", "bytes", None, (23, 0)),
    # Source: docker/cli, cli/command/checkpoint: its commands are hidden as a whole (verbs.UNEXPLAINED).
    _Hidden(("checkpoint create", "checkpoint ls", "checkpoint rm"), "checkpoint-dir", "string"),
    _Hidden(("checkpoint create",), "leave-running", None),
)
# Names that work without `container` too though only the full one is printed, by that and by the verb it is.
TOP_LEVEL_ALIASES: Final = {"remove": ("container remove", "rm")}
# Names of verbs that are not explained.
UNEXPLAINED_ALIASES: Final = {"checkpoint list": "checkpoint ls", "checkpoint remove": "checkpoint rm"}


def hidden_options(topic: str, version: str) -> Iterator[Option]:
    """Yield what a verb takes in a version of the client, beside what its help prints."""
    major, minor = map(int, version.split("."))
    for each in _HIDDEN:
        if topic in each.verbs and each.since <= (major, minor):
            yield Option(each.name, None, each.kind, hidden=True, same_as=each.same_as)
