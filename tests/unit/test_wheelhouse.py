"""The wheelhouse task: which Pythons, and what it says of a download that fails."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from tests.wheel import make_wheel

from ds01.core.errors import BadInputError, Ds01Error, ExitCode
from ds01.wheelhouse import LOCK, make_wheelhouse, read_pythons

CHECKOUT = Path(__file__).resolve().parents[2]
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
PORT_9 = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "1", "PIP_CONFIG_FILE": "/dev/null"}


@pytest.mark.parametrize(
    ("text", "versions"),
    [(None, (RUNNING,)), ("3.12", ("3.12",)), ("3.11,3.13", ("3.11", "3.13")), ("3.13, 3.11,3.13", ("3.13", "3.11"))],
)
def test_pythons_are_read_once_each_in_the_order_given(text: str | None, versions: tuple[str, ...]) -> None:
    assert read_pythons(text) == versions


@pytest.mark.parametrize("text", ["", "3", "3.10", "4.0", "3.11,", "3.011", "3.13.1", "three", "3.1१"])
def test_what_is_no_python_of_ours_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="is no Python from"):
        read_pythons(text)


def packages(name: str) -> set[str]:
    """Each package of a lock with its version, its condition and its hashes."""
    text = re.sub(r"^\s*#.*\n", "", (CHECKOUT / "requirements" / name).read_text(), flags=re.MULTILINE)
    return set(text.replace("\\\n", "").splitlines())


def test_what_a_host_needs_is_part_of_what_is_downloaded() -> None:
    host = packages("host.txt")
    assert len(host) > 3
    assert host - packages("dev.txt") == set()


NO_SUCH_HASH = f"tiny==1 --hash=sha256:{'0' * 64}\n"


def lock(folder: Path, text: str = NO_SUCH_HASH) -> Path:
    path = folder / LOCK
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package index: port 9 of this very machine refuses at once."""
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    for name, value in PORT_9.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def links(offline: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the package index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    return tmp_path / "links"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return tmp_path / "checkout"


@pytest.mark.usefixtures("offline")
def test_unreachable_index_is_named_and_the_old_wheelhouse_stays(checkout: Path) -> None:
    lock(checkout)
    make_wheel(checkout / "wheelhouse", "7")
    with pytest.raises(Ds01Error) as caught:
        make_wheelhouse(checkout, ["3.12"])
    assert caught.value.render() == (
        "the packages for Python 3.12 could not be downloaded\n"
        "[Errno 111] Connection refused\n"
        f"All that pip said is in {checkout}/wheelhouse.log.\n"
        "To fix: check the network, the proxy (https_proxy) and pip config, then again"
    )
    found = sorted(str(path.relative_to(checkout)) for path in checkout.rglob("*"))
    assert found == [
        "requirements",
        "requirements/dev.txt",
        "wheelhouse",
        "wheelhouse.log",
        "wheelhouse/tiny-7-py3-none-any.whl",
    ]


def test_wheelhouse_is_made_anew_and_says_how_to_use_it(
    checkout: Path, links: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock(checkout, make_wheel(links, "2"))
    make_wheel(checkout / "wheelhouse", "1")
    assert make_wheelhouse(checkout, ["3.11", "3.13"]) == ExitCode.DONE
    assert capsys.readouterr().err == (
        "wheelhouse: downloading the packages of dev.txt for Python 3.11 ...\n"
        "wheelhouse: downloading the packages of dev.txt for Python 3.13 ...\n"
        f"wheelhouse: 1 package, 0 MB, for Python 3.11 and 3.13: {checkout}/wheelhouse\n"
        "on a machine without a network: copy this folder beside inv there, then run ./inv --list\n"
    )
    found = sorted(str(path.relative_to(checkout)) for path in checkout.rglob("*"))
    assert found == ["requirements", "requirements/dev.txt", "wheelhouse", "wheelhouse/tiny-2-py3-none-any.whl"]


def test_python_for_which_there_is_no_wheel_is_named(checkout: Path, links: Path) -> None:
    lock(checkout)
    with pytest.raises(Ds01Error) as caught:
        make_wheelhouse(checkout, ["3.99"])
    cause = "There is no wheel of tiny==1 for Python 3.99 on this kind of machine."
    assert caught.value.details == f"{cause}\nAll that pip said is in {checkout}/wheelhouse.log."


def test_package_with_another_hash_is_refused(checkout: Path, links: Path) -> None:
    make_wheel(links, "1")
    lock(checkout)
    with pytest.raises(Ds01Error) as caught:
        make_wheelhouse(checkout, ["3.11"])
    assert str(caught.value.details).startswith(f"A downloaded package is not the one that {LOCK} names")


def test_missing_lock_is_named(tmp_path: Path) -> None:
    with pytest.raises(Ds01Error, match=r"dev\.txt is missing"):
        make_wheelhouse(tmp_path, ["3.11"])
