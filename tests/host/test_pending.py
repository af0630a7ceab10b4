"""Raw lines in `[pve:pending]`: Proxmox puts them in the place of all raw lines at the next start."""

from __future__ import annotations

import pytest

from support.hosts import LiveHost, told, world

UNCONFINED = (
    "arch: amd64\nhostname: a\nmemory: 512\n\n[pve:pending]\nmemory: 1024\nlxc.apparmor.profile: unconfined\n"
)
SAID = "[pve:pending] contains raw lxc.* lines"


@pytest.fixture
def one(live: LiveHost) -> LiveHost:
    live.source("lxc-a")
    live.conf("101", UNCONFINED)
    live.declare({"101": "lxc-a"})
    return live


def codes(live: LiveHost) -> list[str]:
    document = live.phoenix("verify", "--json").document
    return [f["code"] for c in document["containers"] for f in c["findings"]]


@pytest.mark.parametrize("words", [("apply", "--all"), ("apply", "101"), ("plan",)])
def test_a_container_that_would_run_unconfined_is_not_started(one: LiveHost, words: tuple[str, ...]) -> None:
    before = world(one)
    with one.recorded() as argvs:
        result = one.phoenix(*words)
    assert result.code == 1
    assert SAID in result.err and "runs with lxc.apparmor.profile: unconfined" in result.err
    assert "remove the lxc.* lines below [pve:pending] in /etc/pve/lxc/101.conf" in result.err
    assert not [a for a in argvs if a[0] == "pct"]
    assert world(one) == before


@pytest.mark.parametrize("start", [True, False])
def test_it_is_not_as_declared_although_the_line_is_there(one: LiveHost, start: bool) -> None:
    one.declare({"101": {"apparmor_profile": "lxc-a", "start": start}})
    result = one.apply("--all", "--no-start", "--json")
    assert result.code == 0 and ("pending-raw", "container 101") in told(result.document["warnings"])
    assert "lxc.apparmor.profile: lxc-a\n\n[pve:pending]" in (one.lxc / "101.conf").read_text()
    assert one.phoenix("verify").code == 3
    assert "pending-raw" in codes(one)
    # Nor does any other command say so, although there is nothing to change.
    plan = one.phoenix("plan", "--no-start")
    assert plan.code == 0 and "nothing to change" in plan.out and "as declared" not in plan.out
    again = one.phoenix("apply", "--all", "--no-start", "--json")
    assert again.document["changed"] == 0 and told(again.document["warnings"])[0][0] == "pending-raw"
    (row,) = one.phoenix("status", "--json").document["containers"]
    assert not row["as_declared"] and [f["code"] for f in row["findings"] if f["code"] == "pending-raw"]
    ok = again.document["ok"]
    one.conf("101", (one.lxc / "101.conf").read_text().partition("\n[pve")[0] + "\n")
    assert one.phoenix("apply", "--all", "--no-start", "--json").document["ok"] == ok + 1


def test_a_container_that_runs_is_not_restarted_into_it(one: LiveHost) -> None:
    one.conf("101")
    assert one.pct("start", "101").ok
    one.conf("101", UNCONFINED)
    before = one.labels()
    result = one.phoenix("apply", "--all", "--restart", "--json")
    assert result.code == 1 and result.problems == [("pending-raw", "container 101")]
    assert one.labels() == before
    assert "pending-raw" in codes(one)


def test_lines_that_appear_between_plan_and_start_stop_the_start(one: LiveHost) -> None:
    """Whoever writes them meanwhile: the file is looked at once more."""
    one.conf("101")
    inner = one.host.runner.run

    def run(argv: list[str], **more: object) -> object:
        done = inner(argv, **more)  # type: ignore[arg-type]
        if "--replace" in argv:
            one.conf("101", UNCONFINED.replace("\n\n", "\nlxc.apparmor.profile: lxc-a\n\n", 1))
        return done

    one.declare({"101": "lxc-a"})
    one.runner.run = run  # type: ignore[assignment, method-assign]
    result = one.apply()
    assert result.code == 1
    assert one.labels() == {}


def test_the_same_profile_in_pending_is_started_and_told(one: LiveHost) -> None:
    one.conf(
        "101", "memory: 512\nlxc.apparmor.profile: lxc-a\n\n[pve:pending]\nlxc.apparmor.profile: lxc-a\n"
    )
    result = one.apply()
    assert result.code == 0 and SAID in result.out
    assert one.labels() == {"101": "lxc-a (enforce)"}
    assert one.phoenix("verify").code == 0


@pytest.mark.parametrize("pending", ["lxc.environment.runtime: HOME=/root", "memory: 1024"])
def test_the_environment_of_an_oci_image_is_no_alarm(one: LiveHost, pending: str) -> None:
    """Proxmox keeps it beside the raw lines, so the profile stays."""
    one.conf("101", f"memory: 512\nlxc.signal.halt: SIGTERM\n\n[pve:pending]\n{pending}\n")
    result = one.apply()
    assert (result.code, result.err) == (0, "") and SAID not in result.out
    assert one.labels() == {"101": "lxc-a (enforce)"}
    text = (one.lxc / "101.conf").read_text()
    assert "lxc.signal.halt: SIGTERM\nlxc.apparmor.profile: lxc-a\n" in text and pending in text
    assert one.phoenix("verify").code == 0


def test_a_start_replaces_what_stood_above(one: LiveHost) -> None:
    """What Proxmox does, and why the start is refused: nothing of the raw lines above is left."""
    one.conf("101", UNCONFINED.replace("\n\n", "\nlxc.cgroup2.devices.allow: c 195:* rwm\n\n", 1))
    assert one.pct("start", "101").ok
    text = (one.lxc / "101.conf").read_text()
    assert "lxc.cgroup2" not in text and text.endswith("lxc.apparmor.profile: unconfined\n")
    assert one.labels() == {"101": "unconfined"}
