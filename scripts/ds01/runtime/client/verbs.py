"""The verbs of the docker client that DS01 understands, and how the client reads their lines. Pure."""

from __future__ import annotations

from ds01.core.typed import Final

GROUP: Final = "container"
# Verbs of other groups that act on a container; those of `container` need no group.
ELSEWHERE: Final = ("network connect", "network disconnect", "checkpoint create", "checkpoint ls", "checkpoint rm")
# Of these a client explains nothing before an engine says that it has them.
# Source: docker/cli, cli/command/checkpoint/cmd.go, annotation "experimental".
UNEXPLAINED: Final = frozenset({"checkpoint create", "checkpoint ls", "checkpoint rm"})
GROUPS: Final = frozenset({GROUP, "network", "checkpoint"})
VERBS: Final = (
    *("run", "create", "start", "restart", "unpause", "stop", "kill", "pause", "rm", "exec", "attach", "logs"),
    *("cp", "commit", "rename", "update", "top", "stats", "port", "wait", "diff", "export", "inspect", "ps"),
)
# What follows the first operand belongs to the container, whatever it looks like.
# Source: docker/cli, flags.SetInterspersed(false) in cli/command/container; every verb of three clients was tried.
ENDS_AT_OPERAND: Final = frozenset({"run", "create", "exec", "top", "commit"})
# These have a --help of their own; for all others one before the verb counts too, as `docker --help stop` does.
# Source: docker/cli, cli/command/container/run.go: "an explicit help that doesn't have a `-h`".
OWN_HELP: Final = frozenset({"run", "create"})
# The one verb whose options differ below `container`.
OWN_BELOW_GROUP: Final = "inspect"
# The client's own, before any verb.
GLOBAL: Final = ""
# The parts of a table.
TOPICS: Final = (GLOBAL, *VERBS, f"{GROUP} {OWN_BELOW_GROUP}", *ELSEWHERE)


def topic_below_group(verb: str) -> str:
    """Return which part of a table holds for a verb written below `container`."""
    return f"{GROUP} {verb}" if verb == OWN_BELOW_GROUP else verb


def called_below_group(verb: str) -> str:
    """Return what the client itself calls a verb below `container`."""
    return f"{GROUP} ls" if verb == "ps" else f"{GROUP} {verb}"


def topics_of_help() -> dict[str, str]:
    """Return every help text that shows a part of a table: what to ask help for, and the part."""
    elsewhere = {topic: topic for topic in ELSEWHERE if topic not in UNEXPLAINED}
    below = {called_below_group(verb): topic_below_group(verb) for verb in VERBS}
    return {topic: topic for topic in (GLOBAL, *VERBS)} | below | elsewhere
