"""Deprecated profiles on a live host: retired last, and never while a process carries them."""

from __future__ import annotations

import pytest

from support.hosts import LiveHost, profile, told, world

# Deprecated profiles ---------------------------------------------------------------------


@pytest.fixture
def old(two: LiveHost) -> LiveHost:
    (two.installed / "lxc-old").write_bytes(profile("lxc-old"))
    two.load_by_hand("lxc-old")
    two.conf("101", "lxc.apparmor.profile: lxc-old\n")
    two.declare({"101": "lxc-a", "102": "lxc-b"}, deprecated_profiles={"lxc-old": "lxc-a"})
    return two


def test_setup_refuses_and_apply_retires_last(old: LiveHost) -> None:
    before = world(old)
    assert old.phoenix("setup").code == 1
    assert world(old) == before
    with old.recorded() as argvs:
        result = old.apply()
    assert result.code == 0
    assert "--remove" in argvs[-1]
    lines = [line for line in result.out.splitlines() if line[:1] in "+-~"]
    assert [line.split(":")[0] for line in lines[-2:]] == ["- lxc-old", "- lxc-old"]
    assert "lxc-old" not in old.loaded() and not (old.installed / "lxc-old").exists()
    assert old.apply().recap["changed"] == 0


def test_a_process_that_carries_it_keeps_it(old: LiveHost) -> None:
    assert old.pct("start", "101").ok
    assert old.labels()["101"] == "lxc-old (enforce)"
    result = old.apply("--all", "--json")
    assert result.code == 0
    codes = dict(told(result.document["skipped"]))
    assert codes == {"deprecated-running": "lxc-old", "restart-needed": "container 101"}
    assert "lxc-old" in old.loaded() and (old.installed / "lxc-old").exists()
    assert old.labels()["101"] == "lxc-old (enforce)"
    assert old.apply("--all", "--restart").code == 0
    assert "lxc-old" not in old.loaded() and not (old.installed / "lxc-old").exists()
    assert old.labels()["101"] == "lxc-a (enforce)"


@pytest.mark.parametrize("label", ["lxc-old (enforce)", "lxc-old//child (enforce)", "x//&lxc-old (enforce)"])
def test_any_process_of_the_host_counts(old: LiveHost, label: str) -> None:
    old.process(5000, "/system.slice/x.service", label)
    assert old.apply().code == 0
    assert "lxc-old" in old.loaded() and (old.installed / "lxc-old").exists()


def test_a_profile_whose_name_only_begins_alike_does_not_count(old: LiveHost) -> None:
    old.process(5000, "/system.slice/x.service", "lxc-old2 (enforce)")
    assert old.apply("--all", "--no-start").code == 0
    assert "lxc-old" not in old.loaded()


def test_a_file_that_defines_more_is_kept(old: LiveHost) -> None:
    both = profile("lxc-old") + b"profile other {\n}\n"
    (old.installed / "lxc-old").write_bytes(both)
    result = old.apply("--all", "--no-start", "--json")
    (kept,) = result.document["skipped"]
    assert (kept["code"], kept["data"]) == ("deprecated-kept", {"reason": "defines", "by": "other"})
    assert (old.installed / "lxc-old").read_bytes() == both and "lxc-old" in old.loaded()


def test_a_container_whose_name_is_no_ctid_counts(old: LiveHost) -> None:
    """Plain LXC names containers as it likes; Phoenix addresses CTIDs only."""
    web = old.root / "var/lib/lxc/web"
    web.mkdir(parents=True)
    (web / "config").write_text("lxc.apparmor.profile = lxc-old\n")
    old.declare({}, deprecated_profiles={"lxc-old": "lxc-a"})
    lxc = ("--runtime", "lxc")
    (kept,) = old.phoenix(*lxc, "setup", "--json").document["skipped"]
    assert (kept["code"], kept["data"]) == ("deprecated-assigned", {"containers": ["web"]})
    assert "lxc-old" in old.loaded() and (old.installed / "lxc-old").exists()
    # A rollback takes away from it as little.
    (web / "config").write_text("lxc.apparmor.profile = lxc-a\n")
    result = old.phoenix(*lxc, "rollback", "--json")
    assert result.code == 1 and ("assigned", "profile lxc-a") in result.problems
    assert "lxc-a" in old.loaded()


def test_a_configuration_that_cannot_be_read_may_hold_anything(old: LiveHost) -> None:
    old.conf("103", "#" * (1024 * 1024 + 1))
    (kept,) = old.apply("--all", "--no-start", "--json").document["skipped"]
    assert (kept["code"], kept["data"]) == ("deprecated-unknown", {"containers": ["103"]})
    assert "lxc-old" in old.loaded() and (old.installed / "lxc-old").exists()
    before = world(old)
    result = old.phoenix("rollback", "--json")
    assert result.code == 1 and "perhaps-assigned" in dict(result.problems)
    assert world(old) == before


@pytest.mark.parametrize("section", ["before", "pve:pending"])
def test_a_snapshot_may_bring_it_back(old: LiveHost, section: str) -> None:
    """`pct rollback` writes the line anew, and a container does not start under a profile that is gone."""
    old.conf("102", f"m: 1\n\n[{section}]\nm: 1\nlxc.apparmor.profile: lxc-old\n")
    result = old.apply("--all", "--no-start")
    assert result.code == 0
    words = f"kept: a rollback brings it back from [{section}] of container 102"
    assert words in " ".join(result.out.split())
    assert "lxc-old" in old.loaded() and (old.installed / "lxc-old").exists()
    old.conf("102", "m: 1\n")
    assert old.apply("--all", "--no-start").code == 0
    assert "lxc-old" not in old.loaded()


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_quoted_name_is_the_name(old: LiveHost, quote: str) -> None:
    """Proxmox passes quotes on, and LXC takes one pair off."""
    old.conf("103", f"lxc.apparmor.profile: {quote}lxc-old{quote}\n")
    (kept,) = old.apply("--all", "--no-start", "--json").document["skipped"]
    assert (kept["code"], kept["data"]) == ("deprecated-assigned", {"containers": ["103"]})
    assert "lxc-old" in old.loaded()


def test_loaded_only(old: LiveHost) -> None:
    (old.installed / "lxc-old").unlink()
    assert old.apply().code == 0
    assert "lxc-old" not in old.loaded()


def test_a_failed_unload_undoes_everything(old: LiveHost) -> None:
    before = world(old)
    old.fail(parser_remove=1)
    result = old.apply("--all", "--no-start", "--json")
    assert result.code == 1
    assert result.problems[0] == ("step-failed", "profile lxc-old")
    assert world(old) == before


def test_a_failed_removal_loads_it_again(old: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    from phoenix_hypervisor.errors import PhoenixError
    from phoenix_hypervisor.host.files import Directory

    before = world(old)
    real = Directory.remove

    def remove(self: Directory, name: str, *, before: bytes | None = None) -> None:
        if name == "lxc-old" and self.path == "/etc/apparmor.d":
            raise PhoenixError("cannot remove: said by the test")
        real(self, name, before=before)

    monkeypatch.setattr(Directory, "remove", remove)
    result = old.apply("--all", "--no-start")
    assert result.code == 1 and "said by the test" in result.err
    after = world(old)
    assert after[:3] == before[:3]
