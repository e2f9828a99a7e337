"""The cache of the last look: believed while nothing changed and root wrote it; otherwise as if there were none."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from ds01.core.paths import HostPaths
from ds01.runtime.gpu.hardware import Gpu, GpuUuid, MigInstance
from ds01.runtime.gpu.topology import OLDEST_SECONDS, recall, recall_any, remember

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.root  # only root writes it

GIB = 1024**3
GPUS = (
    Gpu(0, GpuUuid("GPU-a"), "NVIDIA A100-SXM4-80GB", 80 * GIB),
    Gpu(
        1,
        GpuUuid("GPU-b"),
        "NVIDIA A30",
        24 * GIB,
        slices=4,
        slices_known=False,
        mig=True,
        instances=(MigInstance(GpuUuid("MIG-GPU-b/3/0"), 3, 0, "2g.12gb", 2, 12 * GIB),),
    ),
)


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    made = HostPaths(tmp_path)
    remember(made, GPUS, "sign", 100.0)
    return made


def test_a_look_is_kept_for_everybody_to_read(paths: HostPaths) -> None:
    assert recall(paths, "sign", 100.0 + OLDEST_SECONDS) == GPUS
    assert recall_any(paths) == GPUS
    assert paths.gpu_topology.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("sign", "now"), [("other", 101.0), (None, 101.0), ("sign", 100.1 + OLDEST_SECONDS), ("sign", 99.0)]
)
def test_a_change_or_five_minutes_end_it(paths: HostPaths, sign: str | None, now: float) -> None:
    assert recall(paths, sign, now) is None


def test_a_problem_or_no_sign_is_never_kept(tmp_path: Path) -> None:
    paths = HostPaths(tmp_path)
    remember(paths, (*GPUS, Gpu(2, GpuUuid("GPU-c"), "A100", 0, problem="lost")), "sign", 1.0)
    remember(paths, GPUS, None, 1.0)
    assert not paths.gpu_topology.exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "\xff",
        '{"version": 2}',
        '{"version": 1}',
        '{"version": 1, "fingerprint": "sign", "seen_at": "100", "gpus": []}',
        '{"version": 1, "fingerprint": "sign", "seen_at": 100, "gpus": {}}',
        '{"version": 1, "fingerprint": "sign", "seen_at": 100, "gpus": [1]}',
    ],
)
def test_a_file_that_is_not_whole_is_as_none(paths: HostPaths, text: str) -> None:
    paths.gpu_topology.write_text(text)
    assert (recall(paths, "sign", 101.0), recall_any(paths)) == (None, ())
    remember(paths, GPUS, "sign", 100.0)
    assert recall(paths, "sign", 101.0) == GPUS


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("index", "0"),
        ("index", -1),
        ("index", True),
        ("uuid", "GPU-\x1b[2J"),
        ("uuid", None),
        ("memory_bytes", 1.5),
        ("slices", 0),
        ("slices_known", None),
        ("mig", 1),
        ("instances", None),
        ("instances", [{}]),
        ("problem", "lost"),
    ],
)
def test_a_gpu_of_another_kind_is_not_believed(paths: HostPaths, key: str, value: object) -> None:
    found = json.loads(paths.gpu_topology.read_text())
    found["gpus"][1][key] = value
    paths.gpu_topology.write_text(json.dumps(found))
    assert recall(paths, "sign", 101.0) is None


@pytest.mark.parametrize("spoil", [lambda path: path.chmod(0o666), lambda path: os.chown(path, 1000, 1000)])
def test_root_believes_roots_file_only(paths: HostPaths, spoil: object) -> None:
    assert callable(spoil)
    spoil(paths.gpu_topology)
    assert (recall(paths, "sign", 101.0), recall_any(paths)) == (None, ())


def test_a_folder_that_takes_no_file_costs_a_warning_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "run").write_text("")
    remember(HostPaths(tmp_path), GPUS, "sign", 1.0)
    assert "the GPUs found were not kept in" in caplog.text
