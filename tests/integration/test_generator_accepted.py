"""What is rendered is accepted by the programs that will read it: systemd, logrotate, bash, and our own schemas."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ds01.core.tree import Form, Tree
from ds01.generator.build import build
from ds01.generator.compile import policy_schema
from ds01.generator.schema import load_schemas

CHECKOUT = Path(__file__).resolve().parents[2]
INVENTORIES = {
    "shipped": CHECKOUT / "tests" / "golden" / "shipped" / "inventory",
    "lab": CHECKOUT / "tests" / "golden" / "lab" / "inventory",
    "minimal": CHECKOUT / "tests" / "golden" / "minimal" / "inventory",
}
SCHEMAS = load_schemas(CHECKOUT / "schemas")
FILES = sorted((CHECKOUT / "schemas").glob("*.schema.json"))
UNITS = Path("/etc/systemd/system")
STAND_IN = shutil.which("true") or "/bin/true"
every_tree = pytest.mark.parametrize("name", list(INVENTORIES))


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"there is no {program}")


@functools.cache
def tree(name: str) -> Tree:
    return build(CHECKOUT, INVENTORIES[name])[0]


def content(name: str, path: str) -> str:
    return next(file.content for file in tree(name) if str(file.path) == path)


def write_units(name: str, folder: Path) -> list[str]:
    """Write a tree's units, and return one to verify for each file: for a drop-in a unit that it applies to.

    What they start is installed with them; here a program that is there stands in for it.
    """
    units = []
    for file in tree(name):
        if not file.path.is_relative_to(UNITS) or file.form is Form.LINK:
            continue
        target = folder / file.path.relative_to(UNITS)
        target.parent.mkdir(exist_ok=True)
        target.write_text(re.sub(r"/opt/ds01/current/bin/[\w-]+", STAND_IN, file.content))
        unit = target.parent.name.removesuffix(".d") if target.suffix == ".conf" else target.name
        units.append(unit.replace("-.slice", "-unlisted.slice"))
    for unit in units:
        if not (folder / unit).exists():
            (folder / unit).write_text("[Slice]\n")
    return units


def systemd_verify(folder: Path, units: list[str]) -> tuple[int, str]:
    done = subprocess.run(
        ["systemd-analyze", "--man=no", "--recursive-errors=no", "verify", *units],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "SYSTEMD_UNIT_PATH": os.fspath(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@needs("systemd-analyze")
@every_tree
def test_systemd_accepts_every_unit_and_drop_in(name: str, tmp_path: Path) -> None:
    units = write_units(name, tmp_path)
    assert systemd_verify(tmp_path, units) == (0, "")


@needs("systemd-analyze")
def test_systemd_would_tell_a_command_that_is_not_there(tmp_path: Path) -> None:
    units = write_units("minimal", tmp_path)
    service = tmp_path / "ds01-recover.service"
    service.write_text(content("minimal", "/etc/systemd/system/ds01-recover.service"))
    code, words = systemd_verify(tmp_path, units)
    assert (code, "Command /opt/ds01/current/bin/ds01 is not executable" in words) == (1, True), words


@needs("systemd-analyze")
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("CPUQuota=0%", "Invalid CPU quota '0%', ignoring."),
        ("MemoryMax=lots", "Invalid memory limit 'lots', ignoring"),
        ("TasksMax=0", "Maximum tasks value '0' out of range, ignoring."),
        ("MemoryMaximum=1G", "'MemoryMaximum'"),
    ],
)
def test_systemd_would_tell_a_broken_drop_in(line: str, said: str, tmp_path: Path) -> None:
    units = write_units("lab", tmp_path)
    broken = tmp_path / "ds01-student-alice.slice.d" / "10-resource-limits.conf"
    broken.write_text(broken.read_text() + line + "\n")
    code, words = systemd_verify(tmp_path, units)
    assert (code, said in words) == (1, True), words


@needs("systemd-analyze")
def test_prefix_drop_in_is_read_for_an_account_nobody_listed(tmp_path: Path) -> None:
    units = write_units("lab", tmp_path)
    prefix = tmp_path / "ds01-student-.slice.d" / "10-resource-limits.conf"
    prefix.write_text("[Slice]\nMemoryMax=nonsense\n")
    said = systemd_verify(tmp_path, [unit for unit in units if unit.endswith("-unlisted.slice")])[1]
    assert f"{prefix}:2: Invalid memory limit 'nonsense', ignoring" in said


@needs("logrotate")
@every_tree
def test_logrotate_accepts_its_rules(name: str, tmp_path: Path) -> None:
    rules = tmp_path / "ds01"
    rules.write_text(content(name, "/etc/logrotate.d/ds01"))
    rules.chmod(0o644)
    done = subprocess.run(
        ["logrotate", "--debug", "--state", "/dev/null", rules], capture_output=True, text=True, check=False
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if "error" in line.lower()]) == (0, [])


@needs("crontab")
@every_tree
def test_cron_accepts_its_jobs(name: str, tmp_path: Path) -> None:
    """A user's table has no column for an account, so cron takes it for the command here."""
    table = tmp_path / "ds01"
    table.write_text(content(name, "/etc/cron.d/ds01"))
    done = subprocess.run(["crontab", "-n", table], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@every_tree
def test_every_job_of_the_schedule_is_one_line_of_roots_that_names_programs_by_their_path(name: str) -> None:
    text = content(name, "/etc/cron.d/ds01")
    schedule = json.loads(content(name, "/etc/ds01/policy.json"))["policies"]["schedule"]
    lines = [line for line in text.splitlines() if line and line[0] not in "#SPM"]
    assert {line.rpartition(" ")[2]: line.partition(" root ")[0] for line in lines} == {
        job.replace("_", "-"): times for job, times in schedule.items()
    }
    for line in lines:
        words = line.split()[5:]
        job = words[-1]
        assert words == [
            "root",
            "/usr/bin/systemd-cat",
            f"--identifier=ds01-{job}",
            "/usr/bin/timeout",
            "--kill-after=60",
            "1500",
            "/opt/ds01/current/bin/ds01",
            "lifecycle",
            job,
        ]
    # cron would make a line's end of it, and pass over a file with a dot in its name.
    assert "%" not in text
    assert text.startswith("# Made by DS01")


@needs("systemd-analyze")
@pytest.mark.parametrize(("service", "most"), [("sampler", 2.0), ("eventsd", 2.5), ("gpuwatch", 3.0)])
def test_services_reach_no_more_than_they_need(service: str, most: float, tmp_path: Path) -> None:
    """As systemd weighs it, from 0 (nothing) to 10 (everything); what is given is said in the unit, with its reason."""
    write_units("shipped", tmp_path)
    argv = ["systemd-analyze", "security", "--offline=true", "--json=short", tmp_path / f"ds01-{service}.service"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    threshold = subprocess.run([*argv, f"--threshold={most * 10:.0f}"], capture_output=True, text=True, check=False)
    assert threshold.returncode == 0, done.stdout


@every_tree
def test_bash_accepts_the_cgroup_check(name: str) -> None:
    text = content(name, "/usr/local/sbin/ds01-verify-cgroup")
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, text.splitlines()[0]) == (0, "", "#!/bin/bash")


@needs("shellcheck")
def test_shellcheck_finds_nothing_in_the_cgroup_check() -> None:
    text = content("shipped", "/usr/local/sbin/ds01-verify-cgroup")
    done = subprocess.run(["shellcheck", "-"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@every_tree
def test_compiled_policy_keeps_its_schema(name: str) -> None:
    document = json.loads(content(name, "/etc/ds01/policy.json"))
    assert list(Draft202012Validator(SCHEMAS.by_name["policy"]).iter_errors(document)) == []


@every_tree
def test_daemon_json_is_one_object_of_known_keys(name: str) -> None:
    keys = json.loads(content(name, "/etc/docker/daemon.json"))
    assert set(keys) <= {"cgroup-parent", "exec-opts", "live-restore", "builder"}


@every_tree
def test_every_file_says_where_it_came_from(name: str) -> None:
    texts = [file for file in tree(name) if file.path.suffix != ".json" and file.form is Form.FILE]
    first = {str(file.path): re.sub(r"\A#!/bin/bash.*\n", "", file.content).splitlines()[0] for file in texts}
    assert first == {str(file.path): f"# Made by DS01 from {file.source}, do not edit" for file in texts}


@every_tree
def test_every_file_ends_with_one_line_break_and_has_no_trailing_blanks(name: str) -> None:
    untidy = [
        str(file.path)
        for file in tree(name)
        if file.form is Form.FILE
        if not file.content.endswith("\n")
        or file.content.endswith("\n\n")
        or any(line != line.rstrip() for line in file.content.splitlines())
    ]
    assert untidy == []


@every_tree
def test_every_link_leads_below_the_same_root(name: str) -> None:
    """A relative link holds below any root; none leads to more than a release's command or a file beside it."""
    links = {file.path: file.path.parent / file.content for file in tree(name) if file.form is Form.LINK}
    everywhere = {
        "/etc/systemd/system/ds01-recover.service",
        "/etc/systemd/system/ds01-sampler.service",
        "/etc/systemd/system/ds01-eventsd.service",
        "/etc/systemd/system/ds01-gpuwatch.service",
        "/opt/ds01/current/bin/check-limits",
        "/opt/ds01/current/bin/ds01",
        "/opt/ds01/current/bin/ds01-resource-query",
        "/opt/ds01/current/bin/ds01-generate-limits",
    }
    # The helper is for hosts without a gateway.
    helper = {"/opt/ds01/current/bin/ds01-docker-helper"} if name == "shipped" else set()
    assert {os.path.normpath(goal) for goal in links.values()} == everywhere | helper
    assert [file.content for file in tree(name) if file.form is Form.LINK and file.content.startswith("/")] == []


# --- the schemas themselves


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_schema_is_a_schema(path: Path) -> None:
    schema = json.loads(path.read_text())
    Draft202012Validator.check_schema(schema)
    assert (schema["$schema"], schema["$id"]) == ("https://json-schema.org/draft/2020-12/schema", path.name)


def test_schema_of_the_compiled_policy_is_fresh() -> None:
    assert SCHEMAS.by_name["policy"] == policy_schema(SCHEMAS)


def settings(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every key that people can write, with its schema."""
    if not isinstance(node, dict):
        return
    for key, child in node.get("properties", {}).items():
        yield f"{path}.{key}", child
        yield from settings(child, f"{path}.{key}")
    for part in ("items", "additionalProperties"):
        yield from settings(node.get(part), f"{path}[]")
    for name, child in node.get("$defs", {}).items():
        yield from settings(child, f"{path}${name}")


SETTINGS = [
    (name, key, node)
    for name in ("resource-limits", "host", "manifest")
    for key, node in settings(SCHEMAS.by_name[name], name)
]


def test_every_setting_is_described() -> None:
    silent = [key for name, key, node in SETTINGS if not SCHEMAS.resolve(name, node).get("description")]
    assert silent == []


@pytest.mark.parametrize("word", ["default", "examples"])
def test_defaults_and_examples_pass_their_own_schema(word: str) -> None:
    wrong = []
    for name, key, node in SETTINGS:
        values = node.get(word, []) if word == "examples" else [node["default"]] if word in node else []
        validator = SCHEMAS.validator(name)
        for value in values:
            wrong += [f"{key}: {error.message}" for error in validator.evolve(schema=node).iter_errors(value)]
    assert wrong == []


def test_every_setting_that_people_write_by_hand_has_an_example() -> None:
    bare = [
        key
        for name, key, node in SETTINGS
        if name != "manifest"
        for whole in [SCHEMAS.resolve(name, node)]
        if "object" not in whole.get("type", ()) and whole.get("type") != "boolean"
        if not whole.get("examples")
    ]
    assert bare == []
