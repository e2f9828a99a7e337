"""Merging daemon.json: ours comes in, foreign keys stay, and everything can be taken back."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ds01.deployer.merge import MergeError, decode, merge_json, ours_in, unmerge_json

OURS = """{
  "exec-opts": [
    "native.cgroupdriver=systemd"
  ],
  "cgroup-parent": "ds01-other.slice",
  "live-restore": true,
  "log-opts": {
    "max-size": "10m"
  }
}
"""
ADMINS = """{
    "data-root": "/data/docker",
    "exec-opts": ["native.cgroupdriver=cgroupfs", "isolation=x"],
    "live-restore": false,
    "runtimes": { "nvidia": {"path": "nvidia-container-runtime", "args": []} },
    "dns": ["8.8.8.8",  "1.1.1.1"]
}
"""
MERGED = """{
    "data-root": "/data/docker",
    "exec-opts": ["native.cgroupdriver=systemd", "isolation=x"],
    "live-restore": true,
    "runtimes": { "nvidia": {"path": "nvidia-container-runtime", "args": []} },
    "dns": ["8.8.8.8",  "1.1.1.1"],
    "cgroup-parent": "ds01-other.slice",
    "log-opts": {
        "max-size": "10m"
    }
}
"""
RECORD = {
    "existed": True,
    "entries": [
        {
            "path": ["exec-opts"],
            "option": "native.cgroupdriver",
            "ours": ["native.cgroupdriver=systemd"],
            "prior": '["native.cgroupdriver=cgroupfs"]',
        },
        {"path": ["cgroup-parent"], "ours": "ds01-other.slice", "prior": None},
        {"path": ["live-restore"], "ours": True, "prior": "false"},
        {"path": ["log-opts"], "ours": {}, "prior": None},
        {"path": ["log-opts", "max-size"], "ours": "10m", "prior": None},
    ],
}


def test_ours_comes_in_and_foreign_bytes_stay():
    merged = merge_json(OURS, ADMINS, None)
    assert (merged.text, merged.record) == (MERGED, RECORD)


def test_a_second_merge_changes_nothing():
    again = merge_json(OURS, MERGED, RECORD)
    assert (again.text, again.record) == (MERGED, RECORD)


def test_the_record_is_plain_json():
    assert json.loads(json.dumps(RECORD)) == merge_json(OURS, ADMINS, None).record


def test_taking_ours_out_restores_every_byte():
    assert unmerge_json(MERGED, RECORD).text == ADMINS


@pytest.mark.parametrize("current", [None, "", " \n\t\n"])
def test_without_a_file_the_result_reads_as_rendered(current):
    assert merge_json(OURS, current, None).text == OURS


def test_a_file_of_ours_alone_is_removed():
    merged = merge_json(OURS, None, None)
    assert unmerge_json(merged.text, merged.record).text is None


def test_an_empty_file_that_was_there_before_stays_as_an_empty_object():
    # Not as an empty file: Docker 20.10 does not start with one.
    merged = merge_json(OURS, "", None)
    assert unmerge_json(merged.text, merged.record).text == "{}\n"


def test_a_file_of_ours_stays_when_somebody_added_a_key():
    merged = merge_json(OURS, None, None)
    edited = merged.text.replace('"live-restore": true,', '"live-restore": true,\n  "debug": true,')
    assert unmerge_json(edited, merged.record).text == '{\n  "debug": true\n}\n'


def test_a_key_that_left_ours_gets_its_former_value_back():
    fewer = '{"exec-opts": ["native.cgroupdriver=systemd"], "cgroup-parent": "ds01-other.slice"}'
    changed = merge_json(fewer, MERGED, RECORD)
    assert json.loads(changed.text) == {
        "data-root": "/data/docker",
        "exec-opts": ["native.cgroupdriver=systemd", "isolation=x"],
        "live-restore": False,
        "runtimes": {"nvidia": {"path": "nvidia-container-runtime", "args": []}},
        "dns": ["8.8.8.8", "1.1.1.1"],
        "cgroup-parent": "ds01-other.slice",
    }
    assert json.loads(unmerge_json(changed.text, changed.record).text or "") == json.loads(ADMINS)


def test_what_somebody_changed_by_hand_is_not_taken_back():
    edited = MERGED.replace('"live-restore": true', '"live-restore": null')
    assert unmerge_json(edited, RECORD).text == ADMINS.replace('"live-restore": false', '"live-restore": null')


def test_a_hand_edit_that_is_overwritten_comes_back_later():
    edited = MERGED.replace('"ds01-other.slice"', '"mine.slice"')
    forced = merge_json(OURS, edited, RECORD)
    assert forced.text == MERGED
    assert unmerge_json(forced.text, forced.record).text == ADMINS.replace(
        '"1.1.1.1"]', '"1.1.1.1"],\n    "cgroup-parent": "mine.slice"'
    )


def test_a_scalar_in_the_place_of_our_object_comes_back():
    current = '{"log-opts": null}'
    merged = merge_json('{"log-opts": {"max-size": "10m"}}', current, None)
    assert json.loads(merged.text) == {"log-opts": {"max-size": "10m"}}
    assert unmerge_json(merged.text, merged.record).text == current


def test_several_options_of_one_name_are_one_option():
    current = '{"exec-opts": ["Native.CgroupDriver=a", "x=1", "native.cgroupdriver=b"]}'
    merged = merge_json('{"exec-opts": ["native.cgroupdriver=systemd"]}', current, None)
    assert merged.text == '{"exec-opts": ["native.cgroupdriver=systemd", "x=1"]}'
    restored = unmerge_json(merged.text, merged.record).text
    assert restored == '{"exec-opts": ["Native.CgroupDriver=a", "native.cgroupdriver=b", "x=1"]}'


def test_keys_with_dots_and_slashes_are_not_paths():
    ours = '{"a.b": 1, "a": {"b": 2}, "a/b": 3}'
    merged = merge_json(ours, '{"x": 0}', None)
    assert json.loads(merged.text) == {"x": 0, "a.b": 1, "a": {"b": 2}, "a/b": 3}
    assert unmerge_json(merged.text, merged.record).text == '{"x": 0}'


def test_true_is_not_one():
    assert merge_json('{"a": true}', '{"a": 1}', None).text == '{"a": true}'


DRIFT = [
    (MERGED, ()),
    (MERGED.replace("8.8.8.8", "9.9.9.9"), ()),
    (MERGED.replace("isolation=x", "isolation=y"), ()),
    (MERGED.replace('"live-restore": true', '"live-restore": 1'), (("live-restore",),)),
    (MERGED.replace("cgroupdriver=systemd", "cgroupdriver=none"), (("exec-opts", "native.cgroupdriver"),)),
    (MERGED.replace('"max-size": "10m"', '"max-file": "3"'), (("log-opts", "max-size"),)),
    (ADMINS.replace('"dns"', '"log-opts": 5, "dns"').replace(": false", ": true"), (
        ("exec-opts", "native.cgroupdriver"), ("cgroup-parent",), ("log-opts", "max-size"),
    )),
    (None, (
        ("exec-opts", "native.cgroupdriver"), ("cgroup-parent",), ("live-restore",), ("log-opts", "max-size"),
    )),
]  # fmt: skip


@pytest.mark.parametrize(("current", "changed"), DRIFT)
def test_hand_edits_of_our_keys_are_found_and_no_others(current, changed):
    assert ours_in(current, RECORD) == changed


def test_a_lost_object_of_ours_is_found():
    merged = merge_json('{"features": {}}', '{"a": 1}', None)
    assert ours_in('{"a": 1}', merged.record) == (("features",),)


def test_nothing_was_merged_yet():
    assert ours_in("{}", None) == ()
    assert unmerge_json(ADMINS, None).text == ADMINS
    assert unmerge_json(None, RECORD).text is None


WRONG = [
    (
        '{\n  "debug": true,\n}\n',
        (
            "/etc/docker/daemon.json, line 2, column 16: there is a comma before }\n"
            "To fix: remove that comma; nothing was changed"
        ),
    ),
    (
        '{"debug": true, "debug": false}',
        (
            "/etc/docker/daemon.json, line 1, column 17: the key 'debug' is given twice\n"
            "To fix: keep one of the two; nothing was changed"
        ),
    ),
    (
        '\ufeff{"debug": true}',
        (
            "/etc/docker/daemon.json, line 1, column 1: it starts with a byte order mark\n"
            "To fix: save it as UTF-8 without BOM; nothing was changed"
        ),
    ),
    (
        "[]",
        (
            "/etc/docker/daemon.json, line 1, column 1: it is not a JSON object\n"
            'To fix: write { "key": value, … }; nothing was changed'
        ),
    ),
    (
        '{"exec-opts": "native.cgroupdriver=systemd"}',
        (
            "/etc/docker/daemon.json, line 1, column 15: exec-opts is not a list of texts\n"
            'To fix: write it as ["name=value", …]; nothing was changed'
        ),
    ),
    (
        '{"exec-opts": ["a=b", 1]}',
        (
            "/etc/docker/daemon.json, line 1, column 15: exec-opts is not a list of texts\n"
            'To fix: write it as ["name=value", …]; nothing was changed'
        ),
    ),
]


@pytest.mark.parametrize(("current", "message"), WRONG)
def test_a_file_that_cannot_be_merged_is_refused_with_the_fix(current, message):
    with pytest.raises(MergeError) as caught:
        merge_json(OURS, current, None)
    assert caught.value.render() == message
    assert caught.value.exit_code == 2


def test_bytes_that_are_not_utf8_are_refused():
    with pytest.raises(MergeError) as caught:
        decode(b'{\n  "a": "\xff"}', path="/x.json")
    assert caught.value.brief == "/x.json, line 2, column 9 (bytes): it is not UTF-8 text"
    assert decode("{ü}".encode()) == "{ü}"


@pytest.mark.parametrize(
    "record", [{"entries": 3}, {"entries": [{}]}, {"entries": [{"path": ["a"]}]}, {"entries": ["x"]}]
)
def test_a_damaged_record_is_refused(record):
    with pytest.raises(MergeError, match=r"what DS01 remembers about /etc/docker/daemon\.json cannot be read"):
        merge_json(OURS, ADMINS, record)


# --- properties ---------------------------------------------------------------------------------------------

keys = st.sampled_from(["a", "b", "a.b", "c/d", "exec-opts", "ü", ""])
scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from([1.5, "", "x", "a=b", 'q"\\\n'])
values = st.recursive(
    scalars | st.lists(scalars, max_size=3),
    lambda inner: st.dictionaries(keys, inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=8,
)
options = st.lists(st.sampled_from(["a=1", "a=2", "b=1", "A=3", "c", "", "b=x=y"]), max_size=4)
indents = st.sampled_from([None, 2, 4, "\t"])


@st.composite
def objects(draw):
    found = draw(st.dictionaries(keys, values, max_size=5))
    if "exec-opts" in found:
        found["exec-opts"] = draw(options)
    return found


def written(value, indent):
    return json.dumps(value, indent=indent, ensure_ascii=False)


def meaning(text):
    """The document with the options of exec-opts in the order of their names; the order of one name's stays."""
    document = json.loads(text)
    if isinstance(document.get("exec-opts"), list):
        document["exec-opts"] = sorted(document["exec-opts"], key=lambda item: item.partition("=")[0].lower())
    return json.dumps(document, sort_keys=True)


def foreign(document, ours):
    """What of a document is not ours: recursing where both have objects."""
    rest = {}
    for key, value in document.items():
        if key not in ours:
            rest[key] = value
        elif isinstance(value, dict) and isinstance(ours[key], dict):
            rest[key] = foreign(value, ours[key])
    return {key: value for key, value in rest.items() if key not in ours or value}


@given(objects(), objects(), indents)
def test_merging_twice_is_merging_once(ours, current, indent):
    once = merge_json(written(ours, 2), written(current, indent), None)
    assert merge_json(written(ours, 2), once.text, once.record) == once
    assert ours_in(once.text, once.record) == ()


@given(objects(), objects(), indents)
def test_unmerging_gives_back_the_meaning(ours, current, indent):
    text = written(current, indent)
    merged = merge_json(written(ours, 2), text, None)
    assert meaning(unmerge_json(merged.text, merged.record).text) == meaning(text)


@given(objects(), indents)
def test_unmerging_gives_back_the_bytes_where_no_list_of_options_is_shared(current, indent):
    text = written(current, indent)
    ours = written({"new": 1, "other": {"deep": {"er": [1]}}, "a": "ours"}, 2)
    merged = merge_json(ours, text, None)
    assert unmerge_json(merged.text, merged.record).text == text


@given(objects(), objects(), indents)
def test_foreign_keys_are_never_touched(ours, current, indent):
    merged = json.loads(merge_json(written(ours, 2), written(current, indent), None).text)
    kept = foreign(current, ours)
    assert foreign(merged, ours) == kept
    assert [key for key in merged if key in current] == list(current)


@given(objects(), objects(), objects(), objects(), indents)
def test_changing_ours_keeps_the_way_back(first, second, third, current, indent):
    text, record = written(current, indent), None
    for ours in (first, second, third):
        text, record = (merged := merge_json(written(ours, 2), text, record)).text, merged.record
        assert ours_in(text, record) == ()
    assert meaning(unmerge_json(text, record).text) == meaning(written(current, indent))


@given(objects(), objects())
def test_a_file_made_by_us_alone_goes_again(first, second):
    merged = merge_json(written(first, 2), None, None)
    assume(first or second)
    merged = merge_json(written(second, 2), merged.text, merged.record)
    assert unmerge_json(merged.text, merged.record).text is None
