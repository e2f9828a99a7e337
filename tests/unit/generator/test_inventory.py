"""Reading the inventory: every file, with the place of every account; what cannot be read is a problem."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ds01.generator.inventory import Member, load_inventory
from ds01.generator.problems import Place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inventory = tmp_path / "inv"
    (inventory / "groups").mkdir(parents=True)
    (inventory / "hosts").mkdir()
    (inventory / "resource-limits.yaml").write_text("default_group: student\n")
    (inventory / "hosts" / "box.yaml").write_text("cpus: 4\n")
    return inventory


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("", []),
        ("# nobody yet\n\n", []),
        ("alice\nbob\n", [("alice", 1, 1), ("bob", 2, 1)]),
        ("  alice  # since May\r\n\r\nbob", [("alice", 1, 3), ("bob", 3, 1)]),
        ("j.doe@lab-x.org\n", [("j.doe@lab-x.org", 1, 1)]),
        ("204117\noff\n", [("204117", 1, 1), ("off", 2, 1)]),
        ("\ufeffalice\n", [("alice", 1, 1)]),
        ("al ice\n", [("al ice", 1, 1)]),
        ("a\x0bb\u2028c\x85d\n", [("a\x0bb\u2028c\x85d", 1, 1)]),
    ],
)
def test_members_are_one_account_a_line(text: str, members: list[tuple[str, int, int]], folder: Path) -> None:
    (folder / "groups" / "student.members").write_bytes(text.encode())
    file = "inv/groups/student.members"
    assert load_inventory(folder).members == {
        "student": tuple(Member(name, Place(file, line, column)) for name, line, column in members)
    }


def test_whole_inventory_is_read_without_problems(folder: Path) -> None:
    documents = load_inventory(folder)
    assert (documents.policy.data, {name: file.data for name, file in documents.hosts.items()}, documents.problems) == (
        {"default_group": "student"},
        {"box": {"cpus": 4}},
        (),
    )


def test_files_are_named_as_from_above_the_inventory(folder: Path) -> None:
    documents = load_inventory(folder)
    assert (documents.policy.file, documents.hosts["box"].file) == ("inv/resource-limits.yaml", "inv/hosts/box.yaml")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "inv/hosts/box.yaml:1:1: the file is empty; write `key: value` lines"),
        (b"# later\n", "inv/hosts/box.yaml:1:1: the file is empty; write `key: value` lines"),
        (b"- a\n", "inv/hosts/box.yaml:1:1: not a mapping of keys; write `key: value` lines"),
        (b"a", "inv/hosts/box.yaml:1:1: not a mapping of keys; write `key: value` lines"),
        (b"a: 1\nb: \xff\n", "inv/hosts/box.yaml:2:4: not UTF-8 text (byte 0xff); save it as UTF-8"),
        (b"a: {b: c", "inv/hosts/box.yaml:1:4: a mapping is opened here and never closed; close it with }"),
    ],
)  # fmt: skip
def test_file_that_cannot_be_used_has_no_data_and_one_problem(content: bytes, said: str, folder: Path) -> None:
    (folder / "hosts" / "box.yaml").write_bytes(content)
    documents = load_inventory(folder)
    assert (documents.hosts["box"].data, list(map(str, documents.problems))) == (None, [said])


def test_empty_folder_lacks_policy_and_hosts(tmp_path: Path) -> None:
    assert list(map(str, load_inventory(tmp_path / "inv").problems)) == [
        "inv/resource-limits.yaml:1:1: there is no such file; write it, or name another inventory",
        "inv/hosts:1:1: there is no host file; describe the server in hosts/<name>.yaml",
    ]


def test_only_the_files_of_the_inventory_are_read(folder: Path) -> None:
    for name in ("groups/notes.txt", "groups/.x.members", "hosts/.y.yaml", "hosts/old.yaml.bak", "other.yaml"):
        (folder / name).write_bytes(b"\xff")
    documents = load_inventory(folder)
    assert (documents.members, list(documents.hosts), documents.problems) == ({}, ["box"], ())


RULE = "use letters, digits or _ . -, a letter or digit first"
POLICY, HOST, MEMBERS = "resource-limits.yaml", "hosts/box.yaml", "groups/student.members"


def said(folder: Path) -> list[str]:
    return list(map(str, load_inventory(folder).problems))


@pytest.mark.parametrize("name", [POLICY, HOST, MEMBERS])
@pytest.mark.parametrize("target", ["outside", "nowhere", "loop"])
def test_link_in_place_of_a_file_is_not_followed(name: str, target: str, folder: Path) -> None:
    (folder.parent / "outside").write_text("root:secret\n")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(folder / name if target == "loop" else folder.parent / target)
    assert said(folder) == [f"inv/{name}:1:1: is a symbolic link; put the file itself there"]


@pytest.mark.parametrize("name", ["groups", "hosts"])
def test_link_in_place_of_a_folder_is_not_followed(name: str, folder: Path) -> None:
    (folder / name).rename(folder.parent / name)
    (folder / name).symlink_to(folder.parent / name)
    assert said(folder) == [f"inv/{name}:1:1: is a symbolic link; put the folder itself there"]


def test_inventory_itself_may_be_reached_by_a_link(folder: Path) -> None:
    (folder.parent / "current").symlink_to(folder)
    assert said(folder.parent / "current") == []


@pytest.mark.parametrize("name", [POLICY, HOST, MEMBERS])
def test_pipe_is_refused_without_waiting_for_a_writer(name: str, folder: Path) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert said(folder) == [f"inv/{name}:1:1: is not a regular file; put a text file there"]


def test_file_in_place_of_a_folder_is_a_problem(folder: Path) -> None:
    (folder / "groups").rmdir()
    (folder / "groups").write_text("alice\n")
    assert said(folder) == ["inv/groups:1:1: cannot be read: Not a directory; check the folder and its permissions"]


def test_file_of_more_than_eight_mebibytes_is_refused(folder: Path) -> None:
    (folder / MEMBERS).write_bytes(b"\n" * 8 * 1024**2)
    assert said(folder) == []
    (folder / MEMBERS).write_bytes(b"\n" * (8 * 1024**2 + 1))
    assert said(folder) == [f"inv/{MEMBERS}:1:1: is larger than 8 MiB; put a text file for people there"]


@pytest.mark.parametrize(
    ("stem", "shown", "quoted"),
    [
        (b"a b", "a b", "'a b'"),
        (b"-x", "-x", "'-x'"),
        (b"_x", "_x", "'_x'"),
        (b"zo\xc3\xab", "zoë", "'zoë'"),
        (b"\x1b[2J", "\\x1b[2J", "'\\x1b[2J'"),
        (b"x\n", "x\\n", "'x\\n'"),
        (b"\xff", "\\udcff", "'\\udcff'"),
    ],
)
@pytest.mark.parametrize(("part", "suffix"), [("hosts", ".yaml"), ("groups", ".members")])
def test_file_whose_name_no_command_could_take_is_refused(
    part: str, suffix: str, stem: bytes, shown: str, quoted: str, folder: Path
) -> None:
    Path(os.fsdecode(os.fsencode(folder / part) + b"/" + stem + os.fsencode(suffix))).write_text("")
    documents = load_inventory(folder)
    assert (documents.members, list(documents.hosts), list(map(str, documents.problems))) == (
        {},
        ["box"],
        [
            f"inv/{part}/{shown}{suffix}:1:1: {quoted} cannot be the name of a file here; {RULE}",
        ],
    )
