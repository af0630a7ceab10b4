"""The codes of trials.

Owns their rows, in the form of `plan.codes`.  Must hold no words for people beyond the meaning.
"""

from __future__ import annotations

from phoenix_hypervisor.plan.roles import Coded, Role
from phoenix_hypervisor.plan.roles import row as _row

R, S, W, F = Role.REFUSAL, Role.SKIP, Role.WARNING, Role.FINDING


class TrialCode(Coded):
    """One code, equal to its name."""

    ON_TRIAL = _row(
        "on-trial",
        (R, S, F),
        "The container is on trial: until that ends, nothing else changes its profile.",
        "ctid profile until",
    )
    OVERDUE = _row(
        "trial-overdue",
        (F,),
        "A trial's time is over, and the kernel still lets through what its profile does not allow.",
        "ctid profile until",
    )
    ENDED = _row(
        "trial-ended",
        (F,),
        "A trial was ended by a boot or a reload: its copy refuses what the profile refuses, and the line is"
        " still the trial's.",
        "ctid profile",
    )
    NOT_READY = _row("trial-not-ready", (R,), "The profile to try is not installed and loaded as its source.")
    NO_COPY = _row("trial-no-copy", (R,), "The profile cannot be copied under a trial's name.", "why next")
    STAYS_CLOSED = _row(
        "trial-stays-closed",
        (W,),
        "Rules that a trial does not add: with them a danger would be let through, or they do not compile.",
        "rules question",
    )
    NOTHING_OPENED = _row(
        "trial-opens-nothing", (W,), "Whatever the profile refuses is a danger, so the trial refuses it too."
    )
    NO_TIMER = _row(
        "trial-no-timer", (W,), "The host has no systemd, so nothing ends the trial.", "ctid until"
    )
    AT_START = _row(
        "trial-at-start",
        (S,),
        "The container runs under another label: the trial begins with its next start.",
        "ctid label",
    )
    RUNS_ON = _row(
        "trial-runs-on",
        (S,),
        "The container runs under the trial's closed copy, which refuses what the profile refuses, until its"
        " next start.",
        "ctid profile",
    )
    LINE_STAYS = _row(
        "trial-line-kept", (S,), "The profile line is not the trial's any more, so it stays.", "assigned"
    )
