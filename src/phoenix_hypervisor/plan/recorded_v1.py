"""One action as journals of version 1 held it, until 2026-11-25.

Owns reading them, so that what an earlier Phoenix did can be undone.  All actions had the same
fields there, and `value` meant something else in each.  Nothing writes this form any more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from phoenix_hypervisor.plan.actions import (
    PROFILE_KEY,
    Action,
    AdoptFile,
    AssignLines,
    CreateContainer,
    InstallFile,
    LineChange,
    LoadProfile,
    LoadWhy,
    ReloadService,
    RemoveFile,
    RestartContainer,
    StartContainer,
    SweepFile,
    SweepWhy,
    UnloadProfile,
)
from phoenix_hypervisor.plan.recorded import check, text_lists, unpacked

_WHYS = {
    "load into the kernel (not in the kernel)": LoadWhy.MISSING,
    "load into the kernel (changed)": LoadWhy.CHANGED,
    "load into the kernel (not yet loaded by Phoenix)": LoadWhy.NEW,
    "load into the kernel (the kernel has another policy)": LoadWhy.DIFFERS,
    "load again (what it includes goes back)": LoadWhy.INCLUDE,
}
_SUCCESSOR = re.compile(r"remove \(deprecated; use (.+)\)", re.S)


def read_action(document: Mapping[str, Any]) -> Action:
    """An action of a header of version 1.  Raises KeyError, TypeError or ValueError."""
    texts = {name: document[name] for name in ("kind", "target", "summary", "path", "value", "old_value")}
    for name, text in texts.items():
        if not isinstance(text, str) and (text is not None or name not in ("value", "old_value")):
            raise TypeError(f"{text!r:.40} is not a text")
    action = _read(document, text_lists(document["processes"]), **texts)
    check(action)
    return action


def _read(
    document: Mapping[str, Any],
    processes: tuple[tuple[str, ...], ...],
    *,
    kind: str,
    target: str,
    summary: str,
    path: str,
    value: str | None,
    old_value: str | None,
) -> Action:
    before, after = unpacked(document["before"]), unpacked(document["after"])
    flags = {name: document.get(name) is True for name in ("replaces", "foreign", "returns", "takes_back")}
    stats = {name: document.get(name) for name in ("before_stat", "after_stat")}
    for stat in stats.values():
        if stat is not None and not isinstance(stat, str):
            raise TypeError(f"{stat!r:.40} is not a text")
    back = flags["takes_back"]
    match kind:
        case "adopt":
            return AdoptFile(target=target, path=path, after=after or b"")
        case "install":
            if after is None:
                raise ValueError("installs nothing")
            return InstallFile(
                target=target,
                path=path,
                before=before,
                after=after,
                profile=value,
                foreign=flags["foreign"],
                returns=flags["returns"],
                takes_back=back,
                **stats,
            )
        case "remove":
            found = _SUCCESSOR.fullmatch(summary)
            return RemoveFile(
                target=target,
                path=path,
                before=before,
                profile=value,
                successor=found[1] if found else None,
                foreign=flags["foreign"],
                takes_back=back,
                before_stat=stats["before_stat"],
            )
        case "sweep":
            why = SweepWhy.CACHE if "cache" in summary else SweepWhy.LEFTOVER
            return SweepFile(target=target, path=path, why=why)
        case "load":
            return LoadProfile(
                target=target,
                before=before,
                after=None,
                processes=processes,
                closure=value,
                old_closure=old_value,
                replaces=flags["replaces"],
                takes_back=back,
                why=_WHYS.get(summary),
            )
        case "unload":
            return UnloadProfile(
                target=target, before=before, processes=processes, old_closure=old_value, takes_back=back
            )
        case "reload-service":
            return ReloadService(
                target=target,
                processes=processes,
                closures=_pairs(value),
                old_closures=_pairs(old_value),
                names=tuple(summary.removeprefix("reload for ").split(", ")) if not back else (),
                takes_back=back,
            )
        case "create":
            return CreateContainer(target=target, name=summary.removeprefix("create "), processes=processes)
        case "assign":
            line = LineChange(key=PROFILE_KEY, value=value, old=old_value)
            return AssignLines(
                target=target, path=path, before=before, after=after, lines=(line,), takes_back=back
            )
        case "start":
            return StartContainer(target=target, profile=value, processes=processes)
        case "restart":
            return RestartContainer(target=target, profile=value, processes=processes)
        case _:
            raise ValueError(f"{kind!r:.40} is not an action")


def _pairs(text: str | None) -> dict[str, str]:
    """`name=closure name=closure`, as a reload of the service carried it."""
    return dict(word.split("=", 1) for word in (text or "").split())
