"""From `./inv wheelhouse` to a machine without a network: the real packages, the real ./inv, no network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ds01.core.errors import ExitCode
from ds01.program import main

CHECKOUT = Path(__file__).resolve().parents[2]
CUT_OFF = ["unshare", "--net"]


@pytest.mark.slow
@pytest.mark.root
def test_wheelhouse_serves_a_checkout_that_has_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(CHECKOUT, clone, symlinks=True, ignore=shutil.ignore_patterns(".*", "wheelhouse", "__pycache__"))
    monkeypatch.delitem(sys.modules, "tasks", raising=False)  # put back afterwards
    assert main(["inv", "wheelhouse"], checkout=clone) == ExitCode.DONE

    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "SUDO_"))}
    environment = {**kept, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1"}

    def cut_off(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*CUT_OFF, *words], cwd=clone, env=environment, capture_output=True, text=True, check=False
        )

    assert cut_off("cat", "/proc/net/route").stdout.splitlines()[1:] == []
    first = cut_off("./inv", "validate")
    assert (first.returncode, first.stderr.splitlines()[1]) == (ExitCode.DONE, "inv: .venv is ready"), first.stderr
    assert first.stdout.startswith("0 problems, ")
    assert cut_off("./inv", "wheelhouse").returncode == ExitCode.FAILED
