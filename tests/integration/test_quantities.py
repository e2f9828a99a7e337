"""Amounts and wishes for GPUs that are accepted mean the same to the real client, which sends them to a daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.integration.clients import MORE_CLIENTS, Client, found_clients, watched

from ds01.core.errors import BadInputError
from ds01.runtime.containers.gpuasks import device_request
from ds01.runtime.containers.quantities import read_bytes, read_nano_cpus, read_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLIENTS = found_clients()
# The option, how it is read, and where the client puts it.
AMOUNTS: dict[str, tuple[Callable[[str, str], int], str]] = {
    "memory": (read_bytes, "Memory"),
    "shm-size": (read_bytes, "ShmSize"),
    "cpus": (read_nano_cpus, "NanoCpus"),
    "pids-limit": (read_whole, "PidsLimit"),
    "cpu-quota": (read_whole, "CpuQuota"),
    "cpu-period": (read_whole, "CpuPeriod"),
}
ODD = ("", "0", "010", "00.5", "1.", ".5", "1 g", "1  g", "1ib", "1KiB", "1gb", "1GB ", "8191p", "9007199254740993",
       "1.1g", "0.3t", "4.35k", "+1", "-0", "-1", "1e3", "0x10", "1_0", "1/2", "1b", "1 b", "007")  # fmt: skip
digits = st.text("0123456789", min_size=1, max_size=17)
# Mostly what could be an amount, with every part of it there or not, and mistakes.
amounts = st.sampled_from(ODD) | st.tuples(
    st.sampled_from(["", "", "", "", "+", "-", " "]),
    digits,
    st.sampled_from(["", "", "."]) | digits.map(lambda text: f".{text}"),
    st.sampled_from(["", "", "", " "]),
    st.sampled_from(["", "", *"bkmgtpKMGTP", "kb", "KiB", "MB", "gIb", "ib", "e3"]),
).map("".join)

pytestmark = pytest.mark.skipif(not CLIENTS, reason=f"no docker client here, nor in {MORE_CLIENTS}")


@pytest.fixture(scope="module", params=sorted(CLIENTS))
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def client(version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with watched(CLIENTS[version], tmp_path_factory.mktemp("client")) as client:
        yield client


def host_config(client: Client, option: str) -> dict[str, object] | None:
    """Return what the client asks a daemon for with an option; None when it refuses it."""
    created = client.outcome(["create", option, "image"]).created
    if created is None:
        return None
    config = created["HostConfig"]
    assert isinstance(config, dict)
    return config


def amount_disagreement(client: Client, option: str, text: str) -> str | None:
    read, key = AMOUNTS[option]
    try:
        ours = read(f"--{option}", text)
    except BadInputError:
        return None
    config = host_config(client, f"--{option}={text}")
    theirs = None if config is None else config[key] or 0
    return None if theirs == ours else f"--{option}={text!r} is {ours} here and {theirs} there"


def test_amounts_at_the_edges_are_the_clients_own(client: Client) -> None:
    assert [why for option in AMOUNTS for text in ODD if (why := amount_disagreement(client, option, text))] == []


def test_amounts_made_at_random_are_the_clients_own(client: Client) -> None:
    @settings(max_examples=60)
    @given(option=st.sampled_from(sorted(AMOUNTS)), text=amounts)
    def holds(option: str, text: str) -> None:
        assert amount_disagreement(client, option, text) is None

    holds()


# --- GPUs -----------------------------------------------------------------------------------------------------

WISHES = ("all", "1", "16", "count=2", "device=0", '"device=0,1"', "device=0,1", "device=", 'device="0"', "0", "-1",
          "01", "", ",", "1,", "1,1", "count=2,1", "driver=nvidia", "driver=nvidia,count=1", "capabilities=utility",
          '"capabilities=utility,compute",device=3', "capabilities=", "options=a=b", "options=", 'options="x"',
          '"options=""a=b,c=d"""', "all,driver=", "1\n", "\r1", " 1", '"1"x', '"all', "device==0", "é")  # fmt: skip
PIECES = ("1", "all", "count=", "device=", "driver=nvidia", "capabilities=", "options=", "a=b", "0", ",", ",", '"',
          '""', "GPU-1", "\n", "=", " ")  # fmt: skip
pieces = st.sampled_from(PIECES)


def request_of(value: object) -> tuple[object, ...]:
    assert isinstance(value, dict)
    return value["Driver"], value["Count"], value["DeviceIDs"] or [], value["Capabilities"]


def wish_disagreement(client: Client, text: str) -> str | None:
    try:
        ours = dict(device_request(text))
    except BadInputError:
        return None
    config = host_config(client, f"--gpus={text}")
    if config is None:
        return f"--gpus={text!r} is {ours} here and refused there"
    requests = config["DeviceRequests"]
    assert isinstance(requests, list)
    # The client adds the capability that --gpus stands for.
    capabilities = ours["Capabilities"]
    assert isinstance(capabilities, list)
    ours["Capabilities"] = [[*(capabilities[0] if capabilities else []), "gpu"]]
    mine, theirs = request_of(ours), request_of(requests[0])
    return None if mine == theirs else f"--gpus={text!r} is {mine} here and {theirs} there"


def test_wishes_for_gpus_are_the_clients_own(client: Client) -> None:
    assert [why for text in WISHES if (why := wish_disagreement(client, text))] == []


def test_wishes_made_at_random_are_the_clients_own(client: Client) -> None:
    @settings(max_examples=60)
    @given(text=st.lists(pieces, max_size=6).map("".join))
    def holds(text: str) -> None:
        assert wish_disagreement(client, text) is None

    holds()
