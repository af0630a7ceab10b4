"""What each rule of a source does by itself.

Owns the source in which every rule stands in a profile of its own: one compile of it tells about all
rules, where leaving them out one by one takes a compile each.  Must not conclude from it: rules act
together (priorities, deny rules, execution), and only the whole source says how.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.policy.profile import Policy, Profile
from phoenix_hypervisor.policy.reader import read_policy
from phoenix_hypervisor.policy.source import Source, Statement
from phoenix_hypervisor.values import dataclass, replace

Compile = Callable[[bytes], bytes]
"""From the text of a source to its blob; raises PhoenixError where it does not compile."""

_NAME = "phoenix-rule-{}"
_NOTHING = "phoenix-rule-none"
_HEAD = re.compile(rb"\s*(?:(?:priority\s*=\s*[+-]?\d+|audit|quiet|deny|allow|owner|other)\s+)*")
_ATTACHMENT = "@{attach_path}"


@dataclass(frozen=True, slots=True, eq=False)
class Alone:
    """The rules, each compiled by itself."""

    nothing: Profile
    """A profile without rules."""
    profiles: dict[int, Profile]
    """By the start of a rule, a profile with just that rule; without those that need others to compile."""
    compiles: int


def rules_alone(source: Source, compile: Compile, rules: Sequence[Statement]) -> Alone:
    """Compile each of `rules` in a profile of its own.

    A deny rule loses its `audit`: a compiled policy does not tell an audited one from no rule.
    Raises PhoenixError where not even a profile without rules compiles.
    """
    builder = _Builder(source, compile, _preamble(source))
    usable = [rule for rule in rules if _ATTACHMENT not in rule.text]
    found = builder.build(usable)
    if found is None:
        found = builder.build([])
        if found is None:
            assert builder.error is not None
            raise builder.error
        builder.halve(usable, found)
    nothing = found.pop(-1)
    return Alone(nothing, found, builder.compiles)


def rules_together(
    source: Source, compile: Compile, groups: Sequence[Sequence[Statement]]
) -> list[Policy] | None:
    """A policy of one profile for each group of rules, in one compile; None where it does not compile."""
    if any(_ATTACHMENT in rule.text for rules in groups for rule in rules):
        return None
    parts = [_preamble(source)]
    for number, rules in enumerate(groups):
        body = b"\n".join(_written(source, rule, as_it_is=True) for rule in rules)
        parts += [f"profile {_NAME.format(number)} {{\n".encode(), body, b"\n}\n"]
    try:
        policy = read_policy(compile(b"".join(parts)))
        found = [policy.get(_NAME.format(number)) for number in range(len(groups))]
    except PhoenixError:
        return None
    return [replace(policy, profiles=(profile,)) for profile in found]


def _preamble(source: Source) -> bytes:
    """What stands before the profiles: variables, includes, the abi."""
    outside = (s for s in source.statements if not s.profile and s.kind != "block")
    return b"".join(source.text[s.start : s.end] + b"\n" for s in outside)


class _Builder:
    def __init__(self, source: Source, compile: Compile, preamble: bytes) -> None:
        self.source = source
        self.compile = compile
        self.preamble = preamble
        self.compiles = 0
        self.error: PhoenixError | None = None

    def build(self, rules: Sequence[Statement]) -> dict[int, Profile] | None:
        """The profiles by the start of their rules, that without rules at -1; None where it fails."""
        parts = [self.preamble, f"profile {_NOTHING} {{\n}}\n".encode()]
        for number, rule in enumerate(rules):
            parts += [f"profile {_NAME.format(number)} {{\n".encode(), _written(self.source, rule), b"\n}\n"]
        self.compiles += 1
        try:
            policy = read_policy(self.compile(b"".join(parts)))
            return {-1: policy.get(_NOTHING), **_by_rule(policy, rules)}
        except PhoenixError as error:
            self.error = error
            return None

    def halve(self, rules: Sequence[Statement], found: dict[int, Profile]) -> None:
        """Add what compiles to `found`; what does not is searched by halves."""
        if len(rules) < 2:
            return
        middle = len(rules) // 2
        for half in (rules[:middle], rules[middle:]):
            got = self.build(half)
            if got is None:
                self.halve(half, found)
            else:
                found |= got


def _by_rule(policy: Policy, rules: Sequence[Statement]) -> dict[int, Profile]:
    by_name = {profile.label: profile for profile in policy.profiles}
    return {rule.start: by_name[_NAME.format(number)] for number, rule in enumerate(rules)}


def _written(source: Source, rule: Statement, *, as_it_is: bool = False) -> bytes:
    """The rule with the blocks around it, fit for a profile of another name."""
    text = source.text[rule.start : rule.end].replace(b"@{profile_name}", rule.profile.encode())
    heads = [head.encode("utf-8", "backslashreplace") for head in rule.within]
    if rule.denies and not as_it_is:
        heads = [_without_audit(head) for head in heads]
        text = _without_audit(text)
    return b" ".join([*heads, text, *(b"}" for _ in heads)])


def _without_audit(text: bytes) -> bytes:
    match = _HEAD.match(text)
    end = match.end() if match else 0
    return re.sub(rb"\baudit\b", b"     ", text[:end]) + text[end:]
