"""`phoenix history` and `phoenix rollback` on a live host and on a directory."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from support.hosts import SECURITYFS, DirectoryHost, LiveHost, profile, snapshot, temporary_files, told, world
from support.killed import killed

FIELDS: dict[str, Any] = {
    "name": "new",
    "apparmor_profile": "lxc-c",
    "template": "local:vztmpl/x.tar.zst",
    "storage_pool": "local-zfs",
    "storage_size_gb": 8,
}


@pytest.fixture
def busy(live: LiveHost) -> LiveHost:
    """Transaction 1 has been applied; a second one is prepared, with every kind of change."""
    live.source("abstractions/phoenix/x", data=b"  network,\n")
    live.source("lxc-a", "include <abstractions/phoenix/x>")
    live.source("lxc-b")
    live.conf("101", "#d\r\nlxc.apparmor.profile = x\r\nb: 2\n\n[snap]\nlxc.apparmor.profile: s\n")
    live.conf("102", "lxc.apparmor.profile: lxc-old")
    (live.installed / "lxc-old").write_bytes(profile("lxc-old"))
    live.load_file("lxc-old")
    live.declare({"101": "lxc-a", "102": "lxc-old"})
    assert live.apply("--all", "--no-start").code == 0
    live.source("abstractions/phoenix/x", data=b"  network inet,\n")
    live.source("lxc-c", "include <abstractions/phoenix/y>")
    live.source("abstractions/phoenix/y", data=b"  network unix,\n")
    live.declare({"101": "lxc-b", "102": "lxc-c", "950": FIELDS}, deprecated_profiles={"lxc-old": "lxc-a"})
    return live


@pytest.fixture
def done(busy: LiveHost) -> LiveHost:
    """The second transaction is applied too."""
    assert busy.apply("--all", "--no-start").code == 0
    return busy


def _refused(live: LiveHost, *words: str, arguments: tuple[str, ...] = ()) -> str:
    before = snapshot(live.root, without=("double", "run"))
    for more in ((), ("--dry-run",)):
        result = live.phoenix("rollback", *arguments, *more)
        assert result.code == 1, result
        for word in words:
            assert word in result.err, result.err
    assert snapshot(live.root, without=("double", "run")) == before
    return result.err


def test_it_restores_bytes_policy_and_lines(busy: LiveHost) -> None:
    before = world(busy)
    old = {path: path.stat().st_mtime_ns for path in busy.installed.rglob("*")}
    assert busy.apply("--all", "--no-start").code == 0
    after = world(busy)
    written = {path: path.stat().st_mtime_ns for path in busy.installed.rglob("lxc-*")}
    dry = busy.phoenix("rollback", "--dry-run")
    assert dry.code == 0 and world(busy) == after
    result = busy.phoenix("rollback")
    assert (result.code, result.err) == (0, "")
    now = world(busy)
    created = now[1].pop("950.conf")
    assert b"lxc.apparmor" not in created
    assert now == before
    # Parser caches go by the time of a file.
    include = busy.installed / "abstractions/phoenix/x"
    assert include.stat().st_mtime_ns > max(old[include], max(written.values()))
    assert temporary_files(busy.root) == []
    assert [line.split(":")[0] for line in dry.out.splitlines() if line[:1] in "+-~"] == [
        line.split(":")[0] for line in result.out.splitlines() if line[:1] in "+-~"
    ]
    # A rollback is a transaction too, undone by its number.
    assert busy.phoenix("rollback", "3").code == 0
    again = world(busy)
    assert again[:3] == after[:3]
    assert {k: v for k, v in again[3].items() if k != "lxc-old"} == after[3]
    assert busy.phoenix("verify").code == 0 or "stopped" in busy.phoenix("status").out


def test_history(done: LiveHost) -> None:
    def states() -> dict[str, str]:
        out = done.phoenix("history").out
        return dict(re.findall(r"^ *(\d+) .*? (committed|undone|rolled back by \d+) ", out, re.M))

    assert states() == {"2": "committed", "1": "committed"}
    assert done.phoenix("rollback").code == 0
    assert states() == {"3": "committed", "2": "rolled back by 3", "1": "committed"}
    out = done.phoenix("history").out
    assert ("rollback of 2" in out and f"uid {os.getuid()}" in out) or f"({os.getuid()})" in out
    assert done.phoenix("rollback", "3").code == 0
    assert states() == {
        "4": "committed", "3": "rolled back by 4", "2": "committed", "1": "committed",
    }  # fmt: skip
    document = done.phoenix("history", "--json").document
    assert [t["id"] for t in document["transactions"]] == [4, 3, 2, 1]
    assert document["transactions"][0]["undoes"] == 3
    before = snapshot(done.root, without=("double",))
    assert done.phoenix("history").code == 0
    assert snapshot(done.root, without=("double",)) == before


def test_which_one_is_undone_next(done: LiveHost) -> None:
    assert done.phoenix("rollback", "2").code == 0
    assert "transaction 2 is rolled back by 3" in done.phoenix("rollback", "2").err
    assert done.phoenix("rollback", "1").code == 0
    assert not (done.installed / "lxc-a").exists()
    assert (done.lxc / "101.conf").read_bytes().startswith(b"#d\r\nlxc.apparmor.profile = x\r\n")
    assert done.phoenix("rollback", "9").code == 1
    for word in ("x", "-1", "1.0", "", "９", "999999999999"):
        assert done.phoenix("rollback", "--", word).code == 2, word


def test_without_a_number_it_never_undoes_a_rollback(done: LiveHost) -> None:
    first = done.phoenix("rollback", "--json")
    assert first.document["undoes"] == 2
    before = world(done)
    assert done.phoenix("rollback", "3").code == 0, "again what 2 did"
    assert done.phoenix("rollback", "--json").document["undoes"] == 2
    assert world(done)[:3] == before[:3]
    assert done.phoenix("rollback", "--json").document["undoes"] == 1
    result = done.phoenix("rollback")
    assert result.code == 1 and "a rollback is undone by its number" in result.err
    assert done.phoenix("rollback", "6").code == 0
    assert (done.installed / "lxc-a").exists()


def test_what_a_later_transaction_made_of_the_include_is_loaded_again(done: LiveHost) -> None:
    done.source("lxc-d", "include <abstractions/phoenix/x>")
    assert done.phoenix("setup").code == 0
    new = done.policy()["lxc-d"]
    result = done.phoenix("rollback", "2", "--dry-run", "--json")
    assert "lxc-d" in [a["target"] for a in result.document["actions"] if a["kind"] == "load"]
    with done.recorded() as argvs:
        assert done.phoenix("rollback", "2").code == 0
    assert "lxc-d" in [os.path.basename(a[-1]) for a in argvs if "--replace" in a]
    loaded = done.policy()["lxc-d"]
    assert loaded != new
    assert loaded == (done.root / "var/lib/phoenix/compiled/lxc-d").read_bytes()
    done.load_file("lxc-d")
    assert done.policy()["lxc-d"] == loaded, "what the files say now"
    # With the sources as they were then, all is as declared: nothing is loaded once more.
    done.source("abstractions/phoenix/x", data=b"  network,\n")
    os.unlink(done.sources / "lxc-c")
    os.unlink(done.sources / "abstractions/phoenix/y")
    done.declare({"101": "lxc-a", "102": "lxc-old"})
    assert done.phoenix("setup").recap["changed"] == 0


def test_an_unfinished_transaction_is_the_one_that_is_undone(done: LiveHost) -> None:
    """And no older one as well."""
    before = world(done)
    done.source("lxc-b", "/srv/more r,")
    with killed("end", 0):
        done.phoenix("setup")
    document = done.phoenix("rollback", "--json").document
    assert document["recovered"]["id"] == 3 and document["undoes"] is None and document["changed"] == 0
    assert world(done) == before
    with killed("end", 0):
        done.phoenix("setup")
    result = done.phoenix("rollback", "2")
    assert result.code == 0 and "recovered: transaction 4" in result.out
    assert done.phoenix("history", "--json").document["transactions"][0]["undoes"] == 2


def test_two_at_once_undo_one(done: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    from phoenix_hypervisor.engine.perform import locked as real

    def locked(session: Any) -> Any:
        monkeypatch.undo()
        assert done.phoenix("rollback").code == 0
        return real(session)

    monkeypatch.setattr("phoenix_hypervisor.engine.undo.locked", locked)
    result = done.phoenix("rollback")
    assert result.code == 1 and "transaction 2 is rolled back by 3" in result.err
    assert [t["state"] for t in done.phoenix("history", "--json").document["transactions"]] == [
        "committed"
    ] * 3


def test_a_transaction_that_only_started_something_is_passed_over(live: LiveHost) -> None:
    live.source("lxc-a")
    live.conf("101")
    live.declare({"101": "lxc-a"})
    assert live.apply("--all", "--no-start").code == 0
    assert live.apply().code == 0
    result = live.phoenix("rollback", "2")
    assert result.code == 1 and "transaction 2 did nothing that can be undone" in result.err
    assert live.pct("stop", "101").ok
    assert live.phoenix("rollback").code == 0
    assert live.phoenix("history", "--json").document["transactions"][0]["undoes"] == 1
    assert "lxc-a" not in live.loaded()


def test_on_a_kernel_without_apparmor(done: LiveHost) -> None:
    (done.root / SECURITYFS).rename(done.root / "away")
    result = done.phoenix("rollback", "--dry-run", "--json")
    assert result.code == 0 and {code for code, _ in told(result.document["skipped"])} == {"kernel-off"}


def test_nothing_to_undo(host: DirectoryHost) -> None:
    result = host.phoenix("rollback")
    assert result.code == 1 and "there is no transaction to undo" in result.err
    assert host.phoenix("history").code == 0
    assert not (host.root / "var").exists()


def test_over_a_foreign_change(done: LiveHost) -> None:
    (done.installed / "lxc-c").write_bytes(profile("lxc-c", "/srv/theirs r,"))
    err = _refused(done, "cannot be undone, and nothing was changed", "lxc-c: changed since transaction 2")
    assert "-  /etc/hosts" not in err.split("now")[0]
    assert "+  /srv/theirs r," in err and "-  /srv/theirs r," in err
    assert "then (transaction 2 left it)" in err and "would become (no such file)" in err


def test_over_a_foreign_line(done: LiveHost) -> None:
    text = (done.lxc / "101.conf").read_bytes()
    (done.lxc / "101.conf").write_bytes(text.replace(b"lxc-b", b"lxc-theirs"))
    _refused(
        done, "/etc/pve/lxc/101.conf", "-lxc.apparmor.profile: lxc-b", "+lxc.apparmor.profile: lxc-theirs"
    )


def test_other_lines_of_a_configuration_stay(done: LiveHost) -> None:
    assert done.pct("set", "101", "--memory", "4096").ok
    result = done.phoenix("rollback")
    assert (result.code, result.err) == (0, "")
    assert "only its line" in result.out
    text = (done.lxc / "101.conf").read_text()
    assert "memory: 4096\nlxc.apparmor.profile: lxc-a\n" in text
    assert text.endswith("[snap]\nlxc.apparmor.profile: s\n")


def test_a_line_that_could_not_be_assigned_goes_back_beside_other_changes(host: DirectoryHost) -> None:
    host.source("lxc-a")
    path = host.conf("101", "memory: 512\nlxc.apparmor.profile: lxc-a # site\n")
    host.declare({"101": "lxc-a"})
    assert host.apply().code == 0
    path.write_text(path.read_text().replace("512", "1024"))
    assert host.phoenix("rollback").code == 0
    assert path.read_text() == "memory: 1024\nlxc.apparmor.profile: lxc-a # site\n"


def test_a_profile_that_a_process_carries(done: LiveHost) -> None:
    assert done.pct("start", "102").ok
    _refused(done, "profile lxc-c", "would be unloaded, but PID", "runs under it")


def test_a_profile_that_a_container_is_assigned_to(done: LiveHost) -> None:
    done.conf("103", "lxc.apparmor.profile: lxc-c\n")
    _refused(done, "profile lxc-c", "assigned to container 103")


def test_an_include_that_a_later_profile_needs(done: LiveHost) -> None:
    done.source("lxc-d", "include <abstractions/phoenix/y>")
    assert done.phoenix("setup").code == 0
    _refused(done, "abstractions/phoenix/y", "profile lxc-d includes it", arguments=("2",))
    assert done.phoenix("rollback").code == 0
    assert done.phoenix("rollback", "2").code == 0


def test_a_later_version_of_a_profile(done: LiveHost) -> None:
    done.source("lxc-c", "/etc/passwd r,")
    assert done.phoenix("setup").code == 0
    _refused(done, "lxc-c: changed since transaction 2", "a later transaction loaded another version",
             arguments=("2",))  # fmt: skip


def test_a_locked_container_and_no_quorum(done: LiveHost) -> None:
    text = (done.lxc / "101.conf").read_bytes()
    (done.lxc / "101.conf").write_bytes(text.replace(b"#d", b"#d\nlock: backup\r", 1))
    _refused(done, "is locked by Proxmox (backup")
    (done.lxc / "101.conf").write_bytes(text)
    done.lose_quorum()
    _refused(done, "no quorum")


def test_a_container_that_is_gone(done: LiveHost) -> None:
    (done.lxc / "950.conf").unlink()
    result = done.phoenix("rollback", "--json")
    assert result.code == 0 and ("container-gone", "container 950") in told(result.document["skipped"])


def test_what_somebody_undid_already(done: LiveHost) -> None:
    before = (done.installed / "abstractions/phoenix/x").read_bytes()
    (done.installed / "abstractions/phoenix/x").write_bytes(before.replace(b" inet", b""))
    assert done.phoenix("rollback").code == 0


def test_everything_undone_by_hand_already(host: DirectoryHost) -> None:
    host.source("lxc-a")
    host.conf("101", "m: 1\n")
    host.declare({"101": "lxc-a"})
    assert host.apply().code == 0
    (host.lxc / "101.conf").write_text("m: 1\n")
    (host.installed / "lxc-a").unlink()
    before = snapshot(host.folder)
    for words in (("rollback",), ("rollback", "1"), ("rollback", "--dry-run")):
        result = host.phoenix(*words, "--json")
        document = result.document
        assert result.code == 0
        assert (document["changed"], told(document["skipped"])) == (0, [("nothing-to-undo", "rollback")])
        assert document["undoes"] == (1 if "--dry-run" in words else None)
        assert document["skipped"][0]["data"] == {"earlier": None}
    assert "already as it was before" in host.phoenix("rollback").out
    assert snapshot(host.folder) == before, "no journal, no lock, no time"
    # What was undone by a rollback is not named as what could be undone next.
    host.source("lxc-b")
    host.declare({"101": "lxc-b"})
    assert host.apply().code == 0 and host.phoenix("rollback").code == 0
    assert host.apply().code == 0
    (host.lxc / "101.conf").write_text("m: 1\n")
    for name in ("lxc-a", "lxc-b"):
        (host.installed / name).unlink()
    (note,) = host.phoenix("rollback", "--json").document["skipped"]
    assert note["data"] == {"earlier": 1} and "`phoenix rollback 1`" in note["hint"]


def test_where_the_service_loads_it_loads_in_a_rollback(two: LiveHost, tmp_path: Path) -> None:
    """One reload of the service is enough for the profile and for all that include its include."""
    script = tmp_path / "systemctl"
    lines = [f"[ ! -e {two.installed}/lxc-{n} ] || echo 'lxc-{n} (enforce)'" for n in "ab"]
    lines += ["echo 'lxc-container-default-cgns (enforce)'"]
    script.write_text("#!/bin/sh\n{\n" + "\n".join(lines) + f"\n}} > {two.profiles}\n")
    script.chmod(0o755)
    two.runner._inner._replacements["systemctl"] = [str(script)]  # type: ignore[attr-defined]
    two.source("abstractions/phoenix/x", data=b"  network,\n")
    for name in ("lxc-a", "lxc-b"):
        two.source(name, "include <abstractions/phoenix/x>")
    two.declare({"101": "lxc-a", "102": "lxc-b"}, reload="service")
    assert two.apply("--all", "--no-start").code == 0
    two.source("abstractions/phoenix/x", data=b"  network inet,\n")
    assert two.apply("--all", "--no-start").code == 0
    with two.recorded() as argvs:
        result = two.phoenix("rollback")
    assert (result.code, result.err) == (0, "")
    assert [a for a in argvs if a[0] == "systemctl"] == [("systemctl", "reload", "apparmor.service")]
    assert not [a for a in argvs if "--replace" in a]
    assert (two.installed / "abstractions/phoenix/x").read_bytes() == b"  network,\n"


def test_a_rollback_that_fails_changes_nothing(done: LiveHost) -> None:
    before = world(done)
    for calls in ({"parser_replace": 1}, {"parser_remove": 1}):
        done.fail(**calls)
        result = done.phoenix("rollback", "--json")
        assert result.code == 1 and ("undone", "transaction") in result.problems, result
        now = world(done)
        assert now[:2] == before[:2] and now[2] == before[2]
    done.no_more_failures()
    assert done.phoenix("rollback").code == 0
    assert [t["state"] for t in done.phoenix("history", "--json").document["transactions"]] == [
        "committed", "undone", "undone", "committed", "committed",
    ]  # fmt: skip


def test_an_adopted_file_goes_back_to_its_owner(host: DirectoryHost) -> None:
    host.source("lxc-a")
    host.declare({})
    theirs = host.installed / "lxc-a"
    theirs.write_bytes(profile("lxc-a", "/srv/theirs r,"))
    _private(theirs)
    before = _owner(theirs)
    assert host.phoenix("setup", "--adopt", "lxc-a").code == 0
    assert theirs.stat().st_mode & 0o777 == 0o644
    assert host.phoenix("rollback").code == 0
    assert theirs.read_bytes() == profile("lxc-a", "/srv/theirs r,")
    assert _owner(theirs) == before
    again = host.phoenix("setup", "--json")
    assert again.code == 1 and "file-foreign" in dict(again.problems)


def _private(path: Path) -> None:
    path.chmod(0o600)
    if os.getuid() == 0:
        os.chown(path, 1234, 4321)


def _owner(path: Path) -> tuple[int, int, int]:
    info = path.stat()
    return info.st_mode, info.st_uid, info.st_gid


def test_a_retired_foreign_file_comes_back_with_its_owner(host: DirectoryHost) -> None:
    host.source("lxc-a")
    old = host.installed / "lxc-old"
    old.write_bytes(profile("lxc-old"))
    _private(old)
    before = _owner(old)
    host.declare({}, deprecated_profiles={"lxc-old": "lxc-a"})
    assert host.phoenix("setup").code == 0 and not old.exists()
    assert host.phoenix("rollback").code == 0
    assert _owner(old) == before
    # Doing it again and undoing that knows it, too.
    assert host.phoenix("rollback", "2").code == 0 and not old.exists()
    assert host.phoenix("rollback", "1").code == 0
    assert _owner(old) == before


def test_a_failed_adoption_puts_the_owner_back(live: LiveHost) -> None:
    live.source("lxc-a")
    live.declare({})
    theirs = live.installed / "lxc-a"
    theirs.write_bytes(profile("lxc-a", "/srv/theirs r,"))
    _private(theirs)
    before = _owner(theirs)
    live.fail(parser_replace=1)
    assert live.phoenix("setup", "--adopt", "lxc-a").code == 1
    assert _owner(theirs) == before


def test_it_needs_no_configuration(done: LiveHost) -> None:
    done.config.write_text("{")
    assert done.phoenix("rollback").code == 0
    os.unlink(done.config)
    assert done.phoenix("rollback", config=False).code == 0


def test_of_a_live_transaction_below_a_root(done: LiveHost) -> None:
    """A rescue system: the files are put back, the kernel there is not this one."""
    result = DirectoryHost.phoenix(done, "rollback", "--json")
    assert result.code == 0 and "files-only" in dict(told(result.document["skipped"]))
    assert not (done.installed / "lxc-c").exists() and "lxc-c" in done.loaded()
