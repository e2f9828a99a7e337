"""What the kernel's driver says in /proc of the GPUs there are, without NVML: names of lost ones, signs of change.

Reads only; a machine without the driver has none of it, and that is no error.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from ds01.core.value import dataclass
from ds01.core.visible import visible
from ds01.runtime.gpu.hardware import GpuUuid
from ds01.runtime.gpu.sighting import read_uuid


@dataclass(frozen=True, slots=True)
class Listed:
    """One GPU as the kernel's driver lists it.

    Attributes:
        bus: its PCI address, such as `0000:07:00.0`.
        uuid: None while the driver could not read it (`GPU-????????-…`).
        excluded: an admin took it out of service, so that NVML shows it nowhere.
    """

    bus: str
    uuid: GpuUuid | None
    name: str
    excluded: bool = False


def list_gpus(proc: Path) -> tuple[Listed, ...]:
    """Return the GPUs by PCI address, which is the order of their index too; none when there is no driver."""
    try:
        folders = sorted((proc / "driver/nvidia/gpus").iterdir())
    except OSError:
        return ()
    return tuple(_listed(folder) for folder in folders)


def _listed(folder: Path) -> Listed:
    """Source: NVIDIA driver README, "/proc interface"; `GPU Blacklisted` before R450, `Blacklisted` long before."""
    try:
        lines = (folder / "information").read_text(errors="replace").split("\n")
    except OSError:
        lines = []
    facts = {key.strip(): value.strip() for key, colon, value in (line.partition(":") for line in lines) if colon}
    try:
        uuid = read_uuid(facts.get("GPU UUID", ""))
    except ValueError:
        uuid = None
    excluded = any(facts.get(key) == "Yes" for key in ("GPU Excluded", "GPU Blacklisted", "Blacklisted"))
    return Listed(visible(folder.name), uuid, visible(facts.get("Model", "unknown")), excluded)


def fingerprint(proc: Path) -> str | None:
    """Return a text that changes when the machine boots, the driver is exchanged, a GPU or MIG instance comes or goes.

    An instance that is made anew under the number of an older one has a new file in /proc, hence another time.

    Returns:
        None when the driver shows nothing here, so that a change could not be seen.

    Source: NVIDIA MIG user guide, "Device nodes and capabilities", /proc/driver/nvidia/capabilities/gpu0/mig/gi1/ci0.
    """
    driver = proc / "driver/nvidia"
    try:
        parts = [(proc / "sys/kernel/random/boot_id").read_text(), (driver / "version").read_text()]
        parts += sorted(each.name for each in (driver / "gpus").iterdir())
        for pattern in ("gpu*", "gpu*/mig/gi*", "gpu*/mig/gi*/ci*"):
            for folder in sorted((driver / "capabilities").glob(pattern)):
                seen = folder.stat()
                parts.append(f"{folder.relative_to(driver)} {seen.st_ino} {seen.st_mtime_ns}")
    except OSError:
        return None
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
