"""JSON text: strict reading with positions, and edits that leave every other byte alone."""

from __future__ import annotations

import pytest

from ds01.deployer import jsontext

WRONG = [
    ("", "line 1, column 1: a value is missing"),
    ("[1]", "line 1, column 1: it is not a JSON object"),
    ("12", "line 1, column 1: it is not a JSON object"),
    ("\ufeff{}", "line 1, column 1: it starts with a byte order mark"),
    ('{"a": 1} x', "line 1, column 10: there is text after the closing }"),
    ('{"a": 1}}', "line 1, column 9: there is text after the closing }"),
    ('{\n  "a": 1,\n}\n', "line 2, column 9: there is a comma before }"),
    ('{"a": [1, 2,]}', "line 1, column 12: there is a comma before ]"),
    ('{\n  "a": 1\n  "b": 2\n}\n', "line 3, column 3: a comma or } is missing"),
    ('{"a": [1 2]}', "line 1, column 10: a comma or ] is missing"),
    ('{"a": 1, "a": 2}', "line 1, column 10: the key 'a' is given twice"),
    ('{"a": 1, "\\u0061": 2}', "line 1, column 10: the key 'a' is given twice"),
    ('{"b": [{"a": 1, "a": 2}]}', "line 1, column 17: the key 'a' is given twice"),
    ('{"a" 1}', "line 1, column 6: a colon is missing after 'a'"),
    ("{a: 1}", "line 1, column 2: a key in double quotes is missing"),
    ('{"a": 1', "line 1, column 8: a comma or } is missing"),
    ("{", "line 1, column 2: a key in double quotes is missing"),
    ('{"a": NaN}', "line 1, column 7: NaN is not a JSON number"),
    ('{"a": -Infinity}', "line 1, column 7: -Infinity is not a JSON number"),
    ('{"a": tru}', "line 1, column 7: a value is missing"),
    ('{"a": "x\ny"}', "line 1, column 9: Invalid control character at"),
    ('{"a": "x', "line 1, column 7: Unterminated string starting at"),
    ('{\n  // a comment\n  "a": 1\n}', "line 2, column 3: JSON has no comments"),
    ('{\n  "a": 1 # why\n}', "line 2, column 10: JSON has no comments"),
    ('{"a":' * 101 + "1" + "}" * 101, "line 1, column 506: it is nested more than 100 levels deep"),
    ('{"a": ' + "[" * 100_000, "line 1, column 107: it is nested more than 100 levels deep"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_wrong_text_is_refused_where_it_is_wrong(text, message):
    with pytest.raises(jsontext.JsonTextError) as caught:
        jsontext.parse(text)
    assert str(caught.value) == message
    assert caught.value.resolution


def test_values_are_read_as_the_standard_library_reads_them():
    text = '\r\n\t{"a": {"b": [1, -2.5e3, "x\\n", null, true, [], {}]}, "c.d/e": "ü"} \n'
    assert jsontext.parse(text).value == {
        "a": {"b": [1, -2500.0, "x\n", None, True, [], {}]},
        "c.d/e": "ü",
    }


TWO = '{\n    "dns": ["8.8.8.8",   "1.1.1.1"],\n    "debug" : false\n}\n'
EDITS = [
    # text, path, value, expected
    ("{}\n", ("a",), 1, '{\n  "a": 1\n}\n'),
    ("{ }", ("a",), {}, '{\n  "a": {}\n}'),
    (TWO, ("debug",), True, TWO.replace("false", "true")),
    (TWO, ("live-restore",), True, TWO.replace("false\n", 'false,\n    "live-restore": true\n')),
    (TWO, ("dns",), ["9.9.9.9"], TWO.replace('["8.8.8.8",   "1.1.1.1"]', '["9.9.9.9"]')),
    ('{"a": 1}', ("b",), ["x"], '{"a": 1, "b": ["x"]}'),
    ('{\n\t"a": {}\n}', ("a", "b"), 1, '{\n\t"a": {\n\t\t"b": 1\n\t}\n}'),
    ('{\r\n  "a": 1\r\n}\r\n', ("b",), 2, '{\r\n  "a": 1,\r\n  "b": 2\r\n}\r\n'),
    ('{\n  "a": [\n    1\n  ]\n}', ("a",), [1, 2], '{\n  "a": [\n    1,\n    2\n  ]\n}'),
    ('{\n  "a": 1\n}', ("b",), [{"c": 1}], '{\n  "a": 1,\n  "b": [\n    {\n      "c": 1\n    }\n  ]\n}'),
]


@pytest.mark.parametrize(("text", "path", "value", "expected"), EDITS)
def test_one_value_changes_and_nothing_else(text, path, value, expected):
    assert jsontext.with_value(text, path, value) == expected


REMOVALS = [
    (TWO, ("debug",), '{\n    "dns": ["8.8.8.8",   "1.1.1.1"]\n}\n'),
    (TWO, ("dns",), '{\n    "debug" : false\n}\n'),
    ('{"a": {"b": 1}}', ("a", "b"), '{"a": {}}'),
    ('{\n  "a": 1\n}\n', ("a",), "{}\n"),
]


@pytest.mark.parametrize(("text", "path", "expected"), REMOVALS)
def test_a_key_goes_with_its_value_and_one_comma(text, path, expected):
    assert jsontext.without(text, path) == expected


def test_a_source_is_put_back_byte_for_byte():
    assert jsontext.with_source('{"a":  1 }', ("a",), "[ 1.50,\n 2 ]") == '{"a":  [ 1.50,\n 2 ] }'


@pytest.mark.parametrize("edit", [jsontext.without, lambda text, path: jsontext.with_source(text, path, "1")])
def test_a_key_that_is_not_there_is_an_error(edit):
    with pytest.raises(KeyError):
        edit('{"a": 1}', ("b",))
    with pytest.raises(KeyError):
        edit('{"a": 1}', ("a", "b"))
    with pytest.raises(KeyError):
        jsontext.with_value('{"a": 1}', ("a", "b"), 2)
