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


def test_all_that_is_offered_is_one_command(tried: LiveHost) -> None:
    """A boot of a guest full of services is offered some sixty rules, and several denials the same one."""
    assert tried.phoenix("try", "101", "lxc-b").code == 0
    logged(tried, mounted("nfs4"))
    assert "all that is offered" not in tried.phoenix("try", "101", "--report").out
    asked = 'apparmor="AUDIT" operation="{}" profile="lxc-trial-101" family="xdp" sock_type="raw" protocol=0 requested_mask="{}"'
    logged(
        tried,
        mounted("cifs"),
        mounted("proc"),
        asked.format("create", "create"),
        asked.format("bind", "bind"),
    )
    last = tried.phoenix("try", "101", "--report").out.splitlines()[-1]
    assert last.startswith("all that is offered: phoenix accept ")
    ids = last.split()[6:]
    found = tried.phoenix("try", "101", "--report", "--json").document["denials"]
    rules = {one["id"]: one["proposal"]["rule"] for one in found if one["verdict"] == "offered"}
    assert len(rules) == 4 and len(ids) == 3 and {rules[one] for one in ids} == set(rules.values())


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


def test_a_capability_that_is_held_and_not_used_is_reported(tried: LiveHost) -> None:
    """systemd gives a service its AmbientCapabilities=, or does not start it; the kernel logs nothing of that."""
    tried.source("lxc-b", "file,", "capability chown,", "include if exists <accepted/lxc-b>")
    assert tried.phoenix("setup").code == 0
    assert tried.phoenix("try", "101", "lxc-b").code == 0
    logged(
        tried,
        f'apparmor="AUDIT" operation="capable" profile="{NAME}" pid=7 comm="x" capability=12 capname="net_admin"',
    )
    # net_broadcast and net_admin; chown, which the profile allows; syslog, which is a danger; another's container.
    for pid, label, ambient in (
        (70, NAME, 1 << 11 | 1 << 12 | 1),
        (71, NAME, 1 << 34),
        (72, "lxc-a", 1 << 13),
    ):
        current = tried.process(pid, "/lxc/101/ns", f"{label} (enforce)")
        status = current.parents[2] / "status"
        status.write_text(f"Name:\tdaemon{pid}\nNSpid:\t{pid}\nCapAmb:\t{ambient:016x}\n")
    found = tried.phoenix("try", "101", "--report", "--json").document["denials"]
    rows = {(one["operation"], one["object"], one["comm"], one["verdict"]) for one in found}
    assert rows == {
        ("capable", "net_admin", "x", "offered"),
        ("capget", "net_broadcast", "daemon70", "offered"),
        ("capget", "syslog", "daemon71", "refused"),
    }
    shown = tried.phoenix("try", "101", "--report").out
    assert "daemon70: holding the capability net_broadcast, of which no log tells: let through" in shown
    (given,) = [one for one in found if one["object"] == "net_broadcast"]
    assert tried.phoenix("accept", given["id"]).code == 0
    text = (tried.sources / "accepted/lxc-b").read_text()
    assert "capability net_broadcast,\n" in text and "audit(" not in text


def test_what_is_held_elsewhere_is_no_denial(tried: LiveHost) -> None:
    """Without a trial nobody asked, and a log that is named is read alone."""
    logged(tried, mounted("nfs4", "DENIED", "lxc-a"))
    status = tried.process(70, "/lxc/101/ns", "lxc-a (enforce)").parents[2] / "status"
    status.write_text(f"Name:\tx\nNSpid:\t70\nCapAmb:\t{1 << 11:016x}\n")
    assert len(tried.phoenix("denials", "--json").document["denials"]) == 1
    assert tried.phoenix("try", "101", "lxc-b").code == 0
    tried.process(71, "/lxc/101/ns", f"{NAME} (enforce)")
    log = str(tried.root / "var/log/audit/audit.log")
    assert len(tried.phoenix("denials", "--file", log, "--json").document["denials"]) == 1
