"""Containers that nobody declared: what verify says of them, and that none is unconfined unseen."""

from __future__ import annotations

import pytest

from support.hosts import LiveHost


@pytest.fixture
def around(live: LiveHost) -> LiveHost:
    """101 is declared; 102 runs under what Proxmox generates."""
    live.source("lxc-a")
    live.conf("101")
    live.conf("102")
    live.declare({"101": "lxc-a"})
    assert live.apply().code == 0
    assert live.pct("start", "102").ok
    return live


def found(live: LiveHost, *words: str) -> tuple[int, dict[str, list[str]]]:
    """The exit code of verify, and the codes of each container that has any."""
    result = live.phoenix("verify", "--json", *words)
    listed = {c["ctid"]: [f["code"] for f in c["findings"]] for c in result.document["containers"]}
    return result.code, {ctid: codes for ctid, codes in listed.items() if codes}


def test_the_key_says_whether_it_is_a_fault(around: LiveHost) -> None:
    assert found(around) == (0, {}), "a note without the key"
    for key, expected in (
        ("ignore", (0, {})),
        ("note", (0, {})),
        ("fault", (3, {"102": ["undeclared-container"]})),
    ):
        around.declare({"101": "lxc-a"}, undeclared=key)
        assert found(around) == expected
        (other,) = (
            c for c in around.phoenix("status", "--json").document["containers"] if c["ctid"] == "102"
        )
        assert other["notes"] == (["not declared"] if key == "note" else [])
    text = around.phoenix("verify").out
    assert "undeclared-container: not declared, and every container is to be" in " ".join(text.split())


@pytest.mark.parametrize("key", ["ignore", "note", "fault"])
def test_an_explicit_unconfined_line_is_a_fault_whatever_the_key_says(around: LiveHost, key: str) -> None:
    around.declare({"101": "lxc-a"}, undeclared=key)
    around.conf("102", "memory: 512\nlxc.apparmor.profile: unconfined\n")
    around.conf("103", "memory: 512\nlxc.apparmor.profile = unconfined\n")
    both = {"102": ["undeclared-unconfined"], "103": ["undeclared-unconfined"]}
    assert found(around) == (3, both)
    assert found(around, "103") == (3, {"103": ["undeclared-unconfined"]})
    status = around.phoenix("status")
    assert status.code == 0
    assert "(next: `phoenix import --merge` adds it to the configuration; then" in " ".join(
        status.out.split()
    )
    # A line in a snapshot alone does not count.
    around.conf("102", "memory: 512\n\n[before]\nlxc.apparmor.profile: unconfined\n")
    around.conf("103")
    assert "undeclared-unconfined" not in str(found(around))


def test_one_that_runs_unconfined_for_another_reason_is_a_fault_too(around: LiveHost) -> None:
    """`lxc.include`, or a profile that was unloaded while it ran: the line does not say so."""
    around.conf("103")
    around.process(4711, "/lxc/103/ns/init.scope", "unconfined", nspid="4711 1")
    assert found(around) == (3, {"103": ["undeclared-unconfined"]})


def test_one_that_cannot_be_read_is_not_taken_for_confined(around: LiveHost) -> None:
    (around.lxc / "103.conf").mkdir()
    assert found(around) == (3, {"103": ["conf-unusable"]})


def test_another_value_is_a_fault_of_the_configuration(around: LiveHost) -> None:
    around.declare({"101": "lxc-a"}, undeclared="warn")
    result = around.phoenix("check", "--json")
    assert result.code == 1 and ("not-allowed", "/undeclared") in result.problems


def test_the_advice_helps(around: LiveHost) -> None:
    """What is told to do about it: after that nothing is undeclared, and nothing is unconfined unsaid."""
    around.conf("103", "unprivileged: 1\nlxc.apparmor.profile: unconfined\n")
    assert found(around)[0] == 3
    assert around.phoenix("import", "--merge").code == 0
    assert found(around) == (0, {})
    assert "explicitly unconfined" in around.phoenix("status").out
    around.config.write_text(
        around.config.read_text().replace('"apparmor_profile": "unconfined"', '"apparmor_profile": "lxc-a"')
    )
    assert around.apply("102-103").code == 0
    assert "lxc.apparmor.profile: lxc-a" in (around.lxc / "103.conf").read_text()


def test_what_is_missing_to_create_one_is_said_at_once(around: LiveHost) -> None:
    around.declare({"101": "lxc-a", "110": "lxc-a"})
    result = around.phoenix("verify", "--json")
    (one,) = (c for c in result.document["containers"] if c["ctid"] == "110")
    (finding,) = one["findings"]
    lacks = "not now: its declaration lacks name, template, storage_pool, storage_size_gb"
    assert (finding["code"], finding["hint"]) == ("missing", lacks)
