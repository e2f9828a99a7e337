"""tasks.py: every task has its line of help, every option its own, and no logic."""

from __future__ import annotations

import ast
import inspect

import pytest
import tasks as module
from invoke.collection import Collection
from invoke.tasks import Task

INDEX = Collection.from_module(module)
TASKS = {name: INDEX[name] for name in INDEX.task_names}
LONGEST_BODY = 10


def test_every_task_of_the_file_is_in_the_index() -> None:
    written = [value for value in vars(module).values() if isinstance(value, Task)]
    assert len(written) > 20
    assert set(TASKS.values()) == set(written)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_task_says_in_one_line_what_it_does(task: Task[object]) -> None:
    words = (task.__doc__ or "").strip().splitlines()[0]
    assert words
    assert words[0].isupper()
    assert words.endswith((".", "?"))
    assert len(words) <= 100


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_option_has_its_help(task: Task[object]) -> None:
    options = {argument.name: argument.help for argument in task.get_arguments()}
    assert {name: text for name, text in options.items() if not text} == {}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_task_is_a_call_and_no_more(task: Task[object]) -> None:
    function = ast.parse(inspect.getsource(task.body)).body[0]
    assert isinstance(function, ast.FunctionDef)
    body = function.body[1:]  # without the docstring
    assert sum(node.end_lineno - node.lineno + 1 for node in body if node.end_lineno) <= LONGEST_BODY
    logic = (ast.If, ast.For, ast.While, ast.Try)
    assert [type(node).__name__ for step in body for node in ast.walk(step) if isinstance(node, logic)] == []


EXPECTED = {
    "validate": {"host", "inventory", "json"},
    "render": {"host", "inventory", "check"},
    "plan": {"host", "root", "inventory", "json", "user", "check", "runtime", "older", "keep"},
    "deploy": {"host", "root", "inventory", "yes", "force", "restart-docker", "runtime", "older", "keep"},
    "rollback": {"to", "root", "yes", "force", "restart-docker", "runtime"},
    "verify": {"root", "json"},
    "history": {"root", "json"},
    "client-table": {"docker"},
    "wheelhouse": {"python"},
    "lab.build": {"suite"},
    "lab.up": {"suite", "name", "prepared", "memory", "cpus", "share"},
    "lab.run": {"cmd", "user", "folder", "env", "stdin", "timeout", "suite", "name"},
    "lab.push": {"source", "target", "suite", "name"},
    "lab.pull": {"source", "target", "suite", "name"},
    "lab.cut": {"suite", "name"},
    "lab.down": {"suite", "name", "keep-disk"},
    "lab.clean": set(),
    "lab.test": {"only", "suite", "part", "brief"},
}
FLAGS = {"json", "check", "yes", "force", "restart-docker", "runtime", "prepared", "stdin", "keep-disk", "brief"}
MORE_THAN_ONCE = {("lab.build", "suite"), ("lab.up", "share"), ("lab.run", "env"), ("plan", "keep"), ("deploy", "keep")}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_main_job_has_the_options_that_are_documented(name: str) -> None:
    found = {argument.name.replace("_", "-"): argument.kind for argument in TASKS[name].get_arguments()}
    assert found.keys() == EXPECTED[name]
    assert found == {
        option: list if (name, option) in MORE_THAN_ONCE else bool if option in FLAGS else str for option in found
    }
