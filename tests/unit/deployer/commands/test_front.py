"""What the commands say of a deploy that was interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest

from ds01.core.paths import HostPaths
from ds01.deployer.commands.front import interrupted
from ds01.deployer.journal import State

UNDONE = "an earlier deploy was interrupted half way; the next deploy undoes it first"
FINISHED = "an earlier deploy was interrupted with all its files in place; the next deploy finishes it first"
WORDS = {
    State.STAGING: UNDONE,
    State.APPLYING: UNDONE,
    State.UNDOING: UNDONE,
    State.APPLIED: FINISHED,
    State.FINISHING: FINISHED,
}


@pytest.mark.parametrize("state", State)
def test_an_interrupted_deploy_is_said_by_what_becomes_of_it(tmp_path: Path, state: State) -> None:
    journal = tmp_path / "var/lib/ds01/deploy/journal.json"
    journal.parent.mkdir(parents=True)
    assert interrupted(HostPaths(tmp_path)) == ()
    journal.write_text(f'{{"version": 1, "state": "{state.value}", "list": "x"}}\n')
    assert interrupted(HostPaths(tmp_path)) == (WORDS[state],)


def test_a_journal_that_cannot_be_read_is_said_and_no_error(tmp_path: Path) -> None:
    journal = tmp_path / "var/lib/ds01/deploy/journal.json"
    journal.parent.mkdir(parents=True)
    journal.write_text("{")
    (line,) = interrupted(HostPaths(tmp_path))
    assert line.startswith("whether an earlier deploy was interrupted cannot be seen: the journal of an interrupted")
