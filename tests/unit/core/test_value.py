"""Values behave as those of the standard module do, which stands beside them here."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds01.core import value

SCRIPTS = Path(__file__).parents[3] / "scripts"


def classes(module: ModuleType) -> tuple[type, ...]:
    @module.dataclass(frozen=True, slots=True)
    class Point:
        """Two fields, one with a default."""

        x: int
        y: int = 2

        @property
        def total(self) -> int:
            return self.x + self.y

    @module.dataclass(frozen=True, slots=True)
    class Bag:
        """Defaults of every kind, and a check."""

        points: tuple[object, ...] = ()
        names: dict[str, int] = module.field(default_factory=dict)
        limit: int | None = module.field(default=None)

        def __post_init__(self) -> None:
            if self.limit == 0:
                raise ValueError("no room")

    @module.dataclass(slots=True)
    class Cup:
        """One that changes."""

        drops: list[int] = module.field(default_factory=list)

    @module.dataclass(frozen=True, slots=True)
    class Nothing:
        """No field at all."""

    return Point, Bag, Cup, Nothing


OURS, STANDARD = classes(value), classes(dataclasses)
BOTH = pytest.mark.parametrize(("point", "bag", "cup", "nothing"), [OURS, STANDARD], ids=["ours", "standard"])


def names_of(made: object) -> str:
    return repr(made).replace("classes.<locals>.", "")


@BOTH
def test_they_are_made_shown_compared_and_matched(point, bag, cup, nothing):
    assert names_of(point(1)) == "Point(x=1, y=2)"
    assert names_of(bag((point(1, y=5),), limit=3)) == "Bag(points=(Point(x=1, y=5),), names={}, limit=3)"
    assert names_of(nothing()) == "Nothing()"
    assert point(1) == point(x=1, y=2)
    assert point(1) != point(1, 3)
    assert point(1) != (1, 2)
    assert nothing() == nothing()
    assert len({point(1), point(1, 2), point(2)}) == 2
    assert point(3).total == 5
    match point(7, 8):
        case object(x=7) as found:
            assert found.y == 8
    assert point.__match_args__ == ("x", "y")
    assert point.__doc__ == "Two fields, one with a default."


@BOTH
def test_every_one_has_its_own_default(point, bag, cup, nothing):
    first, second = cup(), cup()
    first.drops.append(1)
    assert (first.drops, second.drops) == ([1], [])
    first.drops = [9]
    assert first == cup([9])
    with pytest.raises(TypeError, match="unhashable"):
        hash(first)


@BOTH
def test_what_cannot_be_is_refused(point, bag, cup, nothing):
    for wrong in (point, lambda: point(1, 2, 3), lambda: point(1, z=2), lambda: point(1, x=2)):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(ValueError, match="no room"):
        bag(limit=0)
    with pytest.raises(AttributeError, match="x"):
        point(1).x = 5
    with pytest.raises(AttributeError, match="x"):
        del point(1).x
    with pytest.raises((AttributeError, TypeError)):
        point(1).z = 5
    with pytest.raises(AttributeError):
        cup().other = 5


@BOTH
def test_a_copy_with_changes_is_checked_anew(point, bag, cup, nothing):
    # Ours also changes those of the standard module, which the deployer has.
    assert value.replace(point(1), y=9) == point(1, 9)
    with pytest.raises(ValueError, match="no room"):
        value.replace(bag(), limit=0)
    with pytest.raises(TypeError):
        value.replace(point(1), z=1)
    assert copy.deepcopy(bag((point(1),), {"a": 1})) == bag((point(1),), {"a": 1})


@value.dataclass(frozen=True, slots=True)
class Kept:
    """One that a pickle finds again."""

    a: int
    b: tuple[int, ...] = ()


def test_it_goes_through_a_pickle():
    assert pickle.loads(pickle.dumps(Kept(1, (2,)))) == Kept(1, (2,))


@given(st.recursive(st.integers() | st.text(), lambda inner: st.lists(inner).map(tuple) | st.lists(inner)))
def test_as_a_dictionary_it_is_what_the_standard_module_makes_of_it(inside):
    made, standard = (
        module.asdict(bag((point(1), inside), limit=4))
        for module, (point, bag, *_) in ((value, OURS), (dataclasses, STANDARD))
    )
    assert made == standard


def test_values_have_slots():
    with pytest.raises(TypeError, match="slots"):
        value.dataclass(frozen=True, slots=False)


@pytest.mark.parametrize("module", ["ds01.core.limits", "ds01.runtime.gpu.operations"])
def test_who_imports_values_waits_for_no_inspect(module: str):
    program = f"import sys; sys.path.insert(0, {str(SCRIPTS)!r}); import {module}; print('inspect' in sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
