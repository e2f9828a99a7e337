"""Reads the help texts of a docker client, and compares them with a table. Pure.

Used when a table is made or checked, never while somebody's command line waits.
"""

from __future__ import annotations

import json
import re

from ds01.core.errors import Ds01Error
from ds01.core.typed import Final
from ds01.core.visible import visible
from ds01.runtime.client.hidden import TOP_LEVEL_ALIASES, UNEXPLAINED_ALIASES, hidden_options
from ds01.runtime.client.table import Option, Table, row_of
from ds01.runtime.client.verbs import GROUP, TOPICS, topics_of_help

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

# `  -m, --memory bytes      Memory limit`: the letter or its room, the name, the kind, then three spaces or more.
# Source: pflag, FlagSet.FlagUsagesWrapped.
_ROW: Final = re.compile(r"^(?:  -(\S), |      )--([a-z0-9][a-z0-9-]*)(?: (\S.*?))?(?: {3,}\S.*)?$", re.MULTILINE)
_USAGE: Final = re.compile(r"^Usage:\s+docker((?: [a-z]+)*)", re.MULTILINE)
_ALIASES: Final = re.compile(r"^Aliases:\n +(.+)$", re.MULTILINE)
_HELP: Final = "help"


class HelpTextError(Ds01Error):
    """What a client printed is not the help that it was asked for."""


def parse(text: str) -> tuple[Option, ...]:
    """Return the options that a help text prints, in its order."""
    return tuple(Option(name, short or None, kind or None) for short, name, kind in _ROW.findall(text))


def parse_aliases(text: str) -> tuple[str, ...]:
    """Return the names that a help text gives its verb, with the group it stands in.

    Up to 20.10 they stand alone (`ls, ps, list`), later in full (`docker container ls, docker ps`).
    """
    found = _ALIASES.search(text)
    names = found[1].strip().split(", ") if found else []
    return tuple(name.removeprefix("docker ") if name.startswith("docker ") else f"{GROUP} {name}" for name in names)


def make_table(client_version: str, texts: Mapping[str, str]) -> Table:
    """Make a table from a client's help texts and from what is known of options it does not print.

    Args:
        texts: one for each of verbs.topics_of_help().

    Raises:
        HelpTextError: a text is missing, or is none of that verb.
    """
    version = short_version(client_version)
    printed = {topic: parse(_text(texts, asked)) for asked, topic in topics_of_help().items()}
    rows = {topic: _rows(topic, version, printed.get(topic, ())) for topic in TOPICS}
    return Table(version, _aliases(texts), rows)


def short_version(client_version: str) -> str:
    """Return major and minor number, "28.2" of "28.2.2" and "20.10" of "20.10.24+dfsg1".

    Raises:
        HelpTextError: it does not begin with two numbers.
    """
    found = re.match(r"(\d+\.\d+)(?!\d)", client_version)
    if found is None:
        raise HelpTextError(f"{visible(client_version)!r} is no version of a docker client")
    return found[1]


def _text(texts: Mapping[str, str], asked: str) -> str:
    text = texts.get(asked, "")
    usage = _USAGE.search(text)
    if usage is None or usage[1].strip() != asked:
        raise HelpTextError(
            f"the client does not explain '{_called(asked)}'",
            visible(text.strip()) or None,
            "look at what that client prints for it with --help",
        )
    return text


def _called(asked: str) -> str:
    return f"docker {asked}".rstrip()


def _rows(topic: str, version: str, printed: tuple[Option, ...]) -> tuple[tuple[str, ...], ...]:
    names = {option.name for option in printed}
    letters = {option.short for option in printed}
    more = [option for option in hidden_options(topic, version) if option.name not in names]
    rows = [*printed, *more]
    if _HELP not in names:
        # Every command has --help; -h is it too where no other option took the letter.
        rows.append(Option(_HELP, None if "h" in letters else "h", None, hidden=True))
    return tuple(sorted(map(row_of, rows)))


def _aliases(texts: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for asked, topic in topics_of_help().items():
        for name in parse_aliases(texts[asked]):
            if name not in {topic, f"{GROUP} {topic}"}:
                found[name] = topic
    found |= {name: topic for name, (below, topic) in TOP_LEVEL_ALIASES.items() if below in found}
    return dict(sorted((found | UNEXPLAINED_ALIASES).items()))


def difference(table: Table, texts: Mapping[str, str], only: Collection[str] | None = None) -> str:
    """Return how a client's help differs from its table, a line each; "" when it does not.

    Args:
        texts: as for make_table(); a verb that the client does not explain is a difference too.
        only: what to look at of what can be asked; None is all.
    """
    asked_for = {asked: topic for asked, topic in topics_of_help().items() if only is None or asked in only}
    return "\n".join(line for asked, topic in asked_for.items() for line in _differences(table, topic, asked, texts))


def _differences(table: Table, topic: str, asked: str, texts: Mapping[str, str]) -> Iterator[str]:
    called = _called(asked)
    try:
        printed = {option.name: option.shown for option in parse(_text(texts, asked))}
    except HelpTextError:
        yield f"{called}: the client does not explain it"
        return
    known = {option.name: option for option in table.options(topic)}
    for name in sorted({*printed, *known}):
        if name not in known:
            yield f"{called}: {printed[name]} is not in the table"
        elif name not in printed:
            if not known[name].hidden:
                yield f"{called}: {known[name].shown} is not in the client's help"
        elif printed[name] != known[name].shown:
            yield f"{called}: {printed[name]} is {known[name].shown} in the table"


def text_of(table: Table) -> str:
    """Return a table as it stands in its file: JSON, sorted, one row a line."""
    return "".join(f"{line}\n" for line in _lines(table))


def _lines(table: Table) -> Iterator[str]:
    yield "{"
    yield f' "version": {_quoted(table.version)},'
    yield ' "aliases": {'
    yield from _separated(f"  {_quoted(name)}: {_quoted(topic)}" for name, topic in table.aliases.items())
    yield " },"
    yield ' "options": {'
    for topic in TOPICS:
        yield f"  {_quoted(topic)}: ["
        rows = (f"   [{', '.join(map(_quoted, row))}]" for row in table.rows[topic])
        yield from _separated(rows)
        yield "  ]" if topic == TOPICS[-1] else "  ],"
    yield " }"
    yield "}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _separated(lines: Iterator[str]) -> Iterator[str]:
    before = None
    for line in lines:
        if before is not None:
            yield f"{before},"
        before = line
    if before is not None:
        yield before
