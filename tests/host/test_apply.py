"""plan, apply, plan, apply on a directory host; what changes in a configuration and what does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from support.hosts import SECURITYFS, TOP, DirectoryHost, contents, snapshot, temporary_files, told

SNAPSHOTS = """\
#vLLM with Qwen
#owner%3A ops
arch: amd64
hostname: vllm
memory: 32768
lxc.cgroup2.devices.allow: c 195:* rwm
lxc.apparmor.profile: unconfined
lxc.mount.entry: /dev/nvidia0 dev/nvidia0 none bind,optional,create=file
lxc.cap.drop:\x20

[pve:pending]
memory: 49152

[before-upgrade]
arch: amd64
memory: 16384
lxc.apparmor.profile: unconfined
lxc.mount.entry: /old old none bind
"""

CONFS: dict[str, tuple[bytes, bytes]] = {
    # what stands there -> what apply must leave, byte for byte, with lxc-a declared
    "snapshots": (
        SNAPSHOTS.encode(),
        SNAPSHOTS.replace("lxc.apparmor.profile: unconfined", "lxc.apparmor.profile: lxc-a", 1).encode(),
    ),
    "no line before a section": (
        b"arch: amd64\nmemory: 512\n\n[snap]\nlxc.apparmor.profile: old\n",
        b"arch: amd64\nmemory: 512\nlxc.apparmor.profile: lxc-a\n\n[snap]\nlxc.apparmor.profile: old\n",
    ),
    "CRLF": (
        b"arch: amd64\r\nlxc.apparmor.profile: x\r\nmemory: 1\r\n",
        b"arch: amd64\r\nlxc.apparmor.profile: lxc-a\r\nmemory: 1\r\n",
    ),
    "CRLF, no line": (
        b"arch: amd64\r\nmemory: 1\r\n",
        b"arch: amd64\r\nmemory: 1\r\nlxc.apparmor.profile: lxc-a\r\n",
    ),
    "no final newline": (b"arch: amd64\nmemory: 1", b"arch: amd64\nmemory: 1\nlxc.apparmor.profile: lxc-a\n"),
    "no final newline after the line": (
        b"memory: 1\nlxc.apparmor.profile: unconfined",
        b"memory: 1\nlxc.apparmor.profile: lxc-a",
    ),
    "equals form": (b"lxc.apparmor.profile = unconfined\nx: 1\n", b"lxc.apparmor.profile: lxc-a\nx: 1\n"),
    "several made one": (
        b"a: 1\nlxc.apparmor.profile: b\nc: 1\nlxc.apparmor.profile: lxc-a\nd: 1\n",
        b"a: 1\nlxc.apparmor.profile: lxc-a\nc: 1\nd: 1\n",
    ),
    "empty": (b"", b"lxc.apparmor.profile: lxc-a\n"),
    "already, in the other form": (
        b"lxc.apparmor.profile =lxc-a  \r\nx: 1",
        b"lxc.apparmor.profile =lxc-a  \r\nx: 1",
    ),
    "bytes that are no text": (
        b"#caf\xe9 \xff\nx: 1\n",
        b"#caf\xe9 \xff\nx: 1\nlxc.apparmor.profile: lxc-a\n",
    ),
    "comments and raw lines": (
        b"#lxc.apparmor.profile: comment\nlxc.apparmor.raw: deny /x w,\nlxc.apparmor.profiles: y\n",
        b"#lxc.apparmor.profile: comment\nlxc.apparmor.raw: deny /x w,\nlxc.apparmor.profiles: y\n"
        b"lxc.apparmor.profile: lxc-a\n",
    ),
}


def test_plan_apply_plan_apply(host: DirectoryHost) -> None:
    host.source("lxc-a")
    host.source("lxc-b", "include <abstractions/phoenix/net>")
    host.source("abstractions/phoenix/net", data=b"  network inet,\n")
    before = {}
    for number, (old, _) in enumerate(CONFS.values(), 100):
        before[str(number)] = old
        host.conf(str(number), old)
    host.declare(dict.fromkeys(before, "lxc-a"))

    untouched = snapshot(host.root)
    assert host.phoenix("plan", "--detailed-exitcode").code == 3
    assert host.phoenix("apply", "--all", "--dry-run").code == 0
    assert host.phoenix("setup", "--dry-run").code == 0
    assert snapshot(host.root) == untouched, "plan and --dry-run wrote something"

    first = host.apply()
    assert (first.code, first.err) == (0, "")
    for number, (what, (_, after)) in enumerate(CONFS.items(), 100):
        assert (host.lxc / f"{number}.conf").read_bytes() == after, what
    assert (host.installed / "lxc-a").read_bytes() == (host.sources / "lxc-a").read_bytes()
    assert (host.installed / "abstractions/phoenix/net").read_bytes() == b"  network inet,\n"
    assert temporary_files(host.root) == []

    applied = snapshot(host.folder)
    assert host.phoenix("plan", "--detailed-exitcode").code == 0
    second = host.apply()
    assert second.code == 0
    assert second.recap["changed"] == 0
    assert host.phoenix("setup").recap["changed"] == 0
    for command in ("status", "verify", "check"):
        assert host.phoenix(command).code == 0, command
    assert snapshot(host.folder) == applied, "a run that changes nothing wrote something"
    # Not even a lock is taken: it would be made anew here.
    shutil.rmtree(host.root / "run")
    assert host.apply().recap["changed"] == 0
    assert not (host.root / "run").exists()


def test_a_configuration_that_is_equal_keeps_its_inode(host: DirectoryHost) -> None:
    host.source("lxc-a")
    same = host.conf("101", b"lxc.apparmor.profile = lxc-a\n")
    host.conf("102", b"x: 1\n")
    host.declare({"101": "lxc-a", "102": "lxc-a"})
    before = same.stat()
    assert host.apply().code == 0
    after = same.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_mode_and_owner_of_a_configuration_stay(host: DirectoryHost) -> None:
    host.source("lxc-a")
    conf = host.conf("101")
    conf.chmod(0o640)
    host.declare({"101": "lxc-a"})
    assert host.apply().code == 0
    assert conf.stat().st_mode & 0o777 == 0o640
    assert (host.installed / "lxc-a").stat().st_mode & 0o777 == 0o644


@pytest.fixture
def shipped(host: DirectoryHost) -> DirectoryHost:
    """The shipped sources and configuration, with the documents' three containers."""
    shutil.rmtree(host.etc)
    shutil.copytree(TOP / "etc", host.etc)
    for ctid in ("950", "952", "955"):
        host.conf(ctid, "arch: amd64\nlxc.apparmor.profile: unconfined\n")
    return host


def test_the_documents_three_containers(shipped: DirectoryHost) -> None:
    result = shipped.apply()
    assert (result.code, result.err) == (0, "")
    assert (
        shipped.lxc / "950.conf"
    ).read_text() == "arch: amd64\nlxc.apparmor.profile: lxc-nvidia-gpu-base\n"
    assert (
        shipped.lxc / "952.conf"
    ).read_text() == "arch: amd64\nlxc.apparmor.profile: lxc-nvidia-gpu-docker\n"
    assert (shipped.lxc / "955.conf").read_text() == "arch: amd64\n"
    status = shipped.phoenix("status")
    assert status.out.startswith("0 of 3 containers confined (3 label unknown)")
    assert (
        "container 955 ollama-oWUI: no profile line: Proxmox generates a profile for it at every start"
        in status.out
    )
    document = shipped.phoenix("status", "--json").document
    by_id = {c["ctid"]: c for c in document["containers"]}
    assert by_id["955"]["assigned"] is None
    assert "Proxmox generates a profile" in by_id["955"]["effect"]
    assert by_id["950"]["effect"] is None
    assert document["as_declared"] is True
    assert shipped.phoenix("verify").code == 0


def test_status_says_what_the_kernel_cannot_mediate(shipped: DirectoryHost) -> None:
    assert shipped.phoenix("status", "--json").document["host"]["unmediated"] is None
    top = shipped.root / SECURITYFS / "features"
    for path, words in {"file/mask": "read", "caps/mask": "chown", "mount/mask": "mount umount"}.items():
        (top / path).parent.mkdir(parents=True)
        (top / path).write_text(words + "\n")
    status = shipped.phoenix("status")
    assert "not mediated (kernel): attaching a detached mount (move_mount): a detached procfs" in status.out
    found = shipped.phoenix("status", "--json").document["host"]["unmediated"]
    assert {"move_mount", "userns", "ptrace"} <= {gap["code"] for gap in found}
    assert "mount" not in {gap["code"] for gap in found}


def test_unconfined_as_an_explicit_line(shipped: DirectoryHost) -> None:
    document = json.loads(shipped.config.read_text())
    document["unconfined_means"] = "explicit-line"
    shipped.config.write_text(json.dumps(document))
    assert shipped.apply().code == 0
    assert (shipped.lxc / "955.conf").read_text() == "arch: amd64\nlxc.apparmor.profile: unconfined\n"
    assert "explicitly unconfined" in shipped.phoenix("status").out


def test_without_the_key_the_default_of_the_schema_counts(host: DirectoryHost) -> None:
    host.source("lxc-nvidia-gpu-base")
    host.conf("101")
    host.declare({"101": {"name": "x"}})
    assert host.apply().code == 0
    assert b"lxc.apparmor.profile: lxc-nvidia-gpu-base\n" in (host.lxc / "101.conf").read_bytes()
    # The default is read from the schema beside the configuration, not from the code.
    host.source("lxc-other")
    schema = json.loads((TOP / "etc/phoenix_lxc_configs.schema.json").read_text())
    schema["definitions"]["container"]["properties"]["apparmor_profile"]["default"] = "lxc-other"
    (host.etc / "phoenix_lxc_configs.schema.json").write_text(json.dumps(schema))
    assert host.apply().code == 0
    assert b"lxc.apparmor.profile: lxc-other\n" in (host.lxc / "101.conf").read_bytes()


def test_features_that_a_profile_switches_off_are_named(host: DirectoryHost) -> None:
    host.source("lxc-a")
    host.conf("101", "features: nesting=1,mount=nfs;cifs,fuse=1\n")
    host.declare({"101": "lxc-a"})
    (note,) = host.apply("--all", "--no-start", "--json").document["warnings"]
    whats = [one["what"] for one in note["data"]["asked"]]
    assert note["code"] == "features-lost"
    assert whats == ["docker", "fuse", "lxc", "mount cifs", "mount nfs", "services"]
    assert "mounts of cifs, nfs; Docker; FUSE" in note["text"] and "lxc-a refuses it" in note["text"]


def test_a_named_container_leaves_the_others_alone(host: DirectoryHost) -> None:
    host.source("lxc-a")
    host.conf("101")
    other = host.conf("102")
    host.declare({"101": "lxc-a", "102": "lxc-a"})
    before = (other.stat().st_ino, other.read_bytes())
    assert host.apply("101").code == 0
    assert (other.stat().st_ino, other.read_bytes()) == before
    assert host.phoenix("plan", "101", "--detailed-exitcode").code == 0
    assert host.phoenix("plan", "--detailed-exitcode").code == 3


# Refusals: each its own message, and nothing written ------------------------------------


def _refused(host: DirectoryHost, *words: str) -> None:
    before = snapshot(host.root)
    for arguments in (("apply", "--all", "--no-start"), ("plan",), ("apply", "101")):
        result = host.phoenix(*arguments)
        assert result.code == 1, (arguments, result)
        for word in words:
            assert word in result.err, (arguments, result.err)
        assert "next:" in result.err or "[" in result.err, result.err
        assert snapshot(host.root) == before, f"{arguments} wrote something"
    assert "Traceback" not in result.err and "internal error" not in result.err


@pytest.fixture
def two(host: DirectoryHost) -> DirectoryHost:
    host.source("lxc-a")
    host.conf("101")
    host.conf("102")
    host.declare({"101": "lxc-a", "102": "lxc-a"})
    return host


def test_lock_backup(two: DirectoryHost) -> None:
    two.conf("101", "arch: amd64\nlock: backup\n")
    _refused(two, "container 101", "is locked by Proxmox (backup)", "pct unlock 101")


def test_a_locked_container_that_is_as_declared_is_no_fault(two: DirectoryHost) -> None:
    two.conf("101", "lxc.apparmor.profile: lxc-a\nlock: backup\n")
    assert two.apply().code == 0


def test_a_lock_in_a_snapshot_is_no_lock(two: DirectoryHost) -> None:
    two.conf("101", "arch: amd64\n\n[snap]\nlock: backup\n")
    assert two.apply().code == 0


def test_no_quorum(two: DirectoryHost) -> None:
    two.lose_quorum()
    _refused(two, "the cluster has no quorum", "pvecm status")


def test_the_id_of_a_vm(two: DirectoryHost) -> None:
    (two.lxc / "101.conf").unlink()
    (two.root / "etc/pve/nodes/pve1/qemu-server/101.conf").write_text("name: vm\n")
    _refused(two, "container 101", "belongs to", "VM on this node", "share one id space")


def test_the_id_of_a_vm_from_vmlist(two: DirectoryHost) -> None:
    (two.lxc / "101.conf").unlink()
    two.vmlist(_101=("qemu", "pve7"), _102=("lxc", "pve1"))
    _refused(two, "container 101", "VM on node pve7")


def test_a_container_of_another_node(two: DirectoryHost) -> None:
    (two.lxc / "101.conf").unlink()
    two.vmlist(_101=("lxc", "pve2"), _102=("lxc", "pve1"))
    named = two.apply("101", "--json")
    assert named.code == 1 and named.problems == [("on-another-node", "container 101")]
    everything = two.apply("--all", "--no-start", "--json")
    (note,) = [n for n in everything.document["skipped"] if n["target"] == "container 101"]
    assert (note["code"], note["data"]) == ("on-another-node", {"kind": "container", "node": "pve2"})
    assert note["text"] == "is a container on node pve2"


def test_over_one_mebibyte(two: DirectoryHost) -> None:
    two.conf("101", b"arch: amd64\n" + b"#x\n" * 400_000)
    _refused(two, "101.conf", "is over 1048576 bytes")


def test_just_below_one_mebibyte_that_would_grow_over_it(two: DirectoryHost) -> None:
    two.conf("101", b"#" * (1024 * 1024 - 2) + b"\n")
    _refused(two, "101.conf", "would grow over 1048576 bytes")


@pytest.mark.parametrize("header", ["[1x]", "[s] # c", "[x]", "[snap shot]", "[pve:pending] x", "[unclosed"])
def test_a_malformed_section_header(two: DirectoryHost, header: str) -> None:
    two.conf("101", f"arch: amd64\n{header}\nlxc.apparmor.profile: x\n")
    _refused(two, "101.conf", "line 2", "section header")


def test_a_configuration_that_is_a_link(two: DirectoryHost, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere.conf"
    target.write_text("arch: amd64\n")
    (two.lxc / "101.conf").unlink()
    (two.lxc / "101.conf").symlink_to(target)
    _refused(two, "101.conf", "is a symbolic link")
    assert target.read_text() == "arch: amd64\n"


def test_a_configuration_that_is_a_directory(two: DirectoryHost) -> None:
    (two.lxc / "101.conf").unlink()
    (two.lxc / "101.conf").mkdir()
    _refused(two, "101.conf", "is not a regular file")


def test_a_configuration_that_holds_nul(two: DirectoryHost) -> None:
    two.conf("101", b"arch: amd64\n\0\0\0\n")
    _refused(two, "101.conf", "NUL")


def test_all_refusals_at_once(two: DirectoryHost) -> None:
    two.conf("101", "lock: backup\n")
    two.conf("102", "[1x]\n")
    result = two.apply("--all", "--no-start", "--json")
    assert result.code == 1
    locked, unusable = result.document["error"]["problems"]
    assert told([locked, unusable]) == [("locked", "container 101"), ("conf-unusable", "container 102")]
    assert locked["data"] == {"by": "Proxmox", "reason": "backup", "command": "pct unlock 101"}
    assert unusable["data"]["reason"] == "section-header"


# --root ------------------------------------------------------------------------------


def test_a_missing_container_is_skipped_under_all_and_an_error_when_named(two: DirectoryHost) -> None:
    (two.lxc / "101.conf").unlink()
    result = two.apply("--all", "--no-start", "--json")
    assert ("no-configuration", "container 101") in told(result.document["skipped"])
    assert not (two.lxc / "101.conf").exists()
    named = two.apply("101", "--json")
    assert named.code == 1 and named.problems == [("no-configuration", "container 101")]


def test_links_that_point_outside_stay_inside(host: DirectoryHost, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "101.conf").write_text("arch: amd64\n")
    host.source("lxc-a")
    host.declare({"101": "lxc-a"})
    link = host.root / "etc/pve/lxc"
    link.unlink()
    for target in (str(outside), "../../../../../../../../../.." + str(outside)):
        link.symlink_to(target)
        inside = host.root / str(outside).lstrip("/")
        inside.mkdir(parents=True, exist_ok=True)
        (inside / "101.conf").write_text("arch: arm64\n")
        assert host.apply().code == 0
        assert (inside / "101.conf").read_text() == "arch: arm64\nlxc.apparmor.profile: lxc-a\n"
        assert (outside / "101.conf").read_text() == "arch: amd64\n"
        link.unlink()


def test_apparmor_d_that_links_outside_stays_inside(host: DirectoryHost, tmp_path: Path) -> None:
    outside = tmp_path / "victim"
    outside.mkdir()
    host.source("lxc-a")
    host.declare({})
    (host.installed / "abstractions").rmdir()
    (host.installed / "abstractions").symlink_to(outside)
    host.source("abstractions/phoenix/x", data=b"  network,\n")
    host.source("lxc-a", "include <abstractions/phoenix/x>")
    host.phoenix("setup")
    assert list(outside.iterdir()) == []


def test_nothing_is_started_and_that_is_said(two: DirectoryHost) -> None:
    result = two.apply("--all", "--json")
    assert [code for code, _ in told(result.document["skipped"])].count("files-only") == 3


def test_labels_come_from_the_proc_of_the_root(two: DirectoryHost) -> None:
    two.apply()
    for pid, label in ((10, "lxc-a (enforce)"), (11, "unconfined")):
        base = two.root / f"proc/{pid}"
        (base / "attr/apparmor").mkdir(parents=True)
        (base / "cgroup").write_text(f"0::/lxc/{91 + pid}/ns\n")
        (base / "status").write_text(f"NSpid:\t{pid}\t1\n")
        (base / "attr/apparmor/current").write_text(label + "\n")
    status = two.phoenix("status")
    assert status.out.startswith("1 of 2 containers confined")
    verify = two.phoenix("verify")
    assert verify.code == 3
    assert "old-label" in verify.out and "PID 11 runs under unconfined" in verify.out


def test_the_default_configuration_lies_below_the_root(two: DirectoryHost) -> None:
    place = two.root / "usr/local/phoenix_hypervisor"
    place.mkdir(parents=True)
    shutil.move(two.etc, place / "etc")
    result = two.phoenix("apply", "--all", "--no-start", config=False)
    assert (result.code, result.err) == (0, "")
    assert contents(two.lxc)["101.conf"].endswith(b"lxc.apparmor.profile: lxc-a\n")


def test_plain_lxc_containers(host: DirectoryHost) -> None:
    host.source("lxc-a")
    folder = host.root / "var/lib/lxc/101"
    folder.mkdir(parents=True)
    (folder / "config").write_text("lxc.include = /usr/share/lxc/config/common.conf\nlxc.uts.name = x")
    host.declare({"101": "lxc-a"})
    result = host.phoenix("--runtime", "lxc", "apply", "--all", "--no-start")
    assert (result.code, result.err) == (0, "")
    assert (folder / "config").read_text().endswith("lxc.uts.name = x\nlxc.apparmor.profile = lxc-a\n")
    assert host.phoenix("--runtime", "lxc", "plan", "--detailed-exitcode").code == 0


def test_temporary_files_of_a_killed_run_are_swept(two: DirectoryHost) -> None:
    """Even where the next run has nothing else to do."""
    assert two.apply().code == 0
    for place in ("etc/apparmor.d", "var/lib/phoenix", "etc/pve/nodes/pve1/lxc"):
        (two.root / place / ".something.phoenix-tmp").write_bytes(b"half")
    result = two.apply()
    assert (result.code, result.recap["changed"]) == (0, 3)
    assert temporary_files(two.root) == []
    assert two.apply().recap["changed"] == 0
