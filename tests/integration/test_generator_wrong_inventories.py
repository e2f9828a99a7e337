"""Every wrong inventory is answered with all of its problems, each with its place and what to do about it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from ds01.core.errors import BadInputError, ExitCode
from ds01.generator.build import InventoryError, build, check

CHECKOUT = Path(__file__).resolve().parents[2]
INVENTORIES = CHECKOUT / "tests" / "data" / "inventories"
CASES: list[dict[str, Any]] = yaml.safe_load((INVENTORIES / "wrong.yaml").read_text())
NOTICES: list[dict[str, Any]] = yaml.safe_load((INVENTORIES / "notices.yaml").read_text())


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    return Path(shutil.copytree(INVENTORIES / "minimal", tmp_path / "inventory"))


def change(inventory: Path, edits: list[dict[str, str]]) -> None:
    for edit in edits:
        path = inventory / edit["in"]
        if "write" in edit:
            path.write_text(edit["write"])
            continue
        text = path.read_text()
        assert text.count(edit["replace"]) == 1, f"{edit['replace']!r} must stand once in {edit['in']}"
        path.write_text(text.replace(edit["replace"], edit["by"]))


def problems(inventory: Path, host: str | None = None) -> list[str]:
    """Return every line that `validate` would print; the inventory must be refused."""
    with pytest.raises(InventoryError) as refused:
        check(CHECKOUT, inventory, host)
    return [str(problem) for problem in refused.value.problems]


def notices(inventory: Path, host: str | None = None) -> list[str]:
    """Return every notice; the inventory must be accepted."""
    return [str(problem) for problem in check(CHECKOUT, inventory, host).notices]


def test_the_inventory_that_the_cases_change_is_right(inventory: Path) -> None:
    assert notices(inventory) == []


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_wrong_inventory_is_refused_with(case: dict[str, Any], inventory: Path) -> None:
    change(inventory, case["edits"])
    assert problems(inventory) == case["says"]


@pytest.mark.parametrize("case", NOTICES, ids=[case["name"] for case in NOTICES])
def test_doubtful_inventory_is_accepted_with(case: dict[str, Any], inventory: Path) -> None:
    change(inventory, case["edits"])
    assert notices(inventory) == case["says"]


def test_there_are_at_least_sixty_kinds_of_wrong() -> None:
    names = [case["name"] for case in CASES]
    assert (len(names) >= 60, sorted(names)) == (True, sorted(set(names)))


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        (
            "groups/staff.members",
            b"carol\nzo\xeb\n",
            "inventory/groups/staff.members:2:3: not UTF-8 text (byte 0xeb); save it as UTF-8",
        ),
        (
            "resource-limits.yaml",
            "groups: {}".encode("utf-16"),
            "inventory/resource-limits.yaml:1:1: not UTF-8 text (byte 0xff); save it as UTF-8",
        ),
    ],
)
def test_text_in_another_encoding_is_refused_at_its_first_byte(
    file: str, content: bytes, says: str, inventory: Path
) -> None:
    (inventory / file).write_bytes(content)
    assert problems(inventory)[0] == says


def test_missing_policy_file_is_one_problem(inventory: Path) -> None:
    (inventory / "resource-limits.yaml").unlink()
    assert problems(inventory) == [
        "inventory/resource-limits.yaml:1:1: there is no such file; write it, or name another inventory"
    ]


def test_folder_in_place_of_a_file_is_a_problem(inventory: Path) -> None:
    (inventory / "groups" / "student.members").mkdir()
    assert problems(inventory) == ["inventory/groups/student.members:1:1: is not a regular file; put a text file there"]


def test_inventory_without_hosts_still_has_its_policy_checked(inventory: Path) -> None:
    (inventory / "hosts" / "box.yaml").unlink()
    change(inventory, [{"in": "resource-limits.yaml", "replace": "gateway: off", "by": "gateway: of"}])
    assert problems(inventory) == [
        "inventory/hosts:1:1: there is no host file; describe the server in hosts/<name>.yaml",
        "inventory/resource-limits.yaml:26:12: enforcement.gateway is 'of'; did you mean 'off'?",
    ]


def test_inventory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path / "nowhere") == [
        "nowhere/hosts:1:1: there is no host file; describe the server in hosts/<name>.yaml",
        "nowhere/resource-limits.yaml:1:1: there is no such file; write it, or name another inventory",
    ]


@pytest.mark.parametrize(
    ("asked", "brief", "resolution"),
    [
        ("boxx", "there is no host 'boxx'", "did you mean 'box'?"),
        ("zzz", "there is no host 'zzz'", "the inventory has box, spare"),
        (None, "which host?", "name one with --host"),
    ],
)
def test_host_that_is_not_in_the_inventory_is_refused(
    asked: str | None, brief: str, resolution: str, inventory: Path
) -> None:
    shutil.copy(inventory / "hosts" / "box.yaml", inventory / "hosts" / "spare.yaml")
    with pytest.raises(BadInputError) as refused:
        check(CHECKOUT, inventory, asked)
    error = refused.value
    assert (error.brief, error.resolution, error.exit_code) == (brief, resolution, ExitCode.BAD_INPUT)


def test_problems_of_every_host_are_told_whichever_is_asked_for(inventory: Path) -> None:
    (inventory / "hosts" / "spare.yaml").write_text("cpus: 0\nmemory: 1T\n")
    assert problems(inventory, "box") == [
        "inventory/hosts/spare.yaml:1:7: cpus is 0, which is too small; write at least 1"
    ]


def test_quota_is_held_against_the_host_that_is_asked_for(inventory: Path) -> None:
    (inventory / "hosts" / "spare.yaml").write_text("cpus: 16\nmemory: 64G\n")
    assert (notices(inventory, "box"), problems(inventory, "spare")) == (
        [],
        [
            (
                "inventory/resource-limits.yaml:8:22: defaults: max_mig_instances 2 is above the 0 that host spare "
                "has; lower it, write null for no limit, or correct the host file's gpus"
            ),
            (
                "inventory/resource-limits.yaml:24:16: host spare has no MIG instance of profile 2g.20gb "
                "(none of its GPUs is split); correct it, or the host file's gpus"
            ),
        ],
    )


def test_the_error_counts_problems_and_not_notices(inventory: Path) -> None:
    change(
        inventory,
        [
            {"in": "groups/staff.members", "replace": "carol\n", "by": "carol\ncarol\n-x\n"},
            {"in": "resource-limits.yaml", "replace": "gateway: off", "by": "gateway: of"},
        ],
    )
    with pytest.raises(InventoryError) as refused:
        build(CHECKOUT, inventory)
    assert refused.value.render() == (
        "2 problems in the inventory; nothing was written\n"
        "inventory/groups/staff.members:5:1: '-x' is not an account name; use 1 to 64 letters, digits or _ . @ + -, "
        "not starting with . @ + or -\n"
        "inventory/resource-limits.yaml:26:12: enforcement.gateway is 'of'; did you mean 'off'?"
    )


def test_problem_as_json_has_its_parts(inventory: Path) -> None:
    change(inventory, [{"in": "resource-limits.yaml", "replace": "gateway: off", "by": "gateway: of"}])
    with pytest.raises(InventoryError) as refused:
        check(CHECKOUT, inventory, None)
    assert json.loads(json.dumps([problem.to_json() for problem in refused.value.problems])) == [
        {
            "file": "inventory/resource-limits.yaml",
            "line": 26,
            "column": 12,
            "problem": "enforcement.gateway is 'of'",
            "fix": "did you mean 'off'?",
            "notice": False,
        }
    ]


@pytest.mark.parametrize(
    "disguise",
    [
        pytest.param(lambda text: b"\xef\xbb\xbf" + text, id="a byte order mark"),
        pytest.param(lambda text: text.replace(b"\n", b"\r\n"), id="Windows line ends"),
        pytest.param(lambda text: text.rstrip(b"\n"), id="no last line end"),
        pytest.param(lambda text: b"# a comment\n\n" + text + b"\n\n", id="comments and empty lines"),
    ],
)
def test_files_mean_the_same_with(disguise: Any, inventory: Path) -> None:
    plain = check(CHECKOUT, inventory, None).document
    for path in [*inventory.rglob("*.yaml"), *inventory.rglob("*.members")]:
        path.write_bytes(disguise(path.read_bytes()))
    assert check(CHECKOUT, inventory, None).document == plain


def test_editors_locks_and_copies_are_not_read(inventory: Path) -> None:
    (inventory / "groups" / ".#staff.members").symlink_to("somebody@somewhere.1234")
    (inventory / "groups" / ".staff.members.swp").write_bytes(b"\xff")
    (inventory / "hosts" / ".box.yaml").write_text("[")
    assert notices(inventory) == []
