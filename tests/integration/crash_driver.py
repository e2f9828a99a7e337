"""Small deploys for tests to kill; run by a bare `python -I -S crash_driver.py SCRIPTS JOBS`.

JOBS is JSON: `verb` is deploy, undo or recover; `roots` are the folders to do it in. With `call` every root gets
a child process, which first makes `burn[root]` empty calls of that name: so one strace, which counts the calls of
each process alone, can kill each child at a point of its own. OLD is what a root holds before, NEW what it holds
after a deploy: path → (mode, content), and for a link (LINK, where it leads).
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path, PurePosixPath

if __name__ == "__main__":
    # -I -S leaves nothing but the standard library, which is all a deploy may need.
    sys.path.insert(0, sys.argv[1])

from ds01.core.paths import HostPaths
from ds01.deployer.apply import Link, Remove, Write, recover, stage

LINK = 0
OLD = {
    "/etc/cron.d/ds01": (0o644, "old cron\n"),
    "/etc/cron.d/foreign": (0o600, "somebody else's\n"),
    "/etc/docker/daemon.json": (0o644, '{\n    "dns": ["8.8.8.8"]\n}\n'),
    "/etc/systemd/system/ds01.slice": (0o600, "old slice\n"),
    "/etc/systemd/system/ds01-old-bob.slice.d/10-resource-limits.conf": (0o644, "old limits\n"),
    "/opt/ds01/current": (LINK, "releases/old"),
    "/usr/local/bin/ds01-old": (LINK, "../../../opt/ds01/current/bin/ds01-old"),
    "/usr/local/bin/ds01-verify-cgroup": (0o644, "the same\n"),
    "/usr/local/sbin/ds01-file-to-link": (0o755, "#!/bin/sh\n"),
    "/usr/local/sbin/ds01-link-to-file": (LINK, "elsewhere"),
    "/var/lib/ds01/deploy/manifest.json": (0o644, '{"generation": 1}\n'),
}
ADDED = {
    "/etc/ds01/policy.json": (0o644, '{"version": 1}\n'),
    "/etc/systemd/system/ds01-student-alice.slice.d/10-resource-limits.conf": (0o640, "new limits\n"),
    "/etc/docker/daemon.json": (0o644, '{\n    "dns": ["8.8.8.8"],\n    "live-restore": true\n}\n'),
    "/etc/systemd/system/ds01.slice": (0o644, "new slice\n"),
    "/opt/ds01/current": (LINK, "releases/new"),
    "/usr/local/bin/ds01-new": (LINK, "../../../opt/ds01/current/bin/ds01-new"),
    "/usr/local/bin/ds01-verify-cgroup": (0o755, "the same\n"),
    "/usr/local/sbin/ds01-file-to-link": (LINK, "ds01-link-to-file"),
    "/usr/local/sbin/ds01-link-to-file": (0o755, "#!/bin/sh\n"),
    "/var/lib/ds01/deploy/generations/2/manifest.json": (0o600, ""),
    "/var/lib/ds01/deploy/manifest.json": (0o644, '{"generation": 2}\n'),
}
REMOVED = (
    "/etc/cron.d/ds01",
    "/etc/systemd/system/ds01-old-bob.slice.d/10-resource-limits.conf",
    "/etc/never-there",
    "/usr/local/bin/ds01-old",
)
PRUNED = ("/etc/systemd/system/ds01-old-bob.slice.d", "/etc/cron.d")
NEW = {path: state for path, state in (OLD | ADDED).items() if path not in REMOVED}


NOT_OPEN = 999_999
# The same system calls that the deploy makes, with arguments that do nothing at all.
EMPTY_CALLS = {
    "fchmod": lambda: os.fchmod(NOT_OPEN, 0),
    "fchmodat": lambda: os.chmod("x", 0, dir_fd=NOT_OPEN),
    "fchown": lambda: os.fchown(NOT_OPEN, -1, -1),
    "fchownat": lambda: os.chown("x", -1, -1, dir_fd=NOT_OPEN, follow_symlinks=False),
    "ftruncate": lambda: os.ftruncate(NOT_OPEN, 0),
    "linkat": lambda: os.link("x", "x", src_dir_fd=NOT_OPEN, dst_dir_fd=NOT_OPEN, follow_symlinks=False),
    "mkdir": lambda: Path("/nowhere/x").mkdir(),
    "mkdirat": lambda: os.mkdir("x", dir_fd=NOT_OPEN),
    "openat": lambda: os.open("x", os.O_RDONLY, dir_fd=NOT_OPEN),
    "pwrite64": lambda: os.pwrite(NOT_OPEN, b"", 0),
    "renameat": lambda: os.rename("x", "x", src_dir_fd=NOT_OPEN, dst_dir_fd=NOT_OPEN),
    "rmdir": lambda: Path("/nowhere/x").rmdir(),
    "symlink": lambda: Path("/nowhere/x").symlink_to("x"),
    "symlinkat": lambda: os.symlink("x", "x", dir_fd=NOT_OPEN),
    "unlinkat": lambda: os.unlink("x", dir_fd=NOT_OPEN),
    "write": lambda: os.write(NOT_OPEN, b""),
}


def changes():
    """What the deploy does; the manifest comes last, so that it is put in place last."""
    gone = [Remove(PurePosixPath(path)) for path in REMOVED]
    return [*gone, *(change(PurePosixPath(path), *state) for path, state in ADDED.items())]


def change(path, mode, content):
    if mode == LINK:
        return Link(path, content, os.geteuid(), os.getegid())
    return Write(path, content.encode(), mode, os.geteuid(), os.getegid())


def committed(root):
    prune = tuple(map(PurePosixPath, PRUNED))
    transaction = stage(HostPaths(Path(root)), changes(), prune=prune, context={"who": "test"})
    transaction.commit()
    return transaction


def deploy(root):
    committed(root).finish()
    return "deployed"


def undo(root):
    kept = committed(root).undo()
    return f"kept {kept}" if kept else "undone"


def clear_up(root):
    found = recover(HostPaths(Path(root)))
    if found is None:
        return "nothing"
    if found.context != {"who": "test"} or found.kept:
        return f"not as it was: {found}"
    if found.transaction is not None:
        found.transaction.finish()
    return found.outcome.value


VERBS = {"deploy": deploy, "undo": undo, "recover": clear_up}


def in_a_child(act, root, call, burn):
    child = os.fork()
    if child == 0:
        for _ in range(burn):
            with suppress(OSError):
                EMPTY_CALLS[call]()
        act(root)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(verbs):
    jobs = json.loads(sys.argv[2])
    act, call, burn = verbs[jobs["verb"]], jobs.get("call"), jobs.get("burn", {})
    if call is None:
        outcomes = [act(root) for root in jobs["roots"]]
    else:
        outcomes = [in_a_child(act, root, call, burn.get(root, 0)) for root in jobs["roots"]]
    sys.stdout.write(json.dumps(outcomes))


if __name__ == "__main__":
    main(VERBS)
