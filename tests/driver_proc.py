"""A procfs as NVIDIA's driver fills it, in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Final

BOOT: Final = "5b0e9c9e-2f6b-4f3c-8f5e-0c7f7f1f2a11"
VERSION: Final = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.90.07  Fri May 31 09:35:42 UTC 2024\n"
    "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"
)


def make_driver(proc: Path, gpus: dict[str, str], instances: tuple[str, ...] = (), *, excluded: str = "No") -> None:
    """Fill a folder.

    Args:
        gpus: PCI address to UUID.
        instances: such as `gpu0/mig/gi3/ci0`.
    """
    driver = proc / "driver/nvidia"
    (proc / "sys/kernel/random").mkdir(parents=True, exist_ok=True)
    (proc / "sys/kernel/random/boot_id").write_text(f"{BOOT}\n")
    (driver / "capabilities").mkdir(parents=True, exist_ok=True)
    (driver / "version").write_text(VERSION)
    for number, (bus, uuid) in enumerate(gpus.items()):
        (driver / "gpus" / bus).mkdir(parents=True, exist_ok=True)
        (driver / "gpus" / bus / "information").write_text(
            f"Model: \t\t NVIDIA A100-SXM4-80GB\nIRQ:   \t\t 77\nGPU UUID: \t {uuid}\nVideo BIOS: \t 92.00.45.00.03\n"
            f"Bus Type: \t PCIe\nDMA Size: \t 47 bits\nDMA Mask: \t 0x7fffffffffff\nBus Location: \t {bus}\n"
            f"Device Minor: \t {number}\nGPU Firmware: \t 550.90.07\nGPU Excluded:\t {excluded}\n"
        )
        (driver / "capabilities" / f"gpu{number}" / "mig").mkdir(parents=True, exist_ok=True)
    for each in instances:
        folder = driver / "capabilities" / each
        folder.mkdir(parents=True)
        (folder / "access").write_text("DeviceFileMinor: 31\nDeviceFileMode: 292\nDeviceFileModify: 1\n")
