"""Building a release: real ones, from the real lock without a network and from a lock of one tiny package."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.releases import CHECKOUT, PACKAGE, build, tiny_source, transplant

from ds01 import __version__
from ds01.core.errors import Ds01Error
from ds01.core.paths import HostPaths
from ds01.core.process import Completed, run
from ds01.core.value import replace
from ds01.deployer.files import FilesError
from ds01.deployer.install import InstallError, Source, install, launcher_text
from ds01.deployer.release import LAUNCHERS, Found, Release, State
from ds01.deployer.releases import look_at
from ds01.runtime.client.tables import known_versions, load
from ds01.wheelhouse import fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

LOCK = CHECKOUT / "requirements" / "host.txt"
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
IS_ROOT = os.geteuid() == 0
NOBODY = 65534


@dataclass
class Runner:
    """Runs what it is given, in front of it perhaps another program, and remembers how things were then."""

    root: Path
    before: tuple[str, ...] = ()
    calls: list[tuple[str, ...]] = field(default_factory=list)
    folder_modes: set[int] = field(default_factory=set)
    environments: list[Mapping[str, str] | None] = field(default_factory=list)

    def __call__(
        self, argv: Sequence[str], *, timeout_seconds: float = 60, environment: Mapping[str, str] | None = None
    ) -> Completed:
        self.calls.append(tuple(argv))
        self.environments.append(environment)
        self.folder_modes |= {stat.S_IMODE(each.stat().st_mode) for each in releases(self.root).glob(".new-*")}
        return run([*self.before, *argv], timeout_seconds=timeout_seconds, environment=environment)


def releases(root: Path) -> Path:
    return HostPaths(root).releases


def quiet(_: str) -> None:
    pass


# --- The real one -------------------------------------------------------------------------------------------

CUT_OFF = ("unshare", "--net") if IS_ROOT else ()


@dataclass(frozen=True)
class Built:
    """What was built from this checkout, under a umask that gives everything to everybody."""

    release: Release
    root: Path
    folder: Path
    runner: Runner
    said: tuple[str, ...]

    @property
    def python(self) -> Path:
        return self.folder / "venv/bin/python"

    @property
    def site(self) -> Path:
        return self.folder / f"venv/lib/python{RUNNING}/site-packages"


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheels of the real lock: those beside inv, or downloaded once."""
    if (CHECKOUT / "wheelhouse").is_dir():
        return CHECKOUT / "wheelhouse"
    folder = tmp_path_factory.mktemp("wheels")
    try:
        fill(folder / "wheelhouse", LOCK, [RUNNING], folder / "log")
    except Ds01Error as error:
        pytest.skip(f"{error.brief}; make them elsewhere: ./inv wheelhouse")
    return folder / "wheelhouse"


@pytest.fixture(scope="session")
def built(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    root = tmp_path_factory.mktemp("built")
    source = replace(Source.of_checkout(CHECKOUT), wheelhouse=wheels)
    release, runner, said = source.release(), Runner(root, CUT_OFF), []
    mask = os.umask(0)
    try:
        install(source, release, HostPaths(root), runner, {}, said.append)
        kept = os.umask(0)
    finally:
        os.umask(mask)
    assert kept == 0
    return Built(release, root, releases(root) / release.name, runner, tuple(said))


@pytest.mark.root
def test_a_release_is_built_without_a_network(built: Built) -> None:
    routes = subprocess.run([*CUT_OFF, "cat", "/proc/net/route"], capture_output=True, text=True, check=True)
    assert routes.stdout.splitlines()[1:] == []
    assert look_at(HostPaths(built.root), built.release.name) == Found(State.WHOLE, built.release)


def test_what_goes_on_is_said(built: Built, wheels: Path) -> None:
    name = built.release.name
    packages = ", ".join(list(built.release.packages)[2:])
    assert built.said == (
        f"runtime {name}: making its environment with {Path(sys.executable).resolve()}",
        f"runtime {name}: installing {packages} from the wheels in {wheels}",
    )


PROBE = """
import importlib, json, sys
from importlib.util import find_spec
for name in ("docker", "pynvml", "ds01.cli", "ds01.deployer.deploy", "ds01.runtime.commands.limits"):
    importlib.import_module(name)
absent = ("jinja2", "yaml", "jsonschema", "invoke", "pip", "setuptools", "ds01.generator", "ds01.workflow")
print(json.dumps([name for name in absent if find_spec(name)]))
print(json.dumps([path for path in sys.path if "site-packages" in path]))
"""


def test_a_release_holds_what_a_host_needs_and_nothing_more(built: Built) -> None:
    assert {path.name for path in built.folder.iterdir()} == {"bin", "venv", "release.json"}
    assert {path.name for path in (built.folder / "bin").iterdir()} == set(LAUNCHERS)
    assert {path.name for path in built.python.parent.iterdir()} == {"python", "python3", f"python{RUNNING}"}
    wanted = {path.relative_to(PACKAGE) for _, path in Source.of_checkout(CHECKOUT).modules()}
    inside = [path for path in (built.site / "ds01").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    there = {path.relative_to(built.site / "ds01") for path in inside}
    assert there == wanted
    assert {path.parts[0] for path in there} == {"__init__.py", "cli.py", "verify.py", "core", "deployer", "runtime"}
    done = subprocess.run([built.python, "-I", "-c", PROBE], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"[]\n{json.dumps([os.fspath(built.site)])}\n", "")


def test_a_release_reads_the_tables_of_docker_clients_that_came_with_it(built: Built) -> None:
    code = "from ds01.runtime.client import tables; print(*map(tables.load, tables.known_versions()), sep='')"
    done = subprocess.run([built.python, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"{''.join(str(load(version)) for version in known_versions())}\n", "")


def test_its_name_and_words_are_those_of_the_lock(built: Built) -> None:
    packages = dict(built.release.packages)
    assert (packages.pop("ds01"), packages.pop("Python")) == (__version__, RUNNING)
    there = {path.name.removesuffix(".dist-info").lower().replace("_", "-") for path in built.site.glob("*.dist-info")}
    assert {f"{name}-{version}" for name, version in packages.items()} == there
    assert {"docker", "nvidia-ml-py"} <= set(packages)
    assert built.release.name.startswith(f"{__version__}-")


def test_its_manifest_names_every_file(built: Built) -> None:
    stored = json.loads((built.folder / "release.json").read_text())
    files = stored.pop("files")
    assert stored == {"version": 1, "release": built.release.name, "packages": dict(built.release.packages)}
    every = {
        path.relative_to(built.folder).as_posix()
        for path in built.folder.rglob("*")
        if (path.is_symlink() or path.is_file()) and "__pycache__" not in path.parts
    }
    assert set(files) == every - {"release.json"}


def test_nobody_else_could_write_there_then_or_now(built: Built) -> None:
    assert built.runner.folder_modes == {0o700}
    found = [built.folder, *built.folder.rglob("*")]
    states = {path: path.lstat() for path in found}
    assert {(each.st_uid, each.st_gid) for each in states.values()} == {(os.geteuid(), os.getegid())}
    modes = {path: stat.S_IMODE(each.st_mode) for path, each in states.items() if not stat.S_ISLNK(each.st_mode)}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o755}
    assert {mode for path, mode in modes.items() if path.is_file() and path.parent.name != "bin"} == {0o644}
    assert {modes[built.folder / "bin" / name] for name in LAUNCHERS} == {0o755}


def test_it_was_compiled_and_names_no_folder_of_its_making(built: Built) -> None:
    modules = list(built.site.rglob("*.py"))
    cached = [path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc" for path in modules]
    assert [path for path in cached if not path.is_file()] == []
    (work,) = {part for argv in built.runner.calls for word in argv for part in Path(word).parts if ".new-" in part}
    texts = {path: path.read_bytes() for path in built.folder.rglob("*") if path.is_file()}
    assert [path for path, text in texts.items() if work.encode() in text] == []
    assert (
        os.fsencode(built.site / "ds01" / "cli.py") in (cached[modules.index(built.site / "ds01/cli.py")]).read_bytes()
    )


HOSTILE = "raise SystemExit('somebody else was run')\n"


def test_no_folder_or_variable_of_the_caller_changes_what_a_command_runs(built: Built, tmp_path: Path) -> None:
    for name in ("argparse.py", "sitecustomize.py", "usercustomize.py", "ds01/__init__.py", "python", "env"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(HOSTILE)
        (tmp_path / name).chmod(0o755)
    here = os.fspath(tmp_path)
    variables = {"PYTHONPATH": here, "PYTHONHOME": here, "PYTHONSTARTUP": f"{here}/argparse.py", "PYTHONUSERBASE": here}
    before = {path: path.lstat().st_mtime_ns for path in built.folder.rglob("*")}
    done = subprocess.run(
        [built.folder / "bin/ds01", "--version"],
        cwd=tmp_path,
        env={"PATH": here, "HOME": here, "ENV": f"{here}/env", "BASH_ENV": f"{here}/env", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"ds01 {__version__}\n", "")
    assert {path: path.lstat().st_mtime_ns for path in built.folder.rglob("*")} == before


# --- Where it lies ------------------------------------------------------------------------------------------

TINY = {"ds01": __version__, "Python": RUNNING, "tiny": "1.0"}
FOLDERS = {
    "short": "root",
    "blanks": "a root of mine",
    "quotes": 'it\'s "mine"',
    "backslashes": r"\Users\new",
    "a line break": "two\nlines",
    "a dollar": "$HOME `id`",
    "a letter": "wüst",
    "long": "x" * 200 + "/" + "y" * 100,
}


def test_a_folder_with_blanks_can_hold_a_release(tiny_release: tuple[Release, Path]) -> None:
    release, folder = tiny_release
    assert " " in os.fspath(folder)
    assert release.packages == TINY
    done = subprocess.run([folder / "bin/ds01", "--version"], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"ds01 {__version__}\n", "")
    assert look_at(HostPaths(folder.parents[3]), release.name) == Found(State.WHOLE, release)


@pytest.mark.parametrize("name", FOLDERS.values(), ids=FOLDERS)
def test_commands_run_from_any_folder_and_pass_on_what_they_are_given(
    tiny_release: tuple[Release, Path], tmp_path: Path, name: str
) -> None:
    folder = transplant(tiny_release[1], tmp_path / name, tiny_release[0])
    (tmp_path / "link").symlink_to(folder / "bin/ds01")
    missing = f"{tmp_path}/no such 'root'"
    done = subprocess.run(
        [tmp_path / "link", "history", "--root", missing], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, f"error: there is no folder {missing}")


def test_every_command_starts_its_own_module(tiny_release: tuple[Release, Path]) -> None:
    for name in LAUNCHERS:
        command = tiny_release[1] / "bin" / name
        done = subprocess.run([command, "--help"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.split()[:2]) == (0, ["usage:", name])


def test_a_command_names_its_own_python_in_its_first_line() -> None:
    site = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    begin = "import gc\nimport sys\n\ngc.set_threshold(50000)\n"
    code = begin + "sys.path.append({!r})\nfrom a.b import main\n\nsys.exit(main())\n"
    first = launcher_text(Path("/opt/venv"), "a.b")
    assert first == f"#!/opt/venv/bin/python -ISXutf8\n{code.format(f'/opt/venv/{site}')}"
    odd = launcher_text(Path("/opt/it's a venv"), "a.b")
    assert odd.startswith("#!/bin/sh\nexec ")
    words = shlex.split(odd.partition("\nexec ")[2].replace('"$@"', "'$@'"))
    assert words == ["/opt/it's a venv/bin/python", "-ISXutf8", "-c", code.format(f"/opt/it's a venv/{site}"), "$@"]
    # The kernel reads 127 characters of a first line, its end included.
    assert launcher_text(Path("/" + "x" * 103), "a.b").startswith("#!/x")
    assert launcher_text(Path("/" + "x" * 104), "a.b").startswith("#!/bin/sh\n")


# --- What its name depends on -------------------------------------------------------------------------------


def add(path: str, text: str = "# more\n") -> Callable[[Source], object]:
    def change(source: Source) -> None:
        file = source.package / path
        file.parent.mkdir(exist_ok=True)
        file.write_text((file.read_text() if file.exists() else "") + text)

    return change


CHANGES = {
    "a module": (add("deployer/plan.py"), True),
    "how it is built": (add("deployer/install.py"), True),
    "its commands": (add("deployer/release.py"), True),
    "one module more": (add("runtime/more.py"), True),
    "one module less": (lambda source: (source.package / "runtime/commands/limits.py").unlink(), True),
    "a module that moved": (
        lambda source: (source.package / "core/units.py").rename(source.package / "core/unit.py"),
        True,
    ),
    "the lock": (lambda source: source.lock.write_text(source.lock.read_text() + "# more\n"), True),
    "the generator": (add("generator/build.py"), False),
    "a task": (add("workflow.py"), False),
    "compiled code": (add("core/__pycache__/units.pyc"), False),
    "a note": (add("core/NOTES.txt"), False),
    "a mode": (lambda source: (source.package / "cli.py").chmod(0o600), False),
    "a time": (lambda source: os.utime(source.package / "cli.py", (0, 0)), False),
}


@pytest.mark.parametrize(("change", "differs"), CHANGES.values(), ids=CHANGES)
def test_a_release_has_another_name_when_what_it_is_made_from_changes(
    tmp_path: Path, change: Callable[[Source], object], *, differs: bool
) -> None:
    same = tiny_source(tmp_path / "a")
    package = Path(shutil.copytree(PACKAGE, tmp_path / "package", ignore=shutil.ignore_patterns("__pycache__")))
    source = replace(same, package=package, lock=Path(shutil.copy(same.lock, tmp_path / "lock")))
    assert source.release() == same.release()
    change(source)
    assert (source.release() != same.release()) is differs


def test_what_windows_alone_needs_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(
        "tiny==1.0 \\\n    --hash=sha256:00\n"
        "both-of.them==2 ; python_version >= '3.11' \\\n    --hash=sha256:00\n    # via tiny\n"
        "pywin32==3 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n"
    )
    release = Source(PACKAGE, tmp_path / "lock", None, Path(sys.executable)).release()
    assert release.packages == {"ds01": __version__, "Python": RUNNING, "tiny": "1.0", "both-of.them": "2"}


@pytest.mark.parametrize("missing", ["package/runtime", "package/cli.py", "lock/host-1.0.txt"])
def test_a_checkout_that_is_not_whole_is_named(tmp_path: Path, missing: str) -> None:
    package = Path(shutil.copytree(PACKAGE, tmp_path / "package"))
    source = tiny_source(tmp_path / "lock", package=package)
    gone = tmp_path / missing
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    with pytest.raises(InstallError) as caught:
        source.release()
    assert caught.value.render() == (
        "the runtime cannot be built: the checkout is not whole\n"
        f"[Errno 2] No such file or directory: '{gone}'\n"
        "To fix: git status shows what is gone or changed"
    )


# --- What goes wrong ----------------------------------------------------------------------------------------


def refused(source: Source, root: Path, runner: object = run, **environment: str) -> InstallError:
    """Try to build; nothing is left of it, and a umask of the caller's is his again."""
    mask = os.umask(0o027)
    try:
        with pytest.raises(InstallError) as caught:
            install(source, source.release(), HostPaths(root), runner, environment, quiet)  # type: ignore[arg-type]
        assert os.umask(mask) == 0o027
    finally:
        os.umask(mask)
    assert list(releases(root).glob("*")) == []
    return caught.value


OFFLINE = {
    "PIP_INDEX_URL": "http://127.0.0.1:9/",
    "PIP_RETRIES": "1",
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_NO_CACHE_DIR": "1",
}
CANNOT = "the runtime cannot be built: pip could not install its packages"


def test_a_package_with_another_hash_is_refused_with_a_warning_not_to_go_round_it(tmp_path: Path) -> None:
    source = tiny_source(tmp_path / "from")
    source.lock.write_text(f"tiny==1.0 --hash=sha256:{'0' * 64}\n")
    assert refused(source, tmp_path).render() == (
        f"{CANNOT}\n"
        "a package is not the one that host-1.0.txt names (its hash differs)\n"
        "To fix: do not go round this: ask who runs the package index or proxy why it serves another file"
    )


@pytest.mark.slow
def test_a_wheelhouse_that_does_not_have_it_should_be_made_anew(tmp_path: Path) -> None:
    source = tiny_source(tmp_path / "from")
    source.lock.write_text(f"tiny==2.0 --hash=sha256:{'0' * 64}\n")
    error = refused(source, tmp_path, PIP_CONFIG_FILE=os.devnull)
    assert (error.brief, error.details, error.resolution) == (
        CANNOT,
        "ERROR: No matching distribution found for tiny==2.0",
        "make the wheels anew for this Python and these requirements (./inv wheelhouse), or remove the folder",
    )


def test_an_index_out_of_reach_is_named_with_the_ways_round_it(tmp_path: Path) -> None:
    source = replace(tiny_source(tmp_path / "from"), wheelhouse=None)
    assert refused(source, tmp_path, **OFFLINE).render() == (
        f"{CANNOT}\n"
        "[Errno 111] Connection refused\n"
        "To fix: check the network, the proxy and pip's configuration; without a network copy a wheelhouse/ beside"
        " inv, made elsewhere by ./inv wheelhouse; or deploy --no-runtime"
    )


def test_packages_that_pips_own_settings_send_elsewhere_are_missed(tmp_path: Path) -> None:
    error = refused(tiny_source(tmp_path / "from"), tmp_path, PIP_TARGET=f"{tmp_path}/target")
    assert (error.brief, error.resolution) == (
        "the runtime cannot be built: pip has put tiny somewhere else",
        "take target, prefix, root and user out of pip's settings (pip config list, PIP_* variables)",
    )


def test_pip_learns_how_to_reach_its_index_and_nothing_else_of_the_caller(tmp_path: Path) -> None:
    source, runner = tiny_source(tmp_path / "from"), Runner(tmp_path)
    source.lock.write_text("no such line\n")
    kept = {"PIP_RETRIES": "1", "https_proxy": "http://proxy:1", "NO_PROXY": "x", "SSL_CERT_FILE": "/a", "HOME": "/b"}
    dropped = {
        "PATH": "/evil",
        "PYTHONPATH": "/evil",
        "LD_PRELOAD": "/evil",
        "SUDO_UID": "1",
        "XPIP_A": "1",
        "TERM": "x",
    }
    error = refused(source, tmp_path, runner, **kept, **dropped)
    assert error.brief == CANNOT
    pip = next(index for index, argv in enumerate(runner.calls) if "pip" in argv)
    assert runner.environments[pip] == kept
    assert [each for index, each in enumerate(runner.environments) if index != pip] == [None]
    assert {argv[:2] for argv in runner.calls if "-I" in argv} == {argv[:2] for argv in runner.calls}


def fails_at(word: str, words: str) -> Callable[..., Completed]:
    def answer(argv: Sequence[str], **more: object) -> Completed:
        return Completed(tuple(argv), 1, "", words) if word in argv else run(argv, **more)  # type: ignore[arg-type]

    return answer


def test_a_python_without_venv_is_named_with_its_package(tmp_path: Path) -> None:
    error = refused(tiny_source(tmp_path / "from"), tmp_path, fails_at("venv", "No module named venv"))
    assert error.render() == (
        f"{Path(sys.executable).resolve()} -m venv failed\n"
        "No module named venv\n"
        "To fix: on Debian or Ubuntu: apt-get install python3-venv"
    )


@pytest.mark.slow
def test_modules_that_cannot_be_compiled_stop_it(tmp_path: Path) -> None:
    package = Path(shutil.copytree(PACKAGE, tmp_path / "package"))
    (package / "core/broken.py").write_text("def\n")
    error = refused(tiny_source(tmp_path / "from", package=package), tmp_path)
    assert error.brief == "the runtime cannot be built: Python cannot compile its modules"
    assert "SyntaxError: invalid syntax" in (error.details or "")


def test_a_checkout_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    package = Path(shutil.copytree(PACKAGE, tmp_path / "package"))

    def pull(argv: Sequence[str], **more: object) -> Completed:
        (package / "core/new.py").write_text("x = 1\n")
        return run(argv, **more)  # type: ignore[arg-type]

    error = refused(tiny_source(tmp_path / "from", package=package), tmp_path, pull)
    assert error.render() == (
        "the checkout changed while the runtime was built from it\nTo fix: deploy again, and read the new plan"
    )


def test_what_lies_in_its_place_is_left_there(tmp_path: Path) -> None:
    source = tiny_source(tmp_path / "from")
    mine = releases(tmp_path) / source.release().name / "mine"
    mine.mkdir(parents=True)
    with pytest.raises(InstallError) as caught:
        build(source, tmp_path)
    assert caught.value.brief == f"/opt/ds01/releases/{source.release().name} is there already"
    assert [path.name for path in releases(tmp_path).iterdir()] == [source.release().name]
    assert mine.is_dir()


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / ".new-mine").mkdir(parents=True)
    (tmp_path / "opt/ds01").mkdir(parents=True)
    (tmp_path / "opt/ds01/releases").symlink_to(elsewhere)
    with pytest.raises(FilesError, match="/opt/ds01/releases is a symbolic link to"):
        build(tiny_source(tmp_path / "from"), tmp_path)
    assert [path.name for path in elsewhere.iterdir()] == [".new-mine"]


@contextmanager
def small_disk(root: Path, size: str) -> Iterator[None]:
    (root / "opt").mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "none", root / "opt"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", root / "opt"], check=True)


@pytest.mark.root
@pytest.mark.parametrize("size", ["16k", pytest.param("36k", marks=pytest.mark.slow)])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, size: str) -> None:
    with small_disk(tmp_path, size):
        with pytest.raises(Ds01Error) as caught:
            build(tiny_source(tmp_path / "from"), tmp_path)
        assert "o space left" in caught.value.render()
        assert list(releases(tmp_path).glob("*")) == []


@pytest.mark.root
def test_root_builds_nothing_from_a_python_that_others_can_change(tmp_path: Path) -> None:
    python = tmp_path / "bin/python3"
    python.parent.mkdir()
    shutil.copy(Path(sys.executable).resolve(), python)
    source = replace(tiny_source(tmp_path / "from"), python=python)
    fix = "make .venv anew with the system's Python (on Debian: apt-get install python3 python3-venv; rm -r .venv)"
    for path, mode, owner, why in (
        (python, 0o755, NOBODY, "others than root can change it, and root would run it from now on"),
        (python, 0o777, 0, "others than root can change it, and root would run it from now on"),
        (python.parent, 0o777, 0, f"{python.parent} can be written by others than root"),
        (python.parent, 0o755, NOBODY, f"{python.parent} belongs to uid {NOBODY}"),
    ):
        os.chown(path, owner, owner)
        path.chmod(mode)
        error = refused(source, tmp_path)
        assert (error.brief, error.resolution) == (f"the runtime will not run with {python}", fix)
        assert (error.details or "").startswith(why)
        assert not (tmp_path / "opt").exists()
        os.chown(path, 0, 0)
        path.chmod(0o755)


# --- What is cut off ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["venv", "pip"])
def test_an_interrupted_build_leaves_nothing(tmp_path: Path, word: str) -> None:
    def interrupt(argv: Sequence[str], **more: object) -> Completed:
        if word in argv:
            (Path(argv[-1]).parent / "half").write_text("x\n")
            raise KeyboardInterrupt
        return run(argv, **more)  # type: ignore[arg-type]

    with pytest.raises(KeyboardInterrupt):
        build(tiny_source(tmp_path / "from"), tmp_path, interrupt)
    assert list(releases(tmp_path).iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from ds01.core.process import run
from tests.releases import build, tiny_source

def kill(argv, **more):
    if "pip" in argv:
        os.kill(os.getpid(), signal.SIGKILL)
    return run(argv, **more)

build(tiny_source(Path(sys.argv[3])), Path(sys.argv[4]), kill)
"""


def test_a_killed_build_is_in_nobodys_way_and_the_next_one_sweeps_it_up(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    words = [PACKAGE.parent, CHECKOUT, tmp_path / "from", root]
    done = subprocess.run([sys.executable, "-c", KILLED, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
    (left,) = releases(root).iterdir()
    assert (left.name[:5], (left / "venv/pyvenv.cfg").is_file()) == (".new-", True)
    source = tiny_source(tmp_path / "from")
    name = source.release().name
    assert look_at(HostPaths(root), name).state is State.ABSENT
    (releases(root) / ".new-link").symlink_to(tmp_path)
    (releases(root) / ".new-file").write_text("x\n")
    build(source, root)
    assert [path.name for path in releases(root).iterdir()] == [name]
    assert look_at(HostPaths(root), name).state is State.WHOLE
    assert (tmp_path / "from").is_dir()
