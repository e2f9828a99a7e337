"""What a test may need of the machine, and what happens where the machine lacks it.

A test says what it needs by a marker. Without it the test is skipped with the reason. With
DS01_TEST_STRICT=1, as in CI, no skip goes unnoticed: each is a failure, save those of a marker in EXCUSED.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from tests.engine.fixture import another_engine, docker_host  # noqa: F401 - pytest finds them here
from tests.fake_nvml.fixture import fake_nvml, fake_nvml_library, loaded_nvml  # noqa: F401 - pytest finds them here

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from ds01.deployer.release import Release

# A busy machine is no fault: what a property says, it says at any speed.
settings.register_profile("any-speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-speed")

STRICT = os.environ.get("DS01_TEST_STRICT") == "1"

# Skips that strict runs put up with, each with its reason.
EXCUSED = {
    "browser": "CI machines have no browser",
}

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome-headless-shell", "firefox")


def no_root() -> str | None:
    return None if os.geteuid() == 0 else "needs to run as root"


def no_browser() -> str | None:
    return None if any(map(shutil.which, BROWSERS)) else f"there is none of {', '.join(BROWSERS)}"


LACKS: dict[str, Callable[[], str | None]] = {"root": no_root, "browser": no_browser}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--lab", action="store_true", help="run the tests that need the lab's machine too")
    parser.addoption(
        "--suite", choices=["bookworm", "trixie"], help="of the lab tests in each suite, those of this one"
    )
    parser.addoption(
        "--part", choices=["waiting", "working"], help="of the lab tests, those that mostly wait, or others"
    )
    parser.addoption(
        "--brief", action="store_true", help="what CI has time for: most lab tests in one suite, and fewer power cuts"
    )
    parser.addoption("--slow", action="store_true", help="run the tests marked slow or long too")
    parser.addoption("--update-golden", action="store_true", help="write tests/golden anew; then review git diff")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, lack in LACKS.items():
        if item.get_closest_marker(marker) and (reason := lack()):
            pytest.skip(f"{marker}: {reason}")
    if item.get_closest_marker("slow") and not (STRICT or item.config.getoption("--slow")):
        pytest.skip("slow: run with --slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Deselected, not skipped: CI has no time for them, which is no lack of the machine's.
    if not config.getoption("--slow"):
        long = {item for item in items if item.get_closest_marker("long")}
        config.hook.pytest_deselected(items=list(long))
        items[:] = [item for item in items if item not in long]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    excused = any(item.get_closest_marker(marker) for marker in EXCUSED)
    if STRICT and report.skipped and not excused and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason}\nA skip is a failure with DS01_TEST_STRICT=1: install what is missing."
    return report


@pytest.fixture(autouse=True)
def _engine_of_marked(request: pytest.FixtureRequest) -> None:
    """A test marked docker finds an engine, or is skipped."""
    if request.node.get_closest_marker("docker"):
        request.getfixturevalue("docker_host")


@pytest.fixture(scope="session")
def tiny_release(tmp_path_factory: pytest.TempPathFactory) -> tuple[Release, Path]:
    """A release of this checkout's modules and one tiny package, built for real, and its folder."""
    from tests.releases import build, tiny_source  # noqa: PLC0415 - most tests need none

    folder = tmp_path_factory.mktemp("a root with a tiny release")
    release = build(tiny_source(folder / "from"), folder)
    return release, folder / "opt/ds01/releases" / release.name
