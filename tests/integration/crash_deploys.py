"""Whole deploys for tests to kill, in which another release comes into force; run as crash_driver.py is.

`verb` is first (release a), second (release b), or boot: what happens at boot after a deploy was cut off.
"""

import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

if __name__ == "__main__":
    sys.path[:0] = [sys.argv[1], os.fspath(Path(__file__).parents[2])]

from tests.integration.crash_driver import main

from ds01.core.paths import HostPaths
from ds01.core.process import Completed
from ds01.core.tree import Form, Part, Tree, TreeFile
from ds01.deployer.commands.recover import main as recover_command
from ds01.deployer.deploy import Options, World, deploy
from ds01.deployer.release import with_runtime


def tree(release, policy, *accounts, commands=("ds01",)):
    files = [TreeFile(PurePosixPath("/etc/ds01/policy.json"), f'{{"version": {policy}}}\n')]
    files += [
        TreeFile(
            PurePosixPath(f"/etc/systemd/system/ds01-student-{account}.slice.d/10-resource-limits.conf"),
            f"[Slice]\nMemoryMax={policy}G\n",
            account=account,
        )
        for account in accounts
    ]
    service = f"[Service]\nExecStart=/opt/ds01/current/bin/ds01 recover --boot {policy}\n"
    files.append(TreeFile(PurePosixPath("/etc/systemd/system/ds01-recover.service"), service, part=Part.RUNTIME))
    files += [
        TreeFile(
            PurePosixPath(f"/usr/local/bin/{name}"),
            f"../../../opt/ds01/current/bin/{name}",
            form=Form.LINK,
            part=Part.RUNTIME,
        )
        for name in commands
    ]
    return with_runtime(Tree.of("ds01", f"hash {policy}", files), release)


def first(root):
    return whole_deploy(root, tree("a", 1, "alice", "bob"))


def second(root):
    return whole_deploy(root, tree("b", 2, "alice", "carol", commands=("ds01", "ds01-generate-limits")))


def whole_deploy(root, wanted):
    def run(argv, **_):
        return Completed(tuple(argv), 0, "", "")

    world = World(run=run, now=lambda: datetime(2030, 1, 2, tzinfo=UTC), environment={})
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        deploy(wanted, HostPaths(Path(root)), Options(yes=True), world)
    return "deployed"


def boot(root):
    said = io.StringIO()
    with redirect_stderr(said):
        code = recover_command(["--root", os.fspath(root), "--boot"])
    return outcome(code, said.getvalue())


def outcome(code, said):
    """What the recovery says it did, as clear_up() says it."""
    words = {"Nothing to do": "nothing", "was undone": "undone", "finishing it": "applied", "tidied up": "finished"}
    found = [result for words, result in words.items() if words in said]
    return found[0] if code == 0 and len(found) == 1 else f"exit {code}: {said}"


if __name__ == "__main__":
    main({"first": first, "second": second, "boot": boot})
