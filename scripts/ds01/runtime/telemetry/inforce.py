"""The compiled policy of the moment, for a program that runs for long: read anew when a deploy has replaced it."""

from __future__ import annotations

import logging
from pathlib import Path

from ds01.core.errors import Ds01Error
from ds01.core.policy import Policy, read_policy
from ds01.core.value import dataclass

logger = logging.getLogger(__name__)


def which_file(path: Path) -> tuple[int, int] | None:
    """Return which file is at a path: whoever writes one of DS01's puts another in its place. None when there is none.

    Source: stat(2), st_ino and st_mtim.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


@dataclass(slots=True)
class PolicyInForce:
    """The policy at a path; one that cannot be read leaves the last one in force."""

    path: Path
    _policy: Policy | None = None
    _which: tuple[int, int] | None = None

    def __call__(self) -> Policy:
        """Return it.

        Raises:
            Ds01Error: there never was one that can be used.
        """
        which = which_file(self.path)
        if self._policy is None:
            self._policy, self._which = read_policy(self.path, of_root=True), which
        elif which != self._which:
            self._which = which
            try:
                self._policy = read_policy(self.path, of_root=True)
            except Ds01Error as error:
                logger.warning("the policy from before stays in force: %s", error.render())
            else:
                logger.info("another policy is in force")
        return self._policy
