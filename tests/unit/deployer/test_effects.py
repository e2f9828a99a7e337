"""What an older file does, in the words an admin decides by: one table a kind of file."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from ds01.deployer import effects

UNITS = PurePosixPath("/etc/systemd/system")
ANY = PurePosixPath("/etc/x")
IDLE = "root /opt/ds01-infra/scripts/monitoring/check-idle-containers.sh\n"
MAKER = "/opt/ds01-infra/scripts/system/create-user-slice.sh"


CRON = {
    f"20 * * * * {IDLE}": "stops idle containers every hour",
    f"* * * * * {IDLE}": "stops idle containers every minute",
    f"*/30 * * * * {IDLE}": "stops idle containers every 30 minutes",
    f"0 3 * * * {IDLE}": "stops idle containers every day",
    f"0 3 * * 0 {IDLE}": "stops idle containers at set times",
    f"0,30 * * * * {IDLE}": "stops idle containers at set times",
    f"@reboot {IDLE}": "stops idle containers at set times",
    f"20 * * * * {IDLE}50 * * * * {IDLE}": "stops idle containers every hour",
    f"PATH=/bin\nINFRA = /opt\n# 1 * * * * {IDLE}\n": "runs nothing",
    "": "runs nothing",
    "half a line\n": "runs nothing",
    "1 * * * * root /opt/ds01-infra/x.sh\n": "runs 1 job as root",
    "1 * * * * root a\n2 * * * * root b\n": "runs 2 jobs as root",
    f"1 * * * * root a\n2 * * * * {IDLE}": "stops idle containers every hour, 1 more job",
    (
        "1 * * * * root collect-resource-stats.sh\n2 * * * * root gpu-queue-manager.py process\n"
        "3 * * * * root enforce-max-runtime.sh\n4 * * * * root cleanup-stale-containers.sh\n"
        f"5 * * * * {IDLE}6 * * * * root other\n"
    ): (
        "stops idle containers every hour, stops containers that run for too long every hour, removes stopped"
        " containers every hour, serves the line for GPUs every hour, 2 more jobs"
    ),
}


@pytest.mark.parametrize(("text", "words"), CRON.items())
def test_cron_jobs_are_told_with_how_often(text: str, words: str) -> None:
    assert effects.of_cron(ANY, text) == words


SUDOERS = {
    f"%docker ALL=(root) NOPASSWD: {MAKER}\n": (
        "lets everybody in the group docker run create-user-slice.sh with any arguments as root without a password"
    ),
    f"ALL ALL=(root) NOPASSWD:{MAKER} student alice\n": (
        "lets every account run create-user-slice.sh student alice as root without a password"
    ),
    'lab ALL = NOPASSWD: /bin/a "", /bin/b\n': 'lets lab run a "" and b with any arguments as root without a password',
    "lab ALL=(ALL:ALL) NOPASSWD: ALL\n": "lets lab run everything as root without a password",
    "lab ALL=(root) \\\n  NOPASSWD: /bin/a\n": "lets lab run a with any arguments as root without a password",
    "a ALL=(root) NOPASSWD: /b/c\nd ALL=(root) NOPASSWD: /e/f\n": (
        "lets a run c with any arguments as root without a password;"
        " lets d run f with any arguments as root without a password"
    ),
    "# %docker ALL=(root) NOPASSWD: /bin/a\nDefaults !lecture\n": "changes what sudo allows",
    "": "changes what sudo allows",
}


@pytest.mark.parametrize(("text", "words"), SUDOERS.items())
def test_rights_are_told_with_who_and_what(text: str, words: str) -> None:
    assert effects.of_sudoers(ANY, text) == words


LOGINS = {
    'export CUDA_VISIBLE_DEVICES=""\nexport LD_PRELOAD=x\n': (
        "at every login: hides GPUs from programs outside containers, loads a library into every program"
    ),
    "# sets CUDA_VISIBLE_DEVICES\ntrue\n": "at every login: runs commands",
    'sudo -n add-user-to-docker.sh "$USER"\n': "at every login: puts the account into the group docker",
    'chmod 700 "$HOME"\nPATH=/usr/local/bin:$PATH\n': "at every login: closes the home folder to others, sets PATH",
}


@pytest.mark.parametrize(("text", "words"), LOGINS.items())
def test_logins_are_told_by_what_they_do(text: str, words: str) -> None:
    assert effects.of_login(ANY, text) == words


UNIT_FILES = {
    "ds01-x.timer": ("[Timer]\nOnUnitActiveSec=30s\nOnBootSec=5\n", None),
    "ds01-y.timer": ("[Timer]\nUnit=other.service\n", "starts other.service by the clock (no time)"),
    "ds01-x.service": (
        "[Service]\nExecStart=/usr/bin/python3 /opt/ds01-infra/a/sync-owners.py --watch\n",
        "runs sync-owners",
    ),
    "ds01-z.service": ("[Service]\nExecStart=/usr/bin/docker start -a x\n", "runs /usr/bin/docker"),
    "ds01-e.service": ("[Service]\nExecStart=\n", "describes ds01-e.service"),
    "docker.service.d/ds01-socket.conf": (
        "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd\n",
        "changes how docker.service starts: runs /usr/bin/dockerd",
    ),
    "ds01-a-b.slice": ("[Slice]\nSlice=ds01-a.slice\nCPUAccounting=true\n", "describes ds01-a-b.slice"),
    "ds01-a.slice": (
        "[Slice]\nCPUQuota=100%\nMemoryMax=\nTasksMax=5\n",
        "sets CPUQuota=100%, TasksMax=5 for ds01-a.slice",
    ),
    "ds01-a-b.slice.d/limits.conf": ("[Slice]\nMemoryMax=1G\n", "sets MemoryMax=1G for ds01-a-b.slice"),
}


@pytest.mark.parametrize(("name", "text", "words"), [(name, *each) for name, each in UNIT_FILES.items()])
def test_units_are_told_by_what_they_start_or_set(name: str, text: str, words: str | None) -> None:
    expected = words or "starts ds01-x.service by the clock (OnUnitActiveSec=30s, OnBootSec=5)"
    assert effects.of_unit(UNITS / name, text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'exec docker "$@" --cgroup-parent=x --label ds01.user=y',
            "puts containers into slices, labels them with their owner",
        ),
        ("gpu_allocator.py", "gives out GPUs"),
        ('exec /usr/bin/docker "$@"', "runs the real one"),
    ],
)
def test_a_wrapper_is_told_by_what_it_adds(text: str, words: str) -> None:
    assert effects.of_wrapper(ANY, text) == f"stands before docker for every account: {words}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('KERNEL=="nvidia0", MODE="0666"', "lets every account open the devices of GPUs"),
        ("options nvidia NVreg_DeviceFileMode=438", "lets every account open the devices of GPUs"),
        ("options nvidia NVreg_DeviceFileMode=432", "lets only a group open the devices of GPUs"),
        ('KERNEL=="nvidia0", MODE="0660"', "lets only a group open the devices of GPUs"),
        ("", "sets who may open devices"),
    ],
)
def test_rules_of_devices_are_told_by_who_may_open_them(text: str, words: str) -> None:
    assert effects.of_devices(ANY, text) == words
