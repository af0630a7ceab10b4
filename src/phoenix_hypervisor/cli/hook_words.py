"""What people read of the hook: its codes, and where its snippet is.

Owns those words; `cli.notes` has all others.  Each is one line of a task's log.  Must not decide anything.
"""

from __future__ import annotations

from collections.abc import Mapping

from phoenix_hypervisor.cli.phrases import Entry, Words, line_words, quoted
from phoenix_hypervisor.plan.hook_codes import HookCode
from phoenix_hypervisor.plan.model import Note
from phoenix_hypervisor.plan.roles import Coded


def _not_assigned(note: Note) -> Words:
    have, want = line_words(note.data["assigned"]), line_words(note.data["declared"])
    return quoted(f"not started: declared {want}, assigned {have}"), "phoenix apply {it}"


def _undeclared(note: Note) -> Words:
    have = line_words(note.data["assigned"])
    return quoted(f"not declared, so it starts under what is assigned ({have})"), None


HOOK: Mapping[Coded, Entry] = {
    HookCode.HELD_NOT_ASSIGNED: _not_assigned,
    HookCode.HELD_UNLOADED: ("not started: profile {name} is not loaded", "phoenix setup"),
    HookCode.HELD_KERNEL_OFF: (
        "not started: profile {name} is not loaded, because AppArmor is off in this kernel",
        "boot with apparmor=1 security=apparmor",
    ),
    HookCode.HOOK_UNDECLARED: _undeclared,
}
