"""A host with NVIDIA's library, whose hardware a test describes: for other programs, and for the test's own process."""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from tests.fake_nvml.build import build

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.fake_nvml.description import Host

VARIABLE = "FAKE_NVML_FILE"


@dataclass(frozen=True, slots=True)
class FakeNvml:
    """The built library and the description it reads."""

    library: Path
    file: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """What a program needs, beside its own environment, to see the described hardware."""
        return {"LD_LIBRARY_PATH": os.fspath(self.library.parent), VARIABLE: os.fspath(self.file)}

    def write(self, description: Host | str) -> None:
        """Describe other hardware; whoever looks at the moment sees the old or the new, nothing between."""
        unfinished = self.file.with_name(f"{self.file.name}.{os.getpid()}")
        unfinished.write_text(str(description), encoding="utf-8")
        unfinished.rename(self.file)

    def load(self) -> None:
        """Load the library into this process, for good; the description is named by the environment alone.

        LD_LIBRARY_PATH is read when a process begins. But a library that is loaded already is found by the name
        inside it, wherever it lies: from now on CDLL("libnvidia-ml.so.1") is this one.
        Source: dlopen(3), "if the same shared object is opened again"; ld.so compares DT_SONAME.
        """
        ctypes.CDLL(os.fspath(self.library))


@pytest.fixture(scope="session")
def fake_nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, built once a session."""
    return build(tmp_path_factory.mktemp("fake-nvml"))


@pytest.fixture
def fake_nvml(fake_nvml_library: Path, tmp_path: Path) -> FakeNvml:
    """A host without GPUs, until the test describes some; for programs that get its `environment`."""
    fake = FakeNvml(fake_nvml_library, tmp_path / "hardware.txt")
    fake.write("")
    return fake


@pytest.fixture
def loaded_nvml(fake_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNvml]:
    """The same for this process: `import pynvml` sees it; what the test leaves open is closed."""
    monkeypatch.setenv(VARIABLE, os.fspath(fake_nvml.file))
    fake_nvml.load()
    yield fake_nvml
    pynvml = sys.modules.get("pynvml")
    if pynvml is not None:
        fake_nvml.write("")  # no rule of the test's may keep it open
        while pynvml._nvmlLib_refcount:
            pynvml.nvmlShutdown()
