"""`--json` of what writes: every file before and after, byte for byte, and the transaction's number."""

from __future__ import annotations

from typing import Any

from support.hosts import DirectoryHost, LiveHost, contents

ODD = b"#caf\xe9\r\narch: amd64\r\nmemory: 512"
"""Not UTF-8, DOS lines, no newline at the end."""


def _states(document: dict[str, Any]) -> dict[str, tuple[bytes | None, bytes | None]]:
    """Before and after by path, as bytes."""
    found = {}
    for action in document["actions"]:
        if action["kind"] in ("install", "remove", "assign"):
            texts = (action["before"], action["after"])
            one, two = (None if t is None else t.encode("utf-8", "surrogateescape") for t in texts)
            found[action["path"]] = (one, two)
    return found


def test_a_plan_says_the_very_bytes_that_apply_writes(host: DirectoryHost) -> None:
    host.source("lxc-a")
    host.source("lxc-b", *(f"/etc/{n} r," for n in range(60)))
    host.conf("101", ODD)
    host.declare({"101": "lxc-a"})
    before = contents(host.root)
    planned = host.phoenix("apply", "--all", "--no-start", "--dry-run", "--json").document
    assert planned["transaction"] is None
    done = host.phoenix("apply", "--all", "--no-start", "--json").document
    assert done["transaction"] == 1
    states = _states(planned)
    assert states == _states(done)
    assert sorted(states) == [
        "/etc/apparmor.d/lxc-a",
        "/etc/apparmor.d/lxc-b",
        "/etc/pve/lxc/101.conf",
    ]
    after = contents(host.root)
    for path, (old, new) in states.items():
        name = path.replace("/etc/pve/lxc", "/etc/pve/nodes/pve1/lxc")[1:]
        assert (before.get(name), after[name]) == (old, new), path
    again = host.phoenix("apply", "--all", "--no-start", "--json").document
    assert (again["changed"], again["transaction"], again["actions"]) == (0, None, [])


def test_a_rollback_says_the_very_bytes_too(host: DirectoryHost) -> None:
    host.source("lxc-a")
    host.conf("101", ODD)
    host.declare({"101": "lxc-a"})
    before = contents(host.root / "etc")
    number = host.phoenix("apply", "--all", "--no-start", "--json").document["transaction"]
    planned = host.phoenix("rollback", str(number), "--dry-run", "--json").document
    done = host.phoenix("rollback", str(number), "--json").document
    assert _states(planned) == _states(done)
    assert _states(done)["/etc/apparmor.d/lxc-a"][1] is None
    assert (done["undoes"], done["transaction"]) == (number, number + 1)
    assert contents(host.root / "etc") == before


def test_apply_says_what_it_really_wrote(live: LiveHost) -> None:
    """Of a container that is created in the same run no plan knows the bytes."""
    live.source("lxc-a")
    entry = {"name": "new", "apparmor_profile": "lxc-a", "template": "local:vztmpl/x.tar.zst"}
    live.declare({"950": {**entry, "storage_pool": "local-zfs", "storage_size_gb": 8}})
    planned = live.phoenix("plan", "--json").document
    (action,) = [one for one in planned["actions"] if one["kind"] == "assign"]
    assert (action["before"], action["after"]) == (None, None)
    assert action["lines"] == [{"key": "lxc.apparmor.profile", "value": "lxc-a", "old": None}]
    done = live.phoenix("apply", "--all", "--no-start", "--json").document
    assert done["failed"] == 0, done
    (path,) = [path for path in _states(done) if path.endswith("950.conf")]
    assert _states(done)[path][1] == (live.lxc / "950.conf").read_bytes()
