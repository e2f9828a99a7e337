"""`./inv history`, `rollback` and `verify` below a folder, as processes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from tests.integration.machine import Ended, inv, write_inventory

ALICE = "etc/systemd/system/ds01-student-alice.slice.d/10-resource-limits.conf"


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with generations 1 to 3, whose MemoryMax of alice is 2G, 4G, 6G."""
    folder = tmp_path_factory.mktemp("three")
    root = folder / "root"
    root.mkdir()
    for number in (1, 2, 3):
        inventory = write_inventory(folder / "inventory", memory=f"{number}g")
        assert inv("deploy", "--yes", "--root", str(root), "--inventory", str(inventory)).code == 0
    return root


def task(root: Path, *words: str, stdin: str = "") -> Ended:
    return inv(*words, "--root", str(root), stdin=stdin)


def memory_of_alice(root: Path) -> str:
    found = re.search(r"^MemoryMax=(.*)$", (root / ALICE).read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def test_an_empty_root_has_no_history_and_nowhere_to_go_back_to(tmp_path: Path) -> None:
    assert task(tmp_path, "history") == Ended(0, "Nothing was deployed here yet.\n")
    assert task(tmp_path, "rollback", "--yes") == Ended(
        2, "", "error: there is no earlier generation to go back to\nTo fix: see ./inv history\n"
    )
    verified = task(tmp_path, "verify")
    assert (verified.code, verified.out.splitlines()[0]) == (
        1,
        "applied  FAILED  deploy: nothing was deployed here yet; sudo ./inv deploy",
    )


def test_history_is_a_table_newest_first(three: Path) -> None:
    done = task(three, "history")
    rows = [re.split(r"  +", line) for line in done.out.splitlines()]
    assert rows[0] == ["GENERATION", "WHEN", "WHO", "POLICY", "WHAT"]
    assert [(row[0], row[4]) for row in rows[1:4]] == [
        ("3", "0 to add, 6 to change, 0 to remove, 7 unchanged"),
        ("2", "0 to add, 6 to change, 0 to remove, 7 unchanged"),
        ("1", "13 to add, 0 to change, 0 to remove, 0 unchanged"),
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row[1]) for row in rows[1:])
    assert len({row[3] for row in rows[1:4]}) == 3


def test_history_as_json_says_the_same(three: Path) -> None:
    document = json.loads(task(three, "history", "--json").out)
    assert [set(entry) for entry in document["generations"]] == [
        {"version", "generation", "host", "policy_hash", "who", "when", "what"}
    ] * 3
    assert (document["version"], [entry["generation"] for entry in document["generations"]]) == (1, [3, 2, 1])


def test_an_unknown_generation_is_bad_input(three: Path) -> None:
    assert task(three, "rollback", "--to", "9", "--yes") == Ended(
        2, "", "error: there is no generation 9\nTo fix: kept are: 1, 2, 3; see ./inv history\n"
    )
    assert task(three, "rollback", "--to", "x").code == 2


def test_back_one_then_back_to_a_number_and_each_is_a_generation_of_its_own(three: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(three, root)
    refused = task(root, "rollback", stdin="n\n")
    assert (refused.code, memory_of_alice(root)) == (4, "6G")
    back = task(root, "rollback", "--yes")
    assert (back.code, memory_of_alice(root)) == (0, "4G")
    assert re.search(r"Deployed generation 4: rollback to generation 2 \(\S+Z, [^)]+\)\.\n", back.err)
    assert (task(root, "rollback", "--to", "1", "--yes").code, memory_of_alice(root)) == (0, "2G")
    (root / ALICE).write_text("mine\n")
    drifted = task(root, "rollback", "--to", "3", "--yes")
    assert (drifted.code, (root / ALICE).read_text()) == (4, "mine\n")
    assert (task(root, "rollback", "--to", "3", "--yes", "--force").code, memory_of_alice(root)) == (0, "6G")
    assert task(root, "rollback", "--to", "3", "--yes").err == "Nothing to do: the host is as the policy says.\n"
    assert [line.split()[0] for line in task(root, "history").out.splitlines()[1:]] == ["6", "5", "4", "3", "2", "1"]


def test_verify_is_one_line_a_check_and_a_sum(three: Path) -> None:
    done = task(three, "verify")
    assert done == Ended(
        0,
        "applied  ok      files: 13 files as written by generation 3\n"
        "applied  skipped runtime: none was deployed (--no-runtime)\n"
        "applied  skipped slices: systemd is not running here, so effective values were not compared\n"
        f"host     skipped host: {three} is a folder, not the running machine\n"
        "4 checks: 0 failed, 0 warnings\n",
    )


def test_verify_as_json_fails_with_the_fix(three: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(three, root)
    (root / ALICE).chmod(0o666)
    done = task(root, "verify", "--json")
    document = json.loads(done.out)
    assert (done.code, document["version"], document["ok"], document["checks"][0]) == (
        1,
        1,
        False,
        {
            "part": "applied",
            "name": f"/{ALICE}",
            "status": "failed",
            "text": "mode is 0666, not 0644",
            "fix": "see ./inv plan; deploy --force writes it again",
        },
    )


def test_a_broken_manifest_stops_every_task_that_needs_it(three: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(three, root)
    manifest = root / "var/lib/ds01/deploy/manifest.json"
    manifest.write_text("{")
    for words in (["verify"], ["rollback", "--yes"], ["plan"], ["deploy", "--yes"]):
        done = task(root, *words)
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith(f"error: {manifest} cannot be read\n")
    assert manifest.read_text() == "{"
