"""What the kernel's driver lists in /proc, and the sign that changes when the hardware does."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from tests.driver_proc import make_driver

from ds01.runtime.gpu.driver import Listed, fingerprint, list_gpus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GPUS = {
    "0000:47:00.0": "GPU-66ad7319-313a-6b24-503f-863dffa1e8cf",
    "0000:07:00.0": "GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f",
}
INSTANCES = ("gpu1/mig/gi3/ci0", "gpu1/mig/gi5/ci0")


def test_gpus_are_listed_by_address(tmp_path: Path) -> None:
    make_driver(tmp_path, GPUS | {"0000:87:00.0": "GPU-????????-????-????-????-????????????"})
    (tmp_path / "driver/nvidia/gpus/0000:c7:00.0").mkdir()
    assert list_gpus(tmp_path) == (
        Listed("0000:07:00.0", GPUS["0000:07:00.0"], "NVIDIA A100-SXM4-80GB"),
        Listed("0000:47:00.0", GPUS["0000:47:00.0"], "NVIDIA A100-SXM4-80GB"),
        Listed("0000:87:00.0", None, "NVIDIA A100-SXM4-80GB"),
        Listed("0000:c7:00.0", None, "unknown"),
    )


def test_an_excluded_gpu_is_marked(tmp_path: Path) -> None:
    make_driver(tmp_path, {"0000:07:00.0": "GPU-a"}, excluded="Yes")
    assert [each.excluded for each in list_gpus(tmp_path)] == [True]


def test_without_a_driver_there_is_neither_list_nor_sign(tmp_path: Path) -> None:
    assert (list_gpus(tmp_path), fingerprint(tmp_path)) == ((), None)
    make_driver(tmp_path, GPUS)
    (tmp_path / "driver/nvidia/version").unlink()
    assert fingerprint(tmp_path) is None


def _recreate(proc: Path) -> None:
    # The new one first, so that it cannot get the old one's inode.
    folder = proc / "driver/nvidia/capabilities/gpu1/mig/gi5"
    (folder / "new").mkdir()
    shutil.rmtree(folder / "ci0")
    (folder / "new").rename(folder / "ci0")


@pytest.mark.parametrize(
    "change",
    [
        lambda proc: (proc / "sys/kernel/random/boot_id").write_text("other\n"),
        lambda proc: (proc / "driver/nvidia/version").write_text("NVRM version: 560.28.03\n"),
        lambda proc: shutil.rmtree(proc / "driver/nvidia/gpus/0000:47:00.0"),
        lambda proc: shutil.rmtree(proc / "driver/nvidia/capabilities/gpu1/mig/gi5/ci0"),
        lambda proc: shutil.rmtree(proc / "driver/nvidia/capabilities/gpu1/mig/gi5"),
        lambda proc: (proc / "driver/nvidia/capabilities/gpu1/mig/gi3/ci1").mkdir(),
        _recreate,
    ],
)
def test_every_change_changes_the_sign(change: Callable[[Path], object], tmp_path: Path) -> None:
    make_driver(tmp_path, GPUS, INSTANCES)
    before = fingerprint(tmp_path)
    assert before is not None
    assert fingerprint(tmp_path) == before
    change(tmp_path)
    assert fingerprint(tmp_path) not in {before, None}
