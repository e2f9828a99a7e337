"""An account's notices: a list from root, or a reason why there is none to show."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ds01.core.paths import HostPaths
from ds01.runtime.lifecycle.notices import Notice
from ds01.runtime.overview.figures import Unknown
from ds01.runtime.overview.notices import read_notices

UID = 1001
NOW = datetime(2026, 3, 3, 12, 0, tzinfo=UTC)
GOOD = '[{"at": "2026-03-01T09:12:00Z", "text": "first"}, {"at": "2026-03-02T09:12:00Z", "text": "zweitens \\u00e9"}]'


@pytest.fixture
def host(tmp_path: Path) -> HostPaths:
    paths = HostPaths(tmp_path)
    paths.notices(UID).parent.mkdir(parents=True)
    return paths


def test_notices_come_in_their_order(host: HostPaths) -> None:
    host.notices(UID).write_text(GOOD)
    assert read_notices(host, UID, NOW) == (
        Notice(datetime(2026, 3, 1, 9, 12, tzinfo=UTC), "first"),
        Notice(datetime(2026, 3, 2, 9, 12, tzinfo=UTC), "zweitens é"),
    )


def test_what_is_over_is_not_shown(host: HostPaths) -> None:
    host.notices(UID).write_text(
        '[{"at": "2026-03-01T09:12:00Z", "text": "over", "key": "a", "until": "2026-03-03T12:00:00Z"},'
        ' {"at": "2026-03-02T09:12:00Z", "text": "still so", "key": "b", "until": "2026-03-03T12:00:01Z"}]'
    )
    until = datetime(2026, 3, 3, 12, 0, 1, tzinfo=UTC)
    assert read_notices(host, UID, NOW) == (Notice(datetime(2026, 3, 2, 9, 12, tzinfo=UTC), "still so", "b", until),)


def test_no_file_is_no_notice(host: HostPaths) -> None:
    assert (read_notices(host, UID, NOW), read_notices(host, None, NOW)) == ((), ())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "3",
        '{"at": "x"}',
        '["x"]',
        '[{"text": "x"}]',
        '[{"at": "2026-03-01", "text": "x"}]',
        '[{"at": "2026-03-01T09:12:00Z", "text": 3}]',
        '[{"at": 5, "text": "x"}]',
        "[" * 100_000,
        "\udcff",
    ],
)
def test_what_is_no_list_of_notices_is_named(host: HostPaths, text: str) -> None:
    host.notices(UID).write_bytes(text.encode(errors="surrogateescape"))
    found = read_notices(host, UID, NOW)
    assert isinstance(found, Unknown)
    assert found.reason.startswith(f"{host.notices(UID)} ")


def test_a_folder_or_link_in_its_place_is_no_list(host: HostPaths) -> None:
    host.notices(UID).mkdir()
    assert isinstance(read_notices(host, UID, NOW), Unknown)
    host.notices(7).symlink_to("nowhere-else")
    (host.notices(7).parent / "nowhere-else").symlink_to("7")
    assert isinstance(read_notices(host, 7, NOW), Unknown)


AS_NOBODY = """
import os, sys
from pathlib import Path
from ds01.core.paths import HostPaths
from datetime import UTC, datetime
from ds01.runtime.overview.notices import read_notices
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
print(read_notices(HostPaths(Path(sys.argv[1])), 1001, datetime.now(UTC)).reason)
"""


def test_anothers_notices_are_not_shown() -> None:
    # Below no folder of the tests' own, which are closed to others.
    with tempfile.TemporaryDirectory() as folder:
        host = HostPaths(Path(folder))
        host.notices(UID).parent.mkdir(parents=True)
        Path(folder).chmod(0o755)
        host.notices(UID).write_text(GOOD)
        host.notices(UID).chmod(0o640 if os.geteuid() == 0 else 0)
        path = {"PYTHONPATH": f"{Path(__file__).parents[4] / 'scripts'}"}
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, folder], check=False, env=path, capture_output=True, text=True
        )
        assert (done.stderr, done.stdout) == (
            "",
            f"{host.notices(UID)} may not be read: it is for the account itself\n",
        )
