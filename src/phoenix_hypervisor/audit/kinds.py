"""What a line is about: its kind, its object, and what was asked of that.

Owns these three texts, by which denials are counted together and shown.  Pure.  Must not turn a line
into a question; `asked` does.
"""

from __future__ import annotations

import re

from phoenix_hypervisor.audit.line import Line
from phoenix_hypervisor.audit.meaning import printable

GIVEN = "capget"
"""The operation of an event that no log has: a process was given a capability (`engine.held`)."""
_KINDS = {
    "capable": "capability",
    GIVEN: "capability",
    "mount": "mount",
    "umount": "umount",
    "pivotroot": "pivot_root",
    "ptrace": "ptrace",
    "signal": "signal",
    "change_profile": "change_profile",
    "change_onexec": "change_profile",
    "stack": "change_profile",
    "stack_onexec": "change_profile",
    "change_hat": "change_hat",
    "userns_create": "userns",
    "setrlimit": "rlimit",
    "profile_load": "policy",
    "profile_replace": "policy",
    "profile_remove": "policy",
}
"""Named as the kinds of `phoenix policy query`, where those have one."""
_STEADY = (
    (re.compile(rb"(?<=/proc/)[0-9]+(?=/|\Z)"), b"[pid]"),
    (re.compile(rb"(?<=/task/)[0-9]+(?=/|\Z)"), b"[tid]"),
    (re.compile(rb"(?<![0-9a-f])[0-9a-f]{32,64}(?![0-9a-f])"), b"[hash]"),
    (re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"), b"[uuid]"),
)

_CHANGING = re.compile(rb"/proc/[0-9]|/task/[0-9]|[0-9a-f]{32}|[0-9a-f]{8}-")


def kind_of(line: Line) -> str:
    """`file`, `mount`, `capability`, ...; `unknown` where the line tells nothing that is known."""
    fields = line.fields
    operation = line.operation
    kind = _KINDS.get(operation)
    if kind is not None:
        return kind
    if "capname" in fields or "capability" in fields:
        return "capability"
    if operation.startswith("dbus_"):
        return "dbus"
    if operation.startswith("uring_"):
        return "io_uring"
    if "mqueue" in operation or fields.get("class", b"").endswith(b"mqueue"):
        return "mqueue"
    if "family" in fields:
        return "network"
    return "file" if "name" in fields or fields.get("class") == b"file" else "unknown"


def steady(name: bytes) -> bytes:
    """A name without what is another one the next time: process numbers, hashes, UUIDs."""
    if _CHANGING.search(name) is None:
        return name
    for pattern, word in _STEADY:
        name = pattern.sub(word, name)
    return name


def object_of(line: Line, kind: str) -> str:
    """What it was about, for people and for programs; printable."""
    fields = line.fields
    name = fields.get("name", b"")
    if kind == "file":
        target = fields.get("target") if line.operation in ("link", "rename_dest") else None
        return printable(steady(name)) + (f" to {printable(steady(target))}" if target else "")
    if kind == "mount":
        words = [fields.get("fstype", b""), fields.get("srcname", b"")]
        return " ".join(printable(steady(word)) for word in [*words, b"on", name] if word)
    if kind == "pivot_root":
        return f"{printable(steady(name))} (old root: {printable(steady(fields.get('srcname', b'')))})"
    if kind == "capability":
        return printable(fields.get("capname") or fields.get("name") or fields.get("capability", b""))
    if kind == "signal":
        return f"{printable(fields.get('signal', b''))} {printable(fields.get('peer', b''))}".strip()
    if kind == "network":
        protocol = fields.get("protocol", b"")
        words = [
            fields.get("family", b""),
            fields.get("sock_type", b""),
            b"" if protocol == b"0" else protocol,
        ]
        if words[0] == b"unix":
            words = [*words[:2], *(fields[key] for key in ("addr", "peer_addr", "peer") if fields.get(key))]
        return " ".join(printable(steady(word)) for word in words if word)
    if kind == "dbus":
        keys = ("bus", "name", "path", "interface", "member", "method")
        peer = fields.get("peer_label") or fields.get("peer_profile", b"")
        return " ".join(printable(word) for word in [*(fields.get(key, b"") for key in keys), peer] if word)
    for key in ("target", "peer", "tcontext", "name"):
        if fields.get(key):
            return printable(steady(fields[key]))
    return ""


def requested_of(line: Line, kind: str) -> str:
    """What was asked of it: letters of a file, words, a mount's flags."""
    fields = line.fields
    if kind == "mount":
        flags = ", ".join(line.words("flags"))
        data = fields.get("options", b"")
        return printable(flags) + (f"; {printable(data)}" if data else "")
    for key in ("requested_mask", "requested", "mask", "denied_mask", "denied"):
        if fields.get(key):
            return printable(fields[key])
    return printable(line.operation) if kind in ("network", "change_profile") else ""
