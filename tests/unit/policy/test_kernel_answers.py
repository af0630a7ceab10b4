"""What two real kernels answered, checked without one (tests/lab/test_proof.py took the answers)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.queries import RawQuery
from phoenix_hypervisor.policy.reader import read_policy

DATA = Path(__file__).parents[2] / "data/policy"


@pytest.mark.parametrize("release", ["bookworm", "trixie"])
def test_the_kernels_own_answers(release: str) -> None:
    document = json.loads(gzip.decompress((DATA / f"kernel-{release}.json.gz").read_bytes()))
    compared = 0
    for name, kept in document["profiles"].items():
        judge = Evaluator(read_policy(bytes.fromhex(kept["blob"])).get(name))
        for number, string, uid, *masks in kept["answers"]:
            found = judge.raw(RawQuery(number, bytes.fromhex(string), uid), tuple(document["kernel"]))
            assert list(found) == masks, (name, number, string, uid)
            compared += 1
    assert compared > 500
