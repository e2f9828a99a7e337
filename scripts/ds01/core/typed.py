"""The names of `typing` that this code base uses where a program must start at once: for a type checker alone.

At run time they mean nothing, and `typing`, whose import takes as long as reading the policy, is left out.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, BinaryIO, Final, NewType, Protocol, TextIO, TypeVar, assert_never, cast

__all__ = ["IO", "BinaryIO", "Final", "NewType", "Protocol", "TextIO", "TypeVar", "assert_never", "cast"]


class _Nothing:
    """Stands for what is only ever written in annotations."""


def _new_type(_: str, supertype: type) -> type:
    return supertype


def _type_var(name: str, **_: object) -> str:
    return name


def _cast(_: object, value: object) -> object:
    return value


def _assert_never(value: object) -> None:
    raise AssertionError(f"{value!r} was not expected")


if not TYPE_CHECKING:
    IO = BinaryIO = Final = Protocol = TextIO = _Nothing
    NewType, TypeVar, assert_never, cast = _new_type, _type_var, _assert_never, _cast
