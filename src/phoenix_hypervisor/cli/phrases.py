"""What of a note's words has to be put together from its data.

Owns those pieces of text.  Must not decide anything; which code says what is `cli.notes`'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from phoenix_hypervisor.plan.model import Note

Words = tuple[str, str | None]
"""What, and the next step.  `{name}` stands for one of the data, or for the target."""

WHAT = {"load": "not loaded", "start": "not started", "undo": "not done"}
NOT_READ = "its configuration cannot be read: correct it"


def shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def what_words(note: Note) -> str:
    return WHAT[note.data["what"]]


def line_words(value: str | None) -> str:
    return value or "no line"


def places(note: Note) -> Words:
    places = ", ".join(f"[{where}] of container {name}" for name, where in note.data["places"][:5])
    text = f"deprecated, kept: a rollback brings it back from {places}"
    return quoted(text), "delete that snapshot, or take the profile off the list"


def quoted(text: str) -> str:
    """Text that is finished, so that braces in it stand for themselves."""
    return text.replace("{", "{{").replace("}", "}}")


def made_elsewhere(note: Note) -> Words:
    here = note.data["here"] or "whose name is not known"
    return f"is created by node {{node}}; this is node {here}", "run phoenix on {node}"


def complain(note: Note) -> Words:
    if note.data["pid"] is None:
        return "is loaded in complain mode", "aa-enforce {it}"
    return "PID {pid} runs under {label}: nothing is refused in complain mode", "aa-enforce the profile"


def not_running(note: Note) -> Words:
    if note.data["reason"] is None:
        return "is declared to run and stopped", 'phoenix apply {ctid}, or "start": false'
    text, hint = locked(note)
    return f"is declared to run and stopped, and {text}", hint


def locked(note: Note) -> Words:
    by, command = note.data["by"], note.data["command"]
    text = f"is locked by {by} ({{reason}})" if by else "is locked ({reason})"
    if command is None:
        return text, "wait for that task"
    if note.data["reason"] == "create":
        return text, "wait for its creation; if that no longer runs, `{command}` and apply anew"
    return text, "wait for that task, or see `{command}`"


def start_locked(note: Note) -> Words:
    text, hint = locked(note)
    return f"not started: it {text}", hint


def read_only(note: Note) -> Words:
    if note.data["cause"] == "no-quorum":
        text = "the cluster has no quorum, so /etc/pve is read-only"
        return text, "`{command}` shows which nodes are missing"
    return "no configuration can be written now: {cause}", note.data["command"] and "see `{command}`"


def no_runtime(note: Note) -> Words:
    *first, last = note.data["programs"]
    return (
        f"neither {', '.join(first)} nor {last} is installed: no container can be created or started here",
        "run phoenix on the host of the containers; `phoenix doctor` names the package",
    )


def pending_raw(note: Note) -> Words:
    under = "with no profile line"
    if note.data["profile"] is not None:
        under = "with lxc.apparmor.profile: {profile}"
    text = "[pve:pending] contains raw lxc.* lines: at the next start they replace all raw lines above"
    return f"{text}, and the container runs {under}", "remove the lxc.* lines below [pve:pending] in {path}"


def conf_unusable(note: Note) -> Words:
    return "{path}: {why}", "{next}" if note.data["next"] else "correct the file"


def where_words(note: Note) -> str:
    return "this node" if note.data["node"] is None else "node {node}"


KEPT = {
    "stock": "it is a stock profile",
    "package": "its file belongs to package {by}",
    "defines": "its file also defines {by}",
    "unreadable": "its file cannot be read ({by})",
}


def stale_cache(note: Note) -> Words:
    if note.data["newer"]:
        text = "{target} is newer than its files and not what they compile to: the next boot would load it"
        return text, "phoenix setup"
    return "{target} is older than its files: the next boot compiles them anew", "nothing needs to be done"


def strays(note: Note) -> Words:
    shown = ", ".join(f"PID {pid} under {label}" for pid, label in note.data["processes"])
    text = f"{note.data['count']} of its processes run under another profile: {shown}"
    return quoted(text), "end them, or phoenix apply {ctid} --restart"


def not_assigned(note: Note) -> Words:
    have, want = line_words(note.data["assigned"]), line_words(note.data["declared"])
    return quoted(f"assigned {have}, declared {want}"), "phoenix apply {it}"


def conf_edited(note: Note) -> Words:
    have, want = line_words(note.data["assigned"]), line_words(note.data["declared"])
    text = f"Phoenix wrote {want}, now there is {have}: edited by hand, or brought back by a rollback"
    return quoted(text), "phoenix apply {it}"


def in_snapshot(note: Note) -> Words:
    have, want = line_words(note.data["assigned"]), line_words(note.data["declared"])
    where = ", ".join(f"[{name}]" for name in note.data["sections"])
    text = f"the line {want} is in {where}, where it does not count; above it: {have}"
    return quoted(text), "phoenix apply {it}"


_UNUSABLE = {
    "unknown": "there is no storage {storage}",
    "disabled": "storage {storage} is disabled",
    "elsewhere": "storage {storage} is not for this node",
    "rootdir": "storage {storage} holds no containers (content rootdir)",
    "vztmpl": "storage {storage} holds no container templates (content vztmpl)",
}


def storage_unusable(note: Note) -> Words:
    text = _UNUSABLE.get(note.data["reason"], "storage {storage} cannot be used ({reason})")
    if note.data["reason"] == "unknown":
        return text, "name one of {known}; `pvesm status` shows them"
    return text, "name another one, or change it in /etc/pve/storage.cfg; `pvesm status` shows them"


NOT_IN_LXC: Mapping[str, Words] = {
    "firewall": (
        "plain LXC has no firewall of its own: the interface would be open",
        "filter it on the host, and say false",
    ),
    "backup": ("plain LXC makes no backups: nothing would hold it", "take it out"),
    "tags": ("plain LXC has no tags", "take them out, or write them into note"),
}


DECLARE = "`phoenix import --merge` adds it to the configuration; then give it a profile there"


def undeclared_unconfined(note: Note) -> Words:
    line, label = note.data["line"], note.data["label"]
    text = "not declared, and its line is lxc.apparmor.profile: {line}"
    if line is None:
        text = "not declared, and it runs under {label}"
    elif not label:
        text += "; it starts unconfined"
    return f"{text}: AppArmor refuses nothing", DECLARE


Entry = Words | Callable[[Note], Words]
