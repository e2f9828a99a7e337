"""From model and rows to files: placeholders, switches, and faults of templates said plainly."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from ds01.core.tree import Merge, TreeFile
from ds01.core.value import replace
from ds01.generator.build import check
from ds01.generator.environment import make_environment
from ds01.generator.manifest import Artefact
from ds01.generator.model import Model, make_model
from ds01.generator.render import RenderError, render_tree

CHECKOUT = Path(__file__).resolve().parents[3]
ROW = Artefact("x.j2", "/etc/x", None, "root", "root", 0o644, None, None, None, (), (), None)
HEADER = "Made by DS01 from templates/x.j2, do not edit"


@pytest.fixture(scope="module")
def model() -> Model:
    return make_model(check(CHECKOUT, CHECKOUT / "tests/golden/lab/inventory", None).document)


def render(model: Model, folder: Path, template: str, *rows: Artefact) -> list[TreeFile]:
    (folder / "x.j2").write_text(template)
    return list(render_tree(model, rows, make_environment(folder)))


def test_file_has_what_its_row_says(model: Model, tmp_path: Path) -> None:
    row = replace(ROW, owner="alice", group="staff", mode=0o600, merge=Merge.JSON, check=("a",), handlers=("b",))
    assert render(model, tmp_path, "# {{ header }}\n{{ model.host }}\n", row) == [
        TreeFile(
            path=PurePosixPath("/etc/x"),
            content=f"# {HEADER}\nbox\n",
            mode=0o600,
            owner="alice",
            group="staff",
            source="templates/x.j2",
            merge=Merge.JSON,
            check=("a",),
            handlers=("b",),
        )
    ]


@pytest.mark.parametrize(
    ("for_each", "target", "paths"),
    [
        ("root", "/x", ["/x"]),
        ("group", "/@group@", ["/admin", "/phd_guests", "/staff", "/student"]),
        ("limited_group", "/@group@", ["/phd_guests", "/student"]),
        (
            "limited_user",
            "/@group@/@user@",
            [
                "/phd_guests/dave",
                "/phd_guests/j_doe_lab_x_org",
                "/staff/erin",
                *(f"/student/{name}" for name in ("204117", "alice", "bob", "carol", "inline")),
            ],
        ),
    ],
)
def test_row_is_rendered_once_for_each(
    for_each: str, target: str, paths: list[str], model: Model, tmp_path: Path
) -> None:
    files = render(model, tmp_path, "{{ unit.slice_name }}\n", replace(ROW, for_each=for_each, target=target))
    assert [str(file.path) for file in files] == paths


def test_file_of_an_account_names_it(model: Model, tmp_path: Path) -> None:
    row = replace(ROW, for_each="limited_user", target="/@user@")
    files = render(model, tmp_path, "x\n", row)
    accounts = {file.path.name: file.account for file in files}
    assert (accounts["j_doe_lab_x_org"], None in accounts.values()) == ("j.doe@lab-x.org", False)


def test_row_whose_switch_is_off_is_left_out(model: Model, tmp_path: Path) -> None:
    row = replace(ROW, when="aggregate_limits")
    off = replace(model, switches=frozenset())
    assert (len(render(model, tmp_path, "x\n", row)), render(off, tmp_path, "x\n", row)) == (1, [])


@pytest.mark.parametrize(
    ("template", "details"),
    [
        ("{{ model.nothing }}", "UndefinedError: 'ds01.generator.model.Model object' has no attribute 'nothing'"),
        ("{% if %}", "TemplateSyntaxError: Expected an expression, got 'end of statement block'"),
    ],
)
def test_template_that_asks_for_what_is_not_there_is_a_fault(
    template: str, details: str, model: Model, tmp_path: Path
) -> None:
    with pytest.raises(RenderError) as refused:
        render(model, tmp_path, template, ROW)
    assert (refused.value.brief, refused.value.details) == ("templates/x.j2 cannot be rendered", details)


def test_row_without_its_template_is_a_fault(model: Model, tmp_path: Path) -> None:
    with pytest.raises(RenderError) as refused:
        render_tree(model, [replace(ROW, source="gone.j2")], make_environment(tmp_path))
    assert refused.value.brief == "templates/gone.j2 cannot be rendered"


def test_two_rows_for_one_file_are_a_fault(model: Model, tmp_path: Path) -> None:
    with pytest.raises(RenderError) as refused:
        render(model, tmp_path, "x\n", ROW, ROW)
    assert (refused.value.brief, refused.value.details) == (
        "two templates make the same file",
        "/etc/x is rendered twice, from templates/x.j2 and templates/x.j2",
    )


def test_policy_hash_follows_the_policy_and_nothing_else(model: Model, tmp_path: Path) -> None:
    environment = make_environment(tmp_path)
    (tmp_path / "x.j2").write_text("x\n")
    same = replace(model, document=dict(reversed(list(model.document.items()))))
    other = replace(model, document={**model.document, "default_group": "staff"})
    hashes = [render_tree(each, [ROW], environment).policy_hash for each in (model, same, other)]
    assert (hashes[0] == hashes[1], hashes[0] == hashes[2], len(hashes[0])) == (True, False, 64)
