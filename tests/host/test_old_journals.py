"""Journals and manifests of earlier forms: they stay readable, and what they record can be undone."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest

from phoenix_hypervisor.policy.reader import profile_names
from support.hosts import DOUBLES, SECURITYFS, DirectoryHost, LiveHost, contents, profile
from support.old_hosts import below, put, recorded

ETC = ("etc/apparmor.d/lxc-", "etc/apparmor.d/abstractions/phoenix", "etc/pve")
KERNEL = (f"{SECURITYFS}/profiles", "double/kernel/")


def now(host: DirectoryHost, *places: str) -> dict[str, bytes]:
    return below(contents(host.root), *places)


def as_loaded(files: dict[str, bytes]) -> dict[str, bytes]:
    """The kernel's list by name, and the policy of what is in it."""
    names = [line.rpartition(b" (")[0].decode() for line in files[f"{SECURITYFS}/profiles"].splitlines()]
    return {name: files.get(f"double/kernel/{name}", b"") for name in names}


def test_history_of_every_kind(host: DirectoryHost) -> None:
    put(host, "files-4-rollback")
    found = host.phoenix("--json", "history", config=False).document
    assert found["unreadable"] == []
    assert [(t["id"], t["state"], t["undoes"], t["rolled_back_by"]) for t in found["transactions"]] == [
        (4, "committed", 3, None), (3, "committed", None, 4), (2, "committed", None, None),
        (1, "committed", None, None),
    ]  # fmt: skip
    kinds = {a["kind"] for t in found["transactions"] for a in t["actions"]}
    assert kinds == {"adopt", "install", "assign", "remove", "sweep"}


def test_rollbacks_on_a_directory_host(host: DirectoryHost) -> None:
    put(host, "files-4-rollback")
    assert host.phoenix("rollback", config=False).code == 0
    assert now(host, *ETC) == below(recorded("files-1-setup"), *ETC)
    assert host.phoenix("rollback", config=False).code == 0
    before = below(recorded("files-0-before"), *ETC)
    assert now(host, *ETC) == before
    # Somebody else's file got its own mode back.
    assert stat.S_IMODE((host.installed / "lxc-c").stat().st_mode) == 0o600
    assert host.phoenix("rollback", config=False).code == 1
    manifest = json.loads((host.root / "var/lib/phoenix/manifest.json").read_text())
    assert set(manifest["files"]) == {"/etc/apparmor.d/lxc-b"}, "only what was adopted is ours still"


def test_a_rollback_of_version_1_is_undone(host: DirectoryHost) -> None:
    put(host, "files-4-rollback")
    assert host.phoenix("rollback", "4", config=False).code == 0
    assert now(host, *ETC) == below(recorded("files-3-apply"), *ETC)


def test_a_manifest_of_version_1_says_what_is_ours(host: DirectoryHost) -> None:
    put(host, "files-2-apply")
    host.source("abstractions/phoenix/x", data=b"  network inet,\n")
    host.source("lxc-a", "include <abstractions/phoenix/x>")
    host.source("lxc-b")
    host.source("lxc-c")
    host.declare({"101": "lxc-a", "102": "lxc-b"})
    assert host.apply().recap["changed"] == 0


def test_a_rollback_of_what_was_loaded(live: LiveHost) -> None:
    shutil.rmtree(live.root / "proc")
    put(live, "kernel-1-apply")
    refused = live.phoenix("rollback", config=False)
    assert refused.code == 1 and "lxc-c" in refused.err, "a container runs under it"
    for ctid in ("101", "102", "950"):
        assert live.pct("stop", ctid).ok
    assert live.phoenix("rollback", config=False).code == 0
    before, after = recorded("kernel-0-before"), contents(live.root)
    created = "etc/pve/nodes/pve1/lxc/950.conf"
    assert b"lxc.apparmor" not in after.pop(created), "it stays, without a line"
    assert below(after, *ETC) == below(before, *ETC)
    was, there = as_loaded(below(before, *KERNEL)), as_loaded(below(after, *KERNEL))
    # Unloaded from its file then, and compiled from it now, perhaps by another parser.
    assert profile_names(there.pop("lxc-old")) == profile_names(was.pop("lxc-old"))
    assert there == was


def test_a_rollback_of_a_reload_by_the_service(live: LiveHost, tmp_path: Path) -> None:
    put(live, "service-1-apply")
    script = tmp_path / "systemctl"
    double = DOUBLES / "apparmor_parser"
    script.write_text(
        "#!/bin/sh -e\n"
        f"for file in {live.installed}/lxc-*; do\n"
        f"{double} --skip-kernel-load --skip-cache --stdout $file >{tmp_path}/blob\n"
        f"{double} --binary --replace {tmp_path}/blob\ndone\n"
    )
    script.chmod(0o755)
    live.runner._inner._replacements["systemctl"] = [str(script)]  # type: ignore[attr-defined]
    with live.recorded() as argvs:
        assert live.phoenix("rollback", config=False).code == 0
    assert ("systemctl", "reload", "apparmor.service") in argvs
    before, after = recorded("service-0-before"), contents(live.root)
    assert below(after, *ETC) == below(before, *ETC)
    assert set(as_loaded(below(after, *KERNEL))) == set(as_loaded(below(before, *KERNEL)))


@pytest.mark.parametrize("command", [("rollback",), ("setup",)])
def test_a_killed_run_of_version_1_is_undone(live: LiveHost, command: tuple[str, ...]) -> None:
    put(live, "killed-1-killed")
    if command == ("setup",):
        live.source("lxc-a")
        live.source("lxc-b")
        (live.sources / "lxc-old").write_bytes(profile("lxc-old"))
        live.declare({"101": "lxc-old", "102": "lxc-a"})
    result = live.phoenix(*command, config=command == ("setup",))
    assert result.code == 0, result.err
    assert "interrupted and has been rolled back" in result.out
    before, after = recorded("killed-0-before"), contents(live.root)
    created = "etc/pve/nodes/pve1/lxc/950.conf"
    assert b"lxc.apparmor" not in after.pop(created)
    assert below(after, *ETC) == below(before, *ETC)
    assert set(as_loaded(below(after, *KERNEL))) == set(as_loaded(below(before, *KERNEL)))


def test_what_stayed_may_be_recorded_as_sentences(live: LiveHost) -> None:
    put(live, "sentences-1-undone")
    newest, first = live.phoenix("--json", "history", config=False).document["transactions"]
    assert (newest["state"], first["state"], first["left"]) == ("undone", "committed", [])
    assert [note["code"] for note in newest["left"]] == ["sentence"] * len(newest["left"])
    assert "profile lxc-c stays loaded: PID 1001 runs under it" in [note["text"] for note in newest["left"]]
    assert "profile lxc-c stays loaded" in " ".join(live.phoenix("history", config=False).out.split())
    # Somebody else wrote lxc-b meanwhile; without that, the transaction before it is undone.
    refused = live.phoenix("--json", "rollback", config=False)
    assert refused.code == 1 and ("changed-since", "/etc/apparmor.d/lxc-b") in refused.problems
    (live.installed / "lxc-b").write_bytes(profile("lxc-b"))
    assert live.phoenix("rollback", config=False).code == 0
    before, after = recorded("sentences-0-before"), contents(live.root)
    assert below(after, *ETC) == below(before, *ETC)
