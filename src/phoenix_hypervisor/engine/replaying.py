"""Which logged events a profile lets through.

Owns asking a profile for every event of a log, with no kernel at all.  What a question answers is the
policy room's.
"""

from __future__ import annotations

from phoenix_hypervisor.audit.groups import MAX_GROUPS, REFUSALS, Group, Groups
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.values import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from phoenix_hypervisor.audit.event import Event
    from phoenix_hypervisor.audit.line import Line
    from phoenix_hypervisor.engine.denials import Watch
    from phoenix_hypervisor.engine.policy_sources import PolicySources
    from phoenix_hypervisor.policy.evaluate import Evaluator


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One group of events, asked again."""

    group: Group
    allowed: int
    refused: int
    not_asked: int
    reason: str
    """Why the last one that was not let through was not: a word of the policy room's, or a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A log, asked of one profile."""

    profile: str
    """What was named."""
    replayed: tuple[Replayed, ...]
    """Newest last."""
    lines: int
    unread: int
    kernel: str
    """As of `ask.Answered`."""

    @property
    def allowed(self) -> int:
        return sum(one.allowed for one in self.replayed)

    @property
    def refused(self) -> int:
        return sum(one.refused for one in self.replayed)

    @property
    def not_asked(self) -> int:
        return sum(one.not_asked for one in self.replayed)


class _Asker:
    """Asks one profile, or of a file with several the one that a line names."""

    def __init__(self, sources: PolicySources, word: str) -> None:
        from phoenix_hypervisor.engine.ask import find, load_policy
        from phoenix_hypervisor.policy.evaluate import Evaluator

        self._asks = sources.asks()
        self._each: dict[str, Evaluator] = {}
        self._only: Evaluator | None = None
        if sources.is_file(word):
            policy = load_policy(sources, word)
            self._each = {profile.label: Evaluator(profile, self._asks) for profile in policy.profiles}
            if len(self._each) == 1:
                (self._only,) = self._each.values()
        else:
            self._only = Evaluator(find(sources, None, files=False)(word), self._asks)

    def ask(self, line: Line) -> tuple[bool | None, str]:
        """Whether it is let through (None: it cannot be asked), and why not."""
        from phoenix_hypervisor.audit.asked import ask_again

        judge = self._only or self._each.get(line.text("profile") or line.text("label"))
        if judge is None:
            return None, "the file holds no profile of that name"
        try:
            asked = ask_again(line, judge.profile)
            if asked.refused is not None and not judge.unconfined:
                return False, asked.refused
            answer = judge.ask(asked.question)
        except PhoenixError as error:
            return None, error.message
        return answer.allowed, answer.reason.value


def replay(watch: Watch, sources: PolicySources, profile: str) -> Replay:
    """Ask `profile` (a name, a source or a compiled file) for every denial that `watch` reads.

    Raises PhoenixError.
    """
    asker = _Asker(sources, profile)
    watch.open()
    groups, tallies = Groups(), dict[str, list[int]]()
    reasons: dict[str, str] = {}
    for event in watch.events():
        counted = groups.add(event) if _can_be_asked(event) else None
        if counted is None:
            continue
        if len(tallies) > 2 * MAX_GROUPS:
            alive = {group.id for group in groups.found()}
            tallies = {id: tally for id, tally in tallies.items() if id in alive}
            reasons = {id: reason for id, reason in reasons.items() if id in alive}
        allowed, reason = asker.ask(event.line)
        tally = tallies.setdefault(counted[0], [0, 0, 0])
        tally[0 if allowed else 2 if allowed is None else 1] += 1
        if not allowed:
            reasons[counted[0]] = reason
    found = [group for group in groups.found() if watch.asked_for(group)]
    so_far = watch.so_far()
    return Replay(
        profile=profile,
        replayed=tuple(
            Replayed(
                group=group,
                allowed=tallies[group.id][0],
                refused=tallies[group.id][1],
                not_asked=tallies[group.id][2],
                reason=reasons.get(group.id, ""),
            )
            for group in found
        ),
        lines=so_far.lines,
        unread=so_far.unread,
        kernel=sources.kernel(),
    )


def _can_be_asked(event: Event) -> bool:
    return event.line.verdict in REFUSALS
