"""The checksum of gpu-state.json: what is whole, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds01.runtime.gpu.checksum import is_sealed, sealed


@given(st.binary(max_size=200))
def test_what_was_sealed_is_whole(body: bytes) -> None:
    assert is_sealed(sealed(body))


@given(st.binary(min_size=1, max_size=200), st.data())
def test_a_part_of_it_is_not(body: bytes, data: st.DataObject) -> None:
    whole = sealed(body)
    assert not is_sealed(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(st.binary(min_size=1, max_size=200), st.data())
def test_one_changed_byte_is_noticed(body: bytes, data: st.DataObject) -> None:
    whole = bytearray(sealed(body))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    assert not is_sealed(bytes(whole))


@pytest.mark.parametrize("content", [b"", b"{}", b' "checksum": "', b' "checksum": "00000001"\n}\n'])
def test_what_has_no_checksum_of_its_own_is_not(content: bytes) -> None:
    assert not is_sealed(content)
