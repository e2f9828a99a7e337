"""Options that clients take and do not print."""

from __future__ import annotations

import pytest

from ds01.runtime.client.hidden import hidden_options

CREATES = {
    "net": "network",
    "net-alias": "network-alias",
    "dns-opt": "dns-option",
    "cpu-count": None,
    "cpu-percent": None,
    "io-maxbandwidth": None,
    "io-maxiops": None,
}


@pytest.mark.parametrize(
    ("topic", "version", "names"),
    [
        ("run", "20.10", CREATES),
        ("create", "28.2", CREATES),
        ("stop", "28.0", {"time": "timeout"}),
        ("restart", "29.1", {"time": "timeout"}),
        ("stop", "27.5", {}),
        ("start", "20.10", {"checkpoint": None, "checkpoint-dir": None}),
        ("update", "20.10", {}),
        ("update", "26.1", {"kernel-memory": None}),
        ("exec", "28.2", {}),
        ("", "28.2", {}),
    ],
)
def test_each_version_hides_its_own(topic: str, version: str, names: dict[str, str | None]) -> None:
    found = list(hidden_options(topic, version))
    assert {option.name: option.same_as for option in found} == names
    assert [option for option in found if not option.hidden or not option.takes_value or option.short] == []
