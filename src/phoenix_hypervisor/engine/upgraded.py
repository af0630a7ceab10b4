"""What an upgrade of the host changed in the profiles that Phoenix installed.

Owns compiling the installed files anew, as the next boot would, testing the result and comparing it with
what Phoenix proved and loaded.  The parser, abstractions, tunables and the running kernel's features all have
a say in it, and none of them is ours.  Must not change anything, not even the records.
"""

from __future__ import annotations

from collections.abc import Callable

from phoenix_hypervisor.engine.effects import Effect
from phoenix_hypervisor.engine.results import Stage
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.errors import PhoenixError, Problem
from phoenix_hypervisor.plan.fault_codes import Fault
from phoenix_hypervisor.profiles.includes import APPARMOR_D
from phoenix_hypervisor.profiles.prove import failed_tests
from phoenix_hypervisor.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rechecked:
    """What the installed profiles mean now."""

    effects: dict[str, Effect]
    """By profile: what it would allow otherwise than what Phoenix loaded; empty: as it was."""
    failures: tuple[Problem, ...]
    """Policy tests that no longer hold, and files that no longer compile."""
    unknown: tuple[str, ...]
    """Profiles of which there is no copy to compare with."""
    parser: str
    features: str

    @property
    def changed(self) -> tuple[str, ...]:
        """The profiles that mean something else."""
        effects = self.effects.items()
        return tuple(name for name, one in effects if one.differences or one.not_compared or one.fault)

    @property
    def ok(self) -> bool:
        """Nothing changed, and every policy test holds."""
        return not self.changed and not self.failures


def recheck(session: Session, progress: Callable[[Stage], None]) -> Rechecked:
    """Compile and test every profile that Phoenix loaded, from the files in /etc/apparmor.d.

    Raises PhoenixError where nothing can be compiled at all: no parser, records that cannot be read.
    """
    from phoenix_hypervisor.policy.diff import compare_policies
    from phoenix_hypervisor.policy.reader import read_policy

    store, parser = session.store, session.parser_of_installed()
    # A trial's copy in the kernel is not what its file says, on purpose.
    trials = {trial.name for trial in session.trials.values()}
    names = sorted(set(store.manifest.loaded) - trials)
    effects: dict[str, Effect] = {}
    failures: list[Problem] = []
    unknown: list[str] = []
    fresh: dict[str, bytes] = {}
    for number, name in enumerate(names):
        progress(Stage(number, len(names), name))
        path = f"{APPARMOR_D}/{name}"
        text, before = store.read_installed(name), store.compiled(name)
        if text is None:
            continue  # a profile without its file is drift, which `verify` tells
        try:
            # No sources of ours: includes are looked for where the next boot looks.
            fresh[name] = parser.compile_text(text, session.host.root.locate(path), optional=False)
        except PhoenixError as error:
            where = error.where or session.host.root.shown(path)
            failures.append(Problem(error.message, where, hint=error.hint, code=Fault.UNPROVEN))
            continue
        if before is None:
            unknown.append(name)
            continue
        try:
            compared = compare_policies(read_policy(before), read_policy(fresh[name]), asks=parser.asks)
        except PhoenixError as error:
            effects[name] = Effect(fault=error.message)
            continue
        missing = tuple(one for one in compared.not_compared if one.asked and not one.logging)
        effects[name] = Effect(compared.differences, missing)
    if fresh:
        tests = session.policy_tests(optional=store.optional_accepted()[0])
        failures += failed_tests(tests, fresh, parser.asks)
    return Rechecked(
        effects=effects,
        failures=tuple(failures),
        unknown=tuple(unknown),
        parser=".".join(map(str, parser.version)),
        features=parser.features.shown,
    )
