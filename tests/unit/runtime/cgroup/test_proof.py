"""A quota that is read where systemd does not count is told, and one that is read there is proved."""

from __future__ import annotations

from pathlib import Path

import pytest

from ds01.core.process import Completed
from ds01.runtime.cgroup.proof import Finding, prove_paths

ROOT = "ds01.slice/ds01-student.slice/ds01-student-alice.slice"
ACTIVE = """Id=ds01.slice
ControlGroup=/ds01.slice

Id=ds01-student.slice
ControlGroup=/ds01.slice/ds01-student.slice

Id=ds01-student-alice.slice
ControlGroup={place}

Id=ds01-student-bob.slice
ControlGroup=
"""
NOTHING = "Id=ds01.slice\nControlGroup=\n\nId=ds01-student.slice\nControlGroup=\n"


class Systemd:
    """systemctl with one answer; keeps what it was asked."""

    def __init__(self, stdout: str, code: int = 0) -> None:
        self.stdout, self.code, self.asked = stdout, code, []

    def __call__(self, argv, *, timeout_seconds=60.0, environment=None):
        self.asked.append(list(argv))
        return Completed(tuple(argv), self.code, self.stdout, "" if self.code == 0 else "no bus")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "cgroup.controllers").write_text("cpu io memory pids\n")
    for folder in (tmp_path / ROOT, (tmp_path / ROOT).parent):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.current").write_text("4096\n")
        (folder / "memory.stat").write_text("anon 0\ninactive_file 1024\n")
        (folder / "pids.current").write_text("3\n")
        (folder / "cpu.stat").write_text("usage_usec 5\n")
    return tmp_path


def test_slices_are_proved_by_what_systemd_says(tree: Path):
    systemd = Systemd(ACTIVE.format(place=f"/{ROOT}"))
    assert prove_paths(tree, systemd) == (Finding("3 slices are read where systemd counts them"),)
    assert systemd.asked == [
        ["systemctl", "show", "--property=Id", "--property=ControlGroup", "--", "ds01.slice", "ds01-*.slice"]
    ]


def test_a_slice_that_is_counted_elsewhere_is_named(tree: Path):
    (found,) = prove_paths(tree, Systemd(ACTIVE.format(place="/ds01-student-alice.slice")))
    assert found.text == (
        f"systemd counts ds01-student-alice.slice at /ds01-student-alice.slice, DS01 reads /{ROOT} below {tree}:"
        " it would refuse nobody"
    )
    assert found.fix is not None


def test_before_the_first_container_there_is_nothing_to_read(tmp_path: Path):
    (tmp_path / "cgroup.controllers").write_text("cpu io memory pids\n")
    assert prove_paths(tmp_path, Systemd(NOTHING)) == (
        Finding("no container has run since the boot; there is nothing to read yet"),
    )


def test_a_tree_that_lacks_what_systemd_counts_is_told(tmp_path: Path):
    (tmp_path / "cgroup.controllers").write_text("cpu io memory pids\n")
    (found,) = prove_paths(tmp_path, Systemd(ACTIVE.format(place=f"/{ROOT}")))
    assert "ds01.slice" in found.text
    assert found.fix is not None


def test_control_groups_of_version_1_are_told(tmp_path: Path):
    (tmp_path / "memory").mkdir()
    (found,) = prove_paths(tmp_path, Systemd(ACTIVE.format(place=f"/{ROOT}")))
    assert "version 1" in found.text
    assert found.fix == "boot with systemd.unified_cgroup_hierarchy=1; quotas are not checked until then"


def test_what_cannot_be_read_is_told(tree: Path):
    (tree / ROOT / "memory.stat").unlink()
    (found,) = prove_paths(tree, Systemd(ACTIVE.format(place=f"/{ROOT}")))
    assert str(tree / ROOT / "memory.stat") in found.text


def test_a_systemd_that_does_not_answer_is_told(tree: Path):
    (found,) = prove_paths(tree, Systemd("", code=1))
    assert found == Finding("systemd does not say where slices are counted: no bus", "systemctl status says more")
