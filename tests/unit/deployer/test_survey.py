"""What a host is asked and what is not: folders answer by their files alone; owners that do not exist are named."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from ds01.core.paths import HostPaths
from ds01.core.process import Completed
from ds01.core.tree import Tree, TreeFile
from ds01.deployer.owned import Owned
from ds01.deployer.survey import UnknownOwnerError, identity, survey_host

UNITS = PurePosixPath("/etc/systemd/system")
OURS = TreeFile(UNITS / "ds01-student-alice.slice.d/10-resource-limits.conf", "[Slice]\n")


def refuse_to_run(argv: list[str], **_: object) -> Completed:
    raise AssertionError(f"nothing may be asked of a folder: {argv}")


def lay(root: Path, *targets: str) -> None:
    for target in targets:
        file = root / target.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("[Slice]\nMemoryMax=infinity\n")


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
