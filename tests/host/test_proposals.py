"""What is made of a denial: the verdict of real lines under the shipped profiles."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix_hypervisor.audit.line import parse_line
from phoenix_hypervisor.audit.verdict import CODES, Verdict
from phoenix_hypervisor.engine.policy_sources import PolicySources
from phoenix_hypervisor.engine.proposals import Judge
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.engine.settings import HostSettings

pytestmark = pytest.mark.host

TOP = Path(__file__).parents[2]
HEAD = 'audit: type=1400 audit(1.2:3): apparmor="DENIED" '


@pytest.fixture(scope="module")
def judge() -> Judge:
    settings = HostSettings(config=str(TOP / "etc/phoenix_lxc_configs.json"), features="debian-13", root="/")
    return Judge(PolicySources(Session(settings)))


@pytest.mark.parametrize(
    ("line", "verdict", "code"),
    [
        ('operation="open" class="file" profile="lxc-base" name="/proc/sysrq-trigger" requested_mask="w"',
         Verdict.REFUSED, "deny-rule"),
        ('operation="open" class="file" profile="lxc-base" name="/etc/hosts" requested_mask="w"',
         Verdict.ALLOWED_NOW, "allowed"),
        ('operation="open" profile="docker-default" name="/x" requested_mask="w"', Verdict.NOT_OURS, "not-shipped"),
        ('operation="open" profile="unconfined" name="/x" requested_mask="w"', Verdict.NOT_OURS, "unconfined"),
        ('operation="open" namespace="root//lxc-101_<-var-lib-lxc>" profile="docker-default" name="/x" requested_mask="w"',
         Verdict.FOREIGN, "foreign-namespace"),
        ('operation="open" label="lxc-base//&:n:x" name="/x" requested_mask="w"', Verdict.UNKNOWN, "stack"),
        ('operation="open" profile="lxc-base//x" name="/x" requested_mask="w"', Verdict.UNKNOWN, "child-profile"),
        ('operation="change_hat" profile="lxc-base" target="x"', Verdict.UNKNOWN, "no-question"),
        ('operation="open" profile="lxc-base" requested_mask="w"', Verdict.UNKNOWN, "not-asked"),
    ],
    ids=["deny", "allowed", "others", "unconfined", "namespace", "stack", "child", "hat", "nameless"],
)  # fmt: skip
def test_a_line_has_a_verdict(judge: Judge, line: str, verdict: Verdict, code: str) -> None:
    found = judge.judge(parse_line(HEAD + line))
    assert (found.verdict, found.code) == (verdict, code)
    assert found.reason and found.code in CODES


def test_a_deny_rule_is_named_by_its_place(judge: Judge) -> None:
    line = 'operation="open" class="file" profile="lxc-base" name="/proc/sysrq-trigger" requested_mask="w"'
    where = judge.judge(parse_line(HEAD + line)).where
    assert where is not None
    file, _, number = where.rpartition(":")
    rule = Path(file).read_text().splitlines()[int(number) - 1]
    assert "sysrq-trigger" in rule or "switch_names" in rule
