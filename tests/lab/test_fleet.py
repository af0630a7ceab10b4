"""A rollout over three guests: a real kernel, real LXC, ssh, and the collection's own playbooks."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from support.fleet import Fleet, Played
from support.lab_nodes import LabNode, declare, three_nodes

APPLY, BACK = "Apply", "Roll this step back"
ONE = "  deny /etc/one w,\n"
TWO = "  deny /srv/** r,\n"
HEALTH = "lxc-attach -n {{ ctid }} -- cat {{ phoenix_probe }}"


def _diffs(played: Played, name: str) -> dict[str, tuple[str, str]]:
    entries = played.one(APPLY, name).result["diff"]
    return {one["after_header"]: (one["before"], one["after"]) for one in entries if "before" in one}


def _state(node: LabNode) -> tuple[dict[str, bytes], dict[str, str], str, int]:
    ours = {name: mode for name, mode in node.profiles().items() if name.startswith("lxc-t-")}
    return node.files(), ours, node.container.label(), node.container.init_pid()


def test_three_guests_from_the_first_node_to_the_gate(lab_tools: None, tmp_path: Path) -> None:
    with ExitStack() as stack:
        nodes = three_nodes(stack, tmp_path)
        fleet = Fleet(tmp_path / "fleet", {n: node.variables() for n, node in nodes.items()}, timeout=560)
        for name, node in nodes.items():
            declare(node, {"101": "lxc-t-one"}, {"lxc-t-one": ONE})
            # Only on the second node is the application's data where the second profile denies it.
            fleet.change(name, phoenix_probe="/srv/app" if name == "pve2" else "/var/app")
        plan: dict[str, object] = {
            "phoenix_serial": [1, "100%"],
            "phoenix_restart": True,
            "phoenix_health_delay": 1,
        }

        # The first profile: one node, then the rest.
        before = {name: node.files() for name, node in nodes.items()}
        checked = fleet.play("rollout", "--check", "--diff", **plan)
        assert checked.code == 0, checked.text
        assert {name: node.files() for name, node in nodes.items()} == before
        done = fleet.play("rollout", "--diff", **plan)
        print(done.text)
        assert done.code == 0, done.text
        assert [task.host for task in done.of(APPLY)].index("pve1") == 0
        for name, node in nodes.items():
            diffs, now = _diffs(checked, name), node.files()
            assert diffs == _diffs(done, name)
            paths = [
                "/etc/apparmor.d/lxc-t-one",
                "/var/lib/lxc/101/config",
                "/var/lib/phoenix/seccomp/privileged",
            ]
            assert sorted(diffs) == paths and sorted(now) == paths
            for path in paths:
                old = before[name].get(path, b"").decode()
                assert diffs[path] == (old, now[path].decode()), path
            assert node.container.label() == "lxc-t-one (enforce)"
            probe = "mkdir -p /srv /var && echo yes > /srv/app && echo yes > /var/app"
            assert node.container.attach(probe).ok
        again = fleet.play("rollout", phoenix_health_command=HEALTH, **plan)
        assert again.code == 0, again.text
        assert again.changed() == {"pve1": 0, "pve2": 0, "pve3": 0}

        # The second one breaks the second node: that step goes back, the third is not begun.
        for node in nodes.values():
            declare(node, {"101": "lxc-t-two"}, {"lxc-t-two": TWO})
        states = {name: _state(node) for name, node in nodes.items()}
        steps = {**plan, "phoenix_serial": [1, 1, 1], "phoenix_health_command": HEALTH}
        stopped = fleet.play("rollout", **steps)
        print(stopped.text)
        assert stopped.code != 0 and "because of pve2" in stopped.text
        assert nodes["pve1"].container.label() == "lxc-t-two (enforce)"
        assert stopped.one(BACK, "pve2").result["changed"]
        files, loaded, label, pid = _state(nodes["pve2"])
        assert (files, loaded, label) == states["pve2"][:3]
        assert pid != states["pve2"][3], "it was restarted, so it was restarted back"
        assert nodes["pve2"].container.attach("cat /srv/app").ok
        assert _state(nodes["pve3"]) == states["pve3"] and stopped.of(APPLY, "pve3") == []

        # Once the data lies elsewhere, the same rollout goes on where it stopped.
        fleet.change("pve2", phoenix_probe="/var/app")
        resumed = fleet.play("rollout", **steps)
        print(resumed.text)
        assert resumed.code == 0, resumed.text
        assert resumed.changed() == {"pve1": 0, "pve2": 1, "pve3": 1}
        assert {node.container.label() for node in nodes.values()} == {"lxc-t-two (enforce)"}
        assert fleet.play("verify").code == 0
