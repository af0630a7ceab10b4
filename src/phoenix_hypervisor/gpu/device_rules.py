"""The program that LXC makes of a container's device rules.

Owns what `lxc.cgroup2.devices.allow` and `.deny` mean together: their order, their wildcards, `a`.  Pure;
must not read a configuration: it gets the rules in the order in which LXC reads them.

Source: LXC 5.0 and 6.0, src/lxc/cgroups/cgroup2_devices.c and cgfsng.c; measured in the lab on both
(tests/lab/test_gpu.py).  What differs from cgroup v1, and from what most guides say:

- Before any rule LXC blocks all; `allow a` and `deny a` set what applies by default and forget every rule
  before them.
- While all is blocked only allow rules count, while all is allowed only deny rules: `deny c 195:1 rwm`
  behind `allow c 195:* rwm` does nothing.  It takes back an allow rule of the very same text.
- Without any rule left LXC attaches no program, and everything is open: also after a lone `deny a`.
- `a *:* rwm` where it counts keeps the container from starting; `a` alone is what is meant.
- A rule decides on an access that it has all letters of: `deny c 195:1 w` does not stop O_RDWR.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from phoenix_hypervisor.values import dataclass, replace

READ, WRITE, MKNOD = 1, 2, 4
_LETTERS = {"r": READ, "w": WRITE, "m": MKNOD}
Number = tuple[str, int, int]
"""Kind (`c` or `b`), major and minor number of a device."""

_RULE = re.compile(r"([abc])\s(\*|[0-9]{1,10}):(\*|[0-9]{1,10})\s(.*)", re.DOTALL)
_BY_PATH = re.compile(r"(/[^ ]*) +([^ ].*)", re.DOTALL)
_MOST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Given:
    """One rule as it stands in a configuration."""

    allow: bool
    value: str
    line: str
    """The line, with its place where that is not the container's own configuration."""
    own: bool = True
    """It stands in the container's own configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule as LXC keeps it."""

    allow: bool
    kind: str
    major: int | None
    minor: int | None
    access: str
    """The letters as they are written; LXC compares them as text."""
    line: str
    own: bool = True

    def covers(self, number: Number, wanted: int) -> bool:
        """Whether it decides on that access to that device."""
        kind, major, minor = number
        return (
            self.kind in ("a", kind)
            and self.major in (None, major)
            and self.minor in (None, minor)
            and not wanted & ~sum({_LETTERS[letter] for letter in self.access})
        )

    @property
    def is_of_everything(self) -> bool:
        """Whether it decides on every access to every device: `a *:* rwm`."""
        return self.kind == "a" and self.major is self.minor is None and set(self.access) == set(_LETTERS)

    @property
    def _identity(self) -> tuple[str, int | None, int | None, str]:
        return self.kind, self.major, self.minor, self.access

    def same(self, other: Rule) -> bool:
        """Whether LXC takes it for the same rule, allowed or denied."""
        return self._identity == other._identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What decides on a container's devices."""

    blocks: bool = True
    """Everything that no rule decides on is refused."""
    rules: tuple[Rule, ...] = ()
    """All that were kept, the newest first; those of the other kind than counts among them."""
    default: str = ""
    """The line that set `blocks`; empty: LXC's own default."""
    fault: str = ""
    """A line that LXC cannot read, or that the kernel takes no program with: it does not start then."""

    def decide(self, number: Number, wanted: int) -> tuple[bool, str]:
        """Whether that access is let through, and the line that decides; empty where no line does."""
        if not self.rules:
            return True, ""
        for rule in self.rules:
            if rule.allow is self.blocks and rule.covers(number, wanted):
                return rule.allow, rule.line
        return not self.blocks, self.default

    def access(self, number: Number) -> str:
        """With which access the device can be opened: `rw`, `r`, `w` or nothing.

        `r` where both go through alone and not together: no rule has both letters.
        """
        if self.decide(number, READ | WRITE)[0]:
            return "rw"
        return next((letter for letter in "rw" if self.decide(number, _LETTERS[letter])[0]), "")

    def inert(self) -> tuple[str, ...]:
        """The lines of rules that do not count, in their order."""
        return tuple(rule.line for rule in reversed(self.rules) if rule.allow is not self.blocks)


def program(given: Iterable[Given], number_of: Callable[[str], Number | None]) -> Program:
    """What LXC makes of the rules; `number_of` says which device a path of the host is."""
    found = Program()
    for one in given:
        if one.value == "a":
            found = Program(blocks=not one.allow, default=one.line)
            continue
        rule = _read(one, number_of)
        if rule is None:
            return replace(found, fault=one.line)
        found = replace(found, rules=_added(found, rule))
    for rule in found.rules:
        if rule.allow is found.blocks and rule.is_of_everything:
            # What stands behind it in the program is never reached, which the kernel's verifier refuses.
            return replace(found, fault=rule.line)
    return found


def _added(now: Program, rule: Rule) -> tuple[Rule, ...]:
    for place, old in enumerate(now.rules):
        # A rule that does not count is not looked for: the new one comes beside it.
        if old.same(rule) and old.allow is now.blocks:
            return (*now.rules[:place], rule, *now.rules[place + 1 :])
    return (rule, *now.rules)


def _read(one: Given, number_of: Callable[[str], Number | None]) -> Rule | None:
    by_path = _BY_PATH.fullmatch(one.value) if one.allow else None
    if by_path is not None:
        number, access = number_of(by_path[1]), _access(by_path[2])
        return None if number is None or access is None else _rule(one, *number, access)
    match = _RULE.fullmatch(one.value)
    access = None if match is None else _access(match[4])
    if match is None or access is None:
        return None
    numbers = [None if text == "*" else int(text) for text in (match[2], match[3])]
    if any(number is not None and number > _MOST for number in numbers):
        return None
    return _rule(one, match[1], numbers[0], numbers[1], access)


def _rule(one: Given, kind: str, major: int | None, minor: int | None, access: str) -> Rule:
    return Rule(
        allow=one.allow, kind=kind, major=major, minor=minor, access=access, line=one.line, own=one.own
    )


def _access(text: str) -> str | None:
    """The first three letters; what follows them is not read, what stands in place of one is a fault."""
    found = text[:3]
    return None if set(found) - set(_LETTERS) else found
