"""Data classes that cost next to nothing until they are used.

Owns `dataclass`, `field`, `fields` and `replace`, which mean what those of the standard library
mean; for a type checker they are those.  The library writes and compiles several functions for each
class at import, used or not, and itself imports inspect, ast and tokenize: for the classes of this
package that took longer than reading a thousand configurations.  Here `__init__` is written for the
first instance of a class, and all else is shared.  `dataclasses.fields`, `replace`, `asdict` and
`is_dataclass` take these classes too.

Owns `TYPE_CHECKING` and `assert_never` for the same reason: loading typing takes as long as reading
three hundred files.  Must not import anything: every module imports this one.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_OWN = "__value_fields__"


class _Nothing:
    """Stands for a default that there is not."""


class _Field:
    """One field, as its class declares it."""

    __slots__ = ("default", "default_factory", "init", "kind", "kw_only", "metadata", "name", "repr")

    def __init__(
        self,
        default: Any,
        default_factory: Any,
        init: bool,
        repr: bool,
        kw_only: bool | None,
        metadata: Mapping[str, Any],
    ) -> None:
        self.name = self.kind = ""
        self.default = default
        self.default_factory = default_factory
        self.init = init
        self.repr = repr
        self.kw_only = kw_only
        self.metadata = metadata


def _field(
    *,
    default: Any = _Nothing,
    default_factory: Any = _Nothing,
    init: bool = True,
    repr: bool = True,
    kw_only: bool | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Any:
    """As `dataclasses.field`; what else that one takes is used nowhere in this package."""
    return _Field(default, default_factory, init, repr, kw_only, {} if metadata is None else metadata)


def _fields(value: Any) -> tuple[_Field, ...]:
    """The fields of a class or an instance, in order."""
    return tuple(getattr(value, _OWN).values())


def _replace(value: Any, /, **changes: Any) -> Any:
    """A copy with some fields changed."""
    for name, one in getattr(value, _OWN).items():
        if one.init and name not in changes:
            changes[name] = getattr(value, name)
    return type(value)(**changes)


def _dataclass(
    cls: type[Any] | None = None,
    /,
    *,
    frozen: bool = False,
    slots: bool = False,
    eq: bool = True,
    kw_only: bool = False,
) -> Any:
    """As `dataclasses.dataclass`."""

    def made(cls: type[Any]) -> type[Any]:
        return _made(cls, frozen, slots, eq, kw_only)

    return made if cls is None else made(cls)


def _made(cls: type[Any], frozen: bool, slots: bool, eq: bool, kw_only: bool) -> type[Any]:
    given = dict(vars(cls))
    inherited: dict[str, _Field] = {}
    for base in cls.__mro__[-1:0:-1]:
        inherited.update(vars(base).get(_OWN, {}))
    own = dict(_declared(given, kw_only))
    every = {**inherited, **own}
    added: dict[str, Any] = {
        _OWN: every,
        "__match_args__": tuple(name for name, one in every.items() if one.init and not one.kw_only),
        **_STANDARD,
    }
    if "__repr__" not in given:
        added["__repr__"] = _repr
    if eq and "__eq__" not in given:
        added["__eq__"] = _eq
    if eq and given.get("__hash__") is None:
        added["__hash__"] = _hash if frozen else None
    if frozen:
        added.update(__setattr__=_refuse, __delattr__=_refuse)
        if slots:
            added.update(__getstate__=_state, __setstate__=_set_state)
    # With slots a default would stand in the way of its slot.
    gone = [name for name, one in own.items() if slots or one.default is _Nothing]
    added.update((name, one.default) for name, one in own.items() if name not in gone)
    if slots:
        # A class gets its slots when it is made, so it is made once more.
        body = {name: value for name, value in given.items() if name not in (*_UNSLOTTED, *gone)}
        body["__slots__"] = tuple(name for name in own if name not in inherited)
        body["__qualname__"] = cls.__qualname__
        again: Any = type(cls)
        cls = again(cls.__name__, cls.__bases__, {**body, **added})
    else:
        for name in gone:
            if name in given:
                delattr(cls, name)
        for name, value in added.items():
            setattr(cls, name, value)
    if "__init__" not in given:
        setattr(cls, "__init__", _first(cls))  # noqa: B010
    return cls


_UNSLOTTED = ("__dict__", "__weakref__")


def _declared(given: dict[str, Any], kw_only: bool) -> list[tuple[str, _Field]]:
    found = []
    # inspect.get_annotations would be the way, if inspect did not cost what is saved here.
    for name, kind in given.get("__annotations__", {}).items():
        if kind.startswith("ClassVar"):
            continue
        default = given.get(name, _Nothing)
        one = default if isinstance(default, _Field) else _field(default=default)
        one.name, one.kind = name, kind
        one.kw_only = kw_only if one.kw_only is None else one.kw_only
        found.append((name, one))
    return found


def _first(cls: type[Any]) -> Callable[..., None]:
    """The `__init__` of a class's first instance: it writes the real one, which takes its place."""

    def __init__(self: Any, *values: Any, **named: Any) -> None:
        written = _written(cls)
        setattr(cls, "__init__", written)  # noqa: B010
        written(self, *values, **named)

    return __init__


def _written(cls: type[Any]) -> Any:
    names: dict[str, Any] = {"_Nothing": _Nothing, "_set": object.__setattr__}
    places: list[str] = []
    named: list[str] = []
    values: dict[str, str] = {}
    for name, one in getattr(cls, _OWN).items():
        values[name] = name
        if one.default_factory is not _Nothing:
            names[f"_make_{name}"] = one.default_factory
            made = f"_make_{name}()"
            values[name] = f"{made} if {name} is _Nothing else {name}" if one.init else made
        elif not one.init:
            if one.default is _Nothing:
                del values[name]
                continue
            names[f"_default_{name}"], values[name] = one.default, f"_default_{name}"
        if one.init:
            default = _Nothing if one.default_factory is not _Nothing else one.default
            names[f"_default_{name}"] = default
            needed = default is _Nothing and one.default_factory is _Nothing
            (named if one.kw_only else places).append(name if needed else f"{name}=_default_{name}")
    arguments = ["self", *places, *(["*", *named] if named else [])]
    # A frozen instance refuses to be set, also by its own __init__.
    form = " _set(self, {0!r}, {1})" if cls.__setattr__ is _refuse else " self.{0} = {1}"
    lines = [form.format(name, value) for name, value in values.items()]
    last = " self.__post_init__()" if hasattr(cls, "__post_init__") else " pass"
    exec("\n".join([f"def __init__({', '.join(arguments)}):", *lines, last]), names)
    written = names["__init__"]
    written.__qualname__ = f"{cls.__qualname__}.__init__"
    return written


def _repr(self: Any) -> str:
    shown = ", ".join(f"{one.name}={getattr(self, one.name)!r}" for one in _fields(self) if one.repr)
    return f"{type(self).__qualname__}({shown})"


def _values(value: Any) -> tuple[Any, ...]:
    return tuple(getattr(value, name) for name in getattr(value, _OWN))


def _eq(self: Any, other: object) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    return _values(self) == _values(other)


def _hash(self: Any) -> int:
    return hash(_values(self))


def _refuse(self: Any, name: str, value: object = None) -> None:
    """A frozen instance cannot be changed."""
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"{type(self).__qualname__} is frozen: {name} cannot be changed")


def _state(self: Any) -> list[Any]:
    return list(_values(self))


def _set_state(self: Any, state: list[Any]) -> None:
    for name, value in zip(getattr(self, _OWN), state, strict=True):
        object.__setattr__(self, name, value)


class _Standard:
    """What the standard library asks a data class for, made when it asks."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type[Any]) -> Any:
        import dataclasses
        import inspect

        cls = next(base for base in owner.__mro__ if _OWN in vars(base))
        made = []
        for one in _fields(cls):
            given: dict[str, Any] = {"init": one.init, "repr": one.repr, "kw_only": one.kw_only}
            for name in ("default", "default_factory"):
                if getattr(one, name) is not _Nothing:
                    given[name] = getattr(one, name)
            made.append((one.name, one.kind, dataclasses.field(metadata=one.metadata, **given)))
        frozen, eq = cls.__setattr__ is _refuse, "__eq__" in vars(cls)
        twin = dataclasses.make_dataclass(cls.__name__, made, frozen=frozen, eq=eq)
        if self._name == "__signature__":
            return inspect.signature(twin)
        return getattr(twin, self._name)


_STANDARD = {
    name: _Standard(name) for name in ("__dataclass_fields__", "__dataclass_params__", "__signature__")
}


def _assert_never(value: object) -> None:
    """What a type checker knows is never reached."""
    raise AssertionError(f"this is not expected here: {value!r:.100}")


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import fields as fields
    from dataclasses import replace as replace
    from typing import assert_never as assert_never
else:
    dataclass, field, fields, replace = _dataclass, _field, _fields, _replace
    assert_never = _assert_never
