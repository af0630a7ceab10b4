"""Rules of an administrator's own, as docs/guide/broken.md has them: with the shipped profiles."""

from __future__ import annotations

import shutil

import pytest

from support.hosts import TOP, LiveHost, Result

PROFILE = "lxc-base-unprivileged"
DENIED = ("file", "/srv/app/core_pattern", "--access", "w")


@pytest.fixture
def applied(live: LiveHost) -> LiveHost:
    """One container under the shipped profile for it; no other profile, so that little is compiled."""
    source = TOP / "etc/apparmor"
    for name in ("abi", "abstractions", "tunables"):
        shutil.copytree(source / name, live.sources / name)
    for name in ("lxc-base", PROFILE):
        shutil.copy(source / name, live.sources / name)
    live.conf("101", "hostname: pihole\nunprivileged: 1\n")
    live.declare({"101": "lxc-base"})
    assert live.apply().code == 0
    return live


def faults(result: Result) -> list[str]:
    listed = [*result.document["containers"], *result.document["profiles"]]
    return [finding["code"] for one in listed for finding in one["findings"]]


def test_a_missing_rule(applied: LiveHost) -> None:
    local = applied.installed / "local" / PROFILE
    question = ("policy", "query", "pihole", "change-profile", "docker-default")
    assert applied.phoenix(*question).code == 3
    local.write_text("change_profile -> docker-default,\n")
    verify = applied.phoenix("verify", "--json")
    assert verify.code == 3 and faults(verify) == ["stale-policy"]
    plan = applied.phoenix("plan")
    assert plan.code == 0 and f"{PROFILE} opens  change_profile: " in plan.out
    assert applied.phoenix("setup").code == 0 and local.read_text().startswith("change")
    assert applied.phoenix("verify").code == 0 and applied.phoenix(*question).code == 0
    assert applied.phoenix("plan", "--detailed-exitcode").code == 0
    local.unlink()
    assert applied.phoenix("setup").code == 0 and applied.phoenix("verify").code == 0


def test_a_rule_without_its_comma(applied: LiveHost) -> None:
    """The parser complains of the line that follows the include, which is ours."""
    local = applied.installed / "local" / PROFILE
    local.write_text("/srv/app/** w\n")
    before = applied.policy()
    result = applied.phoenix("setup")
    assert result.code == 1 and f"it includes {local}: look there, too" in result.err
    assert applied.policy() == before
    (applied.sources / PROFILE).write_text((applied.sources / PROFILE).read_text() + "}\n")
    local.unlink()
    broken = applied.phoenix("setup")
    assert broken.code == 1 and "it includes" not in broken.err


def test_a_deny_in_the_way(applied: LiveHost) -> None:
    assert applied.phoenix("policy", "query", "pihole", *DENIED).code == 3
    explained = applied.phoenix("policy", "explain", "pihole", *DENIED).out
    shared = applied.sources / "abstractions/phoenix/unprivileged"
    assert f"{shared}:" in explained
    copy = (applied.sources / PROFILE).read_text().replace(PROFILE, "lxc-pihole")
    rules = [line for line in shared.read_text().splitlines() if "core_pattern" not in line]
    copy = copy.replace("  include <abstractions/phoenix/unprivileged>\n", "\n".join(rules) + "\n")
    (applied.sources / "lxc-pihole").write_text(copy)
    diff = applied.phoenix("policy", "diff", PROFILE, "lxc-pihole")
    opened = [line for line in diff.out.splitlines() if ": file: only B: " in line]
    assert diff.code == 3 and len(opened) == 1 and "core_pattern" in opened[0]
    applied.declare({"101": "lxc-pihole"})
    assert applied.apply("101", "--restart").code == 0
    assert applied.labels() == {"101": "lxc-pihole (enforce)"}
    assert applied.phoenix("verify").code == 0
    assert applied.phoenix("policy", "query", "pihole", *DENIED).code == 0
