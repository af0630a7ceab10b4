"""Comparing what profiles say beside their rules.

Owns modes, flags, limits, names of attributes and all else that stands in a profile once.  Must not
look at an automaton.
"""

from __future__ import annotations

from collections.abc import Iterator

from phoenix_hypervisor.policy import constants
from phoenix_hypervisor.policy.differences import Difference, Pair
from phoenix_hypervisor.policy.profile import PathFlag, Profile
from phoenix_hypervisor.policy.queries import show


def settings(pair: Pair) -> Iterator[Difference]:
    """Each setting that the two profiles have otherwise, with both values."""
    one, two = _settings(pair.a), _settings(pair.b)
    for word in dict.fromkeys([*one, *two]):
        here, there = one.get(word, "unset"), two.get(word, "unset")
        if here != there:
            yield Difference(profile=pair.name, kind=word, only_a=here, only_b=there, witness="")


def _settings(profile: Profile) -> dict[str, str]:
    """All settings by name; those that are rarely there only where they are."""
    found = {
        "mode": profile.mode.name.lower(),
        "audit": str(profile.audit).lower(),
        "path flags": _path_flags(profile.path_flags),
    }
    rare = {
        "hat": "true" if profile.hat else "",
        "disconnected path": show(profile.disconnected) if profile.disconnected else "",
        "rename": show(profile.rename) if profile.rename else "",
        "kill signal": _number(profile.kill_signal),
        "error": _number(profile.error),
        "extended attributes": ", ".join(map(show, profile.xattrs)),
        "secmark": ", ".join(map(_secmark, profile.secmark)),
    }
    found |= {word: value for word, value in rare.items() if value}
    found |= {f"rlimit {constants.RLIMITS[i]}": _limit(value) for i, value in profile.rlimits.items()}
    return found | {f"data {show(name)}": show(value) for name, value in profile.data.items()}


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _path_flags(flags: int) -> str:
    words = [flag.name.lower() for flag in PathFlag if flags & flag]
    rest = flags & ~sum(PathFlag)
    return ",".join([*words, f"{rest:#x}"] if rest else words) or "none"


def _limit(value: int) -> str:
    return "infinity" if value == 2**64 - 1 else str(value)


def _secmark(entry: tuple[int, int, bytes]) -> str:
    audit, deny, label = entry
    return " ".join(["audit"] * bool(audit) + ["deny"] * bool(deny) + [show(label)])
