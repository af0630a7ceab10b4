"""What people read of the codes of GPUs.

Owns the words of `plan.gpu_codes`, and the next step; `cli.notes` has all others.  Must not decide anything.
"""

from __future__ import annotations

from collections.abc import Mapping

from phoenix_hypervisor.cli.phrases import Entry, Words, quoted
from phoenix_hypervisor.plan.gpu_codes import GpuCode
from phoenix_hypervisor.plan.model import Note
from phoenix_hypervisor.plan.roles import Coded


def _not_open(note: Note) -> Words:
    walls = ", ".join(note.data["walls"]) or "it opens for one kind of access only"
    text = f"GPU {note.data['gpu']} is assigned, and cannot be used: {walls}"
    why = f"`phoenix gpu --explain {{it}} {note.data['gpu']}` says why"
    write = note.data["write"]
    return quoted(text), f"write `{quoted(write)}`; {why}" if write else why


def _open(note: Note) -> Words:
    how = "can make the nodes of" if note.data["made"] else "can open"
    by = "; ".join(f"`{line}`" for line in note.data["by"])
    gpus = ", ".join(map(str, note.data["gpus"]))
    first = str(note.data["gpus"][0])
    text = f"{how} GPU {gpus}, not assigned to it" + (f": {by}" if by else "")
    return quoted(text), "say so in gpu_assignment, or see `phoenix gpu --explain {it} " + quoted(first) + "`"


def _unknown(note: Note) -> Words:
    words = ", ".join(note.data["words"])
    known = ", ".join(str(number) for number in note.data["known"]) or "none"
    hint = "`phoenix gpu -v` shows numbers and UUIDs; a MIG slice is GPU/GI/CI"
    return quoted(f"{words} is no GPU of this host; it has: {known}"), hint


def _root_only(note: Note) -> Words:
    text = f"GPU {note.data['gpu']} opens for root alone: users inside cannot use it (`{note.data['line']}`)"
    return quoted(text), f"write `{quoted(note.data['write'])}`"


NOTES: Mapping[Coded, Entry] = {
    GpuCode.NOT_OPEN: _not_open,
    GpuCode.OPEN: _open,
    GpuCode.UNKNOWN: _unknown,
    GpuCode.NODE_MISSING: (
        "{path} is not on this host, so that the container does not start (`{line}`)",
        "`nvidia-smi` and `nvidia-modprobe -u -c=0` make NVIDIA's nodes; else take the line out",
    ),
    GpuCode.STALE_NUMBER: (
        "`{line}` has a major number that no driver has any more: {node} is shut",
        "write `{write}`, or better a devN line: it looks the number up at every start",
    ),
    GpuCode.ROOT_ONLY: _root_only,
    GpuCode.ADMIN_NODE: (
        "can open {path}, which administers GPUs for the whole host (`{by}`)",
        "take that line out",
    ),
    GpuCode.RAW_KEPT: lambda note: (
        quoted("raw lines concern GPUs and are kept: " + "; ".join(f"`{one}`" for one in note.data["lines"])),
        "take them out where devN lines take their place",
    ),
    GpuCode.PENDING: (
        "[pve:pending] changes device lines, which the next start puts in place of these",
        "apply or revert these changes first: `pct pending {it}`",
    ),
    GpuCode.NEXT_START: (
        "runs with the devices that it was started with",
        "`phoenix apply {ctid} --restart`",
    ),
    GpuCode.NOT_SCOPED: (
        "scope_gpus does nothing: {profile} is no profile of ours that a variant could be made of",
        'declare one of the shipped profiles; with gpu_assignment "all" there is nothing to refuse',
    ),
    GpuCode.NOT_MANAGED: ("manage_gpus does nothing: plain LXC has no devN lines", None),
}
