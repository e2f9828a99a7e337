"""The tables that come with DS01: all there, and the right one for a client."""

from __future__ import annotations

import pytest

from ds01.runtime.client.tables import FOLDER, UnknownClientError, known_versions, load, nearest, pick
from ds01.runtime.client.verbs import OWN_HELP, TOPICS

KNOWN = ("20.10", "26.1", "28.2")


def test_the_versions_of_both_debians_and_a_newer_one_are_known_oldest_first() -> None:
    assert known_versions() == KNOWN
    assert {path.name for path in FOLDER.iterdir()} == {f"{version}.json" for version in KNOWN}


@pytest.mark.parametrize("version", KNOWN)
def test_a_table_is_whole(version: str) -> None:
    table = load(version)
    assert (table.version, set(table.rows)) == (version, set(TOPICS))
    for topic in TOPICS:
        options = table.options(topic)
        part = table.part(topic)
        assert len(part.by_name) == len(options)
        assert len(part.by_letter) == len([option for option in options if option.short])
        assert [option.name for option in options if option.same_as and option.same_as not in part.by_name] == []
        assert part.by_name["help"].hidden == (topic not in OWN_HELP)


@pytest.mark.parametrize("version", KNOWN)
def test_what_people_use_without_reading_it_is_there(version: str) -> None:
    run = load(version).part("run")
    assert {name: run.by_name[name].same_as for name in ("net", "net-alias", "dns-opt")} == {
        "net": "network",
        "net-alias": "network-alias",
        "dns-opt": "dns-option",
    }
    assert (run.by_name["gpus"].kind, run.by_letter["h"].name) == ("gpu-request", "hostname")


@pytest.mark.parametrize(
    ("client", "version"), [("28.2.2", "28.2"), ("28.2", "28.2"), ("20.10.24+dfsg1", "20.10"), ("26.1.5+dfsg1", "26.1")]
)
def test_a_known_client_has_its_own(client: str, version: str) -> None:
    assert pick(client) == nearest(client) == load(version)


@pytest.mark.parametrize("client", ["28.3.0", "28", "20.1.0", "2.8", "", "28.2-rc1", "../28.2", "28/2"])
def test_a_client_without_one_is_refused_by_name(client: str) -> None:
    with pytest.raises(UnknownClientError) as caught:
        pick(client)
    assert caught.value.render() == (
        f"DS01 has no table of options for docker {client}\n"
        "it knows the clients 20.10, 26.1, 28.2\n"
        "To fix: install one of these, or make its table: ./inv client-table --docker PATH"
    )


@pytest.mark.parametrize(
    ("client", "version"),
    [
        ("28.3.0", "28.2"),
        ("29.1.1", "28.2"),
        ("28.1.1", "26.1"),
        ("28.10.0", "28.2"),
        ("26.0.0", "20.10"),
        ("23.0.6", "20.10"),
        ("19.03.1", "20.10"),
        ("1.13.1", "20.10"),
        ("dev", "28.2"),
        ("", "28.2"),
        ("28.x", "28.2"),
    ],
)
def test_another_client_has_the_newest_that_is_no_newer(client: str, version: str) -> None:
    assert nearest(client).version == version
