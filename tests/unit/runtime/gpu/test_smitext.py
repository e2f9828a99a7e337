"""What nvidia-smi prints (tests/data/nvidia_smi, formats of real drivers), read; and what it never printed, refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ds01.runtime.gpu.hardware import DevicesError, GpuUuid
from ds01.runtime.gpu.sighting import Lost
from ds01.runtime.gpu.smitext import (
    GpuLine,
    MigLine,
    Row,
    lost_in,
    pair,
    parse_csv,
    parse_instances,
    parse_list,
    parse_profiles,
    read_bytes,
    read_number,
)

DATA = Path(__file__).parents[3] / "data" / "nvidia_smi"
FIRST = GpuUuid("GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f")
SECOND = GpuUuid("GPU-66ad7319-313a-6b24-503f-863dffa1e8cf")
WHY = "nvidia-smi gets no answer from it ({}): it fell off the bus, or the driver failed; see journalctl -k"


def sample(name: str) -> str:
    return (DATA / name).read_text()


def test_a_list_of_r450_has_the_ids_in_the_uuid() -> None:
    gpus, lost = parse_list(sample("r450-list.txt"))
    assert lost == ()
    assert gpus == (
        GpuLine(
            0,
            "A100-SXM4-40GB",
            FIRST,
            (
                MigLine("2g.10gb", GpuUuid(f"MIG-{FIRST}/5/0")),
                MigLine("1c.3g.20gb", GpuUuid(f"MIG-{FIRST}/1/0")),
                MigLine("1c.3g.20gb", GpuUuid(f"MIG-{FIRST}/1/1")),
            ),
        ),
        GpuLine(1, "A100-SXM4-40GB", SECOND),
    )
    instances = pair(gpus[0], ())
    assert instances is not None
    assert [(each.uuid, each.gpu_instance_id, each.compute_instance_id, each.profile) for each in instances] == [
        (f"MIG-{FIRST}/1/0", 1, 0, "1c.3g.20gb"),
        (f"MIG-{FIRST}/1/1", 1, 1, "1c.3g.20gb"),
        (f"MIG-{FIRST}/5/0", 5, 0, "2g.10gb"),
    ]
    assert [each.compute_slices for each in instances] == [1, 1, 2]


def test_the_largest_profile_says_how_many_slices_a_gpu_has() -> None:
    table = sample("r550-profiles-a30.txt")
    assert parse_profiles(table) == {0: 4}
    other = table.replace("|   0  MIG", "|  12  MIG").replace("MIG 4g.24gb ", "MIG 7g.80gb ")
    assert parse_profiles(table + other) == {0: 4, 12: 7}


@pytest.mark.parametrize("text", ["", "No MIG-enabled devices found.\n", "|   0  MIG huge  0  1/1  |\n", "\x1b[2J|"])
def test_a_table_of_profiles_that_tells_nothing_is_no_error(text: str) -> None:
    assert parse_profiles(text) == {}


def test_a_list_of_r550_goes_together_with_its_table_of_instances() -> None:
    gpus, _ = parse_list(sample("r550-list.txt"))
    rows = parse_instances(sample("r550-compute-instances.txt"))
    assert [(gpu.index, gpu.name, len(gpu.mig)) for gpu in gpus] == [
        (0, "NVIDIA A100-SXM4-80GB", 0),
        (1, "NVIDIA A100-SXM4-80GB", 0),
        (2, "NVIDIA A100-SXM4-80GB", 3),
        (3, "NVIDIA A100-SXM4-80GB", 3),
    ]
    paired = [pair(gpu, [row for row in rows if row.gpu == gpu.index]) for gpu in gpus[2:]]
    assert [[(one.uuid[4:8], one.gpu_instance_id, one.profile) for one in each or ()] for each in paired] == [
        [("ffda", 3, "2g.20gb"), ("fe9b", 4, "2g.20gb"), ("9007", 5, "2g.20gb")],
        [("f501", 2, "4g.40gb"), ("b306", 5, "1c.2g.20gb"), ("e07a", 13, "1g.10gb+me")],
    ]


@pytest.mark.parametrize(
    "rows",
    [
        (),
        (Row(2, "2g.20gb", 3, 0), Row(2, "2g.20gb", 4, 0)),
        (Row(2, "2g.20gb", 3, 0), Row(2, "2g.20gb", 4, 0), Row(2, "3g.40gb", 1, 0)),
        tuple(Row(2, "2g.20gb", each, 0) for each in (3, 4, 5, 6)),
    ],
)
def test_lists_that_do_not_fit_are_not_put_together(rows: tuple[Row, ...]) -> None:
    gpus, _ = parse_list(sample("r550-list.txt"))
    assert pair(gpus[2], rows) is None


def test_tables_of_gpu_instances_of_both_widths() -> None:
    assert parse_instances(sample("r450-gpu-instances.txt")) == (Row(0, "1g.5gb", 13), Row(0, "2g.10gb", 5))
    assert parse_instances(sample("r450-compute-instances.txt")) == (
        Row(0, "1c.3g.20gb", 1, 0),
        Row(0, "1c.3g.20gb", 2, 0),
    )
    assert [row.gpu_instance_id for row in parse_instances(sample("r550-gpu-instances.txt"))] == [3, 4, 5, 13, 5, 2]


@pytest.mark.parametrize(
    "text",
    ["", "No MIG-enabled devices found.\n", "No GPU instances found: Not Found\n", "No GPU instances found.\n"],
)
def test_a_table_may_say_that_there_are_none(text: str) -> None:
    assert parse_instances(text) == ()


def test_a_gpu_without_an_answer_is_named_and_hides_no_other() -> None:
    gpus, lost = parse_list(sample("r550-list-one-lost.txt"))
    assert [gpu.index for gpu in gpus] == [0, 2]
    assert lost == (Lost(WHY.format("Unknown Error"), 1, "0000:47:00.0"),)


@pytest.mark.parametrize(
    ("line", "index", "bus", "why"),
    [
        ("GPU 0000:25:00.0: Unknown Error", None, "0000:25:00.0", "Unknown Error"),
        ("GPU0000:25:00.0: Unknown Error", None, "0000:25:00.0", "Unknown Error"),
        ("GPU3: 0000:5F:00.0: Unknown Error", 3, "0000:5f:00.0", "Unknown Error"),
        ("GPU2: Unknown Error", 2, None, "Unknown Error"),
        ("GPU12: Unknown Error", 12, None, "Unknown Error"),
        (
            "GPU 0000:01:00.0: GPU is lost.  Reboot the system to recover this GPU",
            None,
            "0000:01:00.0",
            "GPU is lost.  Reboot the system to recover this GPU",
        ),
        ("gpu 00000000:02:00.0: GPU is lost.", None, "00000000:02:00.0", "GPU is lost"),
    ],
)
def test_every_way_of_saying_that_a_gpu_does_not_answer(
    line: str, index: int | None, bus: str | None, why: str
) -> None:
    assert lost_in(f"Unable to determine the device handle for {line}\n") == (Lost(WHY.format(why), index, bus),)


@pytest.mark.parametrize("text", ["", "\n", "No devices found.\n", "No devices were found\n"])
def test_a_list_without_gpus(text: str) -> None:
    assert parse_list(text) == ((), ())


@pytest.mark.parametrize(
    "text",
    [
        "GPU 0: NVIDIA A100 (UUID: GPU-????????-????-????-????-????????????)",
        "GPU 0: NVIDIA A100 (UUID: )",
        "GPU 0: NVIDIA A100",
        "GPU x: NVIDIA A100 (UUID: GPU-a)",
        "  MIG 2g.20gb Device 0: (UUID: MIG-a)",
        f"GPU 0: A100 (UUID: {FIRST})\n  MIG 2g.20 Device 0: (UUID: MIG-a)",
        f"GPU 0: A100 (UUID: {FIRST})\n  MIG 2g.20gb Device 0: (UUID: \x1b[2J)",
        "Segmentation fault",
        "\x1b]0;title\x07",
    ],
)
def test_a_line_that_is_not_understood_is_an_error_that_shows_it(text: str) -> None:
    with pytest.raises(DevicesError, match="does not understand") as caught:
        parse_list(text)
    assert (caught.value.details or "").startswith("this line: ")
    assert (caught.value.details or "").isprintable()


@pytest.mark.parametrize(
    "line",
    ["|   0  MIG 1g.5gb       x       13          6:1     |", "|   0  MIG what  19  13  6:1  |", "Killed", "|0|"],
)
def test_a_row_that_is_not_understood_is_an_error(line: str) -> None:
    with pytest.raises(DevicesError, match="does not understand"):
        parse_instances(f"{sample('r450-gpu-instances.txt')}{line}\n")


def test_a_query_has_as_many_columns_as_were_asked_for() -> None:
    assert parse_csv("GPU-a, 81920\nGPU-b, [N/A]\n", 2) == (("GPU-a", "81920"), ("GPU-b", "[N/A]"))
    assert parse_csv("Unable to determine the device handle for GPU2: Unknown Error\nNo devices were found\n", 2) == ()
    with pytest.raises(DevicesError, match="does not understand"):
        parse_csv("GPU-a, 81920, 3\n", 2)


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("97", 97), ("[N/A]", None), ("-1", None), ("1.5", None), ("٣", None), ("9" * 5000, None), ("", None)],
)
def test_a_number_is_one_or_none(text: str, number: int | None) -> None:
    assert read_number(text) == number
    assert read_bytes(text) == (None if number is None else number * 1024**2)
