"""May a container start: the decision alone, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from phoenix_hypervisor.plan.hook_codes import HookCode
from phoenix_hypervisor.plan.starts import StartFacts, judge_start

LOADED = ("lxc-a", "lxc-a-unprivileged", "lxc-a-gpu0", "lxc-trial-101")
ROWS: list[tuple[str, dict[str, Any], HookCode | None, bool]] = [
    ("as declared", {"assigned": "lxc-a"}, None, True),
    ("its variant", {"assigned": "lxc-a", "wanted": "lxc-a-unprivileged"}, None, True),
    ("another", {"assigned": "lxc-a-unprivileged"}, HookCode.HELD_NOT_ASSIGNED, False),
    ("no line", {"assigned": None}, HookCode.HELD_NOT_ASSIGNED, False),
    # A profile that refuses other containers' GPUs is no spelling of the one that does not.
    ("scoped", {"assigned": "lxc-a-gpu0", "wanted": "lxc-a-gpu0", "exact": True}, None, True),
    (
        "not scoped",
        {"assigned": "lxc-a", "wanted": "lxc-a-gpu0", "exact": True},
        HookCode.HELD_NOT_ASSIGNED,
        False,
    ),
    ("on trial", {"assigned": "lxc-trial-101", "trial": "lxc-trial-101"}, None, True),
    ("no trial", {"assigned": "lxc-trial-101"}, HookCode.HELD_NOT_ASSIGNED, False),
    ("declared on trial", {"assigned": "lxc-a", "trial": "lxc-trial-101"}, None, True),
    ("not loaded", {"assigned": "lxc-a", "loaded": ()}, HookCode.HELD_UNLOADED, False),
    (
        "trial not loaded",
        {"assigned": "lxc-trial-101", "trial": "lxc-trial-101", "loaded": ("lxc-a",)},
        HookCode.HELD_UNLOADED,
        False,
    ),
    ("kernel off", {"assigned": "lxc-a", "loaded": (), "kernel_on": False}, HookCode.HELD_KERNEL_OFF, False),
    (
        "nothing to load",
        {"assigned": None, "declared": "unconfined", "wanted": None, "loaded": (), "kernel_on": False},
        None,
        True,
    ),
    ("by its line", {"assigned": "generated", "declared": "generated", "wanted": None}, None, True),
    (
        "unconfined by hand",
        {"assigned": "unconfined", "declared": "generated", "wanted": None},
        HookCode.HELD_NOT_ASSIGNED,
        False,
    ),
    (
        "explicit",
        {"assigned": "unconfined", "declared": "unconfined", "wanted": "unconfined", "loaded": ()},
        None,
        True,
    ),
    (
        "a stack",
        {"assigned": "lxc-a//&lxc-b", "declared": None, "wanted": None},
        HookCode.HELD_UNLOADED,
        False,
    ),
    (
        "a namespace of its own",
        {"assigned": "lxc-a//&:lxc-x:unconfined", "declared": None, "wanted": None},
        HookCode.HOOK_UNDECLARED,
        True,
    ),
    ("undeclared", {"assigned": "unchanged", "declared": None}, HookCode.HOOK_UNDECLARED, True),
]


@pytest.mark.parametrize(
    ("facts", "code", "allowed"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_a_start(facts: dict[str, Any], code: HookCode | None, allowed: bool) -> None:
    usual = {"declared": "lxc-a", "wanted": "lxc-a", "loaded": LOADED, "kernel_on": True}
    verdict = judge_start(StartFacts(name="101", **{**usual, **facts}))
    assert verdict.allowed is allowed
    assert (None if verdict.note is None else verdict.note.code) == code
