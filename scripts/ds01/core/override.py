"""The `override` mark of PEP 698, which the standard library has from Python 3.12 on; does nothing at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["override"]

if TYPE_CHECKING:
    from typing_extensions import override
else:

    def override(method):  # noqa: ANN001, ANN201
        """Mark a method as overriding its parent's; checked by mypy."""
        return method
