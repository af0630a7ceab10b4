"""What has to happen to the profiles: desired files against installed and loaded ones.

Owns when a file is installed, adopted or refused, and when a profile is loaded.  Pure: facts
in, a plan out.  Must not compile: the plan names what it would load and has no proof of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
)
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.facts import ProfileFacts, Proof
from phoenix_hypervisor.plan.model import FileState, Note, Ownership, Plan, ProfileState

SERVICE = "apparmor.service"


def decide_profiles(facts: ProfileFacts, so_far: Plan) -> Plan:
    """Install, adopt and load; refuse what others own.

    A refusal is complete without a proof: what others own is not ours to compile.
    """
    plan = _swept(facts) + file_actions(facts.files, facts.wish.adopt) + _gone(facts) + _names(facts)
    if plan.refusals:
        return plan
    changed = to_prove(plan, facts.profiles, facts.kernel)
    if facts.proof is None:
        plan += Plan(unproven=tuple(changed))
    proof = facts.proof or Proof()
    plan += load_actions(facts, proof) + _skipped(facts, changed)
    warnings = tuple(Note(Code.PARSER_WARNING, path, {"words": words}) for path, words in proof.warnings)
    warnings += tuple(Note(Code.ONLY_COMPLAINS, path) for path in proof.complaining)
    return plan + Plan(warnings=warnings, proofs=proof.processes)


def _swept(facts: ProfileFacts) -> Plan:
    found = [(path, SweepWhy.LEFTOVER) for path in facts.leftovers]
    found += [(path, SweepWhy.CACHE) for path in facts.stale_caches]
    return Plan(
        actions=tuple(SweepFile(target=path, path=path, why=why) for path, why in found),
        warnings=(
            *(Note(Code.NOT_SHIPPED, path) for path in facts.not_shipped),
            *(Note(Code.EDITED_IN_VAIN, path, {"counts": counts}) for path, counts in facts.in_vain),
        ),
        refusals=facts.blockers,
    )


def file_actions(files: Iterable[FileState], adopt: frozenset[str]) -> Plan:
    """Install, adopt or refuse each wanted file."""
    actions: list[Action] = []
    refusals: list[Note] = []
    ok = 0
    for state in files:
        ours = state.ownership is Ownership.OURS or bool(adopt & {state.path, _label(state)})
        if state.fault is not None:
            refusals.append(Note(Code.FILE_UNUSABLE, state.path, {"why": state.fault}))
        elif state.installed == state.wanted and state.recorded:
            ok += 1
        elif state.installed == state.wanted:
            actions.append(AdoptFile(target=_label(state), path=state.path, after=state.wanted))
        elif state.installed is None or ours:
            actions.append(_install(state))
        else:
            data = {"source": state.source, "name": _label(state)}
            refusals.append(Note(Code.FILE_FOREIGN, state.path, data))
    return Plan(actions=tuple(actions), refusals=tuple(refusals), ok=ok)


def _gone(facts: ProfileFacts) -> Plan:
    """Remove accepted rules that have no source any more: the boot would take them."""
    return Plan(
        actions=tuple(
            RemoveFile(target=_label(state), path=state.path, before=state.installed, profile=None)
            for state in facts.no_longer_accepted
        )
    )


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


def _names(facts: ProfileFacts) -> Plan:
    """Refuse profile names that someone else defines: in a file, or loaded in the kernel."""
    refusals = []
    for name in facts.new:
        by = facts.defined.get(name)
        if name in facts.wish.adopt:
            continue
        if by is not None and not by.endswith(f"/apparmor.d/{name}"):
            refusals.append(Note(Code.NAME_DEFINED, name, {"by": by}))
        elif name in facts.loaded and name not in facts.recorded and by is None:
            refusals.append(Note(Code.NAME_LOADED, name))
    return Plan(refusals=tuple(refusals))


def to_prove(files: Plan, profiles: Sequence[ProfileState], kernel: bool) -> list[ProfileState]:
    """The profiles to compile: a file of their closure changes, or they must be loaded."""
    touched = {action.path for action in files.actions if isinstance(action, InstallFile)}
    gone = {action.path.rpartition("/")[2] for action in files.actions if isinstance(action, RemoveFile)}
    return [
        profile
        for profile in profiles
        if touched.intersection(profile.includes)
        or profile.name in gone
        or (kernel and profile.why is not None)
    ]


def load_actions(facts: ProfileFacts, proof: Proof) -> Plan:
    """Load exactly what changed or is missing from the kernel."""
    wanted = [(profile, why) for profile in facts.profiles if (why := profile.why) is not None]
    if not facts.kernel or not wanted:
        return Plan()
    if facts.service:
        return Plan(actions=(_reload(facts.profiles, wanted),))
    return Plan(
        actions=tuple(
            LoadProfile(
                target=profile.name,
                before=facts.former.get(profile.name),
                after=proof.blobs.get(profile.name),
                processes=(facts.argv.load(profile.name),),
                closure=profile.closure,
                old_closure=profile.loaded_closure,
                replaces=profile.mode is not None,
                why=why,
            )
            for profile, why in wanted
        )
    )


def _reload(profiles: Sequence[ProfileState], wanted: Sequence[tuple[ProfileState, LoadWhy]]) -> Action:
    return ReloadService(
        target=SERVICE,
        processes=(("systemctl", "reload", SERVICE),),
        closures={p.name: p.closure for p in profiles},
        old_closures={p.name: p.loaded_closure or "" for p in profiles if p.mode is not None},
        names=tuple(profile.name for profile, _ in wanted),
    )


def _skipped(facts: ProfileFacts, changed: Sequence[ProfileState]) -> Plan:
    skipped = []
    if changed and facts.left_out:
        skipped.append(Note(Code.LEFT_OUT, ", ".join(facts.left_out)))
    if facts.live and not facts.kernel and any(profile.why is not None for profile in facts.profiles):
        skipped.append(Note(Code.KERNEL_OFF, "profiles", {"what": "load"}))
    elif not facts.live and changed:
        skipped.append(Note(Code.FILES_ONLY, "profiles", {"what": "load"}))
    return Plan(skipped=tuple(skipped))
