"""Lab tests need `--lab` or DS01_LAB=1: they build a machine on first use and take minutes.

Without it they are deselected, not skipped. With it nothing is let off: a machine that cannot be built fails every
test, and its cause is the last thing that is printed.
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest
from tests.lab.machine.cli import cache_from_environment
from tests.lab.machine.lab import Lab
from tests.lab.machine.settings import Suite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.machine.machine import Machine

LAB = pytest.StashKey[Lab]()
# Modules whose tests mostly wait for a clock or a boot: beside the others they take hardly any time.
WAITING = frozenset(
    {"test_events_power_cut", "test_gpu_power_cut", "test_lifecycle", "test_power", "test_power_cut", "test_pressure"}
)
# What --brief runs in both suites: the machine itself, and what an administrator does with it first.
BRIEF_IN_BOTH = frozenset({"test_deploy", "test_machine", "test_power", "test_prepared", "test_ready"})
# What it leaves out: these tests run on this machine too, on an engine of bookworm's version.
BRIEF_WITHOUT = frozenset({"test_engine"})
BRIEF_SHARE = 4
EVIDENCE = pytest.StashKey[dict[str, list[str]]]()


def wanted(config: pytest.Config) -> bool:
    return os.environ.get("DS01_LAB") == "1" or bool(config.getoption("--lab", default=False))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "lab: needs the lab's machine (--lab or DS01_LAB=1)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not wanted(config):
        lab = [item for item in items if item.get_closest_marker("lab")]
        deselect(config, items, lab)
        return
    if suite := config.getoption("--suite", default=None):
        deselect(config, items, [item for item in items if suites_of(item) - {suite}])
    if config.getoption("--brief", default=False):
        deselect(config, items, [item for item in items if not in_brief(item)])
    if part := config.getoption("--part", default=None):
        deselect(config, items, [item for item in items if (item.path.stem in WAITING) != (part == "waiting")])


def deselect(config: pytest.Config, items: list[pytest.Item], unwanted: list[pytest.Item]) -> None:
    config.hook.pytest_deselected(items=unwanted)
    items[:] = [item for item in items if item not in set(unwanted)]


def suites_of(item: pytest.Item) -> set[Suite]:
    """The suites a test is parametrized with; none when it runs once and chooses itself."""
    callspec = getattr(item, "callspec", None)
    return {value for value in callspec.params.values() if isinstance(value, Suite)} if callspec else set()


def in_brief(item: pytest.Item) -> bool:
    """Each test in one suite at least, but for what runs without the lab too."""
    name = item.path.stem
    return name in BRIEF_IN_BOTH or (name not in BRIEF_WITHOUT and Suite.TRIXIE not in suites_of(item))


@pytest.fixture(scope="module", params=list(Suite))
def suite(request: pytest.FixtureRequest) -> Suite:
    """Either suite in turn."""
    return Suite(request.param)


@pytest.fixture(scope="module")
def prepared(lab: Lab, suite: Suite) -> Iterator[Machine]:
    """A machine of either suite with the checkout ready, one for all tests of a module."""
    with lab.prepared(f"prepared-{suite}", suite) as machine:
        yield machine


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest) -> Lab:
    capture = request.config.pluginmanager.getplugin("capturemanager")
    aloud = capture.global_and_fixture_disabled if capture else nullcontext
    return request.config.stash.setdefault(LAB, Lab(cache_from_environment(), aloud))


@pytest.fixture(scope="session")
def share(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """Says how often something random is done that is done so often in a whole run."""
    brief = request.config.getoption("--brief")
    return lambda times: -(-times // BRIEF_SHARE) if brief else times


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Takes what was measured; shown at the end of the run, test by test, also when all went well."""
    told = request.config.stash.setdefault(EVIDENCE, {})
    return lambda words: told.setdefault(request.node.nodeid, []).extend(words.splitlines())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    told = config.stash.get(EVIDENCE, {})
    if told:
        terminalreporter.section("evidence")
    for test, lines in told.items():
        terminalreporter.write_line(test)
        for line in lines:
            terminalreporter.write_line(f"    {line}")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    found = config.stash.get(LAB, None)
    if found is not None and found.failure is not None:
        sys.stderr.write(f"\nTHE LAB CANNOT BE BUILT, so its tests failed:\n{found.failure.render()}\n")
