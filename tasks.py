"""The tasks of `./inv`: options in, one call. What they do is in scripts/ds01/workflow.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from invoke import Collection, task

if TYPE_CHECKING:
    from invoke import Context

CHECKOUT = Path(__file__).resolve().parent
INVENTORY = str(CHECKOUT / "inventory")
_HELP = {
    "host": "host to act for (default: the only one in the inventory, else this machine's name)",
    "root": "folder that stands for / (default: this machine)",
    "inventory": "folder of the inventory (default: that of the checkout)",
    "json": "print one JSON object",
    "user": "only what is for this account",
    "yes": "do not ask",
    "force": "overwrite hand edits; a copy is kept",
    "restart_docker": "restart Docker when daemon.json changed; names the containers it stops",
    "older": "remove or keep: what becomes of an older DS01's files that were found",
    "keep": "with --older remove: leave those that fit this pattern, such as '/usr/local/bin/*'; may be repeated",
    "runtime": "whether the runtime below /opt/ds01 goes with it; --no-runtime leaves what is there",
}
_LAB_HELP = {
    "suite": "bookworm (the default) or trixie",
    "name": "which machine (default: lab for bookworm, lab-trixie for trixie)",
}


def _help(*names: str, **more: str) -> dict[str, str]:
    return {name.replace("_", "-"): _HELP[name] for name in names} | more


def _folder(text: str) -> Path:
    """An empty option is a variable that was not set, never the folder one stands in."""
    if not text:
        from ds01.core.errors import BadInputError

        raise BadInputError("--root and --inventory need a folder, this one is empty", None, "write --root DIR")
    return Path(text)


def _number(text: str | None) -> int | None:
    if text is not None and not (text.isascii() and text.isdigit() and int(text) > 0):
        from ds01.core.errors import BadInputError

        raise BadInputError(f"--to {text!r} is no generation", None, "write its number, as in ./inv history")
    return None if text is None else int(text)


@task(help=_help("host", "inventory", "json"))
def validate(_: Context, host: str | None = None, inventory: str = INVENTORY, json: bool = False) -> int:
    """Check the inventory; every problem at once, with its place."""
    from ds01 import workflow

    return workflow.validate(_folder(inventory), host, as_json=json)


@task(help=_help("host", "inventory", check="write nothing; exit 3 when generated/ is stale"))
def render(_: Context, host: str | None = None, inventory: str = INVENTORY, check: bool = False) -> int:
    """Write generated/<host>, for review line by line."""
    from ds01 import workflow

    return workflow.render(_folder(inventory), host, only_check=check)


@task(
    help=_help(
        "host", "root", "inventory", "json", "user", "runtime", "older", "keep", check="exit 3 when changes are pending"
    ),
    iterable=["keep"],
)
def plan(
    _: Context,
    host: str | None = None,
    root: str = "/",
    inventory: str = INVENTORY,
    json: bool = False,
    check: bool = False,
    user: str | None = None,
    runtime: bool = True,
    older: str | None = None,
    keep: list[str] | None = None,
) -> int:
    """Show what a deploy would change on this machine; changes nothing."""
    from ds01 import workflow

    choice = workflow.Choice.of(older, keep or ())
    place = workflow.Target(_folder(inventory), host, _folder(root), runtime, choice)
    return workflow.plan(place, user, as_json=json, only_check=check)


@task(
    help=_help("host", "root", "inventory", "yes", "force", "restart_docker", "runtime", "older", "keep"),
    iterable=["keep"],
)
def deploy(
    _: Context,
    host: str | None = None,
    root: str = "/",
    inventory: str = INVENTORY,
    yes: bool = False,
    force: bool = False,
    restart_docker: bool = False,
    runtime: bool = True,
    older: str | None = None,
    keep: list[str] | None = None,
) -> int:
    """Show the plan, ask, and apply it: all of it or nothing."""
    from ds01 import workflow

    options = workflow.Options(yes=yes, force=force, restart_docker=restart_docker)
    choice = workflow.Choice.of(older, keep or ())
    return workflow.apply(workflow.Target(_folder(inventory), host, _folder(root), runtime, choice), options)


@task(help=_help("host", "root", "inventory", "user", "force", dry_run="change nothing", verbose="show the diffs too"))
def slices(
    _: Context,
    dry_run: bool = False,
    verbose: bool = False,
    user: str | None = None,
    force: bool = False,
    host: str | None = None,
    root: str = "/",
    inventory: str = INVENTORY,
) -> int:
    """Deploy only the slices, of one account or all; never asks."""
    from ds01 import workflow

    place = workflow.Target(_folder(inventory), host, _folder(root))
    return workflow.slices(place, user, dry_run=dry_run, verbose=verbose, force=force)


@task(
    help=_help(
        "root",
        "yes",
        "force",
        "restart_docker",
        "runtime",
        to="generation to go back to (default: the one before; a second rollback takes the first back)",
    )
)
def rollback(
    _: Context,
    to: str | None = None,  # Invoke reads a number only where the default is one
    root: str = "/",
    yes: bool = False,
    force: bool = False,
    restart_docker: bool = False,
    runtime: bool = True,
) -> int:
    """Deploy what an earlier generation wanted."""
    from ds01.deployer.commands.rollback import WITHOUT_RUNTIME, rollback
    from ds01.deployer.deploy import Options

    scope = None if runtime else WITHOUT_RUNTIME
    options = Options(yes=yes, force=force, restart_docker=restart_docker, scope=scope)
    return rollback(_folder(root), _number(to), options)


@task(help=_help("root", "json"))
def verify(_: Context, root: str = "/", json: bool = False) -> int:
    """Prove that the host is as it was deployed."""
    from ds01 import verify

    return verify.verify(_folder(root), as_json=json)


@task(help=_help("root", "json"))
def history(_: Context, root: str = "/", json: bool = False) -> int:
    """List the last deploys: who, when, what."""
    from ds01.deployer.commands import history

    return history.history(_folder(root), as_json=json)


@task
def lint(_: Context) -> int:
    """Run every linter and type checker."""
    from ds01 import project

    return project.lint()


@task(name="test", help={"slow": "the slow tests too", "only": "a file, folder or test, as pytest takes it"})
def run_tests(_: Context, slow: bool = False, only: str = "tests") -> int:
    """Run the tests."""
    from ds01 import project

    return project.run_tests([*(["--slow"] if slow else []), only])


@task
def check(_: Context) -> int:
    """Run what every change must pass: lint, fresh files, tests."""
    from ds01 import project

    return project.check()


@task
def golden(_: Context) -> int:
    """Write the tests' expected trees anew."""
    from ds01 import project

    return project.golden()


@task
def docs(_: Context) -> int:
    """Write the made parts of docs/ and schemas/."""
    from ds01 import project

    return project.docs()


@task(help={"quick": "fewer repeats and no 10,000 accounts", "only": "one benchmark"})
def bench(_: Context, quick: bool = False, only: str | None = None) -> int:
    """Measure speed as ratios; writes docs/performance.md."""
    from ds01 import project

    return project.bench([*(["--quick"] if quick else []), *(["--only", only] if only else [])])


@task(help={"docker": "the client to ask; a file, not a name"})
def client_table(_: Context, docker: str) -> int:
    """Write down which options a docker client takes, for the wrapper."""
    from ds01 import project

    return project.client_table(Path(docker))


@task(help={"python": "for which versions, such as 3.11,3.13 (default: the one that runs)"})
def wheelhouse(_: Context, python: str | None = None) -> int:
    """Download all packages, for a machine without a network."""
    from ds01.wheelhouse import make_wheelhouse, read_pythons

    return make_wheelhouse(CHECKOUT, read_pythons(python))


@task(name="build", iterable=["suite"], help={"suite": "bookworm or trixie, also both (default: both)"})
def lab_build(_: Context, suite: list[str] | None = None) -> int:
    """Build the lab's machines, as far as they are missing."""
    from ds01 import lab

    return lab.call("build", suite=suite)


@task(
    name="up",
    iterable=["share"],
    help=_LAB_HELP
    | {
        "prepared": "with this checkout ready in /srv/ds01, and people with accounts",
        "memory": "such as 2G or 512M",
        "cpus": "1 is the fastest",
        "share": "FOLDER:GUESTFOLDER[:rw], a folder that the machine sees live; more than once for several",
    },
)
def lab_up(
    _: Context,
    suite: str | None = None,
    name: str | None = None,
    prepared: bool = False,
    memory: str | None = None,
    cpus: str | None = None,
    share: list[str] | None = None,
) -> int:
    """Boot a machine of the lab, building what is missing."""
    from ds01 import lab

    return lab.call("up", suite=suite, name=name, prepared=prepared, memory=memory, cpus=cpus, share=share)


@task(
    name="run",
    iterable=["env"],
    help=_LAB_HELP
    | {
        "cmd": "the command, as a shell takes it",
        "user": "in this account's login shell (default: root, without one)",
        "folder": "where (default: the home folder)",
        "env": "NAME=VALUE; more than once for several",
        "stdin": "hand over standard input, all of it first",
        "timeout": "seconds; then it is ended, with status 124",
    },
)
def lab_run(
    _: Context,
    cmd: str,
    user: str | None = None,
    folder: str | None = None,
    env: list[str] | None = None,
    stdin: bool = False,
    timeout: str | None = None,
    suite: str | None = None,
    name: str | None = None,
) -> int:
    """Run a command in a machine; its output and exit status are ours."""
    from ds01 import lab

    options = {"user": user, "folder": folder, "env": env, "stdin": stdin, "timeout": timeout}
    return lab.call("run", "--", "bash", "-c", cmd, suite=suite, name=name, **options)


@task(name="push", help=_LAB_HELP | {"source": "file or folder here", "target": "its path in the machine"})
def lab_push(_: Context, source: str, target: str, suite: str | None = None, name: str | None = None) -> int:
    """Copy a file or a folder's contents into a machine."""
    from ds01 import lab

    return lab.call("push", "--", source, target, suite=suite, name=name)


@task(name="pull", help=_LAB_HELP | {"source": "file or folder in the machine", "target": "its path here"})
def lab_pull(_: Context, source: str, target: str, suite: str | None = None, name: str | None = None) -> int:
    """Copy a file or a folder's contents out of a machine."""
    from ds01 import lab

    return lab.call("pull", "--", source, target, suite=suite, name=name)


@task(name="cut", help=_LAB_HELP)
def lab_cut(_: Context, suite: str | None = None, name: str | None = None) -> int:
    """Cut a machine's power; lab.up boots from the same disk."""
    from ds01 import lab

    return lab.call("cut", suite=suite, name=name)


@task(name="down", help=_LAB_HELP | {"keep-disk": "the next lab.up of that name boots from it"})
def lab_down(_: Context, suite: str | None = None, name: str | None = None, keep_disk: bool = False) -> int:
    """Switch a machine off and throw its disk away."""
    from ds01 import lab

    return lab.call("down", suite=suite, name=name, keep_disk=keep_disk)


@task(name="clean")
def lab_clean(_: Context) -> int:
    """Remove what older recipes of the lab built and no machine needs."""
    from ds01 import lab

    return lab.call("clean")


@task(
    name="test",
    help={
        "only": "a file, folder or test, as pytest takes it",
        "suite": "of the tests that run in each suite, those of this one (default: both)",
        "part": "waiting (those that mostly wait for a clock) or working (the others); default: all",
        "brief": "what CI has time for: most tests in one suite, a quarter of the power cuts",
    },
)
def lab_test(
    _: Context, only: str = "tests/lab", suite: str | None = None, part: str | None = None, brief: bool = False
) -> int:
    """Run the tests that need a machine, building what is missing."""
    from ds01 import lab

    return lab.run_tests(only, suite, part, brief=brief)


namespace = Collection(
    validate,
    render,
    plan,
    deploy,
    slices,
    rollback,
    verify,
    history,
    lint,
    run_tests,
    check,
    golden,
    docs,
    bench,
    client_table,
    wheelhouse,
)
namespace.add_collection(
    Collection("lab", lab_build, lab_up, lab_run, lab_push, lab_pull, lab_cut, lab_down, lab_clean, lab_test)
)
