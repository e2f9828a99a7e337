"""An NVML library that says what no driver should, to the real pynvml in a process of its own (nvml_library.c).

fake_nvml describes hardware as it can be, and refuses any other. Here names may be bytes that are no text, and a
function may fail at its n-th call alone.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

SCRIPTS: Final = Path(__file__).resolve().parents[1] / "scripts"
SOURCE: Final = Path(__file__).with_suffix(".c")
_ASK: Final = """
import pickle, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from ds01.core.paths import HostPaths
from ds01.runtime.gpu import devices, nvml
from ds01.runtime.gpu.hardware import DevicesError
{prelude}
try:
    answer = {question}
except DevicesError as error:
    answer = [(type(error).__name__, error.brief, error.details, error.resolution)]
sys.stdout.buffer.write(pickle.dumps(answer))
"""


def build(folder: Path) -> None:
    """Compile the library into a folder."""
    library = folder / "libnvidia-ml.so.1"
    argv = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1"]
    subprocess.run([*argv, "-o", library, SOURCE], check=True)


class Library:
    """A compiled library in a folder, and what it is to say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.say()

    def say(self, *lines: tuple[object, ...]) -> None:
        """Set what the machine is like; a line a tuple."""
        text = "".join("\t".join(map(str, line)) + "\n" for line in lines)
        (self.folder / "state").write_text(text)

    @property
    def calls(self) -> list[str]:
        """How often NVML was started and ended."""
        noted = self.folder / "calls"
        return noted.read_text().split() if noted.exists() else []

    def ask(self, question: str, *, prelude: str = "", library: bool = True) -> Any:
        """Evaluate a question in a process that finds the library; a DevicesError comes as a list of its parts."""
        code = _ASK.format(question=question, prelude=prelude)
        done = subprocess.run(
            [sys.executable, "-c", code, SCRIPTS],
            env={"LD_LIBRARY_PATH": str(self.folder)} if library else {},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        assert done.stderr == b""
        return pickle.loads(done.stdout)
