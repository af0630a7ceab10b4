"""The actions that take others back.

Owns turning what was done into what undoes it, as data: a failed run, the recovery from a
killed one and `phoenix rollback` all perform the same actions.  Pure; must not look at the
host: the performers leave alone what is not as they expect it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from phoenix_hypervisor.plan.model import Action, Kind

KERNEL = frozenset({Kind.LOAD, Kind.RELOAD_SERVICE, Kind.UNLOAD})
"""What changes the kernel; taken back last, when the files are as they were."""

STAYS = frozenset({Kind.CREATE, Kind.START, Kind.RESTART, Kind.SWEEP, Kind.ADOPT})
"""What is never taken back: a container may hold data from its first second."""


@dataclass(frozen=True, slots=True)
class KernelArgv:
    """The processes that change the kernel's policy."""

    load: Callable[[str], tuple[str, ...]]
    """Profile name -> process that loads our compiled copy of it."""
    unload: tuple[str, ...]
    """Unloads the profile named on its standard input."""


@dataclass(frozen=True, slots=True)
class Step:
    """One action and what takes it back."""

    done: Action
    back: Action


def inverse(actions: Sequence[Action], argv: KernelArgv) -> list[Step]:
    """What takes `actions` back: files newest first, the kernel last."""
    files = [s for a in reversed(actions) if a.kind not in KERNEL for s in _file(a)]
    kernel = [s for a in reversed(actions) if a.kind in KERNEL for s in _kernel(a, argv)]
    return files + kernel


def pairs(text: str | None) -> dict[str, str]:
    """`name=closure name=closure` as RELOAD_SERVICE carries it."""
    return dict(word.split("=", 1) for word in (text or "").split())


def joined(closures: Iterable[tuple[str, str]]) -> str:
    """The reverse of `pairs`."""
    return " ".join(f"{name}={closure}" for name, closure in closures)


def _file(action: Action) -> list[Step]:
    if action.kind is Kind.ASSIGN:
        return _line(action)
    if action.kind not in (Kind.INSTALL, Kind.REMOVE) or action.before == action.after:
        return []
    if action.before is None:
        back = Action(Kind.REMOVE, action.target, "remove again", action.path)
    else:
        words = "put back" if action.after is None else "put the former file back"
        back = Action(Kind.INSTALL, action.target, words, action.path)
    return [Step(action, _swapped(back, action))]


def _swapped(back: Action, action: Action) -> Action:
    return Action(
        back.kind,
        back.target,
        back.summary,
        back.path,
        before=action.after,
        after=action.before,
        value=action.value,
        foreign=action.returns,
        returns=action.foreign,
        takes_back=True,
        before_stat=action.after_stat,
        after_stat=action.before_stat,
    )


def _line(action: Action) -> list[Step]:
    if action.before is not None and action.before == action.after:
        return []
    wanted = f"assign {action.old_value} again" if action.old_value is not None else "remove the line again"
    back = Action(
        Kind.ASSIGN,
        action.target,
        wanted,
        action.path,
        before=action.after if action.before is not None else None,
        after=action.before,
        value=action.old_value,
        old_value=action.value,
        takes_back=True,
    )
    return [Step(action, back)]


def _kernel(action: Action, argv: KernelArgv) -> list[Step]:
    name = action.target
    if action.kind is Kind.RELOAD_SERVICE:
        return _service(action, argv)
    if action.kind is Kind.LOAD and not action.replaces:
        summary, processes = "unload again", (argv.unload,)
        kind = Kind.UNLOAD
    else:
        summary, processes = "load the former policy again", (argv.load(name),)
        kind = Kind.LOAD
    back = Action(
        kind,
        name,
        summary,
        before=action.after,
        after=action.before,
        processes=processes,
        value=action.old_value,
        old_value=action.value,
        replaces=action.kind is Kind.LOAD,
        takes_back=True,
    )
    return [Step(action, back)]


def _service(action: Action, argv: KernelArgv) -> list[Step]:
    """A reload loads what the files say and unloads nothing: what was new goes first."""
    new, old = pairs(action.value), pairs(action.old_value)
    steps = [
        Action(
            Kind.UNLOAD, name, "unload again", processes=(argv.unload,), old_value=closure, takes_back=True
        )
        for name, closure in new.items()
        if name not in old
    ]
    again = Action(
        Kind.RELOAD_SERVICE,
        action.target,
        "reload again",
        processes=action.processes,
        value=joined((name, old[name]) for name in new if name in old),
        old_value=action.value,
        takes_back=True,
    )
    return [Step(action, back) for back in (*steps, again)]
