"""Everything that needs no host: configuration, schema, sources, proofs.

Owns asking for each of them once; they are judged in their own rooms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from phoenix_hypervisor.engine.results import Step
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.errors import Problem, ProblemsError
from phoenix_hypervisor.profiles.prove import prove
from phoenix_hypervisor.profiles.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found good, and with what it was compiled."""

    checked: tuple[tuple[str, str], ...]
    """Path and result."""
    left_out: tuple[str, ...]
    """Optional includes that this parser does not take."""
    refusal: str
    """The parser's words on them."""
    features: str
    parser: str


def check(session: Session, progress: Callable[[Step], None]) -> Checked:
    """Check configuration, schema and sources; raises ProblemsError with every fault."""
    problems: list[Problem] = []
    checked: list[tuple[str, str]] = []
    warnings: list[tuple[str, str]] = []
    try:
        desired = session.desired
        checked.append((session.config_path, f"{len(desired.containers)} containers"))
    except ProblemsError as error:
        problems += error.problems
    store = Store(session.host, session.sources, session.parser, recorded=False)
    profiles = store.profiles()
    for number, profile in enumerate(profiles):
        progress(Step(number, len(profiles), profile.name))
        try:
            proof = prove(store, [profile], session.policy_tests)
        except ProblemsError as error:
            problems += error.problems
            continue
        warnings += proof.warnings
        checked.append((profile.source, f"compiles to {len(proof.blobs[profile.name])} bytes"))
    shown = session.parser.features.shown
    if problems:
        raise ProblemsError("check failed", problems, where=session.config_path)
    if warnings:
        raise ProblemsError("the parser warns", [Problem(text, path) for path, text in warnings])
    accepted, words = store.optional_accepted()
    return Checked(
        checked=tuple(checked),
        left_out=() if accepted else tuple(sorted(session.sources.optional)),
        refusal=words,
        features=shown,
        parser=".".join(map(str, session.parser.version)),
    )
