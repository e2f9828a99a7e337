"""The line at the end of gpu-state.json that tells a whole file from a torn one or one edited by hand. Pure."""

from __future__ import annotations

import zlib

from ds01.core.typed import Final

_MARK: Final = b' "checksum": "'


def sealed(body: bytes) -> bytes:
    """Return the text with its checksum and its end."""
    return body + _MARK + _end(body)


def is_sealed(content: bytes) -> bool:
    """Whether the text is as sealed() made it."""
    body, found, rest = content.rpartition(_MARK)
    return bool(found) and rest == _end(body)


def _end(body: bytes) -> bytes:
    return f'{zlib.crc32(body):08x}"\n}}\n'.encode()
