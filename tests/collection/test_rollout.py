"""The playbooks on three nodes that are directories: the gate, the way back, and check mode's diff."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.fleet import Fleet, Played
from support.hosts import TOP, DirectoryHost, contents
from support.signing import sign_all, some_keys

NODES = ("pve1", "pve2", "pve3")
APPLY = "Apply"
BACK = "Roll this step back"
ODD = b"#caf\xe9\r\narch: amd64\r\nmemory: 512"
"""Not UTF-8, DOS lines, no newline at the end."""
HEALTH = "test ! -e {{ phoenix_root }}/sick-{{ ctid }}"
STEPS = [1, 1, 1]


class Three:
    """Three nodes and what is on them."""

    def __init__(self, folder: Path) -> None:
        self.hosts = {name: DirectoryHost(folder / name) for name in NODES}
        values = {
            name: {
                "ansible_connection": "local",
                "ansible_python_interpreter": "/usr/bin/python3",
                "phoenix_root": str(host.root),
                "phoenix_config": str(host.config),
                "phoenix_executable": str(TOP / "bin/phoenix"),
                "phoenix_health_delay": 0,
                "phoenix_health_retries": 1,
            }
            for name, host in self.hosts.items()
        }
        self.fleet = Fleet(folder / "fleet", values)
        for host in self.hosts.values():
            host.source("lxc-a")
            host.conf("101", ODD)
            host.conf("102")
            host.declare({"101": "lxc-a", "102": "lxc-a"})

    def files(self, *names: str) -> dict[str, dict[str, bytes]]:
        """What each node holds, without Phoenix's own records."""
        return {name: contents(self.hosts[name].root / "etc") for name in names or NODES}

    def rollout(self, *words: str, **variables: object) -> Played:
        return self.fleet.play("rollout", *words, **{"phoenix_serial": STEPS, **variables})


@pytest.fixture
def three(tmp_path: Path) -> Three:
    return Three(tmp_path)


def _diffs(played: Played, name: str) -> dict[str, tuple[str, str]]:
    """Before and after by path, as Ansible has them."""
    found = {}
    for task in played.of(APPLY, name):
        for one in task.result["diff"]:
            if "before" in one:
                found[one["after_header"]] = (one["before"], one["after"])
    return found


def _shown(data: bytes | None) -> str:
    return "" if data is None else data.decode("utf-8", "backslashreplace")


def test_what_check_mode_shows_is_what_happens(three: Three) -> None:
    before = three.files()
    checked = three.rollout("--check", "--diff")
    assert checked.code == 0, checked.text
    assert three.files() == before
    assert "nodes 2 to 2 of 3" in checked.text and checked.changed() == dict.fromkeys(NODES, 1)
    done = three.rollout("--diff")
    assert done.code == 0, done.text
    after = three.files()
    for name in NODES:
        diffs = _diffs(checked, name)
        assert diffs == _diffs(done, name)
        assert sorted(diffs) == ["/etc/apparmor.d/lxc-a", "/etc/pve/lxc/101.conf", "/etc/pve/lxc/102.conf"]
        for path, texts in diffs.items():
            inner = path.removeprefix("/etc/").replace("pve/lxc", "pve/nodes/pve1/lxc")
            assert texts == (_shown(before[name].get(inner)), _shown(after[name][inner])), path
        told = [task.result for task in (*checked.of(APPLY, name), *done.of(APPLY, name))]
        assert told[0]["changes"] == told[1]["changes"] and told[0]["changed"]
        assert (told[0]["transaction"], told[1]["transaction"]) == (None, 1)
    again = three.rollout("--diff")
    assert again.code == 0 and again.changed() == dict.fromkeys(NODES, 0), again.text
    assert three.files() == after
    assert three.fleet.play("verify").code == 0


def test_an_unhealthy_container_takes_its_step_back_and_stops(three: Three) -> None:
    before = three.files()
    (three.hosts["pve2"].root / "sick-102").touch()
    stopped = three.rollout(phoenix_health_command=HEALTH)
    assert stopped.code != 0
    after = three.files()
    assert {name: after[name] == before[name] for name in NODES} == {
        "pve1": False,
        "pve2": True,
        "pve3": True,
    }
    assert stopped.of(APPLY, "pve3") == [] and not (three.hosts["pve3"].root / "var/lib/phoenix").exists()
    assert stopped.one(BACK, "pve2").result["changed"] and stopped.of(BACK, "pve1") == []
    assert stopped.one("Say what failed", "pve2").result["msg"].endswith("container 102")
    assert "because of pve2" in stopped.text
    # Again, once it is well: the first node has nothing to do.
    (three.hosts["pve2"].root / "sick-102").unlink()
    resumed = three.rollout(phoenix_health_command=HEALTH)
    assert resumed.code == 0, resumed.text
    assert resumed.changed() == {"pve1": 0, "pve2": 1, "pve3": 1}
    health = resumed.of("Ask each container's health", "pve2")
    assert health[0].result["results"][0]["cmd"][-1].endswith("sick-101")


def test_one_bad_node_takes_its_whole_step_back(three: Three) -> None:
    commands = {"101": "false", "102": "true"}
    three.hosts["pve2"].declare({"102": "lxc-a"})
    three.hosts["pve2"].conf("101").unlink()
    before = three.files()
    played = three.rollout(phoenix_serial=[2, 1], phoenix_health_commands=commands)
    assert played.code != 0
    assert played.one(BACK, "pve2").result["changed"], "well, but in the same step as pve1"
    assert three.files() == before and played.of(APPLY, "pve3") == []


def test_a_container_may_be_named_by_a_number(three: Three, tmp_path: Path) -> None:
    """YAML makes a number of a key without quotes: its command must not be left out."""
    given = tmp_path / "rollout.yml"
    given.write_text("phoenix_health_commands:\n  101: 'true'\n  102: 'false'\n")
    played = three.rollout("-e", f"@{given}")
    assert played.code != 0
    assert played.one("Say what failed", "pve1").result["msg"].endswith("container 102")


def test_what_apply_refuses_takes_the_others_back(three: Three) -> None:
    three.hosts["pve3"].conf("102", "lock: backup\narch: amd64\n")
    before = three.files()
    checked = three.rollout("--check", phoenix_serial=["100%"])
    assert checked.code != 0 and "backup" in checked.one(APPLY, "pve3").result["msg"]
    played = three.rollout(phoenix_serial=["100%"])
    assert played.code != 0 and three.files() == before
    assert "backup" in played.one(APPLY, "pve3").result["msg"]
    assert sorted(task.host for task in played.of(BACK) if task.result.get("changed")) == ["pve1", "pve2"]


def test_only_what_was_signed_is_rolled_out(three: Three) -> None:
    with some_keys() as keys:
        for host in three.hosts.values():
            (host.etc / "policy_tests").mkdir()
            sign_all(host.etc, keys)
        three.hosts["pve2"].source("lxc-a", "/etc/shadow r,")
        before = three.files()
        asked: dict[str, object] = {"phoenix_require_signed": str(keys.ring("fleet"))}
        for words in (["--check"], []):
            stopped = three.rollout(*words, **asked)
            assert stopped.code != 0
            assert "lxc-a: is not what was signed" in stopped.one(APPLY, "pve2").result["msg"]
        after = three.files()
        assert [name for name in NODES if after[name] != before[name]] == ["pve1"]
        sign_all(three.hosts["pve2"].etc, keys)
        resumed = three.rollout(**asked)
        assert resumed.code == 0 and resumed.changed() == {"pve1": 0, "pve2": 1, "pve3": 1}, resumed.text


def test_a_node_that_is_not_as_declared_is_no_good_step(three: Three) -> None:
    host = three.hosts["pve1"]
    host.conf("103", "arch: amd64\nlxc.apparmor.profile: unconfined\n")
    played = three.rollout()
    assert played.code != 0
    result: dict[str, Any] = played.one("Verify", "pve1").result
    assert [one["code"] for one in result["faults"]] == ["undeclared-unconfined"]
    assert result["as_declared"] is False


def test_a_node_that_cannot_be_reached_takes_the_others_back(three: Three, tmp_path: Path) -> None:
    broken = tmp_path / "ssh"
    broken.write_text("#!/bin/sh\nexit 255\n")
    broken.chmod(0o755)
    three.fleet.change("pve3", ansible_connection="ssh", ansible_ssh_executable=str(broken))
    before = three.files()
    played = three.rollout(phoenix_serial=["100%"])
    assert played.code != 0 and three.files() == before
    assert "unreachable" in [task.how for task in played.of(APPLY, "pve3")]
    assert sorted(task.host for task in played.of(BACK) if task.result.get("changed")) == ["pve1", "pve2"]


def test_a_move_is_asked_of_both_nodes(three: Three) -> None:
    assert three.rollout().code == 0
    here, there = (three.hosts[name].root / "etc/pve" for name in ("pve1", "pve2"))
    (here / "nodes/pve2/lxc").mkdir(parents=True)
    (there / "nodes/pve1").rename(there / "nodes/pve2")
    for link, target in (("local", "pve2"), ("lxc", "pve2/lxc"), ("qemu-server", "pve2/qemu-server")):
        (there / link).unlink()
        (there / link).symlink_to(f"nodes/{target}")
    asked: dict[str, object] = {"phoenix_container": 101, "phoenix_from": "pve1", "phoenix_to": "pve2"}
    good = three.fleet.play("migrate_check", **asked)
    assert good.code == 0 and set(good.changed().values()) == {0}, good.text
    say = "Say what speaks against it"
    assert "nothing speaks against" in good.one(say, "pve1").result["stdout"]
    place = Path(good.one("Remove it", "pve1").result["path"])
    assert not place.exists()
    (three.hosts["pve2"].root / "etc/apparmor.d/lxc-a").unlink()
    bad = three.fleet.play("migrate_check", **asked)
    assert bad.code != 0 and "lxc-a" in bad.one(say, "pve1").result["stdout"], bad.text
    assert len(bad.of("Remove it", "pve1")) == 1
    assert three.fleet.play("migrate_check", phoenix_container=101).code != 0, "no node is named"
