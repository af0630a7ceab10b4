"""What a trial's report tells: of lines that the kernel logged under the copy's name."""

from __future__ import annotations

import time

import pytest

from support.hosts import LiveHost

NAME = "lxc-trial-101"


@pytest.fixture
def tried(live: LiveHost) -> LiveHost:
    """Container 101 is on trial under lxc-b."""
    for name in ("lxc-a", "lxc-b"):
        live.source(name, "file,", "capability,", "mount fstype=tmpfs,")
    live.conf("101")
    live.declare({"101": "lxc-a"})
    assert live.apply("--all").code == 0
    return live


def logged(live: LiveHost, *lines: str) -> None:
    path = live.root / "var/log/audit/audit.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    now = int(time.time()) + 5
    before = len(path.read_text().splitlines()) if path.exists() else 0
    with path.open("a") as file:
        for number, text in enumerate(lines, before + 1):
            file.write(f"type=AVC msg=audit({now}.000:{number}): {text}\n")


def mounted(fstype: str, verdict: str = "AUDIT", profile: str = NAME) -> str:
    return (
        f'apparmor="{verdict}" operation="mount" class="mount" profile="{profile}" name="/mnt/x/" pid=7'
        f' comm="mount" fstype="{fstype}" srcname="{fstype}"'
    )


def test_the_report_tells_what_the_tried_profile_refuses(tried: LiveHost) -> None:
    assert tried.phoenix("try", "101", "lxc-b").code == 0
    logged(tried, mounted("nfs4"), mounted("nfs4"), mounted("tmpfs"), mounted("proc", "DENIED"))
    logged(tried, mounted("cifs", "DENIED", "lxc-a"))
    found = tried.phoenix("try", "101", "--report", "--json")
    rows = [(d["ctid"], d["logged"], d["count"], d["verdict"]) for d in found.document["denials"]]
    assert sorted(rows) == [("101", "AUDIT", 2, "offered"), ("101", "DENIED", 1, "refused")]
    (offered,) = [d for d in found.document["denials"] if d["verdict"] == "offered"]
    assert offered["proposal"]["profile"] == "lxc-b" and "nfs4" in offered["proposal"]["rule"]
    assert found.code == 3 and "let through" in tried.phoenix("try", "101", "--report").out
    assert offered["id"] in tried.phoenix("denials", "101").out, "and `accept` knows it"
    assert tried.phoenix("try", "101", "--end").code == 0
    assert tried.phoenix("try", "101", "--report", "--json").document["denials"] == found.document["denials"]


def test_no_report_without_a_trial(tried: LiveHost) -> None:
    found = tried.phoenix("try", "101", "--report")
    assert found.code == 1 and "phoenix denials 101" in found.err


def test_accept_makes_it_a_rule_of_the_tried_profile(tried: LiveHost) -> None:
    tried.source("lxc-b", "file,", "capability,", "mount fstype=tmpfs,", "include if exists <accepted/lxc-b>")
    assert tried.phoenix("setup").code == 0
    assert tried.phoenix("try", "101", "lxc-b").code == 0
    logged(tried, mounted("nfs4"))
    (found,) = tried.phoenix("try", "101", "--report", "--json").document["denials"]
    assert tried.phoenix("try", "101", "--end").code == 0
    accepted = tried.phoenix("accept", found["id"])
    assert accepted.code == 0, accepted.err
    assert found["proposal"]["rule"] in (tried.sources / "accepted/lxc-b").read_text()
    assert tried.phoenix("setup").code == 0
    # The same is let through without a trial now.
    again = tried.phoenix(
        "policy", "query", "lxc-b", "mount", "--source", "nfs4", "--target", "/mnt/x/", "--fstype", "nfs4"
    )
    assert again.code == 0, again.out
