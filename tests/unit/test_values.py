"""Our data classes mean what the standard library's mean."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from phoenix_hypervisor import values

SRC = Path(__file__).parents[2] / "src"
FORMS = [
    {"frozen": True, "slots": True},
    {"frozen": True, "slots": True, "kw_only": True},
    {"frozen": True, "slots": True, "eq": False},
    {"frozen": True},
    {"slots": True},
    {"slots": True, "eq": False, "kw_only": True},
    {},
]


def build(kit: Any, form: Mapping[str, Any]) -> tuple[type[Any], type[Any]]:
    """A class and a class that is derived from it, by either library."""

    @kit.dataclass(**form)
    class Base:
        kind: ClassVar = "base"
        name: str
        more: dict[str, int] = kit.field(default_factory=dict, metadata={"recorded": False})
        last: int = kit.field(default=3, kw_only=True)

        def __post_init__(self) -> None:
            if self.name == "bad":
                raise ValueError("bad")

    @kit.dataclass(**form)
    class Derived(Base):
        also: tuple[int, ...] = ()
        hidden: list[int] = kit.field(default_factory=list, init=False, repr=False)

    return Base, Derived


@pytest.fixture(params=FORMS, ids=str)
def both(request: pytest.FixtureRequest) -> Any:
    return build(values, request.param), build(dataclasses, request.param), request.param


def outcome(call: Any, *values: Any, **named: Any) -> Any:
    """What a call gives, or what kind of error it raises."""
    try:
        return call(*values, **named)
    except Exception as error:
        return type(error)


CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    (("a",), {}),
    (("a", {"x": 1}), {}),
    (("a", {}, 4), {}),
    (("a", {}, (1,)), {}),
    ((), {"name": "a", "last": 5}),
    ((), {"name": "a", "also": (1, 2), "more": {}}),
    ((), {"name": "bad"}),
    ((), {"name": "a", "unknown": 1}),
    (("a",), {"name": "a"}),
    (("a",), {"hidden": []}),
]


def test_instances_are_made_shown_and_compared_alike(both: Any) -> None:
    ours, theirs, _ = both
    for mine, other in zip(ours, theirs, strict=True):
        for values_, named in CALLS:
            one, two = outcome(mine, *values_, **named), outcome(other, *values_, **named)
            if isinstance(two, type):
                assert one is two, (values_, named)
                continue
            assert repr(one) == repr(two)
            again, once_more = mine(*values_, **named), other(*values_, **named)
            assert (one == again) == (two == once_more)
            equal = outcome(hash, one) == outcome(hash, again)
            assert equal == (outcome(hash, two) == outcome(hash, once_more))


def test_a_base_is_not_equal_to_what_is_derived_from_it() -> None:
    base, derived = build(values, FORMS[0])
    assert base("a") != derived("a") and base("a") != "a"


def test_a_default_that_is_made_is_made_for_each_instance(both: Any) -> None:
    (base, derived), _, _ = both
    assert base(name="a").more is not base(name="a").more
    assert derived(name="a").hidden == [] and derived(name="a").hidden is not derived(name="a").hidden


def test_frozen_and_slots_are_kept(both: Any) -> None:
    ours, theirs, form = both
    for mine, other in zip(ours, theirs, strict=True):
        for name in ("name", "unknown"):
            one, two = mine(name="a"), other(name="a")
            changes: tuple[tuple[Any, ...], ...] = ((setattr, name, "b"), (delattr, name))
            for change, *more in changes:
                # Of an unknown name the standard library's say so only where they have no slots.
                wanted = outcome(change, two, *more)
                wanted = dataclasses.FrozenInstanceError if form.get("frozen") else wanted
                assert outcome(change, one, *more) is wanted, (change, more)
        assert getattr(mine, "__slots__", None) == getattr(other, "__slots__", None)
        assert mine.__match_args__ == other.__match_args__
        assert mine.kind == "base" and mine.__qualname__ == other.__qualname__


def test_copies_have_the_same_fields(both: Any) -> None:
    (base, derived), _, form = both
    for cls in (base, derived):
        one = cls(name="a", more={"x": 1}, last=7)
        changed = values.replace(one, name="b")
        assert (changed.name, changed.more, changed.last) == ("b", {"x": 1}, 7)
        assert dataclasses.replace(one, name="b").last == 7
        assert copy.deepcopy(one).more == {"x": 1}
        if form.get("eq", True):
            assert copy.copy(one) == one


def test_the_standard_library_takes_them_for_its_own(both: Any) -> None:
    ours, theirs, form = both
    mine: Any
    for mine, other in zip(ours, theirs, strict=True):
        assert all(dataclasses.is_dataclass(one) for one in (mine, mine(name="a")))
        assert mine.__dataclass_params__.frozen == form.get("frozen", False)
        for one, two in zip(dataclasses.fields(mine), dataclasses.fields(other), strict=True):
            for name in ("name", "default", "default_factory", "init", "repr", "kw_only", "metadata"):
                assert getattr(one, name) == getattr(two, name), (one.name, name)
        assert [one.name for one in values.fields(mine)] == [one.name for one in dataclasses.fields(other)]
        assert dataclasses.asdict(mine(name="a")) == dataclasses.asdict(other(name="a"))
        assert str(inspect.signature(mine)) == str(inspect.signature(other))


@values.dataclass(frozen=True, slots=True)
class Packed:
    name: str
    number: int = 2


def test_what_is_derived_without_being_one_is_filled_as_its_base() -> None:
    for kit in (values, dataclasses):
        _, derived = build(kit, FORMS[0])

        class Undeclared(derived):  # type: ignore[misc, valid-type]
            __slots__ = ()

        assert type(Undeclared("a")) is Undeclared and Undeclared("a").name == "a"


def test_they_go_through_pickle() -> None:
    assert [Packed(str(number), 5).name for number in range(50)] == [str(number) for number in range(50)]
    assert pickle.loads(pickle.dumps(Packed("a", 5))) == Packed("a", 5)


def test_an_initializer_that_is_written_by_hand_stays() -> None:
    @values.dataclass(slots=True)
    class Own:
        name: str

        def __init__(self) -> None:
            self.name = "own"

    assert Own().name == "own"


def test_nothing_of_the_standard_library_is_loaded_for_them() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(SRC)!r}); import __future__; before = set(sys.modules)\n"
        "import phoenix_hypervisor.values as v\n"
        "@v.dataclass(frozen=True, slots=True)\nclass A:\n    x: 'int'\n"
        "assert A(1) == A(1) and repr(A(1)) == 'A(x=1)'\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"dataclasses", "inspect", "ast"} & set(done.stdout.split())
