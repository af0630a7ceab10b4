"""What people read of an action.

Owns the words, the sign before them, and the past tense in the history.  Must not decide
anything: `plan.actions` says what is done.
"""

from __future__ import annotations

from phoenix_hypervisor.plan.actions import (
    NESTING_KEY,
    PROFILE_KEY,
    SECCOMP_KEY,
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
    TrialTimer,
    UnloadProfile,
    is_device_key,
)
from phoenix_hypervisor.plan.lines import UNPRIVILEGED
from phoenix_hypervisor.plan.trials import PREFIX, TRIALS_DIR
from phoenix_hypervisor.values import assert_never

_LOADS = {
    LoadWhy.MISSING: "load into the kernel (not in the kernel)",
    LoadWhy.CHANGED: "load into the kernel (changed)",
    LoadWhy.NEW: "load into the kernel (not yet loaded by Phoenix)",
    LoadWhy.DIFFERS: "load into the kernel (the kernel has another policy)",
    LoadWhy.INCLUDE: "load again (an include is restored)",
    LoadWhy.TRIAL: "load the copy that lets more through, and logs it",
    LoadWhy.TRIAL_OVER: "load the copy that refuses what its profile refuses",
}
_SWEEPS = {
    SweepWhy.LEFTOVER: "remove an interrupted run's temporary file",
    SweepWhy.CACHE: "remove a stale cache entry",
}


def sign(action: Action) -> str:
    """`+` for what is new, `-` for what goes, `~` for the rest."""
    match action:
        case InstallFile() | CreateContainer():
            return "+"
        case RemoveFile() | UnloadProfile() | SweepFile():
            return "-"
        case _:
            return "~"


def past(action: Action) -> str:
    """What was done, in one word."""
    match action:
        case AdoptFile():
            return "adopted"
        case InstallFile():
            return "installed"
        case RemoveFile():
            return "removed"
        case SweepFile():
            return "swept"
        case LoadProfile():
            return "loaded"
        case UnloadProfile():
            return "unloaded"
        case ReloadService():
            return "reloaded"
        case CreateContainer():
            return "created"
        case AssignLines():
            return "assigned"
        case StartContainer():
            return "started"
        case RestartContainer():
            return "restarted"
        case TrialTimer():
            return "timed"
        case _:
            assert_never(action)


def summary(action: Action) -> str:
    """What is done, without its target."""
    match action:
        case AdoptFile():
            return "equal to the source: recorded as ours"
        case InstallFile():
            return _install(action)
        case RemoveFile(takes_back=True):
            return "remove again"
        case RemoveFile():
            return f"remove (deprecated; use {action.successor})" if action.successor else "remove"
        case SweepFile():
            return _SWEEPS[action.why] if action.why is not None else "remove"
        case LoadProfile(takes_back=True):
            return "load the old policy again"
        case LoadProfile():
            return _LOADS[action.why] if action.why is not None else "load into the kernel"
        case UnloadProfile():
            if action.target.startswith(PREFIX):
                return "unload (the trial is over)"
            return "unload again" if action.takes_back else "unload (deprecated, unused)"
        case ReloadService():
            return "reload again" if action.takes_back else f"reload for {', '.join(action.names)}"
        case CreateContainer():
            return f"create {action.name}"
        case TrialTimer(until=None):
            return "no timer ends its trial any more"
        case TrialTimer():
            return f"systemd ends its trial at {action.until}"
        case AssignLines():
            alone = "; others changed the file since, so only its line" if action.alone else ""
            return ", ".join(_line(line, action.takes_back) for line in action.lines) + alone
        case StartContainer() | RestartContainer():
            under = f" under {action.profile}" if action.profile else ""
            asks = action.asks if isinstance(action, StartContainer) else None
            return f"{action.kind}{under}" + (f" ({asks} is asked to start it)" if asks else "")
        case _:
            assert_never(action)


def _install(action: InstallFile) -> str:
    if action.takes_back:
        return "restore" if action.before is None else "restore the old file"
    what = "profile" if action.profile is not None else "include"
    if action.path.startswith(f"{TRIALS_DIR}/"):
        what = "the record of a trial"
    if action.before is None:
        return f"install {what} (new)"
    if action.foreign:
        return f"install {what} (adopted; the old file is kept in /var/lib/phoenix/replaced)"
    return f"install {what} (changed)"


_SCOPED = "-gpus-"
"""In the names of variants for single GPUs (`profiles.scoped`)."""
_REASONS = {
    NESTING_KEY: "features say nesting=1, and a named profile switches off what Proxmox does for it",
    SECCOMP_KEY: "a privileged container: these calls have no AppArmor hook",
}


def _beside(line: LineChange, takes_back: bool) -> str:
    if line.value is None:
        return f"remove {line.key}" + (f" ({line.old})" if is_device_key(line.key) and line.old else "")
    if is_device_key(line.key) and line.old is not None:
        return f"set {line.key} to {line.value} (was {line.old})"
    why = f" ({_REASONS[line.key]})" if line.key in _REASONS and not takes_back else ""
    return f"set {line.key} to {line.value}{why}"


def _line(line: LineChange, takes_back: bool) -> str:
    if line.key != PROFILE_KEY:
        return _beside(line, takes_back)
    if takes_back:
        return f"assign {line.value} again" if line.value is not None else "remove the line again"
    if line.value is None:
        return f"remove the profile line ({line.old})"
    kind = "; the variant for unprivileged containers" if line.value.endswith(UNPRIVILEGED) else ""
    if _SCOPED in line.value:
        kind = "; the variant that refuses other GPUs' nodes"
    if line.old is None:
        return f"assign {line.value}{kind}"
    if line.old == line.value:
        return f"merge the lines that assign {line.value}"
    return f"assign {line.value} (was {line.old}){kind}"
