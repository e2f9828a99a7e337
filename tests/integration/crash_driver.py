"""A small deploy that tests kill: `crash_driver.py SCRIPTS VERB ROOT…`, run by a bare `python -I -S`.

Verbs: `deploy` and `undo` work on one root, `recover` on any number, `recover-each` in a process of its own for
each. OLD is what a root holds before, NEW what it holds after `deploy`: path → (mode, content).
"""

import json
import os
import sys
from pathlib import Path, PurePosixPath

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


def transaction(root):
    from ds01.core.paths import HostPaths
    from ds01.deployer.apply import Remove, Write, stage

    gone = [Remove(PurePosixPath(path)) for path in REMOVED]
    written = [
        Write(PurePosixPath(path), content.encode(), mode, os.geteuid(), os.getegid())
        for path, (mode, content) in ADDED.items()
    ]
    # The manifest comes last, so it is the last to be put in place.
    prune = tuple(map(PurePosixPath, PRUNED))
    return stage(HostPaths(Path(root)), [*gone, *written], prune=prune, context={"who": "test"})


def deploy(root):
    staged = transaction(root)
    staged.commit()
    staged.finish()
    return "deployed"


def undo(root):
    staged = transaction(root)
    staged.commit()
    staged.undo()
    return "undone"


def recover(root):
    from ds01.core.paths import HostPaths
    from ds01.deployer.apply import recover as recover_root

    found = recover_root(HostPaths(Path(root)))
    if found is None:
        return "nothing"
    if found.context != {"who": "test"} or found.kept:
        raise ValueError(found)
    if found.transaction is not None:
        found.transaction.finish()
    return found.outcome.value


def recover_each(root):
    child = os.fork()
    if child == 0:
        recover(root)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def main():
    scripts, verb, *roots = sys.argv[1:]
    sys.path.insert(0, scripts)
    work = {"deploy": deploy, "undo": undo, "recover": recover, "recover-each": recover_each}[verb]
    print(json.dumps([work(root) for root in roots]))


if __name__ == "__main__":
    main()
