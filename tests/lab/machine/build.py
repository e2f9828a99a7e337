"""Builds what a machine needs and is missing; what is there is taken."""

from __future__ import annotations

import os
import platform

from tests.lab.machine.artefact import one_build
from tests.lab.machine.errors import LabError
from tests.lab.machine.image import build_image, build_tree, image_artefact, tree_artefact
from tests.lab.machine.kernel import build_kernel, kernel_artefact
from tests.lab.machine.settings import Bootable, Cache, Suite
from tests.lab.machine.steps import say


def ensure_built(suite: Suite, cache: Cache) -> Bootable:
    """Return kernel and image of a suite, building what is missing.

    Raises:
        LabError: this machine cannot build; the message names the cause and the log.
    """
    check_machine()
    kernel, image = kernel_artefact(cache), image_artefact(cache, suite)
    if not (kernel.ready and image.ready):
        with one_build(cache):
            if not kernel.ready:
                build_kernel(cache, kernel)
            if not image.ready:
                tree = tree_artefact(cache, suite)
                if not tree.ready:
                    build_tree(cache, suite, tree)
                build_image(cache, image, tree.path, kernel.path)
        say(f"{suite} is ready in {cache.folder}")
    return Bootable(kernel.path, image.path)


def check_machine() -> None:
    """See that the lab can run here.

    Raises:
        LabError: it cannot.
    """
    if os.geteuid() != 0:
        raise LabError("the lab takes root", None, "run it again with sudo")
    if platform.machine() != "x86_64":
        raise LabError("the lab takes an x86-64 machine", f"User-mode Linux does not run on {platform.machine()}.")
