"""What `ds01 gpu` changes, and who may: the real command line on a described driver and an engine on a real socket."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.fake_nvml.fixture import FakeNvml
from tests.fake_nvml.samples import instance_uuid, shipped_host
from tests.unit.runtime.gpu.engines import engine_with, inspected

from ds01.core.paths import HostPaths
from ds01.runtime.asker import asker
from ds01.runtime.commands import gpu
from ds01.runtime.gpu.record import parse_ledger
from ds01.runtime.machine import Machine

SHIPPED = Path(__file__).resolve().parents[4] / "generated/ds01/root/etc/ds01/policy.json"
NOBODY = str(pwd.getpwnam("nobody").pw_uid)
pytestmark = pytest.mark.root

Run = Callable[..., tuple[int, str, str]]


class Place:
    """A root with a policy, a described driver and an engine whose containers can be changed."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self.paths = HostPaths(root)
        self._engine = stack.enter_context(ExitStack())
        for folder in ("etc/ds01", "run", "var/lib/ds01", "var/log/ds01"):
            (root / folder).mkdir(parents=True)
        self.paths.policy.write_text(SHIPPED.read_text())
        self.docker()

    def docker(self, *containers: dict[str, object]) -> None:
        self._engine.close()
        self._engine.enter_context(engine_with(self.paths.engine, *containers))

    def no_docker(self) -> None:
        self._engine.close()

    @property
    def held(self) -> dict[str, tuple[str | None, tuple[str, ...]]]:
        if not self.paths.gpu_state.exists():
            return {}
        found = parse_ledger(self.paths.gpu_state.read_bytes()).allocations
        return {name: (each.user, each.slots) for name, each in found.items()}

    def events(self) -> list[str]:
        if not self.paths.events.exists():
            return []
        return [json.loads(line)["event_type"] for line in self.paths.events.read_text().splitlines()]


@pytest.fixture
def place(tmp_path: Path, loaded_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    loaded_nvml.write(shipped_host())
    for name in ("SUDO_UID", "SUDO_USER"):
        monkeypatch.delenv(name, raising=False)
    with ExitStack() as stack:
        yield Place(tmp_path / "root", stack)


@pytest.fixture
def run(place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def call(*argv: str, sudo: str | None = None) -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            if sudo is not None:
                patch.setenv("SUDO_UID", sudo)
            code = gpu.main([*argv, "--root", str(place.paths.root)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


def allocate(run: Run, name: str = "train", *more: str, user: str = "student01") -> tuple[int, str, str]:
    return run("allocate", "--container", name, "--user", user, *more)


# --- Asking -----------------------------------------------------------------------------------------------------------


def test_a_grant_is_the_slot_alone_for_scripts(place: Place, run: Run) -> None:
    assert allocate(run) == (0, "2:0\n", "")
    assert place.held == {"train": ("student01", ("2:0",))}
    assert allocate(run) == (0, "2:0\n", ""), "the same again"
    assert place.events() == ["gpu.allocated"]


def test_a_grant_can_be_had_as_options_for_docker_and_as_json(place: Place, run: Run) -> None:
    code, out, _ = allocate(run, "aa", "--docker-args")
    assert (code, out.split()[0]) == (0, f"--gpus=device={instance_uuid(2, 0)}")
    code, out, err = allocate(run, "bb", "--json", "--gpu", "3:1")
    document = json.loads(out)
    assert (code, err, document["granted"], document["gpu_id"], document["gpu_uuids"]) == (
        0, "", True, "3:1", [instance_uuid(3, 1)],
    )  # fmt: skip
    assert document["labels"]["ds01.allocation"] == document["allocation"]


def test_a_refusal_says_why_who_has_what_and_what_to_do(place: Place, run: Run) -> None:
    allocate(run, "train", "--gpu", "2:0")
    code, out, err = run("allocate", "--container", "nb", "--gpu", "2:0")
    assert (code, out) == (4, "")
    assert err.startswith("error: GPU 2:0 is held by student01's train\n  2:0  student01's train  since ")
    assert "\nTo fix: wait for one (--wait)" in err
    code, out, err = run("allocate", "--container", "nb", "--gpu", "2:0", "--json")
    assert (code, json.loads(out)["reason"], err) == (4, "taken", "")
    assert place.events() == ["gpu.allocated", "gpu.refused", "gpu.refused"]


def test_what_is_worth_knowing_is_said_beside_the_result(run: Run) -> None:
    code, out, err = run("allocate", "--container", "two", "--gpu", "2:0,2:1")
    assert (code, out) == (0, "2:0,2:1\n")
    assert err == "notice: CUDA uses only the first of several MIG instances: ask for one, or for a whole GPU\n"


def test_an_earlier_try_is_repeated_by_its_id(place: Place, run: Run) -> None:
    code, out, _ = allocate(run, "train", "--json", "--allocation", "retry-0001")
    assert (code, json.loads(out)["allocation"]) == (0, "retry-0001")
    assert allocate(run, "train", "--allocation", "retry-0001")[:2] == (0, "2:0\n")
    assert json.loads(allocate(run, "other", "--json", "--allocation", "retry-0001")[1])["reason"] == "different"
    assert len(place.held) == 1


def test_whoever_waits_is_told_and_refused_at_the_end(place: Place, run: Run) -> None:
    allocate(run, "train", "--gpu", "2:0")
    code, _, err = run("wait", "--container", "nb", "--gpu", "2:0", "--wait", "0.3")
    assert code == 4
    assert "Waiting: place 1 of 1 in the line, 0 s left (Ctrl-C to leave)" in err
    assert place.events() == ["gpu.allocated", "gpu.refused"], "one refusal, however often it was tried"
    assert parse_ledger(place.paths.gpu_state.read_bytes()).queue == ()


WRONG_NAMES = ["", "-x", "a b", "x\n", "../x", "a/b", "ü", "x" * 300, "x"]


@pytest.mark.parametrize("name", WRONG_NAMES)
def test_a_name_that_docker_would_not_take_is_bad_input(place: Place, run: Run, name: str) -> None:
    code, _, err = run("allocate", f"--container={name}")
    assert (code, place.held) == (2, {})
    assert "is no name that Docker takes" in err


def test_an_account_that_is_not_there_is_bad_input(place: Place, run: Run) -> None:
    code, _, err = allocate(run, user="ghost")
    assert (code, place.held, err.startswith("error: there is no account 'ghost'")) == (2, {}, True)


# --- Who may ----------------------------------------------------------------------------------------------------------

REFUSED = {
    "for somebody else": (("allocate", "--container", "xx", "--user", "student01"), "nobody may not ask for student01"),
    "a higher quota": (
        ("allocate", "--container", "xx", "--max-gpus", "4"),
        "--max-gpus 4 is more than the policy's 3",
    ),
    "a higher priority": (
        ("allocate", "--container", "xx", "--priority", "11"),
        "--priority 11 is more than the policy's 10",
    ),
    "a longer wait": (("wait", "--container", "xx", "--wait", "181"), "--wait 181 is more than the policy's 180 s"),
    "another's process": (("allocate", "--container", "xx", "--pid", "1"), "process 1 is not nobody's"),
    "to release another's": (("release", "--container", "train"), "train is a container of student01"),
    "to stop another's": (("mark-stopped", "--container", "train"), "train is a container of student01"),
    "to resume another's": (("clear-stopped", "--container", "train"), "train is a container of student01"),
    "to reconcile": (("reconcile",), "nobody may not do this"),
}


@pytest.mark.parametrize(("argv", "words"), REFUSED.values(), ids=REFUSED)
def test_an_ordinary_account_may_not(place: Place, run: Run, argv: tuple[str, ...], words: str) -> None:
    allocate(run)
    before = place.paths.gpu_state.read_bytes()
    code, out, err = run(*argv, sudo=NOBODY)
    assert (code, out, place.paths.gpu_state.read_bytes()) == (4, "", before)
    assert err.startswith(f"error: {words}")
    assert "To fix: " in err


def test_an_ordinary_account_may_ask_for_itself_and_for_less(place: Place, run: Run) -> None:
    argv = ("--max-gpus", "1", "--priority", "5", "--wait", "10")
    assert run("allocate", "--container", "mine", *argv, sudo=NOBODY)[:2] == (0, "2:0\n")
    assert run("allocate", "--container", "more", "--max-gpus", "1", sudo=NOBODY)[0] == 4
    assert place.held == {"mine": ("nobody", ("2:0",))}
    assert run("mark-stopped", "--container", "mine", sudo=NOBODY)[:2] == (0, "held GPU 2:0 of mine\n")
    assert run("clear-stopped", "--container", "mine", sudo=NOBODY)[:2] == (0, "2:0\n")
    assert run("release", "--container", "mine", sudo=NOBODY)[:2] == (0, "released GPU 2:0 of mine\n")


def test_an_administrator_may_raise_and_act_for_others(place: Place, run: Run) -> None:
    for number in range(4):
        assert allocate(run, f"c{number}", "--max-gpus", "4", "--priority", "99")[0] == 0
    assert len(place.held) == 4
    assert parse_ledger(place.paths.gpu_state.read_bytes()).allocations["c3"].priority == 99


def test_a_container_of_nobody_is_the_administrators(place: Place, run: Run) -> None:
    place.docker(inspected("stray", devices=[instance_uuid(2, 1)]))
    assert run("reconcile")[1] == "stray: a container with GPU 2:1 was not in the ledger\n1 correction\n"
    code, _, err = run("release", "--container", "stray", sudo=NOBODY)
    assert (code, err.splitlines()[0]) == (4, "error: stray is a container of nobody that is known")


# --- Releasing, holding, resuming -------------------------------------------------------------------------------------


def test_a_running_container_keeps_its_gpu(place: Place, run: Run) -> None:
    allocate(run)
    place.docker(inspected("train", devices=[instance_uuid(2, 0)]))
    code, _, err = run("release", "--container", "train")
    assert (code, err.splitlines()) == (
        4,
        ["error: train runs and uses GPU 2:0", "To fix: docker stop train"],
    )
    place.docker(inspected("train", devices=[instance_uuid(2, 0)], status="exited"))
    assert run("release", "--container", "train") == (0, "released GPU 2:0 of train\n", "")
    assert place.held == {}


def test_without_docker_nothing_is_released(place: Place, run: Run) -> None:
    allocate(run)
    place.no_docker()
    code, _, err = run("release", "--container", "train")
    assert (code, set(place.held)) == (1, {"train"})
    assert "Docker" in err


@pytest.mark.parametrize("action", ["release", "mark-stopped", "clear-stopped"])
def test_what_holds_nothing_is_said_and_no_failure(run: Run, action: str) -> None:
    assert run(action, "--container", "ghost") == (0, "", "ghost holds no GPU; nothing to do\n")
    assert json.loads(run(action, "--container", "ghost", "--json")[1])["version"] == 1


def test_a_container_that_is_started_after_its_hold_has_to_find_its_unit_free(place: Place, run: Run) -> None:
    labels = {"ds01.user": "student01", "ds01.allocation": "token-123", "ds01.gpu.uuids": instance_uuid(2, 0)}
    place.docker(inspected("old", labels=labels, devices=[instance_uuid(2, 0)], status="exited"))
    assert run("reconcile")[1] == "0 corrections\n", "its hold was over long ago"
    assert run("clear-stopped", "--container", "old")[:2] == (0, "2:0\n")
    assert place.held == {"old": ("student01", ("2:0",))}
    run("release", "--allocation", "token-123")
    allocate(run, "new", "--gpu", "2:0")
    code, _, err = run("clear-stopped", "--container", "old")
    assert code == 4
    assert "old had GPU 2:0 and its hold is over: GPU 2:0 is held by student01's new" in err
    assert "To fix: re-create it" in err
    code, _, err = run("clear-stopped", "--container", "old", sudo=NOBODY)
    assert (code, err.startswith("error: old is a container of student01")) == (4, True)


def test_a_reservation_whose_name_was_taken_can_be_given_back(place: Place, run: Run) -> None:
    allocate(run, "train", "--allocation", "token-123")
    place.docker(inspected("train", devices=[instance_uuid(3, 0)]))
    run("reconcile")
    assert place.held == {"train": (None, ("3:0",)), "?token-123": ("student01", ("2:0",))}
    assert run("release", "--allocation", "token-123")[:2] == (0, "released GPU 2:0 of ?token-123\n")


@pytest.mark.parametrize("action", ["release", "mark-stopped", "clear-stopped"])
def test_an_allocation_called_like_anothers_container_opens_nothing(place: Place, run: Run, action: str) -> None:
    allocate(run, "training", "--gpu", "2:0")
    run("allocate", "--container", "trick", "--gpu", "2:1", "--allocation", "training", sudo=NOBODY)
    before = place.held["training"]
    for which in (("--allocation", "training"), ("--container", "trick")):
        code, out, _ = run(action, *which, sudo=NOBODY)
        assert (code, "2:0" in out) == (0, False)
    assert run(action, "--container", "training", sudo=NOBODY)[0] == 4
    assert place.held["training"] == before
    assert json.loads(run("status", "--json")[1])["allocations"][0]["stopped_at"] is None


# --- When something is wrong ------------------------------------------------------------------------------------------


def test_a_driver_that_does_not_answer_hands_out_nothing(place: Place, run: Run, loaded_nvml: FakeNvml) -> None:
    for name in ("DRIVER_NOT_LOADED", "LIB_RM_VERSION_MISMATCH", "NO_PERMISSION", "UNKNOWN"):
        loaded_nvml.write(shipped_host().with_rules(f"fail nvmlInit {name}"))
        code, out, err = allocate(run)
        assert (code, out, place.held) == (1, "", {})
        assert f"NVML_ERROR_{name}" in err
        assert "To fix: " in err
        assert "Traceback" not in err


def test_a_lost_gpu_is_not_given_and_the_others_are(run: Run, loaded_nvml: FakeNvml) -> None:
    run("status")
    loaded_nvml.write(shipped_host().with_rules("fail * 2 GPU_IS_LOST"))
    assert allocate(run)[:2] == (0, "3:0\n")
    code, _, err = run("allocate", "--container", "xx", "--gpu", "2:0")
    assert code == 4
    assert "GPU_IS_LOST" in err


def test_a_damaged_record_is_rebuilt_with_one_warning(place: Place, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    allocate(run)
    place.paths.gpu_state.write_text("{}")
    place.docker(inspected("nb", devices=[instance_uuid(2, 0)]))
    assert allocate(run, "new")[:2] == (0, "3:0\n")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert len(list(place.paths.gpu_state.parent.glob("gpu-state.json.damaged-*"))) == 1
    assert set(place.held) == {"nb", "new"}


def test_a_policy_that_is_not_there_is_told(place: Place, run: Run) -> None:
    place.paths.policy.unlink()
    code, _, err = allocate(run)
    assert (code, "there is no compiled policy" in err) == (2, True)


def test_root_changes_nothing_in_a_folder_of_somebody_else(place: Place, run: Run) -> None:
    os.chown(place.paths.root, int(NOBODY), -1)
    code, _, err = allocate(run)
    assert (code, place.held, "which is another account's" in err) == (4, {}, True)


def test_the_reservation_is_kept_by_who_called_and_not_by_the_command(place: Place, run: Run) -> None:
    allocate(run)
    there = parse_ledger(place.paths.gpu_state.read_bytes()).allocations["train"].reservation
    assert there is not None
    assert there.process == asker(Machine(), os.getpid())
    assert there.process.pid != os.getpid()
    with subprocess.Popen(["sleep", "60"]) as keeper:
        allocate(run, "other", "--pid", str(keeper.pid))
        named = parse_ledger(place.paths.gpu_state.read_bytes()).allocations["other"].reservation
        assert named is not None
        assert named.process.pid == keeper.pid
        keeper.kill()
    code, _, err = allocate(run, "third", "--pid", "4194304")
    assert (code, "there is no process 4194304" in err) == (2, True)
