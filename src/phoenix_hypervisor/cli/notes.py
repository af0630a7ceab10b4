"""What people read of a code.

Owns the words of every refusal, warning, skip and finding, and the next step that goes with
it.  Must not decide anything: the codes and their data come from below (`plan.codes`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from phoenix_hypervisor.cli.gpu_notes import NOTES as GPU_NOTES
from phoenix_hypervisor.cli.hook_words import HOOK
from phoenix_hypervisor.cli.moving_words import MOVING
from phoenix_hypervisor.cli.phrases import (
    DECLARE,
    KEPT,
    NOT_IN_LXC,
    NOT_READ,
    Entry,
    Words,
    complain,
    conf_edited,
    conf_unusable,
    in_snapshot,
    locked,
    made_elsewhere,
    no_runtime,
    not_assigned,
    not_running,
    pending_raw,
    places,
    quoted,
    read_only,
    shown,
    stale_cache,
    start_locked,
    storage_unusable,
    strays,
    undeclared_unconfined,
    what_words,
    where_words,
)
from phoenix_hypervisor.cli.risk_words import RISKS
from phoenix_hypervisor.cli.trial_words import TRIALS
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.model import Finding, Note
from phoenix_hypervisor.plan.roles import Coded


def words(note: Note) -> Words:
    """What a note says, without its target; and what to do next, where that is known."""
    table = _FINDINGS if isinstance(note, Finding) and note.code in _FINDINGS else _NOTES
    found = table[note.code]
    text, hint = found(note) if callable(found) else found
    values = {key: shown(value) for key, value in note.data.items()}
    values.update(target=note.target, it=note.target.partition(" ")[2] or note.target)
    if note.blocked_by and note.code in _BY_APPLY and note.data.get("reason") is None:
        hint = quoted(_not_now(note.blocked_by))
    elif hint == "{next}":
        hint = quoted(note.data["next"]) if note.data["next"] else None
    return text.format_map(values), None if hint is None else hint.format_map(values)


_BY_APPLY = (
    Code.NOT_ASSIGNED,
    Code.LINE_BESIDE,
    Code.LINE_IN_SNAPSHOT,
    Code.CONF_EDITED,
    Code.MISSING,
    Code.OLD_LABEL,
    Code.STRAY_PROCESS,
    Code.NOT_RUNNING,
    Code.RESTART_NEEDED,
)
"""What `phoenix apply` remedies."""


def _not_now(found: Sequence[Note]) -> str:
    """What stands in the way of that advice, and what to do about it."""
    needed = [note.data["key"] for note in found if note.code is Code.KEY_NEEDED]
    parts = [f"its declaration lacks {', '.join(needed)}"] if needed else []
    for text, hint in (words(note) for note in found if note.code is not Code.KEY_NEEDED):
        parts += [text, hint] if hint else [text]
    return f"not now: {'; '.join(parts)}"


_NOTES: Mapping[Coded, Entry] = {
    **RISKS,
    **GPU_NOTES,
    **TRIALS,
    **HOOK,
    **MOVING,
    Code.FILE_UNUSABLE: ("{why}", "move it away, or remove the source"),
    Code.FILE_FOREIGN: (
        "exists with other content that Phoenix did not install",
        "compare it with {source}; `phoenix setup --adopt {name}` replaces it "
        "(site rules belong in /etc/apparmor.d/local)",
    ),
    Code.NAME_DEFINED: (
        "is already defined by {by}",
        "rename one of them; `--adopt {target}` keeps both, and the last one loaded wins",
    ),
    Code.NAME_LOADED: (
        "is already loaded in the kernel by someone else",
        "`phoenix setup --adopt {target}` replaces it",
    ),
    Code.DISABLED: (
        "switches profile {name} off: the boot does not load it",
        "rm {target} to enforce it; to drop the profile, delete its source",
    ),
    Code.FORCE_COMPLAIN: (
        "switches profile {name} off: the boot loads it in complain mode",
        "rm {target} to enforce it; to drop the profile, delete its source",
    ),
    Code.OPEN_TO_OTHERS: ("{why}", "{next}"),
    Code.NOT_SHIPPED: (
        "was installed by Phoenix and is no longer shipped",
        "list it in deprecated_profiles",
    ),
    Code.PARSER_WARNING: ("{words}", None),
    Code.ONLY_COMPLAINS: ("is in complain mode, which refuses nothing: it only logs", "take the flag out"),
    Code.LEFT_OUT: ("not installed: this parser does not know its rules", None),
    Code.EDITED_IN_VAIN: ("was edited, but on this host {counts} counts in its place", "edit that file"),
    Code.KERNEL_OFF: lambda note: (
        f"{what_words(note)}: AppArmor is off in this kernel",
        "boot with apparmor=1",
    ),
    Code.FILES_ONLY: lambda note: (
        f"{what_words(note)}: --root touches {'files only' if note.data['what'] == 'start' else 'no kernel'}",
        None,
    ),
    Code.DEPRECATED_KEPT: lambda note: (
        f"deprecated, kept: {KEPT.get(note.data['reason'], '{reason} ({by})')}",
        None,
    ),
    Code.DEPRECATED_DECLARED: lambda note: (
        "is deprecated but still assigned to container {containers}",
        f"`phoenix apply {' '.join(note.data['containers'])}` assigns what is declared and then retires it",
    ),
    Code.DEPRECATED_ASSIGNED: ("deprecated, kept: assigned to container {containers}", "assign another"),
    Code.DEPRECATED_IN_SNAPSHOT: places,
    Code.DEPRECATED_UNKNOWN: (
        "deprecated, kept: container {containers} may be assigned to it",
        NOT_READ,
    ),
    Code.DEPRECATED_RUNNING: (
        "deprecated, kept: {count} running processes use it (PID {pids})",
        "restart needed; then run apply again",
    ),
    Code.CONF_UNUSABLE: conf_unusable,
    Code.IS_VM: lambda note: (
        f"the id belongs to a {{kind}} on {where_words(note)}",
        "VMs and containers share one id space: declare the container under a free id",
    ),
    Code.ON_ANOTHER_NODE: lambda note: (f"is a {{kind}} on {where_words(note)}", "run phoenix on that node"),
    Code.MADE_ELSEWHERE: made_elsewhere,
    Code.NODE_UNKNOWN: (
        "is to be created by node {node}, and the cluster has no such node",
        "correct `node` in the configuration; there is: {known}",
    ),
    Code.PROFILE_UNKNOWN: (
        "profile {profile} is neither shipped nor installed here, so no line of it is written",
        "correct apparmor_profile; phoenix policy query names the profiles that there are",
    ),
    Code.FOREIGN_ID: lambda note: (
        "what it is called is no CTID (100 to 999999999)",
        "pct takes no such container either: move {path} away"
        if note.data["path"].endswith(".conf")
        else "rename it: lxc-copy -R -n {it} -N NUMBER, while it is stopped",
    ),
    Code.LINE_UNUSABLE: ("{why}", "{next}"),
    Code.NO_CONFIGURATION: ("has no configuration; it would be created on a live host", None),
    Code.NO_RUNTIME: no_runtime,
    Code.READ_ONLY: read_only,
    Code.LOCKED: locked,
    Code.START_LOCKED: start_locked,
    Code.HA_STOPPED: ("not started: {by} keeps it {state} ({service})", "`{command}` starts it"),
    Code.WAITING_FOR_HA: ("{by} was asked to start it ({said}); waiting for it, up to {seconds} s", None),
    Code.LISTENING_BEGAN: (
        "AppArmor's parameter audit is {value} now, before {before}: the kernel logs what deny rules refuse, "
        "of every profile on this host",
        None,
    ),
    Code.LISTENING_ENDED: ("AppArmor's parameter audit is put back: {value}", None),
    Code.WAITING_FOR_LOCK: ("another process holds this lock; waiting for it, up to {seconds} s", None),
    Code.PENDING_RAW: pending_raw,
    Code.START_UNLOADED: (
        "cannot start under {name}: the profile is not loaded",
        "load it with `apparmor_parser -r FILE`, or use --no-start",
    ),
    Code.START_KERNEL_OFF: (
        "cannot start under {name}: the profile is not loaded (AppArmor is off in this kernel)",
        "boot with apparmor=1 security=apparmor, or use --no-start",
    ),
    Code.KEY_NEEDED: ("{key} is needed to create the container", "add it to the declaration"),
    Code.NOT_ON_HOST: (
        "{path} does not exist on this host",
        "correct the path, or put it there (a template of Proxmox's: `pveam download`)",
    ),
    Code.NO_GPU_NODE: (
        "{path} does not exist on this host",
        "is the NVIDIA driver loaded? `nvidia-modprobe -u -c=0`",
    ),
    Code.ADDRESS_LOST: (
        "the address would be lost: the container gets no network",
        "declare network_config too",
    ),
    Code.NO_TEMPLATE: (
        "{template} is a Proxmox volume, not an LXC template",
        "name a template of lxc-create, a root file system directory, or a tar.xz",
    ),
    Code.NO_SUBORDINATE_IDS: (
        "root has no range in /etc/subuid and /etc/subgid for an unprivileged container",
        "add `root:100000:65536` to both",
    ),
    Code.NO_VLAN_FILTER: (
        "{bridge} does not filter VLANs, so LXC cannot put the interface into one",
        "ip link set {bridge} type bridge vlan_filtering 1",
    ),
    Code.STORAGE_UNUSABLE: storage_unusable,
    Code.NO_STORAGE: (
        "{volume} is a Proxmox storage, and plain LXC has none",
        "name a path of the host",
    ),
    Code.NOT_IN_LXC: lambda note: NOT_IN_LXC.get(note.data["key"], ("plain LXC has no {key}", "take it out")),
    Code.RESTART_NEEDED: (
        "restart needed: it runs under {label}",
        "`phoenix apply {ctid} --restart`",
    ),
    Code.STILL_NAMED: (
        "would go, but the configuration of container {containers} names it",
        "roll back the transaction that wrote that line first",
    ),
    Code.LINE_KEPT: ("its own line {key} is kept; Phoenix would write another value", None),
    Code.START_WITHOUT_FILE: (
        "cannot start: its line lxc.seccomp.profile names {file}, which does not exist",
        "correct that line or restore the file, or use --no-start",
    ),
    Code.CONF_INCLUDE: (
        "contains lxc.include; a profile set there can override this line, and Phoenix does not read it",
        None,
    ),
    Code.PENDING_SAME: (
        "[pve:pending] contains raw lxc.* lines; at the next start they replace all raw lines above",
        None,
    ),
    Code.OLD_KEY: ("lxc.aa_profile is LXC 2's name; LXC 3 and later do not start with it", None),
    Code.NOT_DECLARED: ("not declared", None),
    Code.CHANGED_SINCE: ("has been changed since; its three states are shown above", None),
    Code.CONTAINER_GONE: ("does not exist on this node any more", None),
    Code.POLICY_UNKNOWN: ("stays as it is: what the kernel had of it is not known", None),
    Code.LOADED_LATER: (
        "a later transaction loaded another version of it",
        "`phoenix history` lists it: roll that back first",
    ),
    Code.ASSIGNED: (
        "would be removed, but is assigned to container {containers}",
        "assign another profile first",
    ),
    Code.PERHAPS_ASSIGNED: ("would be removed, but container {containers} may be assigned to it", NOT_READ),
    Code.CARRIED: (
        "would be unloaded, but PID {pids} runs under it",
        "stop it first, or use --restart",
    ),
    Code.INCLUDED: (
        "would be removed, but profile {profiles} includes it",
        "roll back the transaction that installed that profile first",
    ),
    Code.STEP_FAILED: ("{step} {subject} failed", None),
    Code.RECORD_FAILED: lambda note: (
        f"recording what {'will be' if note.data['when'] == 'before' else 'was'} done failed",
        None,
    ),
    Code.RECOVERY_FAILED: (
        "transaction {transaction} of {time} was interrupted and could not be rolled back",
        None,
    ),
    Code.FAILED: ("{why}", "{next}"),
    Code.INTERRUPTED: ("interrupted", None),
    Code.CHANGED_MEANWHILE: (
        "changed by someone else while Phoenix was working; nothing was written to it",
        "run the command again",
    ),
    Code.UNDO_FAILED: ("could not undo {step} {subject}: {why}", None),
    Code.UNDO_UNRECORDED: ("could not record that: {why}", None),
    Code.UNDO_CONTINUES: ("the next setup, apply or rollback will continue the rollback", None),
    Code.UNDONE: ("files and kernel are as before", None),
    Code.UNDONE_BUT: ("everything else is as before", None),
    Code.NOTHING_DONE: ("nothing was changed before it", None),
    Code.POLICY_GUESSED: ("what the kernel had of it is not known; it has what its file says", None),
    Code.STAYS_LOADED: ("stays loaded: PID {pids} runs under it", "stop the container first"),
    Code.CREATED: ("created and left in place", None),
    Code.STARTED: ("started meanwhile and left running", None),
    Code.NOT_CREATED: ("was not created: there is nothing of it", None),
    Code.CREATED_IN_PART: lambda note: (
        "was created in part, and is left" + ("; `{command}` ends that" if note.data["command"] else ""),
        None,
    ),
    Code.NOW_RUNNING: ("is running, under {label}, and is left so", None),
    Code.NOW_STOPPED: ("is stopped, and is left so", None),
    Code.MAYBE_STARTED: ("was starting, and is left as it is", None),
    Code.MAYBE_CREATED: ("may have been created in part", None),
    Code.MAYBE_RUNNING: ("may be running nevertheless", None),
    Code.MAYBE_STOPPED: ("may be stopped now", None),
    Code.SENTENCE: ("{words}", None),
    Code.NOTHING_TO_UNDO: lambda note: (
        "everything is already as it was before that transaction",
        None if note.data["earlier"] is None else "`phoenix rollback {earlier}` undoes the one before it",
    ),
}

_FINDINGS: Mapping[Coded, Entry] = {
    Code.DISABLED: ("{target}: the boot does not load it", "rm {target}, then phoenix setup"),
    Code.FORCE_COMPLAIN: (
        "{target}: the boot loads it in complain mode, where nothing is refused",
        "rm {target}, then phoenix setup",
    ),
    Code.OPEN_TO_OTHERS: ("{target}: {why}", "{next}"),
    Code.IS_VM: lambda note: (f"the id belongs to a {{kind}} on {where_words(note)}", "declare another id"),
    Code.ON_ANOTHER_NODE: lambda note: (
        f"is a {{kind}} on {where_words(note)}; Phoenix on that node manages it",
        "run phoenix on that node",
    ),
    Code.MADE_ELSEWHERE: ("does not exist, and node {node} creates it", "run phoenix on {node}"),
    Code.NOT_ASSIGNED: not_assigned,
    Code.LINE_BESIDE: ("its line {keys} is missing or has another value", "phoenix apply {it}"),
    Code.SECCOMP_MISSING: (
        "{target} does not exist: a container whose line names it cannot start",
        "phoenix setup",
    ),
    Code.SECCOMP_RULES: ("{why}", "correct {target}"),
    Code.LINE_IN_SNAPSHOT: in_snapshot,
    Code.CONF_EDITED: conf_edited,
    Code.UNDECLARED: ("not declared, and every container is to be", DECLARE),
    Code.UNDECLARED_UNCONFINED: undeclared_unconfined,
    Code.MISSING: ("the container does not exist", "phoenix apply {ctid}"),
    Code.NOT_RUNNING: not_running,
    Code.HA_STOPPED: ("is declared to run, and {by} keeps it {state} ({service})", "`{command}` starts it"),
    Code.HA_NOT_STARTED: (
        "{by} was asked to start it ({service}), and has not for {seconds} s",
        "`ha-manager status` says what it makes of it; it needs pve-ha-crm and pve-ha-lrm to run",
    ),
    Code.LABEL_UNKNOWN: (
        "PID {pid} has no readable label, so it may be unconfined",
        "phoenix doctor says whether AppArmor is on",
    ),
    Code.OLD_LABEL: ("PID {pid} runs under {label}", "phoenix apply {ctid} --restart"),
    Code.STRAY_PROCESS: strays,
    Code.COMPLAIN: complain,
    Code.NOT_INSTALLED: ("has no installed file", "phoenix setup"),
    Code.FILE_EDITED: (
        "{path} was edited: it is neither the source nor what Phoenix installed",
        "keep the change in /etc/apparmor.d/local, then phoenix setup --adopt {name}",
    ),
    Code.FILE_DIFFERS: ("{paths} differs from the source", "phoenix setup"),
    Code.NOT_LOADED: ("is not in the kernel", "phoenix setup"),
    Code.NOT_ENFORCED: (
        "is loaded in {mode} mode, which does not reliably enforce it",
        "aa-enforce {it}",
    ),
    Code.STALE_POLICY: ("the kernel has an older version", "phoenix setup"),
    Code.POLICY_DIFFERS: ("what the kernel has of {part} is not what Phoenix loaded", "phoenix setup"),
    Code.STALE_CACHE: stale_cache,
    Code.APPARMOR_OFF: (
        "AppArmor is off in this kernel: nothing is confined",
        "boot with apparmor=1 security=apparmor",
    ),
    Code.UNFINISHED: (
        "transaction {transaction} of {time} ({command}) was interrupted",
        "the next phoenix setup, apply or rollback rolls it back first",
    ),
    Code.UNDER_WAY: (
        "transaction {transaction} of {time} ({command}) is being applied",
        "wait, then look again",
    ),
    Code.RECORDS_HIDDEN: (
        "only root may read what Phoenix installed and loaded: whether that is as declared is not known",
        "run it as root",
    ),
    Code.LISTENING: (
        "`phoenix denials --listen` is at work since {began} (process {pid})",
        "it puts the kernel back when its time is over, or at Ctrl-C",
    ),
    Code.LISTENING_LEFT: (
        "`phoenix denials --listen` of {began} was killed: the kernel still logs what deny rules refuse",
        "phoenix denials, or the next phoenix setup or apply, puts it back",
    ),
    Code.LISTENING_UNREADABLE: ("{target}: {why}", "{next}"),
    Code.JOURNAL_UNREADABLE: lambda note: ("{target}: {why}", note.data["next"] or "run it as root"),
}
