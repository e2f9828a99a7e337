"""Debian packages: those this machine needs for a build, and a look into other suites of its own archive.

No archive is named here: what this machine's apt uses is what the lab uses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.lab.machine.errors import LabError
from tests.lab.machine.steps import Steps, say

from ds01.core.process import run

KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_APT: Final = Path("/etc/apt")
_DEB822: Final = re.compile(r"^URIs:\s*(\S+)", re.MULTILINE)
_ONE_LINE: Final = re.compile(r"^deb\s+(?:\[[^\]]*\]\s*)?(\S+)", re.MULTILINE)
# The main archive: not the one of security updates, not somebody else's.
_ARCHIVE: Final = re.compile(r"/debian/?$")


def install_missing(steps: Steps, packages: Sequence[str]) -> None:
    """Install what this machine lacks of the packages.

    Raises:
        LabError: apt cannot.
    """
    missing = [name for name in packages if not _installed(name)]
    if missing:
        apt = ["apt-get", "--quiet", "-o", "Acquire::Retries=3"]
        say(f"{steps.what}: this machine needs {' '.join(missing)}")
        steps.run("reading package lists", [*apt, "update"])
        install = [*apt, "--yes", "--no-install-recommends", "install", *missing]
        steps.run("installing packages on this machine", install)


def _installed(package: str) -> bool:
    return run(["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]).stdout == "installed"


def archive() -> str:
    """Return the address of the Debian archive that this machine's apt uses.

    Raises:
        LabError: none is configured.
    """
    parts = sorted((_APT / "sources.list.d").glob("*.sources"))
    found = [address for part in parts for address in _DEB822.findall(part.read_text())]
    lists = [_APT / "sources.list", *sorted((_APT / "sources.list.d").glob("*.list"))]
    found += [address for one in lists if one.exists() for address in _ONE_LINE.findall(one.read_text())]
    for address in map(str, found):
        if _ARCHIVE.search(address):
            return address
    raise LabError(
        "apt on this machine knows no Debian archive",
        f"No address in {_APT}/sources.list and {_APT}/sources.list.d ends in /debian.",
        "build on a Debian machine, or copy the cache folder of one",
    )


@dataclass(frozen=True, slots=True)
class PrivateApt:
    """An apt of its own: other suites of this machine's archive, without touching this machine's lists."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, suites: Sequence[str]) -> PrivateApt:
        """Lay out its folders and its list of sources."""
        for part in ("lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True)
        apt = cls(folder)
        address = archive()
        apt.sources.write_text("".join(f"deb [signed-by={KEYRING}] {address} {suite} main\n" for suite in suites))
        return apt

    @property
    def sources(self) -> Path:
        """The list of sources, in apt's one-line form."""
        return self.folder / "sources.list"

    @property
    def options(self) -> tuple[str, ...]:
        """What to hand to apt-get and apt-cache."""
        settings = {
            "Dir::Etc::sourcelist": self.sources,
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": self.folder / "lists",
            "Dir::Cache": self.folder / "cache",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
        }
        return tuple(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))

    def search(self, pattern: str) -> tuple[str, ...]:
        """Return the names of the packages whose whole name matches."""
        asked = run(["apt-cache", *self.options, "search", "--names-only", f"^{pattern}$"])
        return tuple(line.split(" ")[0] for line in asked.stdout.splitlines())


def newer_or_same(version: str, than: str) -> bool:
    """Compare as Debian does."""
    return run(["dpkg", "--compare-versions", version, "ge", than]).ok


def own_sources(suite: str) -> Path | None:
    """Return this machine's own sources, security updates included, when it runs that suite; else None."""
    own = _APT / "sources.list.d/debian.sources"
    release = Path("/etc/os-release").read_text()
    return own if f"VERSION_CODENAME={suite}\n" in release and own.exists() else None
