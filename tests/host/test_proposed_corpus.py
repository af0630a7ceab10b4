"""Proposals over two corpora: what attacks are denied is never offered, and what is offered is proven.

tests/data/denials/dangerous.tsv: what the kernel logged while the operations of efficacy/ ran under the shipped
profiles, with deny rules made to speak (the operation, then the line).
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from phoenix_hypervisor.audit.line import parse_line
from phoenix_hypervisor.audit.verdict import Judged, Verdict
from phoenix_hypervisor.engine.policy_sources import PolicySources
from phoenix_hypervisor.engine.proposals import Judge
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.engine.settings import HostSettings
from phoenix_hypervisor.policy.assertions import load_tests, run_tests
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.reader import read_policy

pytestmark = pytest.mark.host

TOP = Path(__file__).parents[2]
DANGEROUS = TOP / "tests/data/denials/dangerous.tsv"
PROFILES = ("lxc-base", "lxc-nvidia-gpu-docker", "lxc-base-unprivileged", "lxc-nesting-v1")
MOUNT = 'operation="mount" class="mount" info="failed perms check" error=-13 profile="{}" '
ORDINARY = (
    *(MOUNT + f'name="/mnt/nas/" fstype="{fstype}" srcname="{source}" flags="{flags}"'
      for fstype, source in (("nfs", "nas:/a"), ("nfs4", "nas:/b c"), ("cifs", "//nas/a"), ("smb3", "//nas/a$"),
                             ("ceph", "10.0.0.1:6789:/"), ("fuse.rclone", "remote:"), ("fuse.sshfs", "u@h:/"),
                             ("autofs", "/etc/auto.nas"))
      for flags in ("rw", "rw, nosuid, nodev", "ro, relatime")),
    *(MOUNT + f'name="{target}" fstype="{fstype}" srcname="{fstype}" flags="rw, nosuid, nodev"'
      for target, fstype in (("/run/rpc_pipefs/", "rpc_pipefs"), ("/srv/t/", "tmpfs"), ("/srv/o/", "overlay"),
                             ("/srv/h/", "hugetlbfs"), ("/srv/q/", "mqueue"), ("/srv/f/", "fuse"))),
    *(MOUNT + f'name="{target}" srcname="{source}" flags="{flags}"'
      for flags in ("rw, bind", "rw, rbind", "rw, move")
      for source, target in (("/srv/a/", "/srv/b/"), ("/home/u/x [1]", "/srv/x {2}"), ("/usr/lib/l.so", "/usr/lib/l.so"))),
    *(MOUNT + f'name="{target}" flags="{flags}"'
      for target in ("/srv/b/", "/proc/sys/", "/dev/shm/")
      for flags in ("ro, remount, bind", "rw, remount, bind", "rw, remount, noatime", "rw, rslave", "rw, unbindable")),
    'operation="umount" class="mount" profile="{}" name="/srv/b/"',
    'operation="umount" class="mount" profile="{}" name="/proc/sys/"',
    'operation="pivotroot" class="mount" profile="{}" name="/srv/r/" srcname="/srv/r/old/"',
    *(f'operation="create" class="net" profile="{{}}" family="{family}" sock_type="{kind}" protocol=0'
      ' requested="create" denied="create"'
      for family, kind in (("alg", "seqpacket"), ("xdp", "raw"), ("vsock", "stream"), ("can", "raw"), ("key", "raw"),
                           ("inet", "seqpacket"), ("inet6", "dccp"), ("rxrpc", "dgram"), ("qipcrtr", "dgram"))),
    *(f'operation="capable" class="cap" profile="{{}}" capability=0  capname="{name}"'
      for name in ("mknod", "perfmon", "sys_rawio", "ipc_lock", "dac_read_search", "sys_time", "linux_immutable")),
    *(f'operation="open" class="file" profile="{{}}" name="{name}" requested_mask="{mask}" fsuid=0 ouid=0'
      for name, mask in (("/dev/net/tun", "wr"), ("/dev/fuse", "wr"), ("/proc/sys/net/ipv4/ip_forward", "w"),
                         ("/sys/class/net/eth0/mtu", "w"), ("/proc/12/pagemap", "r"), ("/proc/kallsyms", "r"),
                         ("/proc/sys/vm/max_map_count", "w"), ("/sys/fs/cgroup/cpu.max", "w"), ("/dev/kmsg", "r"))),
    *(f'operation="signal" class="signal" profile="{{}}" requested_mask="send" signal=term peer="{peer}"'
      for peer in ("{}", "{}//&:lxc-101_<-var-lib-lxc>:docker-default", "unconfined", "lxc-other")),
    'operation="ptrace" class="ptrace" profile="{}" requested_mask="read" denied_mask="read" peer="{}//x"',
    'operation="ptrace" class="ptrace" profile="{}" requested_mask="read" denied_mask="read" peer="unconfined"',
    'operation="change_profile" class="file" profile="{}" name="{}//child" target="{}//child"',
    'operation="uring_sqpoll" class="io_uring" profile="{}" requested="sqpoll" denied="sqpoll"',
    'operation="uring_override" class="io_uring" profile="{}" requested="override_creds" tcontext="unconfined"',
    'operation="userns_create" class="namespace" profile="{}" requested="userns_create" denied="userns_create"',
    'operation="mqueue_create" class="posix_mqueue" profile="{}" name="/q x" requested="create" denied="create"',
)  # fmt: skip
"""Denials of ordinary work, and some of what only looks so; `{}` is the profile."""


@cache
def sources() -> PolicySources:
    config = str(TOP / "etc/phoenix_lxc_configs.json")
    return PolicySources(Session(HostSettings(config=config, features="debian-13")))


@pytest.fixture(scope="module")
def judge() -> Judge:
    found = Judge(sources())
    # Which rule holds it takes a search for each; what is told of it is tested elsewhere.
    found.place = lambda name, question: None  # type: ignore[method-assign]
    return found


def judged(judge: Judge, fields: str) -> Judged:
    return judge.judge(parse_line(fields if "apparmor=" in fields else f'apparmor="DENIED" {fields}'))


def test_of_200_and_more_attacks_none_is_offered(judge: Judge) -> None:
    rows = [line.split("\t", 1) for line in DANGEROUS.read_text().splitlines()]
    events = {re.sub(r"audit\([0-9.:]+\)|pid=\d+ ", "", line) for _, line in rows}
    assert len(events) >= 600 and len({row for row, _ in rows}) >= 200
    found = [(row, line, judged(judge, line)) for row, line in rows]
    wrong = [
        (row, line, one) for row, line, one in found if one.verdict in (Verdict.OFFERED, Verdict.NOT_OURS)
    ]
    assert wrong == []
    counted = Counter(one.verdict for _, _, one in found)
    assert counted[Verdict.REFUSED] >= 200, counted


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_offered_is_proven(judge: Judge, profile: str) -> None:
    """All rules that a profile is offered are compiled into it together: every event is let through then, and the
    policy tests hold."""
    lines = [line.replace("{}", profile) for line in ORDINARY]
    assert len(lines) >= 60
    offered = [
        (line, found.proposal.rule) for line in lines if (found := judged(judge, line)).proposal is not None
    ]
    path, text = sources().source(profile)
    rules = list(dict.fromkeys(rule for _, rule in offered))
    more = "".join(f"  {rule}\n" for rule in rules).encode()
    end = text.rindex(b"}")
    policy = read_policy(sources().compile(text[:end] + more + text[end:], path))
    after = Evaluator(policy.get(profile), sources().asks())
    for line, rule in offered:
        from phoenix_hypervisor.audit.asked import ask_again

        question = ask_again(parse_line(f'apparmor="DENIED" {line}'), after.profile).question
        assert after.ask(question).allowed, rule
    tests = [test for name, data in sources().tests() for test in load_tests(data, name)]
    outcome = run_tests(tests, {profile: policy.get(profile)}, sources().asks())
    assert outcome.ok, [str(failure) for failure in outcome.failures]
    assert all("priority" not in rule and "{" not in re.sub(r"\\.|@\{\w+\}", "", rule) for rule in rules)


def test_ordinary_mounts_over_the_network_are_offered(judge: Judge) -> None:
    found = [judged(judge, line.replace("{}", "lxc-base")) for line in ORDINARY[:12]]
    assert [one.verdict for one in found] == [Verdict.OFFERED] * 12
    assert all(one.proposal is not None and one.proposal.opens == () for one in found)
