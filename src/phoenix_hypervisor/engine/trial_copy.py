"""A trial's copy of a profile: made of the installed one, compiled, and tried for dangers.

Owns that way, and what must hold before: the profile is installed and loaded as its source.  What is copied
and what may be added is `policy.trial_rules`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from phoenix_hypervisor.engine.results import Refused
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.model import Note
from phoenix_hypervisor.plan.model import profile as profile_target
from phoenix_hypervisor.plan.trial_codes import TrialCode
from phoenix_hypervisor.plan.trials import Trial
from phoenix_hypervisor.policy import trial_rules as rules
from phoenix_hypervisor.policy.assertions import PolicyTest
from phoenix_hypervisor.policy.profile import Profile
from phoenix_hypervisor.policy.reader import read_policy
from phoenix_hypervisor.policy.sockets import Asks
from phoenix_hypervisor.profiles.includes import APPARMOR_D, Closures
from phoenix_hypervisor.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """Both copies, compiled."""

    closed: bytes
    """The plain one."""
    open: bytes
    """The one that lets more through."""
    lets: tuple[str, ...]
    """The rules that it has beyond the plain one."""
    refused: tuple[tuple[tuple[str, ...], str], ...]
    """Rules that it lacks, each with the danger that they would let through, or the compiler's words."""


def require_ready(session: Session, name: str) -> None:
    """The profile as it would confine the container after `apply`: installed and loaded as its source."""
    if name not in session.sources.profiles:
        known = ", ".join(sorted(session.sources.profiles))
        raise PhoenixError(f"profile {name} has no source, so it cannot be tried", hint=f"sources: {known}")
    one = next(state for state in session.store.profiles() if state.name == name)
    stale = {state.path for state in session.store.files() if state.installed != state.wanted}
    if one.why is not None or stale.intersection(one.includes):
        raise Refused([Note(TrialCode.NOT_READY, profile_target(name))])


def copied_text(session: Session, trial: Trial) -> bytes:
    """The source of the plain copy, made of the installed profile."""
    data = session.store.read_installed(trial.profile)
    assert data is not None
    where = session.host.root.shown(f"{APPARMOR_D}/{trial.profile}")

    def resolve(path: str) -> tuple[str, bytes] | list[tuple[str, bytes]] | None:
        full = f"{APPARMOR_D}/{path}"
        found = session.host.content(full)
        if isinstance(found, list):
            inner = [(f"{full}/{name}", session.host.content(f"{full}/{name}")) for name in sorted(found)]
            return [(name, content) for name, content in inner if isinstance(content, bytes)]
        return None if found is None else (full, found)

    try:
        return rules.copy(data, where, trial.profile, trial.name, resolve)
    except PhoenixError as error:
        target = error.where or profile_target(trial.profile)
        note = Note(TrialCode.NO_COPY, target, {"why": error.message, "next": error.hint})
        raise Refused([note]) from error


def copies(session: Session, trial: Trial, text: bytes) -> Copies:
    """Both copies of what `session`'s host has installed."""
    parser = session.parser_of_installed()
    where = session.host.root.locate(trial.file)
    tests = session.policy_tests(optional=session.store.optional_accepted()[0])

    def compiled(source: bytes) -> bytes:
        return parser.compile_text(source, where, optional=False)

    return build(text, where, trial.name, compiled, tests, parser.asks)


def build(
    text: bytes,
    where: str,
    name: str,
    compiled: Callable[[bytes], bytes],
    tests: Sequence[PolicyTest],
    asks: Asks,
) -> Copies:
    """Both copies of the plain one's source `text`: the open one has every rule that a trial may add and that
    opens no danger.  Raises PhoenixError where the plain one does not compile."""

    def the(blob: bytes) -> Profile:
        return next(one for one in read_policy(blob).profiles if one.label == name)

    closed = compiled(text)
    held = rules.dangers(the(closed), tests, asks)
    kept: list[rules.Extra] = []
    refused: list[tuple[tuple[str, ...], str]] = []
    opened = closed
    for extra in rules.missing(the(closed), asks):
        try:
            blob = compiled(rules.opened(text, where, [*kept, extra]))
        except PhoenixError as error:
            refused.append((extra.texts, error.message))
            continue
        through = rules.opens(the(blob), held, asks)
        if through:
            refused.append((extra.texts, str(through[0])))
        else:
            kept.append(extra)
            opened = blob
    lets = tuple(rule for extra in kept for rule in extra.texts)
    return Copies(closed=closed, open=opened, lets=lets, refused=tuple(refused))


def closure_of(session: Session, text: bytes) -> str:
    return Closures(lambda path: session.host.content(f"{APPARMOR_D}/{path}")).of(text)[0]


def installed_copy(session: Session, trial: Trial) -> bytes | None:
    """What an earlier trial left in the copy's place.  Raises Refused for somebody else's file."""
    data = session.host.read(trial.file)
    if data is not None and not session.store.manifest.owns(trial.file, data):
        note = Note(
            Code.FILE_FOREIGN, trial.file, {"source": f"{APPARMOR_D}/{trial.profile}", "name": trial.name}
        )
        raise Refused([note])
    return data
