"""What has to happen to the profiles: desired files against installed and loaded ones.

Pure: facts in, a plan out.  Must not compile; `profiles.prove` compiles what
`to_prove` names before any action of the plan runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from phoenix_hypervisor.plan.actions import (
    Action,
    AdoptFile,
    InstallFile,
    LoadProfile,
    LoadWhy,
    ReloadService,
    RemoveFile,
    SweepFile,
    SweepWhy,
    UnloadProfile,
)
from phoenix_hypervisor.plan.model import (
    Assignments,
    FileState,
    Note,
    Ownership,
    Plan,
    ProfileState,
)


@dataclass(frozen=True, slots=True)
class LoadPolicy:
    """How changed profiles reach the kernel."""

    live: bool
    service: bool
    """Through `systemctl reload apparmor.service`."""
    argv: Callable[[str], tuple[str, ...]]
    """Profile name -> process that loads it."""
    previous: Callable[[str], bytes | None] = lambda name: None
    """Profile name -> what the kernel has of it, where that is known."""
    proven: Mapping[str, bytes] = field(default_factory=dict)
    """What is loaded, by profile name."""


def file_actions(files: Iterable[FileState], adopt: frozenset[str]) -> Plan:
    """Install, adopt or refuse each wanted file."""
    actions: list[Action] = []
    refusals: list[Note] = []
    ok = 0
    for state in files:
        if state.fault is not None:
            refusals.append(Note(state.path, state.fault, "move it away, or remove the source"))
        elif state.installed is None:
            actions.append(_install(state))
        elif state.installed == state.wanted:
            if state.recorded:
                ok += 1
            else:
                actions.append(AdoptFile(target=_label(state), path=state.path, after=state.wanted))
        elif state.ownership is Ownership.OURS or adopt & {state.path, _label(state)}:
            actions.append(_install(state))
        else:
            refusals.append(
                Note(
                    state.path,
                    "exists with other content that Phoenix did not install",
                    f"compare it with {state.source}; `phoenix setup --adopt {_label(state)}` replaces it "
                    "(site rules belong in /etc/apparmor.d/local)",
                )
            )
    return Plan(tuple(actions), refusals=tuple(refusals), ok=ok)


def sweep_action(path: str, why: SweepWhy = SweepWhy.LEFTOVER) -> SweepFile:
    """Remove a temporary file that a killed run left behind, or a stale cache entry."""
    return SweepFile(target=path, path=path, why=why)


def switch_refusal(name: str, path: str) -> Note:
    """A profile that somebody switched off would look installed and not be there after the next boot."""
    forced = "/force-complain/" in path
    what = "loads it in complain mode" if forced else "does not load it"
    hint = f"rm {path} to enforce it; who does not want it removes its source"
    return Note(path, f"switches profile {name} off: the boot {what}", hint)


def _label(state: FileState) -> str:
    return state.profile or state.path.removeprefix("/etc/apparmor.d/")


def _install(state: FileState) -> InstallFile:
    return InstallFile(
        target=_label(state),
        path=state.path,
        before=state.installed,
        after=state.wanted,
        profile=state.profile,
        foreign=state.installed is not None and state.ownership is Ownership.FOREIGN,
        before_stat=state.stat,
    )


def to_prove(files: Plan, profiles: Sequence[ProfileState], live: bool) -> list[ProfileState]:
    """The profiles to compile: a file of their closure changes, or they must be loaded."""
    touched = {action.path for action in files.actions if isinstance(action, InstallFile)}
    return [
        profile
        for profile in profiles
        if touched.intersection(profile.includes) or (live and load_reason(profile) is not None)
    ]


def load_reason(profile: ProfileState) -> LoadWhy | None:
    """Why the kernel needs this profile, or None when it has it."""
    if profile.mode is None and profile.kernel_known:
        return LoadWhy.MISSING
    if profile.loaded_closure != profile.closure:
        return LoadWhy.CHANGED if profile.loaded_closure is not None else LoadWhy.NEW
    if profile.differs is not None:
        return LoadWhy.DIFFERS
    return None


def load_actions(profiles: Sequence[ProfileState], policy: LoadPolicy) -> Plan:
    """Load exactly what changed or is missing from the kernel."""
    wanted = [(profile, why) for profile in profiles if (why := load_reason(profile)) is not None]
    if not policy.live:
        return Plan()
    if policy.service and wanted:
        action = ReloadService(
            target="apparmor.service",
            processes=(("systemctl", "reload", "apparmor.service"),),
            closures={p.name: p.closure for p in profiles},
            old_closures={p.name: p.loaded_closure or "" for p in profiles if p.mode is not None},
            names=tuple(profile.name for profile, _ in wanted),
        )
        return Plan((action,))
    return Plan(
        tuple(
            LoadProfile(
                target=profile.name,
                before=policy.previous(profile.name),
                after=policy.proven.get(profile.name),
                processes=(policy.argv(profile.name),),
                closure=profile.closure,
                old_closure=profile.loaded_closure,
                replaces=profile.mode is not None,
                why=why,
            )
            for profile, why in wanted
        )
    )


def name_refusals(
    names: Iterable[str],
    foreign: Mapping[str, str],
    loaded: Mapping[str, str],
    ours: Mapping[str, str],
    adopt: frozenset[str],
) -> Plan:
    """Refuse profile names that someone else defines: in a file, or loaded in the kernel.

    `foreign` is the defining file by name; `ours` the names that Phoenix has loaded.
    """
    refusals = []
    for name in names:
        if name in adopt:
            continue
        if name in foreign and not foreign[name].endswith(f"/apparmor.d/{name}"):
            hint = f"rename one of them; `--adopt {name}` lets both stand, and the last one loaded wins"
            refusals.append(Note(name, f"is already defined by {foreign[name]}", hint))
        elif name in loaded and name not in ours and name not in foreign:
            hint = f"`phoenix setup --adopt {name}` replaces it"
            refusals.append(Note(name, "is already loaded in the kernel by someone else", hint))
    return Plan(refusals=tuple(refusals))


@dataclass(frozen=True, slots=True)
class Retirement:
    """A deprecated profile that is still installed or loaded."""

    name: str
    successor: str
    path: str | None
    """Host path of its file; None when only loaded."""
    data: bytes | None
    loaded: bool
    keep: str | None
    """A reason never to remove it: a package's file, a stock name, other definitions."""
    processes: tuple[int, ...] = ()
    foreign: bool = False
    """Phoenix did not install that file."""
    compiled: bytes | None = None
    """What the kernel has of it, where that is known."""
    closure: str | None = None
    """What Phoenix last loaded of it."""
    stat: str | None = None
    """Mode and owner of its file, where that is not ours."""


def retire_actions(
    retirements: Iterable[Retirement],
    assigned: Assignments,
    declared: frozenset[str],
    *,
    refuse_declared: bool,
    live: bool,
    unload_argv: tuple[str, ...],
) -> Plan:
    """Unload and remove what nobody uses; `assigned` is how it is afterwards.

    `refuse_declared`: `setup` alone reassigns nothing, so a declared container that names
    one is an error there; otherwise users are reported and the profile kept.
    """
    actions: list[Action] = []
    skipped: list[Note] = []
    refusals: list[Note] = []
    for old in retirements:
        users = assigned.users(old.name)
        blocked = [ctid for ctid in users if ctid in declared]
        if old.keep is not None:
            skipped.append(Note(old.name, f"deprecated, kept: {old.keep}"))
        elif refuse_declared and blocked:
            refusals.append(
                Note(
                    old.name,
                    f"is deprecated but still assigned to container {', '.join(blocked)}",
                    f"`phoenix apply {' '.join(blocked)}` assigns what is declared and then retires it",
                )
            )
        elif users:
            skipped.append(
                Note(
                    old.name, f"deprecated, kept: assigned to container {', '.join(users)}", "assign another"
                )
            )
        elif kept := assigned.keepers(old.name):
            text = f"deprecated, kept: a rollback brings it back from {', '.join(kept[:5])}"
            skipped.append(Note(old.name, text, "delete that snapshot, or take the profile off the list"))
        elif assigned.unknown:
            text = f"deprecated, kept: container {', '.join(assigned.unknown)} may be assigned to it"
            skipped.append(Note(old.name, text, "its configuration cannot be read: correct it"))
        elif old.processes:
            pids = ", ".join(map(str, old.processes[:5]))
            skipped.append(
                Note(
                    old.name,
                    f"deprecated, kept: {len(old.processes)} running processes carry it (PID {pids})",
                    "restart needed; then run apply again",
                )
            )
        else:
            if old.loaded and live:
                actions.append(
                    UnloadProfile(
                        target=old.name,
                        before=old.compiled,
                        processes=(unload_argv,),
                        old_closure=old.closure,
                    )
                )
            if old.path is not None:
                actions.append(
                    RemoveFile(
                        target=old.name,
                        path=old.path,
                        before=old.data,
                        profile=old.name,
                        successor=old.successor,
                        foreign=old.foreign,
                        before_stat=old.stat,
                    )
                )
    return Plan(tuple(actions), tuple(skipped), refusals=tuple(refusals))
