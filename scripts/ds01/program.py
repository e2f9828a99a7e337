"""The program behind `./inv`: Invoke's parser and tasks, with DS01's messages and exit codes.

Invoke exits with 1 for a mistyped option, prints a traceback for a foreseen failure and reads settings of its
own from files and variables of the machine. Here a usage error is bad input (2), an error of DS01 is its
message and its own exit code, a task may return its code, and only the command line and tasks.py count.
"""

from __future__ import annotations

import os
import re
import select
import sys
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.collection import Collection
from invoke.config import Config
from invoke.exceptions import Exit, Failure, ParseError
from invoke.executor import Executor
from invoke.program import Program

from ds01 import __version__
from ds01.core.errors import BadInputError, Ds01Error, ExitCode
from ds01.core.override import override

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from invoke.parser.argument import Argument


CHECKOUT = Path(__file__).resolve().parents[2]

# These steer shell commands, which our tasks do not run: `./inv deploy --dry` would be taken for a rehearsal,
# and would deploy.
_NOT_OURS = {
    "command-timeout",
    "config",
    "dry",
    "echo",
    "hide",
    "prompt-for-sudo-password",
    "pty",
    "warn-only",
}
_LIST_FORMATS = ("flat", "nested", "json")


class TaskConfig(Config):
    """Invoke's defaults alone: no invoke.yaml of the machine or of the account changes what a task does."""

    @override
    def load_base_conf_files(self) -> None:
        """Load nothing."""


class TaskProgram(Program):
    """Runs the tasks of one checkout's tasks.py."""

    def __init__(self, checkout: Path) -> None:
        super().__init__(
            version=__version__,
            name="DS01",
            binary="./inv",
            binary_names=["inv", "./inv"],
            config_class=TaskConfig,
        )
        self.checkout = checkout

    def perform(self, argv: Sequence[str]) -> int:
        """Run the tasks that argv names, its first word being the program, and return the exit code.

        Raises:
            Ds01Error: the command line cannot be understood, or a task failed in a foreseen way.
        """
        try:
            self._parse(list(argv))
        except Exit as stop:  # --list, --help, --version and completion end here
            if stop.message:
                raise BadInputError(stop.message, resolution="./inv --list shows the tasks") from stop
            return ExitCode.DONE
        return self._run_in_turn()

    def _parse(self, argv: list[str]) -> None:
        self.create_config()
        writes_no_bytecode = sys.dont_write_bytecode
        with self._usage_errors():
            self.parse_core(argv)
        sys.dont_write_bytecode = writes_no_bytecode  # Invoke turns it on, and every start would compile anew
        if self.core.remainder:
            # Invoke would drop it, and with it a --root that somebody meant.
            raise BadInputError("nothing may follow --", f"found: {self.core.remainder}", "write the options before it")
        self.parse_collection()
        with self._usage_errors():
            self.parse_tasks()
            self.parse_cleanup()

    @contextmanager
    def _usage_errors(self) -> Iterator[None]:
        try:
            yield
        except ParseError as error:
            raise self._usage_error(error) from error
        except ValueError as error:  # an option that wants a number got something else
            raise BadInputError(
                "an option has a value of the wrong kind", str(error), "./inv --help TASK shows its options"
            ) from error

    def _run_in_turn(self) -> int:
        """Run the tasks until one returns a code other than 0; Invoke itself would go on to the next."""
        executor = Executor(self.collection, self.config, self.core)
        for call in executor.dedupe(executor.expand_calls(executor.normalize(tuple(self.tasks)))):
            context = call.make_context(self.config, core_parse_result=self.core)
            result: object = call.task(context, *call.args, **call.kwargs)
            if isinstance(result, int) and not isinstance(result, bool) and result != ExitCode.DONE:
                return result
        return ExitCode.DONE

    def _usage_error(self, error: ParseError) -> BadInputError:
        """Turn the parser's complaint into one that names the nearest task or option."""
        unknown = re.fullmatch(r"No idea what (['\"])(?P<word>.*)\1 is!", str(error))
        task = error.context.name if error.context else None
        shows_options = f"./inv --help {task or ''}".rstrip() + " shows the options"
        if unknown is None:
            brief = re.sub(r"<Argument: (\S+).*?>", r"--\1", str(error))
            return BadInputError(brief, resolution=shows_options)
        word = unknown["word"]
        if word.startswith("-"):
            brief = f"{f'task {task}' if task else './inv'} has no option {word}"
            known = [*error.context.flags, *error.context.inverse_flags] if error.context else []
            resolution = shows_options
        elif word in self.collection.collections:
            return BadInputError(f"{word} is several tasks, and not one", None, f"./inv --list {word} shows them")
        else:
            brief = f"there is no task {word}"
            known = list(self.parser.contexts)
            resolution = "./inv --list shows the tasks"
            if task:
                resolution += f"; a value for {task} needs its option's name before it (./inv --help {task})"
        import difflib  # noqa: PLC0415 - only for a slip; every start would pay for it

        nearest = difflib.get_close_matches(word, known, n=1)
        return BadInputError(brief, f"Did you mean {nearest[0]}?" if nearest else None, resolution)

    @override
    def core_args(self) -> list[Argument]:
        """Return only those of Invoke's options that mean something here."""
        return [argument for argument in super().core_args() if argument.names[0] not in _NOT_OURS]

    @override
    def task_args(self) -> list[Argument]:
        """Return none: which tasks.py is read is not for the command line to say."""
        return []

    @override
    def load_collection(self) -> None:
        """Load the checkout's own tasks.py, whatever the working directory."""
        path = self.checkout / "tasks.py"
        spec = spec_from_file_location("tasks", path)
        if spec is None or spec.loader is None or not path.is_file():
            raise Ds01Error(
                f"{path} is missing",
                details="The checkout is not whole.",
                resolution="git status shows what is gone; git restore tasks.py",
            )
        module = sys.modules["tasks"] = module_from_spec(spec)
        spec.loader.exec_module(module)
        self.collection = Collection.from_module(module)

    @override
    def list_tasks(self) -> None:
        """List the tasks, once it is sure that there is such a format."""
        if self.list_format not in _LIST_FORMATS:
            raise ParseError(f"--list-format is one of {', '.join(_LIST_FORMATS)}, not {self.list_format}")
        super().list_tasks()

    @override
    def no_tasks_given(self) -> None:
        """Show the index rather than Invoke's options."""
        self.list_tasks()
        raise Exit


def main(argv: Sequence[str] | None = None, *, checkout: Path = CHECKOUT) -> int:
    """Run the tasks on the command line and return the exit code; a bug comes through as its exception."""
    try:
        code = _perform_or_say_why(sys.argv if argv is None else argv, checkout)
        sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_has_left():
            raise
        _discard_output()
        return ExitCode.FAILED
    return code


def _perform_or_say_why(argv: Sequence[str], checkout: Path) -> int:
    try:
        return TaskProgram(checkout).perform(argv)
    except Ds01Error as error:
        return _say(f"error: {error.render()}", error.exit_code)
    except Exit as stop:  # raised by a task
        return _say(stop.message, stop.code)
    except Failure as failure:  # a command that a task ran; its own code may mean something else than ours
        return _say(f"error: command failed: {failure.result.command}", ExitCode.FAILED)
    except KeyboardInterrupt:
        return _say("interrupted", ExitCode.INTERRUPTED)


def _say(message: str | None, code: int) -> int:
    sys.stdout.flush()
    if message:
        sys.stderr.write(message + "\n")
    return code


def _reader_has_left() -> bool:
    """Tell whether stdout or stderr is a pipe that nobody reads; any other broken pipe is a bug."""
    poll = select.poll()
    for stream in (1, 2):
        poll.register(stream, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _discard_output() -> None:
    """Send what is still buffered nowhere, or the interpreter would complain about it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)


if __name__ == "__main__":
    sys.exit(main())
