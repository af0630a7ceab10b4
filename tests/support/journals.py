"""A live host that has much to do, and reading its journal: for tests of journal and recovery."""

from __future__ import annotations

import json
from typing import Any

from support.hosts import LiveHost, contents, profile

FIELDS: dict[str, Any] = {
    "name": "new",
    "apparmor_profile": "lxc-a",
    "template": "local:vztmpl/x.tar.zst",
    "storage_pool": "local-zfs",
    "storage_size_gb": 8,
}
JOURNAL = "var/lib/phoenix/journal"


def lines(live: LiveHost, number: int) -> list[dict[str, Any]]:
    text = (live.root / JOURNAL / f"{number:08d}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines() if line]


def world(live: LiveHost) -> tuple[object, ...]:
    state = {
        k: v
        for k, v in contents(live.root / "var/lib").items()
        if not k.startswith(("phoenix/journal", "phoenix/replaced"))
    }
    return contents(live.installed), contents(live.lxc), live.loaded(), live.policy(), state


def much_to_do(live: LiveHost) -> LiveHost:
    """Applied once; then sources, an include and the declaration change, and a profile is retired."""
    live.source("abstractions/phoenix/x", data=b"  network,\n")
    live.source("lxc-a", "include <abstractions/phoenix/x>")
    live.source("lxc-b")
    live.conf("101")
    live.conf("102", "a: 1\r\nlxc.apparmor.profile = lxc-old\r\nb: 2")
    (live.installed / "lxc-old").write_bytes(profile("lxc-old"))
    live.load_file("lxc-old")
    live.declare({"101": "lxc-a", "102": "lxc-old"})
    assert live.apply("--all", "--no-start").code == 0
    live.source("abstractions/phoenix/x", data=b"  network inet,\n")
    live.source("lxc-c")
    live.declare(
        {"101": "lxc-b", "102": "lxc-c", "950": {**FIELDS, "apparmor_profile": "lxc-c"}},
        deprecated_profiles={"lxc-old": "lxc-a"},
    )
    return live


def created_is_left(busy: LiveHost, state: tuple[Any, ...]) -> tuple[Any, ...]:
    """Created containers stay, without a line."""
    made = state[1].pop("950.conf", None)
    assert made is None or b"lxc.apparmor" not in made
    return state
