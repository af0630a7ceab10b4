"""What people read of a trial's codes.

Owns the words of those codes; `cli.notes` has all others.  Must not decide anything.
"""

from __future__ import annotations

from collections.abc import Mapping

from phoenix_hypervisor.cli.phrases import Entry, Words, quoted
from phoenix_hypervisor.plan.model import Note
from phoenix_hypervisor.plan.roles import Coded
from phoenix_hypervisor.plan.trial_codes import TrialCode

_END = "`phoenix try {ctid} --end` ends it"


def _stays_closed(note: Note) -> Words:
    rules = " ".join(map(str, note.data["rules"]))
    return quoted(f"stays refused: {rules}"), quoted(f"it would let through: {note.data['question']}")


TRIALS: Mapping[Coded, Entry] = {
    TrialCode.ON_TRIAL: ("is on trial under {profile} until {until}", _END),
    TrialCode.OVERDUE: (
        "its trial under {profile} was to end at {until}, and the kernel still lets more through",
        "phoenix try {ctid} --end",
    ),
    TrialCode.ENDED: (
        "its trial under {profile} was ended by a boot or a reload; its line is still the trial's",
        "phoenix try {ctid} --end",
    ),
    TrialCode.NOT_READY: ("is not installed and loaded as its source says", "phoenix setup"),
    TrialCode.NO_COPY: lambda note: (quoted(f"{note.data['why']}, so it has no trial"), "{next}"),
    TrialCode.STAYS_CLOSED: _stays_closed,
    TrialCode.NOTHING_OPENED: (
        "the trial refuses all that its profile refuses: every bit of it is a danger",
        None,
    ),
    TrialCode.NO_TIMER: (
        "no systemd here: nothing ends the trial by itself at {until}",
        "`phoenix try {ctid} --end`",
    ),
    TrialCode.AT_START: (
        "runs under {label}: the trial begins with its next start",
        "--restart, or restart it yourself",
    ),
    TrialCode.RUNS_ON: (
        "runs under the trial's name until its next start, and is refused all that {profile} refuses",
        None,
    ),
    TrialCode.LINE_STAYS: ("its profile line is not the trial's any more ({assigned}), and stays", None),
}
