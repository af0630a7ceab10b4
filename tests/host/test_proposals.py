"""What is made of a denial: the verdict of real lines under the shipped profiles."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix_hypervisor.audit.line import parse_line
from phoenix_hypervisor.audit.verdict import CODES, Judged, Verdict
from phoenix_hypervisor.engine.policy_sources import PolicySources
from phoenix_hypervisor.engine.proposals import Judge
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.engine.settings import HostSettings
from phoenix_hypervisor.policy.source import read_source

pytestmark = pytest.mark.host

TOP = Path(__file__).parents[2]
HEAD = 'audit: type=1400 audit(1.2:3): apparmor="DENIED" '


def session() -> Session:
    config = str(TOP / "etc/phoenix_lxc_configs.json")
    return Session(HostSettings(config=config, features="debian-13", root="/"))


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge(PolicySources(session()))


class Counted(PolicySources):
    """Counts how often the parser is run for a text, and how often that has file rules, or includes some."""

    compiled = whole = 0

    def compile(self, text: bytes, where: str, *, timeout: float = 300) -> bytes:
        self.compiled += 1
        source = read_source(where, text, lambda include: self.include(include, where))
        self.whole += any(rule.is_about_files for rule in source.rules())
        return super().compile(text, where, timeout=timeout)


def test_a_rule_that_many_events_need_is_proven_once() -> None:
    """A boot of a guest gives some dozens of events for each rule, and each proof runs the parser."""
    sources = Counted(session())
    judge = Judge(sources)
    line = 'operation="{}" profile="lxc-base" family="xdp" sock_type="raw" protocol={} requested_mask="{}"'
    masks = {
        "create": "create",
        "bind": "bind",
        "setsockopt": "setopt",
        "sendmsg": "send",
        "recvmsg": "receive",
    }
    lines = [line.format(does, number, mask) for does, mask in masks.items() for number in (0, 9)]
    found = [judge.judge(parse_line(HEAD + lines[0]))]
    once = sources.compiled
    found += [judge.judge(parse_line(HEAD + one)) for one in lines[1:]]
    assert {one.proposal and one.proposal.rule for one in found} == {"network xdp raw,"}
    assert sources.compiled == once


OF_EVERY_KIND = (
    'operation="capable" class="cap" profile="lxc-base" capability=0 capname="{}"',
    'operation="create" class="net" profile="lxc-base" family="{}" sock_type="raw" protocol=0 requested="create"',
    'operation="umount" class="mount" profile="lxc-base" name="/proc/sys/{}/"',
    'operation="mount" class="mount" profile="lxc-base" name="/mnt/{0}/" fstype="nfs4" srcname="{0}:/" flags="rw"',
    'operation="signal" class="signal" profile="lxc-base" requested_mask="send" signal={} peer="lxc-other"',
    'operation="ptrace" class="ptrace" profile="lxc-base" requested_mask="{0}" denied_mask="{0}" peer="lxc-other"',
    'operation="mqueue_create" class="posix_mqueue" profile="lxc-base" name="/{}" requested="create" denied="create"',
)
OF_EACH = ("mknod perfmon ipc_lock", "xdp can vsock", "a b c", "a b c", "term hup kill", "read trace", "a b")


def judged(sources: PolicySources) -> list[Judged]:
    judge = Judge(sources)
    judge.place = lambda name, question: None  # type: ignore[method-assign]
    return [
        judge.judge(parse_line(HEAD + line.format(word)))
        for line, words in zip(OF_EVERY_KIND, OF_EACH, strict=True)
        for word in words.split()
    ]


def test_file_rules_are_compiled_with_the_first_rule_of_a_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are most of the work, and say nothing of sockets or mounts.  Every answer is as without that."""
    quick = Counted(session())
    found = judged(quick)
    monkeypatch.setattr("phoenix_hypervisor.policy.without_files.KINDS", frozenset())
    slow = Counted(session())
    assert judged(slow) == found and len({one.verdict for one in found}) > 1
    assert slow.whole == slow.compiled
    assert quick.whole < slow.whole and quick.compiled > quick.whole
    nfs = [OF_EVERY_KIND[3].format(word) for word in "abcde"]
    monkeypatch.undo()
    quick = Counted(session())
    judge = Judge(quick)
    assert {judge.judge(parse_line(HEAD + line)).verdict for line in nfs} == {Verdict.OFFERED}
    assert (quick.whole, quick.compiled) == (2, 7), "the source, and the first of the five"


def test_the_rule_that_denies_a_capability_is_found_without_file_rules() -> None:
    sources = Counted(session())
    judge = Judge(sources)
    line = HEAD + OF_EVERY_KIND[0].format("perfmon")
    quick = judge.judge(parse_line(line))
    assert quick.code == "deny-rule" and quick.where is not None and sources.compiled > sources.whole == 2
    slow = Judge(PolicySources(session()))
    everything = slow._explainer
    slow._explainer = lambda name, *, files: everything(name, files=True)  # type: ignore[method-assign]
    assert slow.judge(parse_line(line)) == quick


def test_where_file_rules_make_a_difference_they_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phoenix_hypervisor.policy.without_files.written_alike", lambda a, b: False)
    sources = Counted(session())
    judge = Judge(sources)
    lines = [OF_EVERY_KIND[3].format(word) for word in "abc"]
    assert {judge.judge(parse_line(HEAD + line)).verdict for line in lines} == {Verdict.OFFERED}
    assert (sources.whole, sources.compiled) == (4, 5), "after the first nothing else is tried"


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


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ('operation="mount" profile="lxc-base" name="/mnt/n/" fstype="nfs4" srcname="nas:/x" flags="rw, nosuid, nodev"',
         "mount fstype=nfs4 options=(nosuid, nodev) nas:/x -> /mnt/n/,"),
        ('operation="mount" profile="lxc-base" name="/mnt/n/" fstype="cifs" srcname="//nas/a"',
         'mount fstype=cifs options=(rw) "/\\057nas/a" -> /mnt/n/,'),
        ('operation="create" profile="lxc-base" family="xdp" sock_type="raw" protocol=0 requested_mask="create"',
         "network xdp raw,"),
    ],
    ids=["nfs", "cifs", "xdp"],
)  # fmt: skip
def test_an_ordinary_denial_is_offered_a_rule(judge: Judge, line: str, rule: str) -> None:
    found = judge.judge(parse_line(HEAD + line))
    assert (found.verdict, found.code) == (Verdict.OFFERED, "proposed")
    assert found.proposal is not None
    assert (found.proposal.rule, found.proposal.profile, found.proposal.opens) == (rule, "lxc-base", ())


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('operation="mount" profile="lxc-base" name="/mnt/p/" fstype="proc" srcname="proc" flags="rw"', ""),
        ('operation="mount" profile="lxc-base" name="/srv/p/" fstype="proc" srcname="proc" flags="rw"', "second procfs"),
        ('operation="change_profile" profile="lxc-base" name="unconfined"', "no way out of the profile"),
        ('operation="change_profile" profile="lxc-base" target="lxc-of-mine"', "other profiles"),
        ('operation="signal" profile="lxc-base" requested_mask="send" signal=kill peer="lxc-nesting-v1"', "other labels"),
        ('operation="create" profile="lxc-base" family="alg" sock_type="seqpacket" requested_mask="create"', "sockets"),
        ('operation="create" profile="lxc-base" family="rxrpc" sock_type="dgram" requested_mask="create"', "sockets"),
        ('operation="mount" profile="lxc-base" name="/srv/p/" flags="rw, remount"', "remount"),
        ('operation="mount" profile="lxc-base" name="/srv/p/" fstype="virtiofs" srcname="x" flags="rw"', "host file"),
    ],
    ids=["proc-tested", "proc", "unconfined", "profile", "signal", "alg-tested", "rxrpc", "remount", "virtiofs"],
)  # fmt: skip
def test_a_danger_is_refused_and_named(judge: Judge, line: str, says: str) -> None:
    found = judge.judge(parse_line(HEAD + line))
    assert (found.verdict, found.proposal) == (Verdict.REFUSED, None)
    assert found.code in ("policy-test", "danger")
    assert says in found.reason
    assert found.where is not None and found.where.endswith(".toml")


def test_what_the_line_does_not_say_is_said_of_an_allowed_mount(judge: Judge) -> None:
    line = (
        'operation="mount" profile="lxc-base-unprivileged" name="/a/" fstype="tmpfs" srcname="x" flags="rw"'
    )
    found = judge.judge(parse_line(HEAD + line))
    assert found.verdict is Verdict.ALLOWED_NOW and "lazytime" in found.reason


def test_no_rule_is_made_of_a_flag_without_a_word(judge: Judge) -> None:
    line = 'operation="mount" profile="lxc-base" name="/a/" fstype="nfs" srcname="x" flags="rw, nouser"'
    found = judge.judge(parse_line(HEAD + line))
    assert (found.verdict, found.code) == (Verdict.UNKNOWN, "not-enough")


def test_a_line_is_judged_for_the_profile_that_it_is_meant_for(judge: Judge) -> None:
    """A trial runs under a copy with a name of its own."""
    line = parse_line(HEAD + 'operation="create" profile="lxc-trial-101" family="xdp" sock_type="raw"')
    assert judge.judge(line).verdict is Verdict.NOT_OURS
    assert judge.judge(line, "lxc-base").verdict is Verdict.OFFERED
