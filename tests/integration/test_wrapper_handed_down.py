"""What whoever calls hands down to the helper: limits, a mask, a terminal; nothing of it changes what is decided."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.engine.image import IMAGE
from tests.integration.wrapper_host import until

if TYPE_CHECKING:
    from tests.integration.wrapper_host import WrapperHost

pytestmark = pytest.mark.docker


@pytest.mark.parametrize("limit", ["umask 0777", "ulimit -S -n 8", "ulimit -S -v 60000", "ulimit -S -f 0"])
def test_what_a_caller_hands_down_to_the_helper_changes_nothing(host: WrapperHost, limit: str) -> None:
    real = host.helper.rename(host.helper.with_name("real"))
    host.helper.write_text(f'#!/bin/bash\n{limit}\nexec "{real}"\n')
    host.helper.chmod(0o755)
    said = host.docker("create", "--memory=900g", IMAGE)
    assert (said.code, "DS01 Container Memory Limit Exceeded" in said.err) == (1, True), said.err
    assert [each.event_type for each in host.events()] == ["admission.refused"]
    assert stat.S_IMODE(host.paths.events.stat().st_mode) == 0o640


def test_a_terminal_does_not_stop_the_helper(host: WrapperHost) -> None:
    """A stopped one would keep what it has locked."""
    argv = [os.fspath(host.helper)]
    with subprocess.Popen(argv, env=host.env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        ignored = Path(f"/proc/{process.pid}/status")
        stops = {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
        mask = sum(1 << (number - 1) for number in stops)
        until(lambda: int(ignored.read_text().partition("SigIgn:")[2].split()[0], 16) & mask == mask)
        for number in stops:
            process.send_signal(number)
        fields = ("1", str(os.getpid()), "C", "", "", "", "run", "--help")
        out, _ = process.communicate("".join(f"{each}\0" for each in fields).encode(), timeout=60)
    assert out == b"run\0run\0--help\0"
