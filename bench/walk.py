"""Run `./inv plan` in this process and print, as JSON, the seconds of each step. Started by phases.py.

Usage: walk.py STARTED INVENTORY ROOT, where STARTED is time.monotonic() just before this process was started. The
plan itself goes to stderr. Steps are timed from outside, by standing in for the functions that take them.
"""

from __future__ import annotations

import time

_AWAKE = time.monotonic()  # before anything else is imported

import importlib  # noqa: E402  # as said above
import json  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from contextlib import redirect_stdout  # noqa: E402
from typing import Any, Final  # noqa: E402

_IMPORTS: Final = (("import Invoke", "ds01.program"), ("import generator and deployer", "ds01.workflow"))
# Each step: its name, the module that calls a function, and the name it calls it by there. None is inside another.
_STEPS: Final = (
    ("load the inventory", "ds01.generator.build", "load_inventory"),
    ("load the schemas", "ds01.generator.build", "load_schemas"),
    ("validate and resolve", "ds01.generator.build", "validate"),
    ("load the templates' manifest", "ds01.generator.build", "load_artefacts"),
    ("make the model", "ds01.generator.build", "make_model"),
    ("render", "ds01.generator.build", "render_tree"),
    ("compare with generated/", "ds01.workflow", "stale_reason"),
    ("look for the runtime's release", "ds01.workflow", "usable_name"),
    ("read what DS01 owns", "ds01.workflow", "read_owned"),
    ("observe and plan", "ds01.workflow", "survey_host"),
    ("show", "ds01.deployer.report", "show_survey"),
)


def main(started: float, inventory: str, root: str) -> int:
    """Import what the task imports, then take its steps."""
    seconds = {"start Python": _AWAKE - started}
    for step, module in _IMPORTS:
        begun = time.monotonic()
        importlib.import_module(module)
        seconds[step] = time.monotonic() - begun
    for step, module, name in _STEPS:
        _stand_in(module, name, step, seconds)
    begun = time.monotonic()
    with redirect_stdout(sys.stderr):
        code = sys.modules["ds01.program"].main(["inv", "plan", "--inventory", str(inventory), "--root", str(root)])
    taken = time.monotonic() - begun
    seconds["the rest: tasks.py, the command line"] = taken - sum(seconds.get(step, 0) for step, _, _ in _STEPS)
    print(json.dumps(seconds))
    return int(code)


def _stand_in(module: str, name: str, step: str, seconds: dict[str, float]) -> None:
    """Have a function's time added to its step."""
    place = importlib.import_module(module)
    real: Callable[..., Any] = getattr(place, name)

    def timed(*args: Any, **options: Any) -> Any:  # noqa: ANN401  # whatever the function takes and gives
        begun = time.monotonic()
        try:
            return real(*args, **options)
        finally:
            seconds[step] = seconds.get(step, 0) + time.monotonic() - begun

    setattr(place, name, timed)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2], sys.argv[3]))
