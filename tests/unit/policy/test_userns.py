"""`userns,` compiled by parser 4.1, answered as kernel 6.12 does.

Taken on the lab's trixie: `aa-exec -p PROFILE -- unshare -U true` goes through with the rule and gives
`DENIED operation="userns_create"` without it.  The blobs are `profile lxc-u { file, capability, network,
userns, }` and the same without its last rule, for the packaged trixie-6.12 features.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.kinds.userns import granted
from phoenix_hypervisor.policy.queries import UsernsQuery
from phoenix_hypervisor.policy.reader import read_policy

DATA = Path(__file__).parents[2] / "data/policy"


@pytest.mark.parametrize(("name", "allowed"), [("with", True), ("without", False)])
def test_userns_needs_its_rule(name: str, allowed: bool) -> None:
    profile = read_policy((DATA / f"userns-{name}-41.bin").read_bytes()).profiles[0]
    assert Evaluator(profile).ask(UsernsQuery()).allowed is allowed
    assert granted(Evaluator(profile)) is allowed
