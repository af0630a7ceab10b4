"""The golden blobs, read once."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.profile import Policy
from phoenix_hypervisor.policy.reader import read_policy

DATA = Path(__file__).parents[2] / "data" / "policy"
ENCODINGS = ("308", "41", "41-equiv", "41-diff", "41-permstable")


@cache
def blob(which: str) -> bytes:
    return (DATA / f"{which}.bin").read_bytes()


@cache
def policy(which: str) -> Policy:
    return read_policy(blob(which))


def evaluator(which: str, profile: str | None = None) -> Evaluator:
    return Evaluator(policy(which).get(profile))
