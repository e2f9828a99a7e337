"""Amounts of an option: what the client reads, and what it reads only by accident, which is refused.

The real client is the judge of the numbers (tests/integration/test_quantities.py).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds01.core.units import GIB, KIB, MIB, TIB, format_size
from ds01.runtime.containers.quantities import QuantityError, read_bytes, read_nano_cpus, read_whole

SIZES = {
    "0": 0,
    "1073741824": GIB,
    "512b": 512,
    "512B": 512,
    "4k": 4 * KIB,
    "512m": 512 * MIB,
    "64g": 64 * GIB,
    "2t": 2 * TIB,
    "1p": 1024 * TIB,
    "64G": 64 * GIB,
    "64GB": 64 * GIB,
    "64gib": 64 * GIB,
    "64GiB": 64 * GIB,
    "1KIB": KIB,
    "100MB": 100 * MIB,
    "1.5g": 3 * GIB // 2,
    "0.5k": 512,
    ".5g": GIB // 2,
    ".5": 0,
    "1.g": GIB,
    "1. GiB": GIB,
    "2.": 2,
    "1.9": 1,
    "2.7b": 2,
    "1 g": GIB,
    "1 b": 1,
    "007k": 7 * KIB,
    # Not 1181116006.4 cut off by luck: the client multiplies floats, too.
    "1.1g": 1181116006,
    "9007199254740993": 9007199254740992,
    "8191p": 8191 * 1024 * TIB,
}
NO_SIZES = [
    "",
    " ",
    "g",
    "b",
    ".",
    ".g",
    ". g",
    "1..5g",
    "-.5g",
    "-1",
    "-1g",
    "+1g",
    "1e9",
    "1E3",
    "0x10",
    "1_000",
    "1,5g",
    "1/2g",
    "inf",
    "nan",
    "1ib",
    "1bb",
    "1gi",
    "1gbi",
    "1e",
    "1x",
    "1  g",
    " 1g",
    "1g ",
    "1g\n",
    "1\tg",
    "1.5.5g",
    "١g",
    "1\N{KELVIN SIGN}",
    "max",
    "9" * 19,
]


@pytest.mark.parametrize(("text", "size"), SIZES.items(), ids=SIZES)
def test_an_amount_of_memory_is_read_in_powers_of_1024(text: str, size: int) -> None:
    assert read_bytes("--memory", text) == size


@pytest.mark.parametrize("text", NO_SIZES, ids=repr)
def test_what_is_no_amount_is_refused_by_the_options_name(text: str) -> None:
    with pytest.raises(QuantityError) as caught:
        read_bytes("--memory", text)
    assert caught.value.render() == (
        f"--memory {text[:60]!r} is not an amount of memory\nTo fix: write it as 512m, 1.5g or 64g"
    )


@pytest.mark.parametrize("text", ["8192p", "9223372036854775808", "999999999999999999t"])
def test_more_than_a_machine_counts_is_refused(text: str) -> None:
    with pytest.raises(QuantityError):
        read_bytes("--shm-size", text)


CPUS = {
    "0": 0,
    "4": 4 * 10**9,
    "1.5": 1_500_000_000,
    ".5": 500_000_000,
    "1.": 10**9,
    "010": 10 * 10**9,
    "0.000000001": 1,
    "999999999.999999999": 10**18 - 1,
}
NO_CPUS = [
    "",
    ".",
    "-1",
    "+1",
    "1/2",
    "1e3",
    "0x10",
    "1_0",
    "1,5",
    "1.0000000001",
    "1.5.5",
    " 1",
    "1 ",
    "1\n",
    "٤",
    "all",
]


@pytest.mark.parametrize(("text", "nano"), CPUS.items(), ids=CPUS)
def test_cpus_are_read_to_the_billionth(text: str, nano: int) -> None:
    assert read_nano_cpus("--cpus", text) == nano


@pytest.mark.parametrize("text", NO_CPUS, ids=repr)
def test_what_is_no_number_of_cpus_is_refused(text: str) -> None:
    with pytest.raises(QuantityError) as caught:
        read_nano_cpus("--cpus", text)
    assert caught.value.render() == f"--cpus {text!r} is not a number of CPUs\nTo fix: write it as 4 or 1.5"


WHOLES = {"0": 0, "512": 512, "+5": 5, "-1": -1, "-0": 0, "999999999999999999": 10**18 - 1}
NO_WHOLES = [
    "",
    "-",
    "+",
    "+-1",
    "010",
    "00",
    "-01",
    "0x10",
    "0b1",
    "1_0",
    "1.0",
    "1e3",
    " 1",
    "1 ",
    "1\n",
    "٥",
    "9" * 19,
]


@pytest.mark.parametrize(("text", "number"), WHOLES.items(), ids=WHOLES)
def test_a_whole_number_is_read(text: str, number: int) -> None:
    assert read_whole("--pids-limit", text) == number


@pytest.mark.parametrize("text", NO_WHOLES, ids=repr)
def test_what_is_no_whole_number_or_octal_is_refused(text: str) -> None:
    with pytest.raises(QuantityError) as caught:
        read_whole("--pids-limit", text)
    assert caught.value.render() == (
        f"--pids-limit {text!r} is not a whole number\nTo fix: write it in decimal, such as 512"
    )


@pytest.mark.parametrize("read", [read_bytes, read_nano_cpus, read_whole])
@given(text=st.text(max_size=90))
def test_any_text_is_an_amount_or_refused_and_nothing_else(read: Callable[[str, str], int], text: str) -> None:
    with suppress(QuantityError):
        assert -(2**63) <= read("--memory", text) < 2**63


@given(size=st.integers(0, 2**53))
def test_a_size_that_is_shown_reads_back(size: int) -> None:
    assert read_bytes("--memory", format_size(size)) == size
