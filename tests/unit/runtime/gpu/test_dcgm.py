"""What dcgm-exporter says, in the forms of its versions, and whatever else may stand there."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.fake_nvml.samples import gpu_uuid

from ds01.runtime.gpu.dcgm import read_activity

DATA = Path(__file__).parents[3] / "data/dcgm"
GPU = gpu_uuid(0)
BUSY = {
    (gpu_uuid(0), None): 0.968213,
    (gpu_uuid(1), None): 0.0,
    (gpu_uuid(2), 3): 0.421875,
    (gpu_uuid(2), 4): 0.0,
    (gpu_uuid(2), 5): 0.0,
    (gpu_uuid(3), 3): 0.0,
    (gpu_uuid(3), 4): 0.0,
    (gpu_uuid(3), 5): 0.998047,
}


def line(value: str = "0.5", labels: str = f'gpu="0",UUID="{GPU}"', name: str = "DCGM_FI_PROF_GR_ENGINE_ACTIVE") -> str:
    return f"{name}{{{labels}}} {value}"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("whole-and-mig-3.3.txt", BUSY),
        ("whole-and-mig-4.9.txt", BUSY),
        ("whole-and-mig-2.4.txt", {(gpu_uuid(0), None): 0.99563, (gpu_uuid(2), 3): 0.381124}),
    ],
)
def test_whole_gpus_and_instances_of_every_version(name: str, found: object) -> None:
    assert read_activity((DATA / name).read_text()) == found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (line("1"), 1.0),
        (line("1.000004"), 1.0),
        (line("2.5e-01"), 0.25),
        (line("0.25 1772366400000"), 0.25),
        (line("0.25\r"), 0.25),
        (line(labels=f'uuid="{GPU}"'), 0.5),
        (line(labels=f'UUID="{GPU}",GPU_I_ID="",GPU_I_PROFILE=""'), 0.5),
        (line(labels=f'pod="a}},b\\"{{",UUID="{GPU}",'), 0.5),
        (f"{line('0.1')}\n{line('0.7')}\n{line('0.3')}", 0.7),
    ],
)
def test_forms_of_a_line(text: str, value: float) -> None:
    assert read_activity(text) == {(GPU, None): value}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        f"# HELP {line()}",
        line("NaN"),
        line("+Inf"),
        line("-0.5"),
        line("-Inf"),
        line("97"),
        line("140737488355328.000000"),
        line("0.5.5"),
        line("1_0"),
        line("0x1"),
        line("0.5 now"),
        line("0.5 1 2"),
        line("" + "9" * 400),
        line(labels='gpu="0"'),
        line(labels='UUID="0"'),
        line(labels=f'UUID="{GPU}",GPU_I_ID="three"'),
        line(labels=f'UUID="{GPU}",GPU_I_ID="-1"'),
        line(labels=f'UUID="{GPU}'),
        line(name="DCGM_FI_PROF_SM_ACTIVE"),
        line(name="XDCGM_FI_PROF_GR_ENGINE_ACTIVE"),
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE 0.5",
        "<html>404</html>",
    ],
)
def test_what_is_no_reading_says_nothing(text: str) -> None:
    assert read_activity(text) == {}
    assert read_activity(f"{text}\n{line('0.5')}\n{text}") == {(GPU, None): 0.5}


@given(st.text(), st.integers(0, 40))
@example(line() + "\x00", 3)
def test_no_text_makes_it_fail_or_gives_what_is_no_ratio(text: str, place: int) -> None:
    torn = line()[:place] + text + line()[place:]
    assert all(0 <= value <= 1 for value in read_activity(torn).values())
