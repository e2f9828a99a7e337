"""Amounts and wishes for GPUs that are accepted mean the same to the real client, which sends them to a daemon."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.integration.clients import MORE_CLIENTS, Client, found_clients, watched
from tests.unit.runtime.containers.samples import account
from tests.unit.runtime.gpu.hosts import LAB, held

from ds01.core.errors import BadInputError, Ds01Error
from ds01.runtime.client.arguments import parse
from ds01.runtime.client.tables import pick
from ds01.runtime.containers.admission import Admission
from ds01.runtime.containers.gpuasks import device_request
from ds01.runtime.containers.quantities import read_bytes, read_nano_cpus, read_whole
from ds01.runtime.containers.request import Settings
from ds01.runtime.gpu.answer import Grant
from ds01.runtime.wrapper.options import Marks, read_request, write_line

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
ODD = ("", "0", "010", "00.5", "1.", ".5", ".5g", "1.g", "1. g", ".", ".g", "1..5g",
       "1 g", "1  g", "1ib", "1KiB", "1gb", "1GB ", "8191p", "9007199254740993",
       "1.1g", "0.3t", "4.35k", "+1", "-0", "-1", "1e3", "0x10", "1_0", "1/2", "1b", "1 b", "007")  # fmt: skip
# A point without a digit on both of its sides: clients with go-units before 0.5 (20.10) refuse it, and read it never
# otherwise; what the container is made with is written anew in bytes.
BARE_POINT = re.compile(r"(?<!\d)\.|\.(?!\d)")
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
    if config is None and read is read_bytes and BARE_POINT.search(text):
        return None
    theirs = None if config is None else config[key] or 0
    return None if theirs == ours else f"--{option}={text!r} is {ours} here and {theirs} there"


def test_amounts_at_the_edges_are_the_clients_own(client: Client) -> None:
    assert [why for option in AMOUNTS for text in ODD if (why := amount_disagreement(client, option, text))] == []


def test_a_point_without_a_digit_before_or_behind_it_is_the_newer_clients_own(client: Client, version: str) -> None:
    if version.startswith("20.10"):
        assert host_config(client, "--memory=.5g") is None
        return
    sizes = {".5g": 2**29, "1.g": 2**30, "1. g": 2**30}
    for text, size in sizes.items():
        config = host_config(client, f"--memory={text}")
        assert config is not None
        assert (config["Memory"], read_bytes("--memory", text)) == (size, size)


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


# --- The line that is run ---------------------------------------------------------------------------------------

GRANT = Grant(held("alice", "2:0", "2:1"), LAB.units[2:4])
SETTINGS = Settings(memory_bytes=2**30, nano_cpus=1_500_000_001, pids=500, shm_bytes=2**29)
MARKS = Marks("alice", "2026-03-01T09:00:00.000001Z", "ds01-student-alice.slice")
KINDS = ("capabilities=utility", '"capabilities=utility,compute"', "options=a=b", '"options=""a=b,c=d"""',
         '"options=""a"",b=c"', '"capabilities=a""b"', "driver=nvidia")  # fmt: skip
_KIND = ("Capabilities", "Options")


def lost_on_the_way(client: Client, version: str, text: str) -> str | None:
    """Return how a line with a grant differs from it, or from what its user said of the kind of access."""
    wanted = host_config(client, f"--gpus={text}")
    parsed = parse(["create", f"--gpus={text}", "image"], pick(version))
    try:
        request = read_request(parsed, "")
    except Ds01Error:
        return None
    assert wanted is not None
    line = write_line(parsed, request, Admission(SETTINGS, 0, GRANT), account(), MARKS)
    created = client.outcome(line).created
    if created is None:
        return f"{line} is refused"
    config = created["HostConfig"]
    assert isinstance(config, dict)
    (made,), (said,) = config["DeviceRequests"], wanted["DeviceRequests"]  # type: ignore[misc] # one --gpus each
    kind = {name: list(dict.fromkeys(made[name][0])) if name == "Capabilities" else made[name] for name in _KIND}
    meant = {name: list(dict.fromkeys(said[name][0])) if name == "Capabilities" else said[name] for name in _KIND}
    found = (made["DeviceIDs"], made["Count"], kind)
    return None if found == (list(GRANT.allocation.uuids), 0, meant) else f"{text!r} became {found}"


def test_a_grant_is_what_the_client_asks_for_in_the_kind_its_user_named(client: Client, version: str) -> None:
    texts = [f"{number},{kind}" for kind in KINDS for number in ("1", "device=2:0")]
    assert [why for text in texts if (why := lost_on_the_way(client, version, text))] == []


def test_what_a_container_is_made_with_is_what_the_client_asks_for(client: Client, version: str) -> None:
    parsed = parse(["create", "--memory=5g", "--cpus=0", "--env=A=1", "image", "-m"], pick(version))
    admission = Admission(SETTINGS, SETTINGS.memory_bytes or 0)
    created = client.outcome(write_line(parsed, read_request(parsed, ""), admission, account(), MARKS)).created
    assert created is not None
    config = created["HostConfig"]
    assert isinstance(config, dict)
    names = ("Memory", "MemorySwap", "NanoCpus", "CpuQuota", "PidsLimit", "ShmSize", "CgroupParent", "DeviceRequests")
    assert {name: config[name] for name in names} == {
        "Memory": 2**30,
        "MemorySwap": 2**30,
        "NanoCpus": 1_500_000_001,
        "CpuQuota": 0,
        "PidsLimit": 500,
        "ShmSize": 2**29,
        "CgroupParent": "ds01-student-alice.slice",
        "DeviceRequests": None,
    }
    assert (created["Env"], created["Cmd"]) == (["A=1", "NVIDIA_VISIBLE_DEVICES=void"], ["-m"])
