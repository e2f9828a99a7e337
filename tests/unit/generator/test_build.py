"""The generator's front door: which host is meant, what is refused, and what comes out."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from ds01.core.errors import BadInputError, Ds01Error, ExitCode
from ds01.generator.build import InventoryError, build, check, choose_host, validate
from ds01.generator.inventory import Documents, load_inventory
from ds01.generator.problems import Place, Problem
from ds01.generator.schema import load_schemas
from ds01.generator.yamltext import Document

CHECKOUT = Path(__file__).resolve().parents[3]
MINIMAL = CHECKOUT / "tests" / "data" / "inventories" / "minimal"


def with_hosts(*names: str) -> Documents:
    return Documents(Document("p", {}), {}, {name: Document(name, {}) for name in names}, ())


def here() -> str:
    return socket.gethostname().split(".")[0]


@pytest.mark.parametrize(
    ("hosts", "asked", "chosen"),
    [
        (("box",), None, "box"),
        (("box",), "box", "box"),
        (("box", "spare"), "spare", "spare"),
        (("box", here()), None, here()),
    ],
)
def test_host_is_the_one_named_the_only_one_or_this_machine(
    hosts: tuple[str, ...], asked: str | None, chosen: str
) -> None:
    assert choose_host(with_hosts(*hosts), asked) == chosen


def test_several_hosts_and_none_of_them_this_machine_is_a_question() -> None:
    with pytest.raises(BadInputError) as refused:
        choose_host(with_hosts("box", "spare"), None)
    assert refused.value.render() == (
        f"which host?\nthe inventory has box, spare, this machine is {here()}\nTo fix: name one with --host"
    )


def test_right_inventory_becomes_a_tree_for_its_host() -> None:
    tree, notices = build(CHECKOUT, MINIMAL)
    drop_ins = [file.account for file in tree if file.account is not None]
    assert (tree.host, notices, drop_ins) == ("box", (), ["carol", "j.doe@lab-x.org", "alice", "bob"])


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "1 problem in the inventory; nothing was written\nf:1:1: x; y"),
        (2, "2 problems in the inventory; nothing was written\nf:1:1: x; y\nf:1:1: x; y"),
    ],
)
def test_error_counts_its_problems_and_shows_no_notice(count: int, text: str) -> None:
    problem, notice = Problem(Place("f"), "x", "y"), Problem(Place("f"), "z", "y", notice=True)
    error = InventoryError((*[problem] * count, notice))
    assert (error.render(), error.exit_code) == (text, ExitCode.BAD_INPUT)


def test_validation_says_each_thing_once_and_in_order(tmp_path: Path) -> None:
    inventory = Path(shutil.copytree(MINIMAL, tmp_path / "inventory"))
    policy = inventory / "resource-limits.yaml"
    policy.write_text(policy.read_text().replace("memory: 8g", "memory: x").replace("gateway: off", "gateway: x"))
    problems, _ = validate(load_inventory(inventory), "box", load_schemas(CHECKOUT / "schemas"))
    assert list(problems) == sorted(set(problems))


def test_policy_that_breaks_its_own_schema_is_a_fault_of_ours(tmp_path: Path) -> None:
    schemas = Path(shutil.copytree(CHECKOUT / "schemas", tmp_path / "schemas"))
    policy = schemas / "policy.schema.json"
    policy.write_text(policy.read_text().replace('"const": 1', '"const": 2'))
    with pytest.raises(Ds01Error) as refused:
        check(tmp_path, MINIMAL, None)
    assert refused.value.render() == (
        "the compiled policy breaks schemas/policy.schema.json\n$.version: 2 was expected\n"
        "To fix: report it: a fault of DS01"
    )
