"""`phoenix rollback --restart`: the containers that a transaction had started go back under their old profile."""

from __future__ import annotations

from support.hosts import LiveHost, world


def test_restart_puts_back_what_the_transaction_had_started(live: LiveHost) -> None:
    """A new profile cannot be unloaded while a container runs under it: that is restarted before."""
    live.source("lxc-a")
    for ctid in ("101", "102"):
        live.conf(ctid)
    live.declare({"101": "lxc-a", "102": "lxc-a"})
    assert live.apply("--all").code == 0
    before = world(live), live.labels()
    live.source("lxc-b")
    live.declare({"101": "lxc-b", "102": "lxc-a"})
    applied = live.apply("101", "--restart", "--json").document
    assert "restart" in [action["kind"] for action in applied["actions"]]
    assert live.labels() == {"101": "lxc-b (enforce)", "102": "lxc-a (enforce)"}
    number = str(applied["transaction"])
    refused = live.phoenix("rollback", number, "--json")
    assert refused.code == 1 and refused.problems == [("carried", "profile lxc-b")]
    planned = live.phoenix("rollback", number, "--restart", "--dry-run", "--json").document
    done = live.phoenix("rollback", number, "--restart", "--json").document
    assert "error" not in done, done["error"]["problems"]
    assert done["actions"] == planned["actions"] and done["unconfirmed"] == []
    kinds = [(action["kind"], action["target"]) for action in done["actions"]]
    assert kinds[-2:] == [("restart", "101"), ("unload", "lxc-b")]
    assert (world(live), live.labels()) == before
    # Again as it was: the rollback had restarted it too.
    again = live.phoenix("rollback", str(done["transaction"]), "--restart", "--json")
    assert again.code == 0, again.err
    assert live.labels()["101"] == "lxc-b (enforce)"


def test_without_a_restart_of_its_own_a_rollback_restarts_nothing(live: LiveHost) -> None:
    live.source("lxc-a")
    live.conf("101")
    assert live.pct("start", "101").ok
    live.declare({"101": "lxc-a"})
    number = live.apply("--all", "--json").document["transaction"]
    done = live.phoenix("rollback", str(number), "--restart", "--json").document
    assert [action["kind"] for action in done["actions"]] == ["assign", "remove", "unload"]
