"""The command line of `ds01 gpu`: every action has its help, every wrong word is bad input that says what would do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ds01.runtime.commands import gpu

CHECKOUT = Path(__file__).resolve().parents[4]
ACTIONS = (
    "status", "queue", "validate", "allocate", "wait", "release", "mark-stopped", "clear-stopped", "reconcile",
)  # fmt: skip


def said(argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    with pytest.raises(SystemExit) as caught:
        gpu.main(argv)
    shown = capsys.readouterr()
    return caught.value.code, shown.out + shown.err


def test_the_help_lists_every_action(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = said(["--help"], capsys)
    assert code == 0
    assert [action for action in ACTIONS if not re.search(rf"^ +{action}\b", text, re.MULTILINE)] == []


@pytest.mark.parametrize("action", ACTIONS)
def test_every_option_of_an_action_is_explained(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = said([action, "--help"], capsys)
    assert code == 0
    usage, _, listed = text.partition("options:\n")
    assert set(re.findall(r"--[a-z-]+", usage)) <= set(re.findall(r"--[a-z-]+", listed))
    assert "--json" in listed
    assert "--root" in listed


def test_what_the_documents_name_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    pages = "\n".join((CHECKOUT / name).read_text(encoding="utf-8") for name in ("docs/gpu.md", "README.md"))
    offered = {action: options_of(action, capsys) for action in ACTIONS}
    # A command, and its words up to the next command or the end of the line.
    named = re.findall(r"ds01 gpu ([a-z][a-z-]+)([^`|&\n)#]*)", pages)
    assert {action for action, _ in named} == set(ACTIONS)
    assert [
        (action, option)
        for action, rest in named
        for option in re.findall(r"(?<![\w-])--[a-z-]+", rest)
        if option not in offered[action]
    ] == []
    own = set(re.findall(r"`(--[a-z-]+)", (CHECKOUT / "docs/gpu.md").read_text(encoding="utf-8")))
    assert own <= set().union(*offered.values())
    assert {"--wait", "--pid", "--docker-args", "--max-gpus", "--priority", "--user", "--gpu"} <= own


def options_of(action: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z-]+", said([action, "--help"], capsys)[1]))


WRONG = {
    "no action": ([], "the following arguments are required: ACTION"),
    "an unknown action": (["alocate"], "invalid choice: 'alocate'"),
    "no container": (["allocate"], "the following arguments are required: --container"),
    "no GPUs": (["allocate", "--container", "x", "--gpus", "0"], "0 GPUs cannot be asked for; ask for 1 to 1024"),
    "a word": (["allocate", "--container", "x", "--gpus", "two"], "'two' is no request for GPUs; write a number"),
    "no slot": (["allocate", "--container", "x", "--gpu", "gpu0"], "'gpu0' is no GPU; name slots such as 0 or 0:1"),
    "both": (["allocate", "--container", "x", "--gpu", "0", "--gpus", "1"], "not allowed with argument"),
    "less than none": (["allocate", "--container", "x", "--max-gpus", "-1"], "'-1' is no whole number of 0 or more"),
    "half a priority": (["allocate", "--container", "x", "--priority", "1.5"], "'1.5' is no whole number"),
    "no time": (["wait", "--container", "x", "--wait", "soon"], "'soon' is no number of seconds"),
    "time that is none": (["wait", "--container", "x", "--wait", "nan"], "'nan' is no number of seconds"),
    "for ever": (["wait", "--container", "x", "--wait", "1e9"], "'1e9' is no number of seconds from 0 to 604800"),
    "no id": (["release", "--allocation", "x y"], "'x y' is no allocation's id"),
    "nothing named": (["release"], "one of the arguments --container --allocation is required"),
    "an empty name": (["release", "--container", ""], "needs a container's name, this one is empty"),
    "no gpu": (["validate", "--container", "x"], "the following arguments are required: --gpu"),
    "an empty root": (["status", "--root", ""], "needs a folder, this one is empty"),
}


@pytest.mark.parametrize(("argv", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_word_is_bad_input_that_says_what_would_do(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = said(argv, capsys)
    assert code == 2
    assert words in text
    assert "Traceback" not in text
