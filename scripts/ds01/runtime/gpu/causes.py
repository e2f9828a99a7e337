"""What NVML's errors usually mean, and what an admin does about each. Pure.

Source: NVML API reference, "nvmlReturn_t"; causes and fixes from NVIDIA's deployment guides and Xid catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping

from ds01.core.typed import Final
from ds01.core.value import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """The usual cause of an error, and its fix."""

    cause: str
    fix: str


_LOG: Final = "look for NVRM and Xid in: journalctl -k -b"
_RESET: Final = "end what runs on it, then: nvidia-smi --gpu-reset -i INDEX; if that fails, reboot"
UNLISTED: Final = Cause("the driver gives no reason", f"{_LOG}; report it to the maker of the server")

CAUSES: Final[Mapping[str, Cause]] = {
    "NVML_ERROR_UNINITIALIZED": Cause("NVML was used before it started", "this is a mistake in DS01; report it"),
    "NVML_ERROR_INVALID_ARGUMENT": Cause(
        "the driver does not know what it is asked for, or the GPU is being set up anew", "try again in a minute"
    ),
    "NVML_ERROR_NOT_SUPPORTED": Cause("this GPU or this driver has no such thing", "update the driver"),
    "NVML_ERROR_NO_PERMISSION": Cause(
        "/dev/nvidia* or the MIG capability may not be opened by this account", "run the command as root (sudo)"
    ),
    "NVML_ERROR_NOT_FOUND": Cause("it was there a moment ago and is gone", "try again in a minute"),
    "NVML_ERROR_INSUFFICIENT_SIZE": Cause("the list grew while it was read", "try again"),
    "NVML_ERROR_INSUFFICIENT_POWER": Cause(
        "a power cable of the GPU is missing or loose", "shut the server down and check the GPU's power cables"
    ),
    "NVML_ERROR_DRIVER_NOT_LOADED": Cause(
        "the kernel module is not loaded: no driver for this kernel (often after a kernel update), or Secure Boot"
        " refuses it",
        "modprobe nvidia; if it is not found, rebuild it for this kernel (dkms autoinstall) and reboot",
    ),
    "NVML_ERROR_TIMEOUT": Cause("the GPU or its driver hangs", f"{_LOG}; {_RESET}"),
    "NVML_ERROR_IRQ_ISSUE": Cause("interrupts of the GPU do not arrive", f"{_LOG}; update the server's firmware"),
    "NVML_ERROR_LIBRARY_NOT_FOUND": Cause(
        "libnvidia-ml.so.1 is not installed or cannot be loaded",
        "install the driver's NVML library (on Debian and Ubuntu: libnvidia-ml1 or libnvidia-compute-<version>)",
    ),
    "NVML_ERROR_FUNCTION_NOT_FOUND": Cause("the installed driver is too old to tell this", "update the driver"),
    "NVML_ERROR_CORRUPTED_INFOROM": Cause(
        "the GPU's configuration memory is damaged", "the board must be repaired or exchanged"
    ),
    "NVML_ERROR_GPU_IS_LOST": Cause(
        "it fell off the bus: a hardware fault, heat, or power (Xid 79)",
        f"{_LOG}; only a reboot or a power cycle brings it back; if it happens again, the board or its cables are bad",
    ),
    "NVML_ERROR_RESET_REQUIRED": Cause("an error left it unusable until it is reset", f"{_LOG}; {_RESET}"),
    "NVML_ERROR_OPERATING_SYSTEM": Cause(
        "the operating system blocked the request: often a device cgroup, a sandbox or SELinux",
        "run the command on the host itself, as root; see journalctl -k",
    ),
    "NVML_ERROR_LIB_RM_VERSION_MISMATCH": Cause(
        "the driver was upgraded, and the kernel still runs the module of before",
        "reboot, or end everything on the GPUs and load the new module (rmmod nvidia_uvm nvidia, modprobe nvidia)",
    ),
    "NVML_ERROR_IN_USE": Cause("another program holds the GPU exclusively", "try again; see fuser -v /dev/nvidia*"),
    "NVML_ERROR_MEMORY": Cause("the server or the driver is out of memory", "see free -m and journalctl -k"),
    "NVML_ERROR_NO_DATA": Cause("the driver has no figure yet", "try again in a minute"),
    "NVML_ERROR_INSUFFICIENT_RESOURCES": Cause("the driver ran out of resources", "end programs on the GPUs"),
    "NVML_ERROR_ARGUMENT_VERSION_MISMATCH": Cause(
        "NVML's library and its Python binding are of different times", "update the driver"
    ),
    "NVML_ERROR_NOT_READY": Cause(
        "the GPU is still starting, or waits for nvidia-fabricmanager",
        "systemctl status nvidia-fabricmanager; try again in a minute",
    ),
    "NVML_ERROR_GPU_NOT_FOUND": Cause("the GPU is not there any more", f"{_LOG}; reboot"),
    "NVML_ERROR_INVALID_STATE": Cause("the GPU is between two states", "try again in a minute"),
    "NVML_ERROR_UNKNOWN": Cause(
        "the driver or the GPU failed; often a GPU that fell off the bus, or a driver that was half upgraded",
        f"{_LOG}; {_RESET}",
    ),
}


def explain(code: str) -> Cause:
    """Return the usual cause and the fix of an error by NVML's name for it."""
    return CAUSES.get(code, UNLISTED)


def in_words(code: str) -> str:
    """Return an error with its usual cause and fix in one line."""
    cause = explain(code)
    return f"{code}: {cause.cause}; {cause.fix}"
