"""What DS01 reads out of labels, above all out of those that users made to mislead it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds01.core import labels
from ds01.core.labels import ContainerType, Owner

MIG = "MIG-6f3a1c1e-0b0f-5d5c-9d63-0a1b2c3d4e5f"
GPU = "GPU-5d1f3b6a-1111-2222-3333-444455556666"
OLD_MIG = "MIG-GPU-5d1f3b6a-1111-2222-3333-444455556666/1/0"


@pytest.mark.parametrize(
    ("found", "owner"),
    [
        ({}, None),
        ({"ds01.user": ""}, None),
        ({"ds01.user": "alice"}, Owner("alice", "ds01.user")),
        ({"ds01.user": "j.doe@lab-x.org", "aime.mlc.USER": "bob"}, Owner("j.doe@lab-x.org", "ds01.user")),
        ({"ds01.user": "", "aime.mlc.USER": "bob"}, Owner("bob", "aime.mlc.USER")),
        (
            {"aime.mlc.USER": "bob", "devcontainer.local_folder": "/home/alice/x"},
            Owner("bob", "aime.mlc.USER"),
        ),
        ({"devcontainer.local_folder": "/home/alice/code"}, Owner("alice", "devcontainer.local_folder")),
        ({"devcontainer.local_folder": "/home/alice"}, Owner("alice", "devcontainer.local_folder")),
        ({"devcontainer.local_folder": "/home"}, None),
        ({"devcontainer.local_folder": "/srv/alice"}, None),
        ({"devcontainer.local_folder": "home/alice"}, None),
        ({"devcontainer.local_folder": "/home/../root"}, None),
        ({"devcontainer.local_folder": "/home/alice/../bob"}, None),
        ({"ds01.user": "alice\n\x1b[2J"}, Owner("alice\\n\\x1b[2J", "ds01.user")),
        ({"ds01.user": "a" * 1000}, Owner("a" * 255 + "…", "ds01.user")),
    ],
)
def test_owner(found: dict[str, str], owner: Owner | None) -> None:
    assert labels.owner(found) == owner


def test_only_our_own_label_is_not_older() -> None:
    assert [Owner("a", label).is_older for label in (labels.USER, labels.OLDER_USER, labels.FOLDER)] == [
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("found", "token"),
    [
        ({}, None),
        ({"ds01.allocation": "7f3a"}, "7f3a"),
        ({"ds01.allocation": "aB-_9" * 12}, "aB-_9" * 12),
        ({"ds01.allocation": ""}, None),
        ({"ds01.allocation": "a" * 65}, None),
        ({"ds01.allocation": "7f3a\n"}, None),
        ({"ds01.allocation": "../x"}, None),
        ({"ds01.allocation": "٣"}, None),
    ],
)
def test_allocation_id(found: dict[str, str], token: str | None) -> None:
    assert labels.allocation_id(found) == token


@pytest.mark.parametrize(
    ("text", "uuids"),
    [
        (None, ()),
        ("", ()),
        (MIG, (MIG,)),
        (f"{MIG},{GPU},{MIG}", (MIG, GPU)),
        (OLD_MIG, (OLD_MIG,)),
        (f"{MIG},", ()),
        (f"{MIG}, {GPU}", ()),
        (f"{MIG},0", ()),
        (f"{MIG}\n", ()),
        ("GPU-" + "a" * 200, ()),
        (",".join([MIG] * 100_000), ()),
    ],
)
def test_gpu_uuids(text: str | None, uuids: tuple[str, ...]) -> None:
    assert labels.gpu_uuids({} if text is None else {"ds01.gpu.uuids": text}) == uuids


@pytest.mark.parametrize(
    ("text", "slots"),
    [("0", ("0",)), ("0:1,0:2", ("0:1", "0:2")), ("0,0", ("0",)), ("0:", ()), ("-1", ()), ("0:1:2", ()), ("٣", ())],
)
def test_gpu_slots(text: str, slots: tuple[str, ...]) -> None:
    assert labels.gpu_slots({"ds01.gpu.slots": text}) == slots


@pytest.mark.parametrize(
    ("found", "managed"),
    [
        ({}, False),
        ({"ds01.managed": "true"}, True),
        ({"DS01_MANAGED": "true"}, True),
        ({"ds01.managed": "false"}, False),
        ({"ds01.managed": "True "}, False),
        ({"CUSTOM_IMAGE": "x"}, False),
    ],
)
def test_is_managed(found: dict[str, str], *, managed: bool) -> None:
    assert labels.is_managed(found) is managed


@pytest.mark.parametrize(("text", "protected"), [("true", True), ("false", False), ("", False), ("yes", False)])
def test_is_protected(text: str, *, protected: bool) -> None:
    assert labels.is_protected({"ds01.protected": text}) is protected
    assert labels.is_protected({}) is False


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        *(({"ds01.container_type": each.value}, each) for each in ContainerType),
        ({}, ContainerType.UNKNOWN),
        ({"ds01.container_type": "Compose"}, ContainerType.UNKNOWN),
        ({"devcontainer.local_folder": "/srv/x"}, ContainerType.DEVCONTAINER),
    ],
)
def test_container_type(found: dict[str, str], kind: ContainerType) -> None:
    assert labels.container_type(found) is kind


@given(st.dictionaries(st.sampled_from([labels.USER, labels.ALLOCATION, labels.GPU_UUIDS, labels.FOLDER]), st.text()))
def test_whatever_users_write_comes_out_fit_to_be_shown(found: dict[str, str]) -> None:
    owner = labels.owner(found)
    words = [owner.name if owner else "", labels.allocation_id(found) or "", *labels.gpu_uuids(found)]
    assert [word for word in words if not word.isprintable() or len(word) > 2560] == []
