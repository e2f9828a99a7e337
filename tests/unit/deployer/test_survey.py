"""What lies on a host: foreign unit files that change what ours mean, and owners that do not exist."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from ds01.core.paths import HostPaths
from ds01.core.process import Completed
from ds01.core.tree import Tree, TreeFile
from ds01.deployer.owned import Owned, OwnedFile
from ds01.deployer.survey import UnknownOwnerError, foreign_files, identity, survey_host

UNITS = PurePosixPath("/etc/systemd/system")
OURS = TreeFile(UNITS / "ds01-student-alice.slice.d/10-resource-limits.conf", "[Slice]\n")
ONCE_OURS = OwnedFile("", 0o644, "root", "root", "")


def refuse_to_run(argv: list[str], **_: object) -> Completed:
    raise AssertionError(f"nothing may be asked of a folder: {argv}")


def lay(root: Path, *targets: str) -> None:
    for target in targets:
        file = root / target.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("[Slice]\nMemoryMax=infinity\n")


def test_foreign_unit_files_in_our_name_space_are_noticed(tmp_path: Path) -> None:
    lay(
        tmp_path,
        str(OURS.path),
        f"{UNITS}/ds01-student-bob.slice.d/10-resource-limits.conf",  # stale, and ours
        f"{UNITS}/ds01-student-alice.slice.d/99-mine.conf",
        f"{UNITS}/ds01-student-alice.slice.d/README",
        f"{UNITS}/ds01-student-.slice.d/50-all.conf",
        f"{UNITS}/ds01.slice.d/x.conf",
        f"{UNITS}/ds01-extra.slice",
        f"{UNITS}/docker.service.d/x.conf",
        f"{UNITS}/ds01-exporter.service",
    )
    (tmp_path / f"etc/systemd/system/{'ds01-masked.slice'}").symlink_to("/dev/null")
    owned = Owned(1, files={UNITS / "ds01-student-bob.slice.d/10-resource-limits.conf": ONCE_OURS})
    tree = Tree.of("ds01", "", [OURS])
    words = "is not DS01's and changes what the slice means; remove it when it is not meant"
    assert foreign_files(HostPaths(tmp_path), tree, owned) == tuple(
        f"{UNITS}/{name} {words}"
        for name in (
            "ds01-extra.slice",
            "ds01-masked.slice",
            "ds01-student-.slice.d/50-all.conf",
            "ds01-student-alice.slice.d/99-mine.conf",
            "ds01.slice.d/x.conf",
        )
    )


def test_a_host_without_units_has_no_foreign_ones(tmp_path: Path) -> None:
    assert foreign_files(HostPaths(tmp_path), Tree.of("ds01", "", []), Owned()) == ()


def test_a_folder_is_surveyed_without_asking_systemd_or_docker(tmp_path: Path) -> None:
    lay(tmp_path, f"{UNITS}/ds01-extra.slice")
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    tree = Tree.of("ds01", "", [OURS])
    found = survey_host(tree, HostPaths(tmp_path), Owned(), refuse_to_run, ("first",))  # type: ignore[arg-type]
    assert (found.root, found.can_run_handlers, found.containers) == (str(tmp_path), False, None)
    assert found.plan.summary == "1 to add, 0 to change, 0 to remove, 0 unchanged"
    assert [notice.split(" ", 1)[0] for notice in found.notices] == ["first", f"{UNITS}/ds01-extra.slice"]


@pytest.mark.parametrize(
    ("owner", "group", "cause"),
    [
        ("no such account", "root", "getpwnam(): name not found: 'no such account'"),
        ("root", "no such group", "getgrnam(): name not found: 'no such group'"),
    ],
)
def test_an_owner_that_does_not_exist_is_named(owner: str, group: str, cause: str) -> None:
    with pytest.raises(UnknownOwnerError) as caught:
        identity(owner, group)
    assert caught.value.render() == (f'{owner}:{group} does not exist here\n"{cause}"\nTo fix: make it, then try again')


def test_root_needs_no_account_data_base() -> None:
    assert identity("root", "root") == (0, 0)
