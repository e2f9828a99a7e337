"""GPUs for a machine of the lab that has none: NVML's fake below the real binding, an engine that takes `--gpus`.

They are the ones that `data/host.yaml` claims. Containers get no device: there is none.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.fake_nvml.build import build
from tests.fake_nvml.fixture import VARIABLE
from tests.fake_nvml.samples import shipped_host

if TYPE_CHECKING:
    from tests.fake_nvml.description import Host
    from tests.lab.machine.machine import Machine

DESCRIPTION: Final = "/etc/lab-gpus"
# For commands of root; people have it from /etc/environment through PAM, and what sudo runs from the same file.
ENVIRONMENT: Final = {VARIABLE: DESCRIPTION}
HARDWARE: Final = shipped_host()
_SUDO: Final = "/etc/sudoers.d/lab-gpus"
# Where services have it from: now, and after each boot.
_SERVICES: Final = "/etc/systemd/system.conf.d/lab-gpus.conf"
_LIBRARY: Final = "/usr/local/lib/libnvidia-ml.so.1"
# That a program of this name is there is all that the engine looks for at its start; it tells it nothing of ours.
# Source: moby, daemon/nvidia_linux.go, init().
_HOOK: Final = "/usr/local/bin/nvidia-container-runtime-hook"


def give_gpus(machine: Machine, hardware: Host = HARDWARE) -> None:
    """Put in the library and what it tells of; Docker takes `--gpus` from its next start on."""
    with tempfile.TemporaryDirectory() as folder:
        # Programs that start others give them no environment but their own.
        machine.push(build(Path(folder), DESCRIPTION), _LIBRARY)
    describe(machine, hardware)
    machine.must(["tee", _HOOK], stdin="#!/bin/sh\n")
    machine.must(["tee", _SUDO], stdin="Defaults env_file=/etc/environment\n")
    machine.script(f"chmod 0440 {_SUDO}; echo {VARIABLE}={DESCRIPTION} >>/etc/environment")
    machine.script(f"mkdir -p {_SERVICES.rpartition('/')[0]}; systemctl set-environment {VARIABLE}={DESCRIPTION}")
    machine.must(["tee", _SERVICES], stdin=f"[Manager]\nDefaultEnvironment={VARIABLE}={DESCRIPTION}\n")
    machine.script(f"chmod 0755 {_HOOK} {_LIBRARY}; ldconfig; sync")


def describe(machine: Machine, hardware: Host) -> None:
    """Exchange the hardware."""
    machine.must(["tee", DESCRIPTION], stdin=str(hardware))
