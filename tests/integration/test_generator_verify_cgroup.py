"""ds01-verify-cgroup, run as it is rendered, against a docker client that answers what a test wants.

The script fixes its own PATH, so the client is put there: in a mount namespace of its own, where /usr/sbin is a
folder of the test. What a real daemon answers is shown by the tests marked docker.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from ds01.generator.build import build

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPT = "/usr/local/sbin/ds01-verify-cgroup"
FIX = """\
FAILED: Docker's cgroup driver is not systemd, so containers run outside DS01's slices and no limit over all of a
user's containers holds.
To fix: have this in /etc/docker/daemon.json (`deploy` merges it in), then restart Docker:
{
  "cgroup-parent": "ds01-other.slice",
  "exec-opts": [
    "native.cgroupdriver=systemd"
  ],
  "live-restore": true,
  "builder": {
    "entitlements": {
      "network-host": false,
      "security-insecure": false
    }
  }
}
The driver now: cgroupfs
"""
V1 = (
    "warning: control groups are v1: memory, task and pressure limits of slices are not all enforced\n"
    "To fix: boot with systemd.unified_cgroup_hierarchy=1\n"
)

pytestmark = pytest.mark.root


@dataclass(frozen=True)
class Answer:
    """How the script ended."""

    code: int
    stdout: str = ""
    stderr: str = ""


def verify(client: str, tmp_path: Path, *options: str) -> Answer:
    """Run the rendered script with `client` as the text of /usr/sbin/docker."""
    if Path("/usr/sbin").is_symlink():
        pytest.skip("/usr/sbin is a link here, so nothing can be put before /usr/bin")
    sbin = tmp_path / "sbin"
    sbin.mkdir()
    (sbin / "docker").write_text(f"#!/bin/sh\n{client}\n")
    (sbin / "docker").chmod(0o755)
    script = tmp_path / "ds01-verify-cgroup"
    tree, _ = build(CHECKOUT, CHECKOUT / "tests" / "golden" / "shipped" / "inventory")
    script.write_text(next(file.content for file in tree if str(file.path) == SCRIPT))
    inside = f'mount --bind {sbin} /usr/sbin && exec bash {script} "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", inside, "bash", *options], capture_output=True, text=True, check=False
    )
    if "unshare failed" in done.stderr or "permission denied" in done.stderr:
        pytest.skip("this machine allows no mount namespace")
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("client", "options", "answer"),
    [
        ("echo systemd 2", (), Answer(0, "ok: Docker uses the systemd cgroup driver (cgroup v2)\n")),
        ("echo systemd 2", ("--quiet",), Answer(0)),
        (
            "echo 'WARNING: no swap limit support'; echo systemd 2",
            (),
            Answer(0, "ok: Docker uses the systemd cgroup driver (cgroup v2)\n"),
        ),
        ("echo systemd 1", (), Answer(0, "ok: Docker uses the systemd cgroup driver (cgroup v1)\n", V1)),
        ("echo cgroupfs 2", (), Answer(1, "", FIX)),
        ("echo cgroupfs 1", ("--quiet",), Answer(1, "", V1 + FIX)),
        (
            "echo 'Cannot connect to the Docker daemon' >&2; exit 1",
            (),
            Answer(
                1,
                "",
                "ds01-verify-cgroup: Docker gives no answer: Cannot connect to the Docker daemon\n"
                "To fix: see 'systemctl status docker', or run this as root\n",
            ),
        ),
        ("exit 0", ("--verbose",), Answer(2, "", "ds01-verify-cgroup: unknown option --verbose; try --help\n")),
    ],
)
def test_answer_of_docker_is_judged(client: str, options: tuple[str, ...], answer: Answer, tmp_path: Path) -> None:
    assert verify(client, tmp_path, *options) == answer


def test_help_is_the_scripts_own_head(tmp_path: Path) -> None:
    answer = verify("exit 0", tmp_path, "--help")
    assert (answer.code, answer.stdout.splitlines()[0], answer.stderr) == (
        0,
        (
            "Checks that Docker puts containers where DS01's slices can limit them: cgroup driver systemd, "
            "control groups v2."
        ),
        "",
    )


def test_only_the_driver_and_the_version_are_asked_for(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    verify(f'printf "%s\\n" "$@" >{asked}; echo systemd 2', tmp_path)
    assert asked.read_text().splitlines() == ["info", "--format", "{{.CgroupDriver}} {{.CgroupVersion}}"]
