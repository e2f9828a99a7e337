"""Builds a release of the runtime from a checkout: a virtual environment, DS01's own modules, the commands.

Works beside the installed releases and puts the folder in its place when it is whole and on disk; what is in force
is not touched. Packages come from the locked requirements, each held against its hash by pip.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from ds01 import __version__
from ds01.core.errors import Ds01Error
from ds01.core.paths import HostPaths
from ds01.core.process import Completed, Run
from ds01.core.tree import sha256
from ds01.deployer.files import Walk, explain, make_folder
from ds01.deployer.release import LAUNCHERS, RELEASES, Release, candidates
from ds01.deployer.releases import MANIFEST, UNFINISHED, discard, release_manifest

# What a host needs of scripts/ds01; the generator stays in the checkout.
PARTS: Final = ("__init__.py", "cli.py", "verify.py", "core", "deployer", "runtime")
_OWN: Final = ("ds01", "Python")
_PIN: Final = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+)(?:\s*;\s*(.*?))?(?:\s+--hash.*)?\s*\\?$", re.MULTILINE)
_PIP_SECONDS: Final = 900
# How pip says what went wrong; its last ERROR alone only says that no version was found.
_CAUSES: Final = re.compile(r"HASHES.*|\[Errno [-0-9]+\] [^'\")]+|No space left on device|timed out|\w*SSLError.*")
# What of the caller's environment pip may see: how to reach its index, and nothing that names programs.
_FOR_PIP: Final = re.compile(
    r"PIP_\w+|(HTTPS?|NO|ALL)_PROXY|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|HOME", re.IGNORECASE
)
# Kernels before 5.1 read no more of a first line, and leave out the rest. Source: execve(2), "Interpreter scripts".
_GARBAGE: Final = 50_000
_LONGEST_SHEBANG: Final = 126


class InstallError(Ds01Error):
    """The runtime cannot be built; nothing of the host was changed."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a release is built from.

    Attributes:
        package: the folder scripts/ds01.
        lock: requirements/host.txt.
        wheelhouse: a folder of wheels to use instead of an index, None for the index.
        python: the interpreter that runs us; its pip installs, its base interpreter will run the release.
    """

    package: Path
    lock: Path
    wheelhouse: Path | None
    python: Path

    @classmethod
    def of_checkout(cls, checkout: Path) -> Source:
        """Return what lies in a checkout."""
        wheels = checkout / "wheelhouse"
        return cls(
            checkout / "scripts/ds01",
            checkout / "requirements/host.txt",
            wheels if wheels.is_dir() else None,
            Path(sys.executable),
        )

    def release(self) -> Release:
        """Return the release that would be built; its name changes with everything it is made from.

        Raises:
            InstallError: a part of the checkout is missing.
        """
        try:
            lock = self.lock.read_bytes()
            parts = [f"{name}\0{sha256(path.read_bytes())}" for name, path in self.modules()]
            pinned = _pinned(lock.decode())
        except (OSError, UnicodeDecodeError) as error:
            brief = "the runtime cannot be built: the checkout is not whole"
            raise InstallError(brief, str(error), "git status shows what is gone or changed") from error
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        # How it is built is among the parts: this very module.
        made_from = [platform.machine(), python, sha256(lock), *parts]
        digest = sha256("\n".join(made_from).encode())
        packages = {**dict(zip(_OWN, (__version__, python), strict=True)), **pinned}
        return Release(f"{__version__}-{digest[:12]}", packages)

    def modules(self) -> Iterator[tuple[str, Path]]:
        """Yield path below the package, and file, of everything a host needs."""
        for part in PARTS:
            whole = self.package / part
            inside = [path for path in sorted(whole.rglob("*")) if path.suffix in {".py", ".json"}]
            for path in inside if whole.is_dir() else [whole]:
                yield path.relative_to(self.package).as_posix(), path


def _pinned(lock: str) -> dict[str, str]:
    """Return the packages a lock names for Linux, with their versions."""
    return {name: version for name, version, marker in _PIN.findall(lock) if "win32" not in marker}


def install(
    source: Source,
    release: Release,
    paths: HostPaths,
    run: Run,
    environment: Mapping[str, str],
    say: Callable[[str], None],
) -> None:
    """Build a release and put it beside the others.

    Args:
        environment: the caller's, from which pip learns how to reach its index.
        say: told what goes on, a line each.

    Raises:
        InstallError: a step failed; says which, why and what to do. What was begun is removed again.
        FilesError: the folder cannot be written.
    """
    base = _trusted_python(source.python)
    make_folder(paths, RELEASES)
    if os.path.lexists(paths.releases / release.name):
        raise InstallError(f"{RELEASES / release.name} is there already", None, "look at it, then deploy again")
    for left in paths.releases.glob(f"{UNFINISHED}*"):
        # What a program that outlived its deploy still writes there does no harm: this one has a folder of its own.
        with suppress(OSError):
            discard(left)
    with _refusals(release), _private_folder(paths) as work:
        _fill(_Build(source, release, work, paths.releases / release.name, base, run, environment, say))
        work.chmod(0o755)
        _sync(work)
        work.rename(paths.releases / release.name)
        _sync_one(paths.releases)


@contextmanager
def _refusals(release: Release) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise explain(error, RELEASES / release.name) from error


@contextmanager
def _private_folder(paths: HostPaths) -> Iterator[Path]:
    """Make a folder that nobody else can enter while it is filled, whatever the umask; gone afterwards."""
    mask = os.umask(0o022)
    try:
        work = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=paths.releases))
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
    finally:
        os.umask(mask)


def _trusted_python(python: Path) -> Path:
    """Return the interpreter a release will run with: that of the machine, below all virtual environments.

    Raises:
        InstallError: root would run what others can change.
    """
    base = python.resolve()
    fix = "make .venv anew with the system's Python (on Debian: apt-get install python3 python3-venv; rm -r .venv)"
    try:
        with Walk(HostPaths()) as walk:
            walk.enter(PurePosixPath(base.parent))
        found = base.stat()
    except (OSError, Ds01Error) as error:
        raise InstallError(f"the runtime will not run with {base}", str(error), fix) from error
    if os.geteuid() == 0 and (found.st_uid != 0 or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        why = "others than root can change it, and root would run it from now on"
        raise InstallError(f"the runtime will not run with {base}", why, fix)
    return base


@dataclass(frozen=True, slots=True)
class _Build:
    source: Source
    release: Release
    work: Path
    final: Path
    base: Path
    run: Run
    environment: Mapping[str, str]
    say: Callable[[str], None]

    @property
    def python(self) -> Path:
        return self.work / "venv/bin/python"

    @property
    def site(self) -> Path:
        return site_of(self.work / "venv")


def _fill(build: _Build) -> None:
    base = os.fspath(build.base)
    build.say(f"runtime {build.release.name}: making its environment with {base}")
    made = build.run([base, "-I", "-m", "venv", "--without-pip", os.fspath(build.work / "venv")], timeout_seconds=120)
    if not made.ok:
        fix = "on Debian or Ubuntu: apt-get install python3-venv"
        raise InstallError(f"{base} -m venv failed", made.words, fix)
    _tidy(build)
    _install_packages(build)
    _copy_modules(build)
    (build.work / "bin").mkdir()
    for name, module in LAUNCHERS.items():
        text = launcher_text(build.final / "venv", module)
        (build.work / "bin" / name).write_bytes(os.fsencode(text))
    _compile(build)
    _set_modes(build.work)
    manifest = json.dumps(release_manifest(build.release, build.work), indent=1, ensure_ascii=False)
    (build.work / MANIFEST).write_text(manifest + "\n", encoding="utf-8")
    (build.work / MANIFEST).chmod(0o644)


def _copy_modules(build: _Build) -> None:
    for name, path in build.source.modules():
        target = build.site / "ds01" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    if build.release.name not in candidates(build.source.release().name):
        raise InstallError(
            "the checkout changed while the runtime was built from it", None, "deploy again, and read the new plan"
        )


def _tidy(build: _Build) -> None:
    """Take out what only people use, and what names the folder it is built in."""
    for path in (build.work / "venv/bin").iterdir():
        if not path.name.startswith("python"):
            path.unlink()
    settings = build.work / "venv/pyvenv.cfg"
    lines = settings.read_text().splitlines(keepends=True)
    settings.write_text("".join(line for line in lines if not line.startswith("command")))


def _install_packages(build: _Build) -> None:
    wheels = build.source.wheelhouse
    where = f"the wheels in {wheels}" if wheels else "the package index"
    packages = [name for name in build.release.packages if name not in _OWN]
    build.say(f"runtime {build.release.name}: installing {', '.join(packages)} from {where}")
    from_wheels = ["--no-index", "--find-links", os.fspath(wheels)] if wheels else []
    argv = [os.fspath(build.source.python), "-I", "-m", "pip", "--python", os.fspath(build.python), "install"]
    argv += ["--disable-pip-version-check", "--no-input", "--no-compile", "--require-hashes", "--only-binary", ":all:"]
    argv += [*from_wheels, "--requirement", os.fspath(build.source.lock)]
    seen = {name: value for name, value in build.environment.items() if _FOR_PIP.fullmatch(name)}
    done = build.run(argv, timeout_seconds=_PIP_SECONDS, environment=seen)
    if not done.ok:
        raise _explain_pip(done, build.source)
    # The packages' own commands name the folder they were built in, and nobody calls them.
    _tidy(build)
    there = {path.name.partition("-")[0].lower() for path in build.site.glob("*.dist-info")}
    missing = [name for name in packages if re.sub(r"[-_.]+", "_", name).lower() not in there]
    if missing:
        raise InstallError(
            f"the runtime cannot be built: pip has put {', '.join(missing)} somewhere else",
            f"{build.site} does not have it",
            "take target, prefix, root and user out of pip's settings (pip config list, PIP_* variables)",
        )


def _explain_pip(done: Completed, source: Source) -> InstallError:
    found = _CAUSES.search(done.stdout + done.stderr)
    lines = done.words.splitlines()
    cause = found[0].strip() if found else [*lines, *(line for line in lines if line.startswith("ERROR"))][-1]
    if "HASHES" in cause:
        cause = f"a package is not the one that {source.lock.name} names (its hash differs)"
        fix = "do not go round this: ask who runs the package index or proxy why it serves another file"
    elif "No space" in cause:
        fix = "free some space (df -h) and deploy again"
    elif source.wheelhouse is not None:
        fix = "make the wheels anew for this Python and these requirements (./inv wheelhouse), or remove the folder"
    else:
        fix = (
            "check the network, the proxy and pip's configuration; without a network copy a wheelhouse/ beside inv,"
            " made elsewhere by ./inv wheelhouse; or deploy --no-runtime"
        )
    return InstallError("the runtime cannot be built: pip could not install its packages", cause, fix)


def launcher_text(venv: Path, module: str) -> str:
    """Return a command that starts a module with the release's own Python, isolated from the caller's settings.

    Without the module `site`, whose work, to find the one folder that is named here, takes a third of a bare start; and
    without a look for garbage after every few hundred objects, of which there is none while modules are loaded.
    """
    python = venv / "bin/python"
    first = f"#!{python} -ISXutf8"
    begin = f"import gc\nimport sys\n\ngc.set_threshold({_GARBAGE})\n"
    code = f"{begin}sys.path.append({os.fspath(site_of(venv))!r})\nfrom {module} import main\n\nsys.exit(main())\n"
    if len(os.fsencode(first)) <= _LONGEST_SHEBANG and not any(char.isspace() for char in os.fspath(python)):
        return f"{first}\n{code}"
    quoted = shlex.quote(os.fspath(python))
    return f'#!/bin/sh\nexec {quoted} -ISXutf8 -c {shlex.quote(code)} "$@"\n'


def site_of(venv: Path) -> Path:
    """Return where an environment of this Python's version has its packages."""
    return venv / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"


def _compile(build: _Build) -> None:
    """Compile all modules now, since accounts that run them may not write here; paths are those of the final place."""
    argv = [os.fspath(build.python), "-I", "-m", "compileall", "-q", "-j", "1"]
    argv += ["-s", os.fspath(build.work), "-p", os.fspath(build.final), os.fspath(build.site)]
    done = build.run(argv, timeout_seconds=_PIP_SECONDS)
    if not done.ok:
        raise InstallError("the runtime cannot be built: Python cannot compile its modules", done.words)


def _set_modes(folder: Path) -> None:
    """Let everybody read and nobody but the owner write, whatever the umask was."""
    for above, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(above, name)
            if not path.is_symlink():
                runs = path.is_dir() or path.parent.name == "bin"
                path.chmod(0o755 if runs else 0o644)


def _sync(folder: Path) -> None:
    """Make a folder and all in it durable, so that a power cut leaves it whole or not there."""
    for above, _, files in os.walk(folder):
        for name in files:
            path = Path(above, name)
            if not path.is_symlink():
                _sync_one(path)
        _sync_one(Path(above))


def _sync_one(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
