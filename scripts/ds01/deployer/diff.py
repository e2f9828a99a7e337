"""An action's effect on its file, line by line, in a form that is safe to print. Pure."""

from __future__ import annotations

from ds01.core.tree import Form, sha256
from ds01.core.words import printable
from ds01.deployer.plan import Action


def diff(action: Action) -> list[str]:
    """Return a unified diff without line ends; empty when the content stays as it is."""
    form = action.file.form if action.file else Form.FILE
    if not action.changes or (action.before == action.after and form is action.was):
        return []
    old, new = _lines(_content(action.before, action.was)), _lines(_content(action.after, form))
    path = str(action.path)
    names = "/dev/null" if action.before is None else path, "/dev/null" if action.after is None else path
    import difflib  # noqa: PLC0415 - a plan with nothing to do needs none

    return [printable(line) for line in difflib.unified_diff(old, new, *names, lineterm="")]


def _content(text: str | None, form: Form) -> str | None:
    """Return what a diff shows: of a link where it leads and of a program its size, in words no file would hold."""
    if text is None:
        return None
    if form is Form.LINK:
        return f"symbolic link to {text}\n"
    if "\0" in text:
        data = text.encode(errors="surrogateescape")
        return f"{len(data)} bytes that are no text, SHA-256 {sha256(data)}\n"
    return text


def _lines(text: str | None) -> list[str]:
    """Split at newlines alone, so that a carriage return or a missing last line end shows as a difference."""
    *lines, rest = (text or "").split("\n")
    return [*lines, rest, "\\ No newline at end of file"] if rest else lines
