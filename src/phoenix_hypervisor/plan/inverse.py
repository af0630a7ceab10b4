"""The actions that take others back.

Owns turning what was done into what undoes it, as data: a failed run, the recovery from a
killed one and `phoenix rollback` all perform the same actions.  Pure; must not look at the
host: the performers leave alone what is not as they expect it.
"""

from __future__ import annotations

from collections.abc import Sequence

from phoenix_hypervisor.plan.actions import (
    Action,
    AssignLines,
    InstallFile,
    Kernel,
    LoadProfile,
    ReloadService,
    RemoveFile,
    Stays,
    UnloadProfile,
)
from phoenix_hypervisor.plan.facts import KernelArgv
from phoenix_hypervisor.values import assert_never, dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One action and what takes it back."""

    done: Action
    back: Action


def inverse(actions: Sequence[Action], argv: KernelArgv) -> list[Step]:
    """What takes `actions` back: files newest first, the kernel last."""
    newest = [Step(action, back) for action in reversed(actions) for back in _backs(action, argv)]
    files = [step for step in newest if not isinstance(step.done, Kernel)]
    return files + [step for step in newest if isinstance(step.done, Kernel)]


def _backs(action: Action, argv: KernelArgv) -> list[Action]:
    match action:
        case InstallFile():
            return _install(action)
        case RemoveFile():
            return _remove(action)
        case AssignLines():
            return _lines(action)
        case LoadProfile():
            return [_load(action, argv)]
        case UnloadProfile():
            return [_unload(action, argv)]
        case ReloadService():
            return _service(action, argv)
        case Stays():
            return []
        case _:
            assert_never(action)


def _install(action: InstallFile) -> list[Action]:
    if action.before == action.after:
        return []
    if action.before is None:
        return [
            RemoveFile(
                target=action.target,
                path=action.path,
                before=action.after,
                profile=action.profile,
                foreign=action.returns,
                takes_back=True,
                before_stat=action.after_stat,
            )
        ]
    return [
        InstallFile(
            target=action.target,
            path=action.path,
            before=action.after,
            after=action.before,
            profile=action.profile,
            foreign=action.returns,
            returns=action.foreign,
            takes_back=True,
            before_stat=action.after_stat,
            after_stat=action.before_stat,
        )
    ]


def _remove(action: RemoveFile) -> list[Action]:
    if action.before is None:
        return []
    return [
        InstallFile(
            target=action.target,
            path=action.path,
            before=None,
            after=action.before,
            profile=action.profile,
            returns=action.foreign,
            takes_back=True,
            after_stat=action.before_stat,
        )
    ]


def _lines(action: AssignLines) -> list[Action]:
    if action.before is not None and action.before == action.after:
        return []
    return [
        AssignLines(
            target=action.target,
            path=action.path,
            before=action.after if action.before is not None else None,
            after=action.before,
            lines=tuple(line.swapped() for line in action.lines),
            takes_back=True,
        )
    ]


def _load(action: LoadProfile, argv: KernelArgv) -> Action:
    if not action.replaces:
        return UnloadProfile(
            target=action.target,
            before=action.after,
            after=action.before,
            processes=(argv.unload,),
            old_closure=action.closure,
            takes_back=True,
        )
    return LoadProfile(
        target=action.target,
        before=action.after,
        after=action.before,
        processes=(argv.load(action.target),),
        closure=action.old_closure,
        old_closure=action.closure,
        replaces=True,
        takes_back=True,
    )


def _unload(action: UnloadProfile, argv: KernelArgv) -> Action:
    return LoadProfile(
        target=action.target,
        before=action.after,
        after=action.before,
        processes=(argv.load(action.target),),
        closure=action.old_closure,
        old_closure=None,
        replaces=False,
        takes_back=True,
    )


def _service(action: ReloadService, argv: KernelArgv) -> list[Action]:
    """A reload loads what the files say and unloads nothing: what was new goes first."""
    new, old = action.closures, action.old_closures
    gone = [
        UnloadProfile(
            target=name, before=None, processes=(argv.unload,), old_closure=closure, takes_back=True
        )
        for name, closure in new.items()
        if name not in old
    ]
    again = ReloadService(
        target=action.target,
        processes=action.processes,
        closures={name: old[name] for name in new if name in old},
        old_closures=new,
        takes_back=True,
    )
    return [*gone, again]
