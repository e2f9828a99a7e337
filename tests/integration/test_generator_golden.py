"""What three inventories are rendered to, byte for byte.

`minimal` says as little as it can, `lab` everything once; `shipped` is the one that DS01 came with.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from ds01.core.tree import Form
from ds01.generator.build import build
from ds01.generator.generated import generated_files, write_generated

CHECKOUT = Path(__file__).resolve().parents[2]
GOLDEN = CHECKOUT / "tests" / "golden"
NAMES = ("lab", "minimal", "shipped")
RENDER = """
import os, sys
from pathlib import Path
os.umask(int(sys.argv[3], 8))
from ds01.core.tree import Form
from ds01.generator.build import build
from ds01.generator.generated import write_generated
tree, _ = build(Path(sys.argv[1]), Path(sys.argv[2]))
write_generated(Path.cwd(), tree)
"""


@dataclass(frozen=True)
class Surroundings:
    """What must make no difference."""

    hash_seed: str
    locale: str
    umask: str
    timezone: str


SURROUNDINGS = (Surroundings("0", "C", "022", "UTC"), Surroundings("4711", "C.UTF-8", "077", "Asia/Tokyo"))


def rendered(name: str) -> dict[str, str]:
    tree, _ = build(CHECKOUT, GOLDEN / name / "inventory")
    return generated_files(tree)


def read(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes().decode() for path in files}


@pytest.mark.parametrize("name", NAMES)
def test_tree_is_the_one_that_was_reviewed(name: str, request: pytest.FixtureRequest) -> None:
    wanted, folder = rendered(name), GOLDEN / name / "expected"
    if request.config.getoption("--update-golden") and read(folder) != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        for file, text in wanted.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(text.encode())
        pytest.fail(f"{name} is written anew: review git diff tests/golden", pytrace=False)
    there = read(folder)
    assert (sorted(there), there) == (sorted(wanted), wanted), "right as it is now? pytest --update-golden"


@pytest.mark.parametrize("name", NAMES)
def test_notices_are_those_that_were_reviewed(name: str) -> None:
    _, notices = build(CHECKOUT, GOLDEN / name / "inventory")
    expected = (GOLDEN / name / "notices.txt").read_text()
    assert "".join(f"{notice}\n" for notice in notices) == expected


@pytest.mark.parametrize("name", NAMES)
def test_tree_is_the_same_in_any_surroundings(name: str, tmp_path: Path) -> None:
    trees = []
    for number, around in enumerate(SURROUNDINGS):
        there = tmp_path / str(number)
        there.mkdir()
        subprocess.run(
            [sys.executable, "-c", RENDER, os.fspath(CHECKOUT), os.fspath(GOLDEN / name / "inventory"), around.umask],
            cwd=there,
            env={
                "PYTHONPATH": os.fspath(CHECKOUT / "scripts"),
                "PYTHONHASHSEED": around.hash_seed,
                "LC_ALL": around.locale,
                "TZ": around.timezone,
                "PATH": os.environ["PATH"],
            },
            check=True,
        )
        [host] = (there / "generated").iterdir()
        trees.append(read(host))
    assert trees == [read(GOLDEN / name / "expected")] * 2


def test_order_of_members_makes_no_difference(tmp_path: Path) -> None:
    inventory = Path(shutil.copytree(GOLDEN / "lab" / "inventory", tmp_path / "inventory"))
    members = inventory / "groups" / "student.members"
    members.write_text("\n".join(reversed(members.read_text().splitlines())))
    tree, _ = build(CHECKOUT, inventory)
    assert generated_files(tree) == rendered("lab")


def test_writing_the_tree_twice_changes_nothing_the_second_time(tmp_path: Path) -> None:
    tree, _ = build(CHECKOUT, GOLDEN / "lab" / "inventory")
    first = write_generated(tmp_path, tree)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    second = write_generated(tmp_path, tree)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    files = [file for file in tree if file.form is Form.FILE]  # links stand in the manifest alone
    assert (first, second, after) == (len(files) + 1, 0, before)
