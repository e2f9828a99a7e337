"""The manifest of what DS01 owns: written and read back, and never guessed when it is broken."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

import pytest

from ds01.core.jsonstate import StateError
from ds01.core.paths import HostPaths
from ds01.core.value import replace
from ds01.deployer.apply import Write, stage
from ds01.deployer.history import generation_path
from ds01.deployer.owned import Owned, OwnedFile, read_owned

WHOLE = Owned(
    generation=12,
    host="ds01",
    policy_hash="abc",
    files={
        PurePosixPath("/etc/docker/daemon.json"): OwnedFile(
            "1" * 64, 0o644, "root", "root", "daemon.json.j2", None, {"existed": True, "entries": []}
        ),
        PurePosixPath("/etc/systemd/system/ds01-student-é.slice.d/10.conf"): OwnedFile(
            "2" * 64, 0o4755, "root", "adm", "limits.conf.j2", "é"
        ),
    },
    folders=(PurePosixPath("/etc/ds01"),),
    pending=("docker-restart",),
    settled=True,
)

RESTORE = (
    "restore it from a backup; without one, move the folder /var/lib/ds01/deploy aside and deploy: what is there is"
    " then taken over, and files of accounts that left have to be removed by hand"
)


def store(root: Path, text: str) -> HostPaths:
    paths = HostPaths(root)
    paths.deploy.mkdir(parents=True)
    (paths.deploy / "manifest.json").write_text(text)
    return paths


def test_what_is_stored_is_read_back(tmp_path: Path) -> None:
    assert read_owned(store(tmp_path, json.dumps(WHOLE.to_json()))) == WHOLE


def test_before_the_first_deploy_nothing_is_owned(tmp_path: Path) -> None:
    assert read_owned(HostPaths(tmp_path)) == Owned()


def test_a_manifest_that_says_nothing_of_a_choice_knows_of_none(tmp_path: Path) -> None:
    stored = {key: value for key, value in WHOLE.to_json().items() if key != "settled"}
    assert read_owned(store(tmp_path, json.dumps(stored))) == replace(WHOLE, settled=False)
    assert "settled" not in Owned().to_json()


def edited(**changes: object) -> str:
    return json.dumps(WHOLE.to_json() | changes)


FILE = {"sha256": "", "mode": "0644", "owner": "root", "group": "root", "source": "", "account": None}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"version": 1, ',
            (
                "{path} cannot be read\n"
                "Expecting property name enclosed in double quotes: line 1 column 16 (char 15)\n"
                f"To fix: {RESTORE}"
            ),
        ),
        ("[]", "{path} is not a JSON object\nTo fix: " + RESTORE),
        (
            edited(version=2),
            "{path} has version 2, this DS01 reads version 1\nTo fix: use the release that wrote it, or a newer one",
        ),
        (
            edited(generation="many"),
            (
                "{path} is not a manifest of DS01\n"
                "ValueError: invalid literal for int() with base 10: 'many'\n"
                "To fix: restore it from a backup"
            ),
        ),
        (
            edited(files=[]),
            (
                "{path} is not a manifest of DS01\n"
                "TypeError: files, folders or pending have the wrong type\n"
                "To fix: restore it from a backup"
            ),
        ),
        (
            edited(files={"/etc/x": FILE}),
            "{path} is not a manifest of DS01\nKeyError: 'record'\nTo fix: restore it from a backup",
        ),
        (
            edited(files={"/etc/x": FILE | {"mode": "rwx", "record": None}}),
            (
                "{path} is not a manifest of DS01\n"
                "ValueError: invalid literal for int() with base 8: 'rwx'\n"
                "To fix: restore it from a backup"
            ),
        ),
    ],
)
def test_a_broken_manifest_is_refused_and_left_as_it_is(tmp_path: Path, text: str, message: str) -> None:
    paths = store(tmp_path, text)
    with pytest.raises(StateError) as caught:
        read_owned(paths)
    path = paths.deploy / "manifest.json"
    assert caught.value.render() == message.replace("{path}", str(path))
    assert path.read_text() == text


def test_generations_without_a_manifest_are_never_guessed_at(tmp_path: Path) -> None:
    paths = HostPaths(tmp_path)
    paths.at(generation_path(1)).parent.mkdir(parents=True)
    paths.at(generation_path(1)).write_text("{}")
    with pytest.raises(StateError) as caught:
        read_owned(paths)
    assert caught.value.brief == f"{paths.deploy / 'manifest.json'} is gone, so nobody knows which files are DS01's"


def test_a_first_deploy_that_was_cut_off_is_no_lost_manifest(tmp_path: Path) -> None:
    paths = HostPaths(tmp_path)
    stage(paths, [Write(generation_path(1), b"{}", 0o640)]).commit()
    assert read_owned(paths) == Owned()
    for staged in (paths.at(generation_path(2)), paths.deploy / "generations/.000002.json.ds01-new~"):
        staged.write_text("{}")
    assert read_owned(paths) == Owned()
