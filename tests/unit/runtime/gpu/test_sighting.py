"""Text from the driver: what is a UUID or a profile, and what only looks like one."""

from __future__ import annotations

import pytest

from ds01.runtime.gpu.hardware import GpuUuid, MigInstance
from ds01.runtime.gpu.sighting import Profile, count_slices, read_profile, read_uuid, slices_of_product

GIB = 1024**3
GPU = "GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f"


@pytest.mark.parametrize("text", [GPU, "MIG-ffda444c-c706-57c6-98c9-67c441a0b109", f"MIG-{GPU}/7/0", f"MIG-{GPU}/13/6"])
def test_a_uuid_is_taken_as_it_is(text: str) -> None:
    assert read_uuid(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GPU-",
        "gpu-5c89852c",
        f" {GPU}",
        f"{GPU}\n",
        f"{GPU} ",
        "GPU-a b",
        "GPU-a;reboot",
        "GPU-../../etc",
        "GPU-????????-????-????-????-????????????",
        "GPU-٣",
        "GPU-\x1b[2J",
        f"MIG-{GPU}/7",
        f"MIG-{GPU}/7/0/0",
        f"MIG-{GPU}/77777/0",
        "all",
        "GPU-" + "a" * 93,
    ],
)
def test_what_has_not_the_form_of_a_uuid_is_refused_and_shown_safely(text: str) -> None:
    with pytest.raises(ValueError, match="has not the form of one") as caught:
        read_uuid(text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        ("2g.20gb", Profile("2g.20gb", 2, 20 * GIB)),
        ("1c.2g.20gb", Profile("1c.2g.20gb", 1, 20 * GIB)),
        ("1g.10gb+me", Profile("1g.10gb+me", 1, 10 * GIB)),
        ("1g.24gb+me.all", Profile("1g.24gb+me.all", 1, 24 * GIB)),
        ("2g.48gb-me", Profile("2g.48gb-me", 2, 48 * GIB)),
        ("4g.96gb+gfx", Profile("4g.96gb+gfx", 4, 96 * GIB)),
        ("7g.141gb", Profile("7g.141gb", 7, 141 * GIB)),
    ],
)
def test_a_profile_says_what_an_instance_has(name: str, profile: Profile) -> None:
    assert read_profile(name) == profile


@pytest.mark.parametrize("name", ["", "2g", "0g.5gb", "2g.20gb\n", "2g.20GB", "MIG 2g.20gb", "2g.20gb+", "c.2g.20gb"])
def test_what_is_no_profile_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="has not the form of one"):
        read_profile(name)


@pytest.mark.parametrize(
    ("name", "slices"),
    [
        ("A100-SXM4-40GB", 7),
        ("NVIDIA A100 80GB PCIe", 7),
        ("NVIDIA H100 80GB HBM3", 7),
        ("NVIDIA GH200 480GB", 7),
        ("NVIDIA A30", 4),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 4),
        ("NVIDIA RTX PRO 5000 Blackwell", 2),
        # None of these is the product whose name begins or ends alike.
        ("NVIDIA A300", None),
        ("NVIDIA A1000", None),
        ("NVIDIA H2000", None),
        ("NVIDIA RTX 6000 Ada Generation", None),
        ("unknown", None),
    ],
)
def test_products_are_known_by_their_whole_name(name: str, slices: int | None) -> None:
    assert slices_of_product(name) == slices


def test_no_instance_is_larger_than_its_gpu() -> None:
    large = MigInstance(GpuUuid("MIG-1"), 0, 0, "8g.80gb", 8, 80 * GIB)
    assert count_slices(None, ()) == (7, False)
    assert count_slices(4, ()) == (4, True)
    assert (count_slices(None, [large]), count_slices(4, [large])) == ((8, False), (8, True))
