"""Builds the fake libnvidia-ml.so.1 from library/*.c with the machine's C compiler; nothing is built twice."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

SOURCES = Path(__file__).with_name("library")
NAME = "libnvidia-ml.so.1"
# The name inside the file is what the dynamic linker knows it by once it is loaded (see fixture.py).
FLAGS = (
    *("-std=c17", "-O1", "-Wall", "-Wextra", "-Werror"),
    *("-fPIC", "-shared", "-fvisibility=hidden", "-pthread", f"-Wl,-soname,{NAME}"),
)


def build(folder: Path, usual: str | None = None) -> Path:
    """Return the library's path, below a folder that is named after its sources.

    Args:
        usual: the description that is read where the environment names none; None for none.

    Raises:
        FileNotFoundError: there is no `cc`; on Debian it comes with gcc and libc6-dev.
        RuntimeError: the compiler refused the sources; its words are in the message.
    """
    sources = sorted(SOURCES.iterdir())
    flags = FLAGS if usual is None else (*FLAGS, f'-DUSUAL_DESCRIPTION="{usual}"')
    digest = hashlib.sha256(repr([flags, [(path.name, path.read_bytes()) for path in sources]]).encode()).hexdigest()
    library = folder / digest[:16] / NAME
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        # Another process may be building the same: whoever is last puts the same file there.
        unfinished = library.with_name(f"{NAME}.{os.getpid()}")
        command = ["cc", *flags, "-o", unfinished, *(path for path in sources if path.suffix == ".c")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{SOURCES} does not compile:\n{done.stderr}")
        unfinished.rename(library)
    return library
