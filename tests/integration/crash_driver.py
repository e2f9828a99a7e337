"""A small deploy for tests to kill; run by a bare `python -I -S crash_driver.py SCRIPTS JOBS`.

JOBS is JSON: `verb` is deploy, undo or recover; `roots` are the folders to do it in. With `call` every root gets
a child process, which first makes `burn[root]` empty calls of that name: so one strace, which counts the calls of
each process alone, can kill each child at a point of its own. OLD is what a root holds before, NEW what it holds
after a deploy: path → (mode, content).
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
from ds01.deployer.apply import Remove, Write, recover, stage

OLD = {
    "/etc/cron.d/ds01": (0o644, "old cron\n"),
    "/etc/cron.d/foreign": (0o600, "somebody else's\n"),
    "/etc/docker/daemon.json": (0o644, '{\n    "dns": ["8.8.8.8"]\n}\n'),
    "/etc/systemd/system/ds01.slice": (0o600, "old slice\n"),
    "/etc/systemd/system/ds01-old-bob.slice.d/10-resource-limits.conf": (0o644, "old limits\n"),
    "/usr/local/bin/ds01-verify-cgroup": (0o644, "the same\n"),
    "/var/lib/ds01/deploy/manifest.json": (0o644, '{"generation": 1}\n'),
}
ADDED = {
    "/etc/ds01/policy.json": (0o644, '{"version": 1}\n'),
    "/etc/systemd/system/ds01-student-alice.slice.d/10-resource-limits.conf": (0o640, "new limits\n"),
    "/etc/docker/daemon.json": (0o644, '{\n    "dns": ["8.8.8.8"],\n    "live-restore": true\n}\n'),
    "/etc/systemd/system/ds01.slice": (0o644, "new slice\n"),
    "/usr/local/bin/ds01-verify-cgroup": (0o755, "the same\n"),
    "/var/lib/ds01/deploy/generations/2/manifest.json": (0o600, ""),
    "/var/lib/ds01/deploy/manifest.json": (0o644, '{"generation": 2}\n'),
}
REMOVED = (
    "/etc/cron.d/ds01",
    "/etc/systemd/system/ds01-old-bob.slice.d/10-resource-limits.conf",
    "/etc/never-there",
)
PRUNED = ("/etc/systemd/system/ds01-old-bob.slice.d", "/etc/cron.d")
NEW = {path: state for path, state in (OLD | ADDED).items() if path not in REMOVED}


NOT_OPEN = 999_999
# The same system calls that the deploy makes, with arguments that do nothing at all.
EMPTY_CALLS = {
    "fchmod": lambda: os.fchmod(NOT_OPEN, 0),
    "fchmodat": lambda: os.chmod("x", 0, dir_fd=NOT_OPEN),
    "fchown": lambda: os.fchown(NOT_OPEN, -1, -1),
    "fsync": lambda: os.fsync(NOT_OPEN),
    "linkat": lambda: os.link("x", "x", src_dir_fd=NOT_OPEN, dst_dir_fd=NOT_OPEN, follow_symlinks=False),
    "mkdirat": lambda: os.mkdir("x", dir_fd=NOT_OPEN),
    "openat": lambda: os.open("x", os.O_RDONLY, dir_fd=NOT_OPEN),
    "renameat": lambda: os.rename("x", "x", src_dir_fd=NOT_OPEN, dst_dir_fd=NOT_OPEN),
    "unlinkat": lambda: os.unlink("x", dir_fd=NOT_OPEN),
    "write": lambda: os.write(NOT_OPEN, b""),
}


def changes():
    """What the deploy does; the manifest comes last, so that it is put in place last."""
    gone = [Remove(PurePosixPath(path)) for path in REMOVED]
    written = [
        Write(PurePosixPath(path), content.encode(), mode, os.geteuid(), os.getegid())
        for path, (mode, content) in ADDED.items()
    ]
    return [*gone, *written]


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


def in_a_child(verb, root, call, burn):
    child = os.fork()
    if child == 0:
        for _ in range(burn):
            with suppress(OSError):
                EMPTY_CALLS[call]()
        VERBS[verb](root)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main():
    jobs = json.loads(sys.argv[2])
    verb, call, burn = jobs["verb"], jobs.get("call"), jobs.get("burn", {})
    if call is None:
        outcomes = [VERBS[verb](root) for root in jobs["roots"]]
    else:
        outcomes = [in_a_child(verb, root, call, burn.get(root, 0)) for root in jobs["roots"]]
    sys.stdout.write(json.dumps(outcomes))


if __name__ == "__main__":
    main()
