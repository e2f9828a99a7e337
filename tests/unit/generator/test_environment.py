"""The rules of templates: unknown names are errors, white space is kept, JSON comes from one filter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from ds01.generator.environment import make_environment, to_json


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("a\n{% if true %}\n  b\n{% endif %}\nc\n", "a\n  b\nc\n"),
        ("a\n    {% for x in 'xy' %}\n{{ x }}\n    {% endfor %}\n", "a\nx\ny\n"),
        ("no line end", "no line end"),
        ("{{ '<&>' }}\n\n", "<&>\n\n"),
        ("{{ {'b': 1, 'a': 'zoë'} | json }}\n", '{\n  "b": 1,\n  "a": "zoë"\n}\n'),
    ],
)
def test_template_is_laid_out_as_it_stands(template: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "t.j2").write_text(template)
    assert make_environment(tmp_path).get_template("t.j2").render() == text


def test_unknown_name_is_an_error_and_not_empty(tmp_path: Path) -> None:
    (tmp_path / "t.j2").write_text("{{ nobody }}")
    with pytest.raises(UndefinedError):
        make_environment(tmp_path).get_template("t.j2").render()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("zoë 中 😀", '"zoë 中 😀"'),
        ("a\u202eb", '"a\\u202eb"'),
        ("\x7f\x85\u200b", '"\\u007f\\u0085\\u200b"'),
        ("\x1b\n", '"\\u001b\\n"'),
        ("\U000e0041\udcff", '"\\udb40\\udc41\\udcff"'),
        (["é\u2028"], '[\n  "é\\u2028"\n]'),
    ],
)
def test_json_escapes_only_what_cannot_be_seen(value: object, text: str) -> None:
    assert (to_json(value), json.loads(to_json(value))) == (text, value)


def test_json_keeps_the_order_of_the_object() -> None:
    assert to_json({"b": [], "a": None}) == '{\n  "b": [],\n  "a": null\n}'
