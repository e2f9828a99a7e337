"""`ds01 limits`: the whole sheet and every flag, on the shipped policy; and what cannot be answered."""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ds01.runtime.commands.limits import main

CHECKOUT = Path(__file__).resolve().parents[4]
POLICY = CHECKOUT / "tests/golden/shipped/expected/root/etc/ds01/policy.json"
LAUNCHER = CHECKOUT / "scripts/get_resource_limits.py"
LISTED = json.loads(POLICY.read_text())["users"]


class Answer:
    """Asks the command and remembers what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: str, policy: Path = POLICY) -> str:
        assert main(["--policy", str(policy), *words]) == 0
        shown = self.capsys.readouterr()
        assert shown.err == ""
        return shown.out

    def refusal(self, *words: str) -> tuple[int, str]:
        code = main(list(words))
        shown = self.capsys.readouterr()
        assert shown.out == ""
        return code, shown.err


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Answer:
    return Answer(capsys)


STUDENT = """\
User: {name}
Group: student{note}
Priority: 10
Max MIG Instances: 3
Max MIG Per Container: 1
Max CPUs: 32
Memory: 32G
Shared Memory: 16G
Max Processes: 4096
Max Containers: 3
Idle Timeout: {idle}
Max Runtime: {runtime}
GPU Hold After Stop: 15m
Container Hold After Stop: 30m

Over all containers
CPU Quota: 9600%
Memory Max: 96G
Memory High: 86G
Tasks Max: 12288
"""
FACULTY = """\
User: prof.chen@lab-x.org
Group: faculty
Priority: 60
Max MIG Instances: 8
Max MIG Per Container: 4
Max CPUs: 64
Memory: 128G
Shared Memory: 64G
Max Processes: 65536
Max Containers: 5
Idle Timeout: 2h
Max Runtime: 72h
GPU Hold After Stop: 1h
Container Hold After Stop: 24h

Over all containers
CPU Quota: 32000%
Memory Max: 640G
Memory High: 576G
Tasks Max: 327680
"""
ADMIN = """\
User: sysop
Group: admin
Priority: 100
Max MIG Instances: unlimited
Max MIG Per Container: unlimited
Max CPUs: 64
Memory: 128G
Shared Memory: 64G
Max Processes: unlimited
Max Containers: unlimited
Idle Timeout: unlimited
Max Runtime: unlimited
GPU Hold After Stop: 1h
Container Hold After Stop: unlimited

Over all containers: unlimited
"""
OVERRIDDEN = """\
User: m.okafor@lab-x.org
Group: researcher
Priority: 50
Max MIG Instances: 6
Max MIG Per Container: 2
Max CPUs: 48
Memory: 96G
Shared Memory: 32G
Max Processes: 65536
Max Containers: 5
Idle Timeout: 1h
Max Runtime: 48h
GPU Hold After Stop: 30m
Container Hold After Stop: 12h

Over all containers
CPU Quota: 24000%
Memory Max: 480G
Memory High: 432G
Tasks Max: 327680
"""
SHEETS = {
    "student": ("carol", STUDENT.format(name="carol", note="", idle="30m", runtime="24h")),
    "faculty": ("prof.chen@lab-x.org", FACULTY),
    "admin": ("sysop", ADMIN),
    "overridden limit of memory": ("m.okafor@lab-x.org", OVERRIDDEN),
    "overridden times": ("student07", STUDENT.format(name="student07", note="", idle="4h", runtime="96h")),
    "not listed": (
        "no-such-account",
        STUDENT.format(name="no-such-account", note=" (not listed)", idle="30m", runtime="24h"),
    ),
}


@pytest.mark.parametrize(("account", "sheet"), SHEETS.values(), ids=SHEETS)
def test_the_sheet_of_an_account(ask: Answer, account: str, sheet: str) -> None:
    assert ask(account) == sheet


STUDENTS = '{"cpu_quota": "9600%", "memory_max": "96G", "memory_high": "86G", "tasks_max": 12288}\n'
FLAGS = {
    "--aggregate": (
        STUDENTS,
        STUDENTS.replace("9600%", "24000%").replace("96G", "480G").replace("86G", "432G").replace("12288", "327680"),
        "null\n",
    ),
    "--group": ("student\n", "researcher\n", "admin\n"),
    "--docker-args": (
        (
            "--cpus=32 --memory=32g --memory-swap=32g --shm-size=16g --pids-limit=4096"
            " --cgroup-parent=ds01-student-student07.slice\n"
        ),
        (
            "--cpus=48 --memory=96g --memory-swap=96g --shm-size=32g --pids-limit=65536"
            " --cgroup-parent=ds01-researcher-m_okafor_lab_x_org.slice\n"
        ),
        "--cpus=64 --memory=128g --memory-swap=128g --shm-size=64g --cgroup-parent=ds01-admin-sysop.slice\n",
    ),
    "--max-gpus": ("3\n", "6\n", "unlimited\n"),
    "--aggregate-gpu-limit": ("3\n", "6\n", "unlimited\n"),
    "--max-containers": ("3\n", "5\n", "unlimited\n"),
    "--max-ram": ("32G\n", "96G\n", "128G\n"),
    "--idle-timeout": ("4h\n", "1h\n", "unlimited\n"),
    "--max-runtime": ("96h\n", "48h\n", "unlimited\n"),
    "--gpu-hold-time": ("15m\n", "30m\n", "1h\n"),
    "--container-hold-time": ("30m\n", "12h\n", "unlimited\n"),
    "--high-demand-threshold": ("0.8\n",) * 3,
    "--high-demand-reduction": ("0.5\n",) * 3,
    "--check-exemption=idle_timeout": ("enforced\n", "enforced\n", "exempt\n"),
    "--check-exemption=max_runtime": ("enforced\n", "enforced\n", "exempt\n"),
    "--all-lifecycle": (
        (
            '{"idle_timeout_seconds": 14400, "max_runtime_seconds": 345600, "gpu_hold_after_stop_seconds": 900,'
            ' "container_hold_after_stop_seconds": 1800, "sigterm_grace_seconds": 60}\n'
        ),
        (
            '{"idle_timeout_seconds": 3600, "max_runtime_seconds": 172800, "gpu_hold_after_stop_seconds": 1800,'
            ' "container_hold_after_stop_seconds": 43200, "sigterm_grace_seconds": 60}\n'
        ),
        (
            '{"idle_timeout_seconds": null, "max_runtime_seconds": null, "gpu_hold_after_stop_seconds": 3600,'
            ' "container_hold_after_stop_seconds": null, "sigterm_grace_seconds": 60}\n'
        ),
    ),
    "--explain=memory": (
        "memory of student07 is 32G (default)\n  default says 32G\n",
        (
            "memory of m.okafor@lab-x.org is 96G (user:m.okafor@lab-x.org)\n"
            "  user:m.okafor@lab-x.org says 96G\n  group:researcher says 64G\n  default says 32G\n"
        ),
        "memory of sysop is 128G (group:admin)\n  group:admin says 128G\n  default says 32G\n",
    ),
    "--explain=aggregate.memory_max": (
        "aggregate.memory_max of student07 is 96G (group:student)\n  group:student says 96G\n",
        (
            "aggregate.memory_max of m.okafor@lab-x.org is 480G"
            " (user:m.okafor@lab-x.org: 96G memory × 5 containers)\n  group:researcher says 320G\n"
        ),
        "aggregate.memory_max of sysop is unlimited (group:admin)\n  group:admin says unlimited\n",
    ),
}


@pytest.mark.parametrize(("flag", "answers"), FLAGS.items(), ids=FLAGS)
def test_each_flag_prints_its_answer_alone(ask: Answer, flag: str, answers: tuple[str, str, str]) -> None:
    assert tuple(ask(name, flag) for name in ("student07", "m.okafor@lab-x.org", "sysop")) == answers


def test_lifecycle_policies_are_those_of_the_compiled_policy(ask: Answer) -> None:
    assert json.loads(ask("carol", "--lifecycle-policies")) == json.loads(POLICY.read_text())["policies"]


def test_json_gives_each_limit_with_its_origin(ask: Answer) -> None:
    document = json.loads(ask("m.okafor@lab-x.org", "--json"))
    limits = document.pop("limits")
    assert document == {
        "version": 1,
        "account": "m.okafor@lab-x.org",
        "group": "researcher",
        "listed": True,
        "slice": "ds01-researcher-m_okafor_lab_x_org.slice",
        "aggregate": {
            "cpu_quota_percent": {"value": 24000, "origin": "group:researcher"},
            "memory_max_bytes": {
                "value": 480 * 2**30,
                "origin": "user:m.okafor@lab-x.org: 96G memory × 5 containers",
            },
            "memory_high_bytes": {"value": 432 * 2**30, "origin": "90% of memory_max"},
            "tasks_max": {"value": 327680, "origin": "group:researcher"},
            "io_weight": {"value": None, "origin": "not configured"},
            "io_read_bw_max_bytes_per_second": {"value": None, "origin": "not configured"},
            "io_write_bw_max_bytes_per_second": {"value": None, "origin": "not configured"},
            "io_read_iops_max": {"value": None, "origin": "not configured"},
            "io_write_iops_max": {"value": None, "origin": "not configured"},
        },
    }
    assert limits["memory_bytes"] == {"value": 96 * 2**30, "origin": "user:m.okafor@lab-x.org"}
    assert limits["gpu_unit"] == {"value": "any", "origin": "group:researcher"}
    assert limits["sigterm_grace_seconds"] == {"value": 60, "origin": "default"}
    assert json.loads(ask("sysop", "--json"))["aggregate"] is None


def test_every_listed_account_gets_what_its_drop_in_says(ask: Answer) -> None:
    units = POLICY.parents[1] / "systemd/system"
    names = {"cpu_quota": "CPUQuota", "memory_max": "MemoryMax", "memory_high": "MemoryHigh", "tasks_max": "TasksMax"}
    compared = 0
    for account in LISTED:
        slice_name = json.loads(ask(account, "--json"))["slice"]
        drop_in = units / f"{slice_name}.d/10-resource-limits.conf"
        aggregate = json.loads(ask(account, "--aggregate"))
        if aggregate is None:
            assert not drop_in.exists()
            continue
        written = dict(re.findall(r"^(\w+)=(.*)$", drop_in.read_text(), re.MULTILINE))
        assert {names[key]: str(value) for key, value in aggregate.items()}.items() <= written.items()
        compared += 1
    assert compared == 79


def test_without_a_name_it_is_the_one_who_asks(ask: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    carol = pwd.struct_passwd(("carol", "x", os.getuid(), os.getgid(), "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", {os.getuid(): carol}.__getitem__)
    assert ask() == ask("carol")


def test_one_who_asks_and_has_no_name_is_asked_for_one(ask: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    assert ask.refusal("--policy", str(POLICY)) == (
        2,
        f"error: uid {os.getuid()} has no account name\nTo fix: name an account\n",
    )


def test_an_unlisted_account_of_this_machine_belongs_to_the_group_of_its_linux_group(
    ask: Answer, tmp_path: Path
) -> None:
    root = pwd.getpwnam("root")  # the one account that every machine has
    own_group = grp.getgrgid(root.pw_gid).gr_name
    document = json.loads(POLICY.read_text())
    document["groups"]["faculty"]["unix_group"] = own_group
    (tmp_path / "policy.json").write_text(json.dumps(document))
    assert ask("root", "--group", policy=tmp_path / "policy.json") == "faculty\n"


def test_sharing_the_hosts_memory_leaves_the_shared_memory_size_out(ask: Answer, tmp_path: Path) -> None:
    document = json.loads(POLICY.read_text())
    document["user_overrides"]["carol"] = {"ipc_mode": "host", "pids_limit": None, "max_cpus": 0.5}
    (tmp_path / "policy.json").write_text(json.dumps(document))
    assert ask("carol", "--docker-args", policy=tmp_path / "policy.json") == (
        "--cpus=0.5 --memory=32g --memory-swap=32g --ipc=host --cgroup-parent=ds01-student-carol.slice\n"
    )


def test_a_root_stands_for_the_host(ask: Answer, tmp_path: Path) -> None:
    (tmp_path / "etc/ds01").mkdir(parents=True)
    shutil.copy(POLICY, tmp_path / "etc/ds01")
    assert main(["--root", str(tmp_path), "carol", "--group"]) == 0


REFUSED = "has a character that DS01 refuses (control character, %, \\ or /)\nTo fix: rename the account\n"
NO_NAMES = {
    "option": ("-x", "error: account name '-x' starts with -\nTo fix: rename the account\n"),
    "dot": (".", "error: account name '.' starts with .\nTo fix: rename the account\n"),
    "newline": ("a\nb", f"error: account name 'a\\nb' {REFUSED}"),
    "percent": ("a%b", f"error: account name 'a%b' {REFUSED}"),
    "slash": ("../etc", f"error: account name '../etc' {REFUSED}"),
    "backslash": ("a\\b", f"error: account name 'a\\\\b' {REFUSED}"),
    "escape": ("\x1b[2J", f"error: account name '\\x1b[2J' {REFUSED}"),
    "empty": (
        "",
        "error: the account's name is empty\nTo fix: name an account, or leave it out for your own\n",
    ),
}


@pytest.mark.parametrize(("name", "message"), NO_NAMES.values(), ids=NO_NAMES)
@pytest.mark.parametrize("flag", ["--docker-args", "--group", "--aggregate"])
def test_what_is_no_name_is_bad_input(ask: Answer, name: str, message: str, flag: str) -> None:
    assert ask.refusal("--policy", str(POLICY), flag, "--", name) == (2, message)


@pytest.mark.parametrize("name", ["ä", "a b", "a" * 300, "O'Neil", "$(id)"])
def test_an_odd_name_that_may_exist_gets_a_slice_of_plain_characters(ask: Answer, name: str) -> None:
    args = ask("--docker-args", "--", name)
    assert re.fullmatch(r"[-a-z0-9=_ ]+ --cgroup-parent=ds01-student-[A-Za-z0-9_]+\.slice\n", args)


BROKEN = {
    "missing": (
        None,
        2,
        (
            "error: there is no compiled policy at {path}\n"
            "To fix: deploy first (sudo ./inv deploy),"
            " or name one: --policy generated/<host>/root/etc/ds01/policy.json\n"
        ),
    ),
    "torn": ('{"version": 1, "gro', 1, "error: {path} cannot be read\n"),
    "list": ("[]", 1, "error: {path} is not a JSON object\n"),
    "another version": (
        '{"version": 2}',
        2,
        (
            "error: the compiled policy has version 2, this DS01 reads version 1\n"
            "To fix: deploy again, so that policy and runtime come from the same release\n"
        ),
    ),
    "incomplete": (
        '{"version": 1}',
        2,
        "error: the compiled policy is not complete\nKeyError: 'groups'\nTo fix: deploy again\n",
    ),
}


@pytest.mark.parametrize(("text", "code", "message"), BROKEN.values(), ids=BROKEN)
def test_a_policy_that_cannot_be_used_says_what_to_do(
    ask: Answer, tmp_path: Path, text: str | None, code: int, message: str
) -> None:
    path = tmp_path / "policy.json"
    if text is not None:
        path.write_text(text)
    found = ask.refusal("--policy", str(path), "carol")
    assert (found[0], found[1].startswith(message.replace("{path}", str(path)))) == (code, True), found[1]


def test_a_policy_without_the_thresholds_says_so(ask: Answer, tmp_path: Path) -> None:
    document = json.loads(POLICY.read_text())
    del document["policies"]
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(document))
    assert ask.refusal("--policy", str(path), "--high-demand-threshold", "carol") == (
        2,
        "error: the compiled policy has no number policies.high_demand_threshold\nTo fix: deploy again\n",
    )


@pytest.mark.parametrize(
    "words", [["--nope"], ["--group", "--json"], ["--explain", "nonsense"], ["--check-exemption", "x"], ["a", "b"]]
)
def test_a_usage_error_exits_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: ds01 limits [OPTION…] [NAME]\n")


# --- The programs on the host -------------------------------------------------------------------------------

SYSTEM_PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
HEAVY = {"yaml", "jinja2", "jsonschema", "docker", "pynvml", "invoke"}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd="/", env={"PATH": "/usr/bin:/bin"})


def test_the_name_admins_know_runs_under_the_systems_python(ask: Answer) -> None:
    done = run(SYSTEM_PYTHON, "-S", "-s", "-E", "-B", str(LAUNCHER), "carol", "--policy", str(POLICY))
    assert (done.returncode, done.stdout, done.stderr) == (0, ask("carol"), "")
    assert os.access(LAUNCHER, os.X_OK)


def test_nothing_but_the_standard_library_is_imported() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(CHECKOUT / 'scripts')!r})\n"
        "from ds01.cli import main\n"
        f"main(['limits', 'carol', '--group', '--policy', {str(POLICY)!r}])\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names))\n"
    )
    done = run(SYSTEM_PYTHON, "-I", "-S", "-B", "-c", code)
    assert (done.stdout, done.stderr) == ("student\n__main__ ds01\n", "")
    assert not HEAVY & set(done.stdout.split())


def test_a_reader_that_leaves_is_no_error() -> None:
    script = f"'{SYSTEM_PYTHON}' -B '{LAUNCHER}' carol --json --policy '{POLICY}' | true; exit ${{PIPESTATUS[0]}}"
    done = run("bash", "-c", script)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("docker") is None, reason="there is no docker client (apt-get install docker.io)")
@pytest.mark.parametrize("account", ["carol", "prof.chen@lab-x.org", "sysop", "no-such-account"])
def test_the_real_docker_client_reads_every_argument(ask: Answer, account: str) -> None:
    docker = shutil.which("docker")
    assert docker is not None
    nowhere = "unix:///nonexistent.sock"
    done = run(docker, "-H", nowhere, "create", *ask(account, "--docker-args").split(), "busybox")
    # It got as far as looking for a daemon, so it understood them all.
    assert "nonexistent.sock" in done.stderr, done.stderr
    wrong = run(docker, "-H", nowhere, "create", "--memory=much", "busybox")
    assert "nonexistent.sock" not in wrong.stderr
