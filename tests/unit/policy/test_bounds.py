"""Large policy is compared within bounds, or refused with the bound's name.

Memory is bounded by the system, so that a comparison that needs more fails; the time by steps.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from phoenix_hypervisor.policy import alphabet
from phoenix_hypervisor.policy.diff import compare_policies
from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.grammar import anything
from phoenix_hypervisor.policy.product import Budget, Search, Side
from phoenix_hypervisor.policy.reader import read_policy
from unit.policy import tiny

MEMORY = 600 * 1024 * 1024
READ, WRITTEN = 0x4 | 0x4 << 14, 0x6 | 0x6 << 14

COMPARE = """
import sys
from phoenix_hypervisor.policy.diff import compare_policies
from phoenix_hypervisor.policy.reader import read_policy
one, two = (read_policy(open(path, "rb").read()) for path in sys.argv[1:])
found = compare_policies(one, two)
print([(d.kind, d.only_a, len(d.witness) > 50_000) for d in found.differences])
"""


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (tiny.chain, "[('file', '', True)]"),
        (tiny.default_chain, "[('file', '', False)]"),
    ],
)
def test_a_hundred_thousand_states_are_compared_in_600_mb(
    make: object, expected: str, tmp_path: Path
) -> None:
    assert callable(make)
    for name, last in (("a", READ), ("b", WRITTEN)):
        (tmp_path / name).write_bytes(make(100_000, last=last))
    done = subprocess.run(
        [sys.executable, "-c", COMPARE, str(tmp_path / "a"), str(tmp_path / "b")],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )
    assert done.stdout.strip() == expected, done.stderr


@pytest.mark.parametrize(("limit", "words"), [("MAX_STATES", "50 and"), ("MAX_TRANSITIONS", "and 50 are")])
def test_an_automaton_that_is_too_large_is_refused_with_the_limit(
    limit: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (read_policy(tiny.chain(100, last=last)) for last in (READ, WRITTEN))
    monkeypatch.setattr(alphabet, limit, 50)
    with pytest.raises(PolicyError, match=words) as refused:
        compare_policies(one, two)
    assert refused.value.hint


def test_searches_that_take_too_many_steps_are_refused_with_the_limit() -> None:
    one = read_policy(tiny.chain(100, last=READ)).profiles[0].file
    assert one is not None
    side = Side.of(one.dfa, 1)
    with pytest.raises(PolicyError, match="more than 500 steps"):
        list(Search(anything(1), side, side, Budget(500)))
