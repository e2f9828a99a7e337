"""Reads a docker command line exactly as the client does, and writes it anew. Pure; decides nothing about it.

Source: spf13/pflag, flag.go: parseArgs, parseLongArg, parseSingleShortArg; spf13/cobra, command.go: Traverse;
docker/cli, cli/cobra.go: HandleGlobalFlags. The real clients are the judge (tests/integration/test_client.py).
"""

from __future__ import annotations

from ds01.core.errors import BadInputError
from ds01.core.typed import Final
from ds01.core.value import dataclass, field
from ds01.core.visible import visible
from ds01.runtime.client.table import Option, Part, Table
from ds01.runtime.client.verbs import ENDS_AT_OPERAND, GLOBAL, GROUPS, OWN_HELP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_HELP: Final = "help"
# Source: Go, strconv.ParseBool.
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})


class UnknownOptionError(BadInputError):
    """The client of this version has no such option, and refuses the line."""


class MissingValueError(BadInputError):
    """The last option of a line wants a value and has none."""


class BadSyntaxError(BadInputError):
    """A word that the client cannot read, or that this parser does not follow it in."""


@dataclass(frozen=True, slots=True)
class Given:
    """One option of a line.

    Attributes:
        name: without dashes; the usual one where the client has two, such as "network" for `--net`.
        value: None for a switch without one.
        text: how it was written, for messages; for a letter in a cluster without its neighbours.
        other_name: the name to write it with where that is not the usual one: clients refuse some options when they
            stand there by both names.
    """

    name: str
    value: str | None
    text: str
    other_name: str | None = None

    @property
    def is_on(self) -> bool:
        """Whether it is a switch that is switched on."""
        return self.value is None or self.value in _TRUE

    @property
    def word(self) -> str:
        """The option in one word that the client reads alike."""
        name = f"--{self.other_name or self.name}"
        return name if self.value is None else f"{name}={self.value}"


@dataclass(frozen=True, slots=True)
class Parsed:
    """A command line.

    Attributes:
        verb: as written: ("run",), ("container", "run"); () when there is none.
        topic: the verb in one word, "run" or "ps" for `container ls`; None when it is none that DS01 understands, and
            then everything behind it is in operands as it was written, options too.
        options: those of the verb, in order, and the `--help` between its group and it.
        operands: all other words; for run and create the image and its command.
    """

    global_options: tuple[Given, ...]
    verb: tuple[str, ...]
    topic: str | None
    options: tuple[Given, ...]
    operands: tuple[str, ...]

    @property
    def asks_help(self) -> bool:
        """Whether the client will explain something and do nothing.

        `docker --help run` does not ask: the client runs that, though `docker --help stop` stops nothing.
        """
        if self.topic in OWN_HELP:
            return self.is_on(_HELP)
        return self.verb[:1] == (_HELP,) or _is_on((*self.global_options, *self.options), _HELP)

    def values(self, name: str) -> tuple[str, ...]:
        """Return the values of an option of the verb, in order."""
        return tuple(given.value or "" for given in self.options if given.name == name)

    def is_on(self, name: str) -> bool:
        """Whether a switch of the verb is on; the last one counts."""
        return _is_on(self.options, name)


def _is_on(options: tuple[Given, ...], name: str) -> bool:
    return next((given.is_on for given in reversed(options) if given.name == name), False)


def parse(words: Sequence[str], table: Table) -> Parsed:
    """Read a command line.

    Args:
        words: all that follows `docker`.

    Raises:
        UnknownOptionError: the client has no such option.
        MissingValueError: an option wants a value.
        BadSyntaxError: the client cannot read a word, or reads it in a way that nobody needs.
    """
    before = _read(words, _Reader(table.part(GLOBAL), "docker", table.version), ends_at_operand=True)
    verb, helps, rest = _verb(before.operands, table)
    topic = table.topic(verb)
    if topic is None:
        return Parsed(tuple(before.options), verb, None, helps, rest)
    reader = _Reader(table.part(topic), f"docker {' '.join(verb)}", table.version)
    reader.options += () if topic in OWN_HELP else helps
    _read(rest, reader, ends_at_operand=topic in ENDS_AT_OPERAND)
    return Parsed(tuple(before.options), verb, topic, tuple(reader.options), tuple(reader.operands))


def write(parsed: Parsed, keep: Callable[[Given], bool] | None = None, add: Sequence[str] = ()) -> tuple[str, ...]:
    """Return a line that the client reads alike, but for what is left out and added.

    Args:
        keep: whether an option of the verb stays; None keeps all.
        add: more options of the verb, a whole `--name=value` each; where one value counts, they win.
    """
    before = tuple(given.word for given in parsed.global_options)
    options = tuple(given.word for given in parsed.options if keep is None or keep(given))
    if parsed.topic is None:
        # Operands are as they were written, with options among them; a verb never looks like one, parse() saw to it.
        return (*before, *parsed.verb[:1], *options, *parsed.verb[1:], *parsed.operands)
    # Where options may follow operands, any operand could be taken for one.
    exposed = parsed.operands[:1] if parsed.topic in ENDS_AT_OPERAND else parsed.operands
    end = ("--",) if any(map(_is_option, exposed)) else ()
    return (*before, *parsed.verb, *options, *add, *end, *parsed.operands)


def _is_option(word: str) -> bool:
    return len(word) > 1 and word[0] == "-"


def _verb(words: Sequence[str], table: Table) -> tuple[tuple[str, ...], tuple[Given, ...], tuple[str, ...]]:
    """Take the verb off, and the switches for help that the client takes between a group and its verb."""
    if not words:
        return (), (), ()
    first, rest = words[0], tuple(words[1:])
    if _is_option(first):
        raise BadSyntaxError(
            f"docker: {visible(first)} stands where a command should", None, "write no -- before the command"
        )
    if first not in GROUPS:
        return (first,), (), rest
    count = next((at for at, word in enumerate(rest) if not _is_option(word)), len(rest))
    helps = tuple(_help_of_group(first, word, table) for word in rest[:count])
    return (first, *rest[count : count + 1]), helps, rest[count + 1 :]


def _help_of_group(group: str, word: str, table: Table) -> Given:
    name, equals, value = word.partition("=")
    if name not in {"--help", "-h"}:
        raise _unknown(word, f"docker {group}", table.version)
    if equals and value not in _TRUE | _FALSE:
        raise BadSyntaxError(f"docker {group}: {visible(word)} is neither true nor false")
    return Given(_HELP, value if equals else None, word)


@dataclass(slots=True)
class _Reader:
    """What a line has given so far."""

    part: Part
    called: str
    version: str
    options: list[Given] = field(default_factory=list)
    operands: list[str] = field(default_factory=list)


def _read(words: Sequence[str], reader: _Reader, *, ends_at_operand: bool) -> _Reader:
    place = 0
    while place < len(words):
        word = words[place]
        place += 1
        if not _is_option(word):
            reader.operands.append(word)
            if ends_at_operand:
                break
        elif word == "--":
            break
        elif word[1] == "-":
            place = _read_long(word, words, place, reader)
        else:
            place = _read_letters(word, words, place, reader)
    reader.operands.extend(words[place:])
    return reader


def _read_long(word: str, words: Sequence[str], place: int, reader: _Reader) -> int:
    """Read `--name`, `--name=value` or `--name value`; return the place behind it."""
    name, equals, value = word[2:].partition("=")
    if name == "" or name[0] == "-":
        raise BadSyntaxError(f"{visible(reader.called)}: bad flag syntax: {visible(word)}")
    option = reader.part.by_name.get(name)
    if option is None:
        raise _unknown(f"--{name}", reader.called, reader.version)
    if equals:
        return _take(option, value, word, place, reader)
    if not option.takes_value:
        return _take(option, None, word, place, reader)
    return _take_next(option, word, words, place, reader)


def _read_letters(word: str, words: Sequence[str], place: int, reader: _Reader) -> int:
    """Read `-it`, `-m2g`, `-m=2g`, `-m 2g` or `-itm2g`; return the place behind it."""
    at = 1
    while at < len(word):
        letter, rest = word[at], word[at + 1 :]
        option = reader.part.by_letter.get(letter)
        if option is None:
            raise _unknown(f"-{letter}", reader.called, reader.version, word)
        # As pflag does: `-e=` is the value "=", and `-t=` is -t with a letter `=` behind it.
        if len(rest) > 1 and rest[0] == "=":
            return _take(option, rest[1:], f"-{letter}{rest}", place, reader)
        if option.takes_value:
            if rest:
                return _take(option, rest, f"-{letter}{rest}", place, reader)
            return _take_next(option, f"-{letter}", words, place, reader)
        _take(option, None, f"-{letter}", place, reader)
        at += 1
    return place


def _take(option: Option, value: str | None, text: str, place: int, reader: _Reader) -> int:
    other = option.name if option.same_as else None
    reader.options.append(Given(option.same_as or option.name, value, text, other))
    return place


def _take_next(option: Option, text: str, words: Sequence[str], place: int, reader: _Reader) -> int:
    if place == len(words):
        raise MissingValueError(
            f"{visible(reader.called)}: {text} needs a value ({option.kind})", None, f"write --{option.name} VALUE"
        )
    return _take(option, words[place], f"{text} {words[place]}", place + 1, reader)


def _unknown(option: str, called: str, version: str, word: str | None = None) -> UnknownOptionError:
    inside = f" in {visible(word)}" if word is not None and word != option else ""
    return UnknownOptionError(
        f"{visible(called)} has no option {visible(option)}{inside} (docker {version})",
        None,
        f"{visible(called)} --help lists them",
    )
