"""`phoenix rollback` on the real kernel: policy, files and lines are what they were, or nothing changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.lab.guest_containers import Container
from support.lab_host import SOURCES, box, declare, phoenix, source, verify

POLICY = """
cd /sys/kernel/security/apparmor/policy/profiles
find -L . -mindepth 2 -name name 2>/dev/null | while read f; do
    d=${f%/name}
    echo "$(cat $d/name) $(cat $d/mode) $(cat $d/sha256 $d/sha1 2>/dev/null | tr '\\n' ' ')"
done | sort
"""
FILES = "cd / && sha256sum etc/apparmor.d/lxc-* var/lib/lxc/97[89]/config | sort -k 2"


def world(lab: Lab) -> tuple[str, str]:
    """What the kernel has, with hashes, and all files."""
    policy = lab.run(POLICY, check=True).stdout
    assert "lxc-t-kept" in policy and len(policy.split("\n")[0].split()[-1]) in (40, 64), policy
    return policy, lab.run(FILES, check=True).stdout


@pytest.fixture
def two(ready: Lab) -> Iterator[tuple[Lab, Container, Container]]:
    """One transaction is applied: 978 runs under lxc-t-kept, 979 is stopped and has no line."""
    ready.run(f"rm -f {SOURCES}/lxc-t-*", check=True)
    source(ready, "lxc-t-kept", "  deny /one r,\n  profile child { file, }\n")
    first, second = box(ready, 978), box(ready, 979)
    try:
        declare(ready, {"978": "lxc-t-kept"})
        assert phoenix(ready, "apply", "--all").ok
        assert first.attach("echo readable > /probe").ok
        yield ready, first, second
    finally:
        declare(ready, {})
        first.remove()
        second.remove()
        ready.run(f"rm -f {SOURCES}/lxc-t-kept {SOURCES}/lxc-t-new /etc/apparmor.d/lxc-t-new")
        ready.run("printf 'profile lxc-t-new {}' | apparmor_parser -R")


def _second(lab: Lab, *words: str) -> None:
    """The next transaction: other policy, a new profile, and lines for it."""
    source(lab, "lxc-t-kept", "  deny /probe r,\n  profile child { file, network, }\n")
    source(lab, "lxc-t-new")
    declare(lab, {"978": "lxc-t-kept", "979": "lxc-t-new"})
    done = phoenix(lab, "apply", "--all", *words)
    assert done.ok, done.stderr


def test_rollback_restores_bytes_policy_and_lines(two: tuple[Lab, Container, Container]) -> None:
    lab, first, _ = two
    before = world(lab)
    _second(lab, "--no-start")
    assert world(lab) != before
    assert not first.attach("cat /probe").ok
    done = phoenix(lab, "rollback")
    assert done.ok, done.stderr
    assert world(lab) == before
    assert first.attach("cat /probe").stdout.strip() == "readable"
    assert first.label() == "lxc-t-kept (enforce)"
    # Rolling the rollback back does it all again.
    number = str(max(int(line.split()[0]) for line in _history(lab)))
    done = phoenix(lab, "rollback", number)
    assert done.ok, done.stderr
    assert not first.attach("cat /probe").ok
    assert verify(lab, "978")[1]["978"] == []


def _history(lab: Lab) -> list[str]:
    lines = phoenix(lab, "history", "--no-color").stdout.splitlines()
    return [line.strip(" |│") for line in lines if line.strip(" |│")[:1].isdigit()]


def test_over_a_foreign_change_it_shows_three_states(two: tuple[Lab, Container, Container]) -> None:
    lab, _, _ = two
    _second(lab, "--no-start")
    lab.run("echo '# site' >> /etc/apparmor.d/lxc-t-kept", check=True)
    before = world(lab)
    done = phoenix(lab, "rollback")
    assert done.rc == 1
    for words in ("then (transaction", "now", "would become", "+# site", "nothing was changed"):
        assert words in done.stderr, done.stderr
    assert world(lab) == before
    lab.run("sed -i '/# site/d' /etc/apparmor.d/lxc-t-kept", check=True)


def test_a_profile_in_use_is_not_unloaded(two: tuple[Lab, Container, Container]) -> None:
    lab, _, second = two
    _second(lab)
    pid = second.init_pid()
    assert second.label() == "lxc-t-new (enforce)"
    before = world(lab)
    done = phoenix(lab, "rollback")
    assert done.rc == 1
    assert f"profile lxc-t-new: would be unloaded, but PID {pid}" in done.stderr
    assert world(lab) == before
    assert second.label() == "lxc-t-new (enforce)"
    assert second.stop(kill=True).ok
    done = phoenix(lab, "rollback")
    assert done.ok, done.stderr
    assert "lxc-t-new" not in lab.profiles()
