"""What people read of a code.

Owns the words of every refusal, warning, skip and finding, and the next step that goes with
it.  Must not decide anything: the codes and their data come from below (`plan.codes`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.model import Finding, Note

Words = tuple[str, str | None]
"""What, and the next step.  `{name}` stands for one of the data, or for the target."""

_WHAT = {"load": "not loaded", "start": "not started", "undo": "not done"}
_NOT_READ = "its configuration cannot be read: correct it"


def words(note: Note) -> Words:
    """What a note says, without its target; and what to do next, where that is known."""
    table = _FINDINGS if isinstance(note, Finding) and note.code in _FINDINGS else _NOTES
    found = table[note.code]
    text, hint = found(note) if callable(found) else found
    values = {key: _shown(value) for key, value in note.data.items()}
    values.update(target=note.target, it=note.target.partition(" ")[2] or note.target)
    if note.blocked_by and note.code in _BY_APPLY and note.data.get("reason") is None:
        hint = _quoted("; ".join(map(_not_now, note.blocked_by)))
    elif hint == "{next}":
        hint = _quoted(note.data["next"]) if note.data["next"] else None
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


def _not_now(note: Note) -> str:
    """What stands in the way of that advice, and what to do about it."""
    text, hint = words(note)
    return f"not now: {text}" + (f"; {hint}" if hint else "")


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _what(note: Note) -> str:
    return _WHAT[note.data["what"]]


def _line(value: str | None) -> str:
    return value or "no line"


def _places(note: Note) -> Words:
    places = ", ".join(f"[{where}] of container {name}" for name, where in note.data["places"][:5])
    text = f"deprecated, kept: a rollback brings it back from {places}"
    return _quoted(text), "delete that snapshot, or take the profile off the list"


def _quoted(text: str) -> str:
    """Text that is finished, so that braces in it stand for themselves."""
    return text.replace("{", "{{").replace("}", "}}")


def _made_elsewhere(note: Note) -> Words:
    here = note.data["here"] or "whose name is not known"
    return f"is created by node {{node}}; this is node {here}", "run phoenix on {node}"


def _complain(note: Note) -> Words:
    if note.data["pid"] is None:
        return "is loaded in complain mode", "aa-enforce {it}"
    return "PID {pid} runs under {label}: nothing is refused in complain mode", "aa-enforce the profile"


def _not_running(note: Note) -> Words:
    if note.data["reason"] is None:
        return "is declared to run and stopped", 'phoenix apply {ctid}, or "start": false'
    text, hint = _locked(note)
    return f"is declared to run and stopped, and {text}", hint


def _locked(note: Note) -> Words:
    by, command = note.data["by"], note.data["command"]
    text = f"is locked by {by} ({{reason}})" if by else "is locked ({reason})"
    if command is None:
        return text, "wait for that task"
    if note.data["reason"] == "create":
        return text, "wait for its creation; if that no longer runs, `{command}` and apply anew"
    return text, "wait for that task, or see `{command}`"


def _start_locked(note: Note) -> Words:
    text, hint = _locked(note)
    return f"not started: it {text}", hint


def _read_only(note: Note) -> Words:
    if note.data["cause"] == "no-quorum":
        text = "the cluster has no quorum, so /etc/pve is read-only"
        return text, "`{command}` shows which nodes are missing"
    return "no configuration can be written now: {cause}", note.data["command"] and "see `{command}`"


def _no_runtime(note: Note) -> Words:
    *first, last = note.data["programs"]
    return (
        f"neither {', '.join(first)} nor {last} is installed: no container can be created or started here",
        "run phoenix on the host of the containers; `phoenix doctor` names the package",
    )


def _pending_raw(note: Note) -> Words:
    under = "with no profile line"
    if note.data["profile"] is not None:
        under = "with lxc.apparmor.profile: {profile}"
    text = "[pve:pending] contains raw lxc.* lines: at the next start they replace all raw lines above"
    return f"{text}, and the container runs {under}", "remove the lxc.* lines below [pve:pending] in {path}"


def _conf_unusable(note: Note) -> Words:
    return "{path}: {why}", "{next}" if note.data["next"] else "correct the file"


def _where(note: Note) -> str:
    return "this node" if note.data["node"] is None else "node {node}"


_KEPT = {
    "stock": "it is a stock profile",
    "package": "its file belongs to package {by}",
    "defines": "its file also defines {by}",
    "unreadable": "its file cannot be read ({by})",
}


def _stale_cache(note: Note) -> Words:
    if note.data["newer"]:
        text = "{target} is newer than its files and not what they compile to: the next boot would load it"
        return text, "phoenix setup"
    return "{target} is older than its files: the next boot compiles them anew", "nothing needs to be done"


def _strays(note: Note) -> Words:
    shown = ", ".join(f"PID {pid} under {label}" for pid, label in note.data["processes"])
    text = f"{note.data['count']} of its processes run under another profile: {shown}"
    return _quoted(text), "end them, or phoenix apply {ctid} --restart"


def _not_assigned(note: Note) -> Words:
    have, want = _line(note.data["assigned"]), _line(note.data["declared"])
    return _quoted(f"assigned {have}, declared {want}"), "phoenix apply {it}"


def _features_lost(note: Note) -> Words:
    text = "its features allow mounts of {kinds}, but {profile} does not: they will fail"
    if not note.data["known"]:
        text = "its features allow mounts of {kinds}; whether {profile} does is not known here"
    return text, None


def _conf_edited(note: Note) -> Words:
    have, want = _line(note.data["assigned"]), _line(note.data["declared"])
    text = f"Phoenix wrote {want}, now there is {have}: edited by hand, or brought back by a rollback"
    return _quoted(text), "phoenix apply {it}"


def _in_snapshot(note: Note) -> Words:
    have, want = _line(note.data["assigned"]), _line(note.data["declared"])
    where = ", ".join(f"[{name}]" for name in note.data["sections"])
    text = f"the line {want} is in {where}, where it does not count; above it: {have}"
    return _quoted(text), "phoenix apply {it}"


_NOT_IN_LXC: Mapping[str, Words] = {
    "firewall": (
        "plain LXC has no firewall of its own: the interface would be open",
        "filter it on the host, and say false",
    ),
    "backup": ("plain LXC makes no backups: nothing would hold it", "take it out"),
    "tags": ("plain LXC has no tags", "take them out, or write them into note"),
}


_DECLARE = "declare it in the configuration with a profile"


def _undeclared_unconfined(note: Note) -> Words:
    line, label = note.data["line"], note.data["label"]
    text = "not declared, and its line is lxc.apparmor.profile: {line}"
    if line is None:
        text = "not declared, and it runs under {label}"
    elif not label:
        text += "; it starts unconfined"
    return f"{text}: AppArmor refuses nothing", _DECLARE


Entry = Words | Callable[[Note], Words]

_NOTES: Mapping[Code, Entry] = {
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
    Code.LEFT_OUT: ("not installed: this parser does not know its rules", None),
    Code.EDITED_IN_VAIN: ("was edited, but on this host {counts} counts in its place", "edit that file"),
    Code.KERNEL_OFF: lambda note: (
        f"{_what(note)}: AppArmor is off in this kernel",
        "boot with apparmor=1",
    ),
    Code.FILES_ONLY: lambda note: (
        f"{_what(note)}: --root touches {'files only' if note.data['what'] == 'start' else 'no kernel'}",
        None,
    ),
    Code.DEPRECATED_KEPT: lambda note: (
        f"deprecated, kept: {_KEPT.get(note.data['reason'], '{reason} ({by})')}",
        None,
    ),
    Code.DEPRECATED_DECLARED: lambda note: (
        "is deprecated but still assigned to container {containers}",
        f"`phoenix apply {' '.join(note.data['containers'])}` assigns what is declared and then retires it",
    ),
    Code.DEPRECATED_ASSIGNED: ("deprecated, kept: assigned to container {containers}", "assign another"),
    Code.DEPRECATED_IN_SNAPSHOT: _places,
    Code.DEPRECATED_UNKNOWN: (
        "deprecated, kept: container {containers} may be assigned to it",
        _NOT_READ,
    ),
    Code.DEPRECATED_RUNNING: (
        "deprecated, kept: {count} running processes use it (PID {pids})",
        "restart needed; then run apply again",
    ),
    Code.CONF_UNUSABLE: _conf_unusable,
    Code.IS_VM: lambda note: (
        f"the id belongs to a {{kind}} on {_where(note)}",
        "VMs and containers share one id space: declare the container under a free id",
    ),
    Code.ON_ANOTHER_NODE: lambda note: (f"is a {{kind}} on {_where(note)}", "run phoenix on that node"),
    Code.MADE_ELSEWHERE: _made_elsewhere,
    Code.NO_CONFIGURATION: ("has no configuration; it would be created on a live host", None),
    Code.NO_RUNTIME: _no_runtime,
    Code.READ_ONLY: _read_only,
    Code.LOCKED: _locked,
    Code.START_LOCKED: _start_locked,
    Code.PENDING_RAW: _pending_raw,
    Code.START_UNLOADED: (
        "cannot start under {name}: the profile is not loaded",
        "load it with `apparmor_parser -r FILE`, or use --no-start",
    ),
    Code.START_KERNEL_OFF: (
        "cannot start under {name}: the profile is not loaded (AppArmor is off in this kernel)",
        "boot with apparmor=1 security=apparmor, or use --no-start",
    ),
    Code.KEY_NEEDED: ("{key} is needed to create the container", None),
    Code.NOT_ON_HOST: ("{path} does not exist on this host", None),
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
    Code.NO_STORAGE: (
        "{volume} is a Proxmox storage, and plain LXC has none",
        "name a path of the host",
    ),
    Code.NOT_IN_LXC: lambda note: _NOT_IN_LXC.get(
        note.data["key"], ("plain LXC has no {key}", "take it out")
    ),
    Code.RESTART_NEEDED: (
        "restart needed: it runs under {label}",
        "`phoenix apply {ctid} --restart`",
    ),
    Code.FEATURES_LOST: _features_lost,
    Code.STILL_NAMED: (
        "would go, but the configuration of container {containers} names it",
        "roll back the transaction that wrote that line first",
    ),
    Code.LINE_KEPT: ("its own line {key} is kept; Phoenix would write another value", None),
    Code.MADE_FOR_UNPRIVILEGED: (
        "it is privileged, and {profile} is made for unprivileged containers: it stops far less here",
        None,
    ),
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
    Code.PERHAPS_ASSIGNED: ("would be removed, but container {containers} may be assigned to it", _NOT_READ),
    Code.CARRIED: ("would be unloaded, but PID {pids} runs under it", "stop the container first"),
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

_FINDINGS: Mapping[Code, Entry] = {
    Code.DISABLED: ("{target}: the boot does not load it", "rm {target}, then phoenix setup"),
    Code.FORCE_COMPLAIN: (
        "{target}: the boot loads it in complain mode, where nothing is refused",
        "rm {target}, then phoenix setup",
    ),
    Code.OPEN_TO_OTHERS: ("{target}: {why}", "{next}"),
    Code.IS_VM: lambda note: (f"the id belongs to a {{kind}} on {_where(note)}", "declare another id"),
    Code.ON_ANOTHER_NODE: lambda note: (
        f"is a {{kind}} on {_where(note)}; Phoenix on that node manages it",
        "run phoenix on that node",
    ),
    Code.MADE_ELSEWHERE: ("does not exist, and node {node} creates it", "run phoenix on {node}"),
    Code.NOT_ASSIGNED: _not_assigned,
    Code.LINE_BESIDE: ("its line {keys} is missing or has another value", "phoenix apply {it}"),
    Code.SECCOMP_MISSING: (
        "{target} does not exist: a container whose line names it cannot start",
        "phoenix setup",
    ),
    Code.SECCOMP_RULES: ("{why}", "correct {target}"),
    Code.LINE_IN_SNAPSHOT: _in_snapshot,
    Code.CONF_EDITED: _conf_edited,
    Code.UNDECLARED: ("not declared, and every container is to be", _DECLARE),
    Code.UNDECLARED_UNCONFINED: _undeclared_unconfined,
    Code.MISSING: ("the container does not exist", "phoenix apply {ctid}"),
    Code.NOT_RUNNING: _not_running,
    Code.LABEL_UNKNOWN: (
        "PID {pid} has no readable label, so it may be unconfined",
        "phoenix doctor says whether AppArmor is on",
    ),
    Code.OLD_LABEL: ("PID {pid} runs under {label}", "phoenix apply {ctid} --restart"),
    Code.STRAY_PROCESS: _strays,
    Code.COMPLAIN: _complain,
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
    Code.STALE_CACHE: _stale_cache,
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
    Code.JOURNAL_UNREADABLE: lambda note: ("{target}: {why}", note.data["next"] or "run it as root"),
}
