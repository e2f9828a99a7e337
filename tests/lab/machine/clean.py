"""Removes what the lab built by other recipes than this checkout's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tests.lab.machine.artefact import one_build
from tests.lab.machine.cow import backing_image
from tests.lab.machine.image import image_artefact, tree_artefact
from tests.lab.machine.kernel import kernel_artefact
from tests.lab.machine.prepared import prepared_artefact, wheels_artefact
from tests.lab.machine.settings import Cache, Suite

_MADE_HERE: Final = re.compile(r"(?:kernel|wheels|image-\w+|prepared-\w+|root-\w+)-[0-9a-f]{12}(?:\.ext4|\.tar)?")


def remove_outdated(cache: Cache) -> tuple[Path, ...]:
    """Remove what other recipes than this checkout's made and no disk lies over; return what went."""
    with one_build(cache):
        current = {kernel_artefact(cache).path, wheels_artefact(cache).path}
        for suite in Suite:
            current |= {make(cache, suite).path for make in (image_artefact, tree_artefact, prepared_artefact)}
        in_use = {image for disk in cache.machines.glob("*/disk.cow") if (image := backing_image(disk))}
        found = {path for path in cache.folder.iterdir() if _MADE_HERE.fullmatch(path.name)}
        outdated = tuple(sorted(found - current - in_use))
        for path in outdated:
            path.unlink()
    return outdated
