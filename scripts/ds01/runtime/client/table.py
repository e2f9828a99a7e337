"""A table of the options that one version of the docker client takes, and its text. Pure.

A table has a part for the options before the verb and one for each verb; a row is an option.
"""

from __future__ import annotations

from ds01.core.value import dataclass
from ds01.runtime.client.verbs import ELSEWHERE, GROUP, VERBS, topic_below_group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a verb.

    Attributes:
        name: as in `--name`, without the dashes.
        short: its letter, None when it has none.
        kind: the client's word for its value, such as "bytes" or "list"; None for a switch.
        hidden: the client takes it without printing it in its help.
        same_as: the option that it is another name of; None when it stands for itself.
    """

    name: str
    short: str | None
    kind: str | None
    hidden: bool = False
    same_as: str | None = None

    @property
    def takes_value(self) -> bool:
        """Whether the next word is its value when none is attached with `=`.

        Source: pflag, NoOptDefVal: switches have it, and what is printed as `--name string[="x"]`.
        """
        return self.kind is not None and "[=" not in self.kind

    @property
    def shown(self) -> str:
        """The option as a help text shows it."""
        short = f"-{self.short}, " if self.short else ""
        return f"{short}--{self.name}" + (f" {self.kind}" if self.kind else "")


@dataclass(frozen=True, slots=True)
class Part:
    """The options of one verb, by name and by letter."""

    by_name: Mapping[str, Option]
    by_letter: Mapping[str, Option]


@dataclass(frozen=True, slots=True)
class Table:
    """What one version of the client takes.

    Attributes:
        version: major and minor number, such as "28.2".
        aliases: other names of verbs, such as "container ls", and the verb that each one is.
        rows: part of the table to its rows, as they stand in its file.
    """

    version: str
    aliases: Mapping[str, str]
    rows: Mapping[str, Sequence[Sequence[str]]]

    def part(self, topic: str) -> Part:
        """Return the options of a verb ("" for those before the verb), made anew for each call."""
        options = self.options(topic)
        return Part(
            {option.name: option for option in options},
            {option.short: option for option in options if option.short is not None},
        )

    def options(self, topic: str) -> tuple[Option, ...]:
        """Return the options of a verb in the order of the table."""
        return tuple(map(_option, self.rows[topic]))

    def topic(self, verb: tuple[str, ...]) -> str | None:
        """Return which part holds for a verb as it was written; None when it is none of ours."""
        written = " ".join(verb)
        if written in self.aliases:
            return self.aliases[written]
        match verb:
            case (name,) if name in VERBS:
                return name
            case (group, name) if group == GROUP and name in VERBS:
                return topic_below_group(name)
            case _:
                return written if written in ELSEWHERE else None


def _option(row: Sequence[str]) -> Option:
    name, short, kind, *notes = row
    note = notes[0] if notes else ""
    same_as = note[1:] if note.startswith("=") else None
    return Option(name, short or None, kind or None, bool(note), same_as)


def row_of(option: Option) -> tuple[str, ...]:
    """Return an option as it stands in a table's file: name, letter, kind, and what is special about it."""
    note = f"={option.same_as}" if option.same_as else "hidden" if option.hidden else None
    return (option.name, option.short or "", option.kind or "", *((note,) if note else ()))
