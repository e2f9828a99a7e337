"""The folder of packages beside `inv`, from which .venv is made on a machine without a network."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ds01.core.errors import BadInputError, Ds01Error, ExitCode
from ds01.core.process import stream
from ds01.core.terminal import say
from ds01.core.words import count

NAME: Final = "wheelhouse"
LOCK: Final = "requirements/dev.txt"  # requirements/host.txt is a part of it
_OLDEST: Final = 11
_VERSION: Final = re.compile(r"3\.([1-9][0-9]?)", re.ASCII)
# pip's last ERROR only says that no version was found; the network's word is in the warnings before it.
_NETWORK: Final = re.compile(r"\[Errno -?[0-9]+\] [^'\")]+|timed out|[A-Za-z]*(?:SSL|Proxy)Error\(.*")
_NO_WHEEL: Final = re.compile(r"No matching distribution found for (\S+)")


def make_wheelhouse(checkout: Path, pythons: Sequence[str]) -> int:
    """Make `wheelhouse/` of a checkout anew; the old one stays until the new one is whole.

    Raises:
        Ds01Error: as fill().
    """
    new, place, log = (checkout / f"{NAME}{end}" for end in (".new", "", ".log"))
    shutil.rmtree(new, ignore_errors=True)
    try:
        fill(new, checkout / LOCK, pythons, log)
        shutil.rmtree(place, ignore_errors=True)
        new.rename(place)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    log.unlink()
    wheels = [wheel.stat().st_size for wheel in place.iterdir()]
    versions = " and ".join(pythons)
    say(f"wheelhouse: {count(len(wheels), 'package')}, {sum(wheels) / 1e6:.0f} MB, for Python {versions}: {place}")
    say("on a machine without a network: copy this folder beside inv there, then run ./inv --list")
    return ExitCode.DONE


def fill(folder: Path, lock: Path, pythons: Sequence[str], log: Path) -> None:
    """Download every wheel of a lock into a folder, each held against its hash.

    Args:
        pythons: such as `3.11`; their wheels lie side by side. They are for this machine's architecture.
        log: all that pip says.

    Raises:
        Ds01Error: it cannot be downloaded; the message names the cause.
    """
    if not lock.is_file():
        raise Ds01Error(f"{lock} is missing", "The checkout is not whole.", "git status shows what is gone")
    folder.mkdir(parents=True)
    log.write_bytes(b"")
    for python in pythons:
        say(f"wheelhouse: downloading the packages of {lock.name} for Python {python} ...")
        with log.open("ab") as file:
            code = stream([*_download(lock, python), os.fspath(folder)], folder=os.fspath(folder), log=file)
        if code != 0:
            raise _failure(python, log)


def _download(lock: Path, python: str) -> tuple[str, ...]:
    pip = (sys.executable, "-I", "-m", "pip", "download", "--disable-pip-version-check", "--no-input")
    return (*pip, "--require-hashes", "--only-binary=:all:", f"--python-version={python}", f"-r{lock}", "--dest")


def _failure(python: str, log: Path) -> Ds01Error:
    text = log.read_text(errors="replace")
    brief = f"the packages for Python {python} could not be downloaded"
    said = f"All that pip said is in {log}."
    if "DO NOT MATCH THE HASHES" in text:
        cause = f"A downloaded package is not the one that {LOCK} names (its hash differs)."
        fix = "do not go round this: ask who runs the package index or proxy why it serves another file"
        return Ds01Error(brief, f"{cause}\n{said}", fix)
    network = _NETWORK.findall(text)
    if not network and (package := _NO_WHEEL.search(text)):
        cause = f"There is no wheel of {package[1]} for Python {python} on this kind of machine."
        return Ds01Error(brief, f"{cause}\n{said}", "choose a version that requirements/README.md names (--python)")
    lines = [*text.splitlines(), "pip said nothing"]
    errors = [line for line in lines if line.startswith("ERROR")]
    cause = network[-1] if network else [*errors[-1:], lines[-2] if len(lines) > 1 else lines[-1]][0]
    return Ds01Error(brief, f"{cause}\n{said}", "check the network, the proxy (https_proxy) and pip config, then again")


def read_pythons(text: str | None) -> tuple[str, ...]:
    """Read `3.11,3.13`; None is the Python that runs.

    Raises:
        BadInputError: it names a version that DS01 does not run on, or none.
    """
    if text is None:
        return (f"{sys.version_info.major}.{sys.version_info.minor}",)
    versions = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for version in versions:
        match = _VERSION.fullmatch(version)
        if match is None or int(match[1]) < _OLDEST:
            raise BadInputError(f"--python {version!r} is no Python from 3.{_OLDEST} on", None, "such as 3.11,3.13")
    return versions
