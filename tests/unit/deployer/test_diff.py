"""What a diff shows of any content, and that nothing in it reaches the terminal as a command."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from ds01.core.tree import Form, TreeFile
from ds01.core.value import replace
from ds01.deployer.diff import diff
from ds01.deployer.plan import Action, Verb

PATH = PurePosixPath("/usr/local/bin/docker")
LINK = TreeFile(PATH, "../../opt/ds01/current/bin/docker", form=Form.LINK)
HEAD = ["--- /usr/local/bin/docker", "+++ /usr/local/bin/docker"]


def taken_over(before: str | None, after: str | None, *, was: Form = Form.FILE, file: TreeFile | None = None) -> Action:
    return Action(Verb.TAKE_OVER, PATH, "", before, after, was=was, file=file)


CASES = {
    "text": (
        taken_over("#!/bin/sh\nold\n", "#!/bin/sh\nnew\n"),
        [*HEAD, "@@ -1,2 +1,2 @@", " #!/bin/sh", "-old", "+new"],
    ),
    "a link becomes a file": (
        taken_over("/opt/older/wrapper.sh", "new\n", was=Form.LINK),
        [*HEAD, "@@ -1 +1 @@", "-symbolic link to /opt/older/wrapper.sh", "+new"],
    ),
    "a file becomes a link": (
        taken_over("old\n", LINK.content, file=LINK),
        [*HEAD, "@@ -1 +1 @@", "-old", "+symbolic link to ../../opt/ds01/current/bin/docker"],
    ),
    "a file that holds the very words of the link": (
        taken_over(LINK.content, LINK.content, file=LINK),
        [
            *HEAD,
            "@@ -1,2 +1 @@",
            "-../../opt/ds01/current/bin/docker",
            "-\\ No newline at end of file",
            "+symbolic link to ../../opt/ds01/current/bin/docker",
        ],
    ),
    "a program is shown by its size": (
        taken_over("\x7fELF\0\udcff\n", "new\n"),
        [
            *HEAD,
            "@@ -1 +1 @@",
            "-7 bytes that are no text, SHA-256 9eba21bedd6905ad5d21c202ed6f1cc31672e57b68f8432dd3ceb35a2bfd39fe",
            "+new",
        ],
    ),
    "text in another encoding keeps its lines": (
        taken_over("# gr\udcfcn\n", "# green\n"),
        [*HEAD, "@@ -1 +1 @@", "-# gr\\xfcn", "+# green"],
    ),
    "a link into a name that is no UTF-8": (
        taken_over("/opt/gr\udcfcn", "new\n", was=Form.LINK),
        [*HEAD, "@@ -1 +1 @@", "-symbolic link to /opt/gr\\xfcn", "+new"],
    ),
    "removed": (
        taken_over("old\n", None),
        ["--- /usr/local/bin/docker", "+++ /dev/null", "@@ -1 +0,0 @@", "-old"],
    ),
    "added": (
        taken_over(None, "new\n"),
        ["--- /dev/null", "+++ /usr/local/bin/docker", "@@ -0,0 +1 @@", "+new"],
    ),
    "same content": (taken_over("same\n", "same\n"), []),
    "nothing is written": (replace(taken_over("old\n", "new\n"), verb=Verb.BLOCKED), []),
}


@pytest.mark.parametrize(("action", "lines"), CASES.values(), ids=CASES)
def test_a_diff_shows_what_changes_in_a_form_that_can_be_read(action: Action, lines: list[str]) -> None:
    assert diff(action) == lines
