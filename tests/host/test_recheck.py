"""`phoenix recheck`: what an upgrade of the host changed in the profiles that are installed."""

from __future__ import annotations

import pytest

from support.hosts import LiveHost, snapshot

ABSTRACTION = "abstractions/of-the-host"
POLICY_TEST = """version = 1
[[test]]
name = "the shadow file"
profiles = ["lxc-a"]
kind = "file"
path = "/etc/shadow"
access = "r"
expect = "denied"
why = "passwords"
"""


@pytest.fixture
def upgraded(live: LiveHost) -> LiveHost:
    """A host with one profile of ours that includes an abstraction of the host's, and one that does not."""
    (live.installed / ABSTRACTION).write_text("  /etc/hosts r,\n")
    live.source("lxc-a", f"include <{ABSTRACTION}>", "/etc/passwd r,")
    live.source("lxc-b")
    live.conf("101")
    live.declare({"101": "lxc-a"})
    (live.etc / "policy_tests").mkdir()
    (live.etc / "policy_tests/a.toml").write_text(POLICY_TEST)
    assert live.apply().code == 0
    return live


def test_nothing_changed(upgraded: LiveHost) -> None:
    before = snapshot(upgraded.root, without=["double"])
    found = upgraded.phoenix("recheck", "--json")
    assert found.code == 0
    assert found.document["ok"] and found.document["same"] == ["lxc-a", "lxc-b"]
    assert found.document["changed"] == {} and found.document["failures"] == []
    assert snapshot(upgraded.root, without=["double"]) == before


def test_what_an_abstraction_opens_and_closes_is_told_and_not_loaded(upgraded: LiveHost) -> None:
    (upgraded.installed / ABSTRACTION).write_text("  /etc/group r,\n")
    before, kernel = snapshot(upgraded.root, without=["double"]), upgraded.policy()
    found = upgraded.phoenix("recheck", "--json")
    assert found.code == 3
    changed = found.document["changed"]
    assert list(changed) == ["lxc-a"], "the other one does not include it"
    assert any(line.startswith("opens") and "/etc/group" in line for line in changed["lxc-a"])
    assert any(line.startswith("closes") and "/etc/hosts" in line for line in changed["lxc-a"])
    assert snapshot(upgraded.root, without=["double"]) == before and upgraded.policy() == kernel
    assert "nothing was changed" in upgraded.phoenix("recheck").out


def test_a_policy_test_that_no_longer_holds_is_told(upgraded: LiveHost) -> None:
    (upgraded.installed / ABSTRACTION).write_text("  /etc/hosts r,\n  /etc/shadow r,\n")
    found = upgraded.phoenix("recheck", "--json")
    assert found.code == 3
    (failure,) = found.document["failures"]
    assert "the shadow file" in failure and "passwords" in failure


def test_what_no_longer_compiles_is_told_with_the_rest(upgraded: LiveHost) -> None:
    (upgraded.installed / ABSTRACTION).write_text("  /etc/hosts nonsense,\n")
    found = upgraded.phoenix("recheck", "--json")
    assert found.code == 3
    (failure,) = found.document["failures"]
    assert ABSTRACTION in failure
    assert found.document["same"] == ["lxc-b"]


def test_without_a_copy_nothing_is_claimed(upgraded: LiveHost) -> None:
    (upgraded.root / "var/lib/phoenix/compiled/lxc-a").unlink()
    found = upgraded.phoenix("recheck", "--json")
    assert found.document["unknown"] == ["lxc-a"] and found.document["same"] == ["lxc-b"]


def test_nothing_installed_is_nothing_to_tell(live: LiveHost) -> None:
    live.source("lxc-a")
    live.declare({})
    found = live.phoenix("recheck", "--json")
    assert found.code == 0 and found.document["same"] == []
