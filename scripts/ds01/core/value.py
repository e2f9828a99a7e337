"""Values as `dataclasses` makes them, at a tenth of the time it takes a program to start.

To a type checker these names are those of `dataclasses`; at run time a class gets methods that are written once, here,
where the standard module writes and compiles some for each class, and imports `inspect` for it. A login waits for every
program that uses them. Only what this code base uses is there: slots always, no inheritance of fields, no order.
"""

from __future__ import annotations

from operator import attrgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from dataclasses import asdict, dataclass, field, replace
    from typing import Any

__all__ = ["asdict", "dataclass", "field", "replace"]

_MISSING = object()


class _Field:
    """What field() leaves in a class's body."""

    __slots__ = ("default", "factory")

    def __init__(self, default: object, factory: Callable[[], object] | None) -> None:
        self.default = default
        self.factory = factory


def _field(*, default: object = _MISSING, default_factory: Callable[[], object] | None = None) -> Any:
    return _Field(default, default_factory)


def _dataclass(*, frozen: bool = False, slots: bool) -> Callable[[type], type]:
    """Return what turns a class body with annotations into a class of values."""
    if not slots:
        raise TypeError("values have slots")

    def decorate(plain: type) -> type:
        body = dict(plain.__dict__)
        names = tuple(plain.__annotations__)
        fields = tuple(_as_field(body.pop(name, _MISSING)) for name in names)
        for given in ("__dict__", "__weakref__"):
            body.pop(given, None)
        methods = _methods(names) | (_frozen(plain.__name__) if frozen else {"__hash__": None})
        body = {**methods, **body, "__slots__": names, "__match_args__": names}
        made = type(plain)(plain.__name__, plain.__bases__, body)
        if names:
            type.__setattr__(made, "__init__", _initialiser(made, names, fields))
        return made

    return decorate


def _as_field(value: object) -> _Field:
    return value if isinstance(value, _Field) else _Field(value, None)


def _initialiser(owner: type, names: tuple[str, ...], fields: tuple[_Field, ...]) -> Callable[..., None]:
    # A slot's own setter: it knows nothing of a class that refuses assignments.
    setters = tuple(owner.__dict__[name].__set__ for name in names)
    rows = tuple(zip(names, fields, setters, strict=True))
    post = getattr(owner, "__post_init__", None)

    def initialise(self: object, *values: object, **named: object) -> None:
        count = len(values)
        if count > len(setters):
            raise TypeError(f"{owner.__qualname__} takes {len(setters)} values, not {count}")
        for setter, value in zip(setters, values, strict=False):
            setter(self, value)
        for name, each, setter in rows[count:]:
            if name in named:
                setter(self, named.pop(name))
            elif each.factory is not None:
                setter(self, each.factory())
            elif each.default is not _MISSING:
                setter(self, each.default)
            else:
                raise TypeError(f"{owner.__qualname__} needs a value for {name!r}")
        if named:
            raise TypeError(f"{owner.__qualname__} has no {', '.join(sorted(named))} to be given by name here")
        if post is not None:
            post(self)

    return initialise


def _methods(names: tuple[str, ...]) -> dict[str, Any]:
    values = _reader(names)

    def equal(self: object, other: object) -> object:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return values(self) == values(other)

    def represent(self: object) -> str:
        inside = ", ".join(f"{name}={value!r}" for name, value in zip(names, values(self), strict=True))
        return f"{self.__class__.__qualname__}({inside})"

    def reduce(self: object) -> tuple[type, tuple[object, ...]]:
        return self.__class__, values(self)

    return {"__eq__": equal, "__repr__": represent, "__reduce__": reduce, "__hash__": lambda self: hash(values(self))}


def _reader(names: tuple[str, ...]) -> Callable[[object], tuple[object, ...]]:
    """Return what reads all fields of a value at once."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda self: tuple(getattr(self, name) for name in names)


def _frozen(name: str) -> dict[str, Any]:
    def refuse(_: object, field_name: str, *__: object) -> None:
        raise AttributeError(f"{name} is frozen: its {field_name!r} cannot be changed")

    return {"__setattr__": refuse, "__delattr__": refuse}


def _replace(value: Any, /, **changes: object) -> Any:
    """Return a value with some fields changed."""
    names: tuple[str, ...] = value.__match_args__
    return value.__class__(**{name: getattr(value, name) for name in names} | changes)


def _asdict(value: Any) -> dict[str, Any]:
    """Return a value's fields by name, and those of the values in it."""
    return dict(_plain_fields(value))


def _plain_fields(value: Any) -> Iterator[tuple[str, Any]]:
    for name in value.__match_args__:
        yield name, _plain(getattr(value, name))


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(map(_plain, value))
    return _asdict(value) if hasattr(value, "__match_args__") and hasattr(value, "__slots__") else value


if not TYPE_CHECKING:
    dataclass, field, replace, asdict = _dataclass, _field, _replace, _asdict
