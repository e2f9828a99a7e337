"""Help texts as a docker client prints them, made from a table: all that a table needs, with a client's own layout."""

from __future__ import annotations

from ds01.runtime.client.table import Table
from ds01.runtime.client.verbs import topics_of_help

WORDS = "What it is for; wrapped to the width of a terminal"


def text_of_verb(table: Table, asked: str, topic: str) -> str:
    options = [option for option in table.options(topic) if not option.hidden]
    lines = [f"Usage:  docker {asked} [OPTIONS] CONTAINER".replace("  [", " ["), "", WORDS, ""]
    names = [name for name, of in table.aliases.items() if of == topic and name.startswith("container ")]
    if names:
        lines += ["Aliases:", "  " + ", ".join(f"docker {name}" for name in [asked, *names]), ""]
    lines += ["Options:", *(row for option in options for row in rows(option.shown, option.short))]
    return "\n".join([*lines, "", "Run 'docker COMMAND --help' for more information on a command.", ""])


def rows(shown: str, short: str | None) -> list[str]:
    first = f"  {shown}" if short else f"      {shown}"
    return [f"{first:<40}   {WORDS}", f"{'':<43}--of-a-terminal 'host':    wrapped"]


def texts_of(table: Table) -> dict[str, str]:
    return {asked: text_of_verb(table, asked, topic) for asked, topic in topics_of_help().items()}
