"""Which of our lines a container's configuration should have.

Owns two decisions: which variant of a declared profile fits the container's kind, and which lines
belong beside the profile line.  Pure; must not read anything nor edit anything.

A line that somebody else wrote is kept as it stands.  A line that Phoenix wrote goes again with
its reason.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from phoenix_hypervisor.plan.actions import NESTING_KEY, SECCOMP_KEY, LineChange
from phoenix_hypervisor.values import dataclass, field

UNPRIVILEGED = "-unprivileged"
"""NAME-unprivileged is what NAME stands for in an unprivileged container."""
_GENERATED = ("generated", "unconfined", "unchanged")
"""Values of the profile line that name no profile of their own (lxc.container.conf(5))."""


def variant(declared: str, unprivileged: bool, shipped: Collection[str]) -> str:
    """The profile that a declared name stands for in a container of that kind."""
    name = declared + UNPRIVILEGED
    return name if unprivileged and declared in shipped and name in shipped else declared


def names_a_profile(value: str | None) -> bool:
    """Whether a profile line of that value takes the place of what Proxmox would generate."""
    return value is not None and value not in _GENERATED


def means(standing: str | None, declared: str, value: str | None) -> bool:
    """Whether the profile line that stands (None: none) means `declared`, for which `value` would be written.

    A name may stand where its variant would be written.  `generated` is what Proxmox does without a
    line, and what a line of that value asks for; without a line plain LXC has a default of its own.
    """
    return standing in (value, declared) or (standing is None and declared == "generated")


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFacts:
    """What decides over the lines of one container."""

    profile: str | None
    """What the profile line is set to; None: no line."""
    shipped: Collection[str]
    """The profiles that come with Phoenix or its configuration."""
    unprivileged: bool
    nesting: bool
    """Its features say nesting=1."""
    companion: str | None
    """Path of the seccomp companion; None where the host has none, or the container is to have none."""
    now: Mapping[str, str | None] = field(default_factory=dict)
    """What counts of each key today; None or missing: no line."""
    written: Mapping[str, str] = field(default_factory=dict)
    """What Phoenix itself wrote beside the profile line, by key."""


def wanted(facts: LineFacts) -> dict[str, str | None]:
    """What each line beside the profile line would be; None: no line of ours.

    Nesting: a named profile makes Proxmox write no `allow_nesting` (PVE::LXC::make_apparmor_config),
    and without it LXC mounts no procfs and sysfs below /dev/.lxc, so that nested namespaces cannot
    mount their own.  Companion: a privileged container under one of our profiles.
    """
    named = names_a_profile(facts.profile)
    ours = facts.profile in facts.shipped
    return {
        NESTING_KEY: "1" if named and facts.nesting else None,
        SECCOMP_KEY: facts.companion if ours and not facts.unprivileged else None,
    }


def beside(facts: LineFacts) -> tuple[LineChange, ...]:
    """The changes of the lines beside the profile line."""
    changes = []
    for key, value in wanted(facts).items():
        now = facts.now.get(key)
        ours = now is not None and facts.written.get(key) == now
        if now == value or not (ours or now is None):
            continue
        changes.append(LineChange(key=key, value=value, old=now))
    return tuple(changes)


def kept(facts: LineFacts) -> tuple[str, ...]:
    """Keys of which somebody else's line counts, and not what we would write."""
    return tuple(
        key
        for key, value in wanted(facts).items()
        if value is not None and facts.now.get(key) not in (None, value, facts.written.get(key))
    )


def beside_and_kept(facts: LineFacts) -> tuple[tuple[LineChange, ...], tuple[str, ...]]:
    """What `beside` and `kept` say; most containers have no such line and need none."""
    if not facts.now and not any(wanted(facts).values()):
        return (), ()
    return beside(facts), kept(facts)
