"""Everything that needs no host: configuration, schema, sources, proofs.

Owns asking for each of them once; they are judged in their own rooms.
"""

from __future__ import annotations

from collections.abc import Callable

from phoenix_hypervisor.engine.results import Stage
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.errors import Problem, ProblemsError
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.facts import Proof
from phoenix_hypervisor.profiles.features import PACKED, packed, same_lists
from phoenix_hypervisor.profiles.prove import prove
from phoenix_hypervisor.profiles.sources import OPTIONAL
from phoenix_hypervisor.profiles.store import Store
from phoenix_hypervisor.values import dataclass, replace


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
    kernels: tuple[str, ...]
    """The packed kernel lists that every profile was proven for, too."""


def check(session: Session, progress: Callable[[Stage], None], *, quick: bool = False) -> Checked:
    """Check configuration, schema and sources; raises ProblemsError with every fault.

    The sources are proven for the kernel in force, and where the operator names none for every
    packed kernel list; with `quick` for the kernel in force alone.
    """
    problems: list[Problem] = []
    checked: list[tuple[str, str]] = []
    try:
        desired = session.desired
        checked.append((session.config_path, f"{len(desired.containers)} containers"))
    except ProblemsError as error:
        problems += error.problems
    kernels = () if quick or session.settings.features is not None else tuple(PACKED)
    store = Store(session.host, session.sources, session.parser, recorded=False)
    proof = Proof()
    progress(Stage(0, 1 + len(same_lists(kernels)), session.parser.features.shown))
    try:
        proof = _proven(session, store)
    except ProblemsError as error:
        problems += error.problems
    if problems:
        raise ProblemsError("check failed", problems, where=session.config_path)
    for profile in store.profiles():
        made = f" (as {profile.name})" if profile.name in session.sources.made_of else ""
        checked.append((profile.source, f"compiles to {len(proof.blobs[profile.name])} bytes{made}"))
    if session.sources.made_of:
        checked += _pairs(session, proof)
    _prove_for(session, kernels, progress)
    accepted, words = store.optional_accepted()
    return Checked(
        checked=tuple(checked),
        left_out=() if accepted else tuple(f"{OPTIONAL}/{name}" for name in sorted(session.sources.optional)),
        refusal=words,
        features=session.parser.features.shown,
        parser=".".join(map(str, session.parser.version)),
        kernels=kernels,
    )


def _pairs(session: Session, proof: Proof) -> list[tuple[str, str]]:
    """That scoped profiles open no other container's GPUs; raises ProblemsError where one does."""
    from phoenix_hypervisor.engine.scoping import prove_pairs

    found = prove_pairs(session.desired, session.host, proof.blobs)
    if found.problems:
        raise ProblemsError("check failed", list(found.problems), where=session.config_path)
    told = [("GPUs", f"{found.proven} pairs of containers: no policy opens the other's nodes by name")]
    if found.cgroup_only:
        who = ", ".join(found.cgroup_only)
        text = "can make nodes of any name: there only the device cgroup stands behind the profile"
        told.append((f"container {who}", text))
    return told


def _proven(session: Session, store: Store) -> Proof:
    """The proof of every shipped profile; raises ProblemsError for faults and for warnings."""
    tests = session.policy_tests(optional=store.optional_accepted()[0])
    proof = prove(store, store.profiles(), tests)
    if proof.warnings:
        raise ProblemsError(
            "the parser warns",
            [Problem(text, path, code=Code.PARSER_WARNING) for path, text in proof.warnings],
        )
    if proof.complaining:
        text = "is in complain mode, which refuses nothing: it only logs"
        raise ProblemsError(
            "a profile confines nothing",
            [
                Problem(text, path, hint="take the flag out", code=Code.ONLY_COMPLAINS)
                for path in proof.complaining
            ],
        )
    return proof


def _prove_for(session: Session, kernels: tuple[str, ...], progress: Callable[[Stage], None]) -> None:
    """Prove every profile for other kernels; each fault is told once, with the kernels it is seen for."""
    found: dict[Problem, list[str]] = {}
    alike, kernel = same_lists(kernels), session.parser.features.kernel
    for number, names in enumerate(alike):
        progress(Stage(1 + number, 1 + len(alike), ", ".join(names)))
        if kernel is not None and kernel in map(packed, names):
            continue  # proven already: it is the kernel in force
        parser = session.parser_for(names[0])
        try:
            _proven(session, Store(session.host, session.sources, parser, recorded=False))
        except ProblemsError as error:
            for problem in error.problems:
                found.setdefault(problem, []).extend(names)
    if found:
        problems = [replace(p, message=f"for {', '.join(names)}: {p.message}") for p, names in found.items()]
        raise ProblemsError("check failed", problems, where=session.config_path)
