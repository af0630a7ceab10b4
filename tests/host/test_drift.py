"""Every way in which a host can drift: produced, and reported under its own code."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from phoenix_hypervisor.policy.names import profile_hash, profile_names
from support.hosts import SECURITYFS, DirectoryHost, LiveHost, profile


def findings(host: DirectoryHost) -> dict[str, dict[str, Any]]:
    """All findings by code; every one has a cause of one line and a next step."""
    document = host.phoenix("verify", "--json").document
    found = [*document["host"]["findings"]]
    for part in ("containers", "profiles"):
        found += [finding for one in document[part] for finding in one["findings"]]
    for finding in found:
        assert finding["cause"] and "\n" not in finding["cause"] and finding["hint"], finding
    assert document["as_declared"] == (not any(f["fault"] for f in found))
    return {finding["code"]: finding for finding in found}


def publish(live: LiveHost, name: str, *, number: int = 7, show: str = "sha256", child: bool = True) -> Path:
    """What securityfs shows of a loaded profile."""
    blob = live.policy()[name]
    top = live.root / SECURITYFS / "policy/profiles" / f"{name}.{number}"
    shutil.rmtree(top, ignore_errors=True)
    for full in profile_names(blob):
        base, _, rest = full.partition("//")
        if rest and not child:
            continue
        folder = top / "profiles" / f"{rest}.{number + 1}" if rest else top
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{rest or base}\n")
        if show in ("sha1", "sha256"):
            (folder / show).write_text(profile_hash(blob, full, show) + "\n")
        elif show == "raw_data":
            (folder / show).write_bytes(blob)
        else:
            import hashlib

            (folder / show).write_text(hashlib.new(show[4:], blob).hexdigest() + "\n")
    return top


@pytest.fixture
def two(live: LiveHost) -> LiveHost:
    live.source("lxc-a", "include <abstractions/phoenix/x>")
    live.source("abstractions/phoenix/x", data=b"  network,\n")
    live.source("lxc-b", "profile child { /etc/hosts r, }")
    live.conf("101")
    live.conf("102")
    live.declare({"101": "lxc-a", "102": "lxc-b"})
    assert live.apply().code == 0
    assert findings(live) == {}
    return live


def _settles(live: LiveHost, *words: str) -> None:
    """The next step does what it says."""
    assert live.phoenix(*(words or ("setup",))).code == 0
    assert findings(live) == {}


def test_a_configuration_that_was_edited_by_hand(two: LiveHost) -> None:
    path = two.lxc / "101.conf"
    path.write_text(path.read_text().replace("lxc-a", "unconfined"))
    assert set(findings(two)) == {"conf-edited"}
    _settles(two, "apply", "--all")


def test_a_declaration_that_was_never_applied(two: LiveHost) -> None:
    two.declare({"101": "lxc-b", "102": "lxc-b"})
    assert "not-assigned" in findings(two) and "conf-edited" not in findings(two)


def test_a_line_that_stands_in_a_snapshot(two: LiveHost) -> None:
    two.conf("101", "memory: 512\n\n[before]\nmemory: 512\nlxc.apparmor.profile: lxc-a\n")
    found = findings(two)
    assert set(found) == {"line-in-snapshot"} and "[before]" in found["line-in-snapshot"]["cause"]
    _settles(two, "apply", "--all")


def test_an_edited_profile_file(two: LiveHost) -> None:
    path = two.installed / "abstractions/phoenix/x"
    path.write_bytes(b"  network inet,\n")
    found = findings(two)
    assert set(found) == {"file-edited"} and "--adopt abstractions/phoenix/x" in found["file-edited"]["hint"]
    _settles(two, "setup", "--adopt", "abstractions/phoenix/x")


def test_an_edited_and_an_outdated_file_of_one_profile(two: LiveHost) -> None:
    (two.installed / "lxc-a").write_bytes(profile("lxc-a", "/srv/theirs r,"))
    two.source("abstractions/phoenix/x", data=b"  network unix,\n")
    document = two.phoenix("verify", "--json").document
    found = {f["code"]: f for p in document["profiles"] if p["name"] == "lxc-a" for f in p["findings"]}
    assert set(found) == {"file-edited", "file-differs", "stale-policy"}
    assert "/etc/apparmor.d/lxc-a was edited" in found["file-edited"]["cause"]
    assert found["file-differs"]["cause"].startswith("/etc/apparmor.d/abstractions/phoenix/x differs")


def test_a_source_that_was_not_set_up(two: LiveHost) -> None:
    two.source("lxc-b", "network,")
    assert {"file-differs", "stale-policy"} == set(findings(two))
    _settles(two)


def test_a_file_that_is_gone(two: LiveHost) -> None:
    (two.installed / "lxc-b").unlink()
    assert set(findings(two)) == {"not-installed"}
    _settles(two)


@pytest.mark.parametrize("show", ["sha1", "sha256", "raw_sha1", "raw_sha256", "raw_data"])
def test_a_kernel_policy_that_is_not_the_compiled_source(two: LiveHost, show: str) -> None:
    publish(two, "lxc-a", show=show)
    publish(two, "lxc-b", number=12, show=show)
    assert findings(two) == {}
    (two.root / "double/kernel/lxc-a").write_bytes(two.policy()["lxc-b"].replace(b"lxc-b", b"lxc-a"))
    publish(two, "lxc-a", show=show, child=False)
    found = findings(two)
    assert set(found) == {"policy-differs"} and "of lxc-a is not" in found["policy-differs"]["cause"]
    with two.recorded() as argvs:
        assert two.phoenix("setup").code == 0
    assert [Path(a[-1]).name for a in argvs if "--replace" in a] == ["lxc-a"]
    publish(two, "lxc-a", show=show)
    assert findings(two) == {}


def test_a_child_that_is_not_the_compiled_source(two: LiveHost) -> None:
    """The hash of a parent says nothing of its children."""
    top = publish(two, "lxc-b")
    assert findings(two) == {}
    (top / "profiles/child.8/sha256").write_text("0" * 64 + "\n")
    assert "of lxc-b//child is not" in findings(two)["policy-differs"]["cause"]


@pytest.mark.parametrize("show", ["sha1", "sha256", "raw_sha256", "raw_data"])
def test_a_refused_load_loads_nothing_again_where_the_kernel_shows_what_it_has(
    two: LiveHost, show: str
) -> None:
    publish(two, "lxc-b", show=show)
    before = two.policy()["lxc-b"]
    two.source("lxc-b", "network,")
    two.fail(parser_replace=1)
    with two.recorded() as argvs:
        result = two.phoenix("setup", "--json")
    assert result.code == 1 and ("undone", "transaction") in result.problems
    assert len([a for a in argvs if "--replace" in a]) == 1, "the refused one"
    assert (two.root / "var/lib/phoenix/compiled/lxc-b").read_bytes() == before


def test_a_refused_load_loads_nothing_over_what_is_not_our_copy(two: LiveHost) -> None:
    """The kernel shows that it has another policy: loading our copy would not be taking back."""
    top = publish(two, "lxc-b")
    (top / "profiles/child.8/sha256").write_text("0" * 64 + "\n")
    two.source("lxc-b", "network,")
    two.fail(parser_replace=1)
    with two.recorded() as argvs:
        assert two.phoenix("setup").code == 1
    assert len([a for a in argvs if "--replace" in a]) == 1, "the refused one"


@pytest.mark.parametrize("lie", ["child", "nothing"])
def test_a_refused_load_is_loaded_again_where_the_kernel_does_not_tell(two: LiveHost, lie: str) -> None:
    top = publish(two, "lxc-b", child=lie != "child")
    if lie == "nothing":
        (top / "sha256").unlink()
    two.source("lxc-b", "network,")
    two.fail(parser_replace=1)
    with two.recorded() as argvs:
        assert two.phoenix("setup").code == 1
    assert len([a for a in argvs if "--replace" in a]) == 2


def test_a_directory_host_shows_the_same(two: LiveHost) -> None:
    publish(two, "lxc-a")
    assert "policy-differs" not in findings(two)
    (two.root / SECURITYFS / "policy/profiles/lxc-a.7/sha256").write_text("0" * 64 + "\n")
    document = DirectoryHost.phoenix(two, "verify", "--json").document
    assert [f["code"] for p in document["profiles"] for f in p["findings"]] == ["policy-differs"]


def test_an_unloaded_profile(two: LiveHost) -> None:
    two.profiles.write_text(two.profiles.read_text().replace("lxc-a (enforce)\n", ""))
    assert set(findings(two)) == {"not-loaded"}
    _settles(two)


def _label(live: LiveHost, ctid: str, label: str) -> None:
    for folder in (live.root / "proc").iterdir():
        if f"/lxc/{ctid}/" in (folder / "cgroup").read_text():
            (folder / "attr/apparmor/current").write_text(label + "\n")


def test_an_old_label(two: LiveHost) -> None:
    two.declare({"101": "lxc-b", "102": "lxc-b"})
    assert two.apply().code == 0
    assert set(findings(two)) == {"old-label"}
    _settles(two, "apply", "--all", "--restart")


def test_a_stray_process(two: LiveHost) -> None:
    two.process(4711, "/lxc/102/ns/x", "unconfined", nspid="4711 7")
    assert set(findings(two)) == {"stray-process"}


def test_complain_mode(two: LiveHost) -> None:
    two.profiles.write_text(two.profiles.read_text().replace("lxc-a (enforce)", "lxc-a (complain)"))
    _label(two, "101", "lxc-a (complain)")
    assert set(findings(two)) == {"complain"}


def test_a_label_that_cannot_be_read(two: LiveHost) -> None:
    _label(two, "101", "")
    assert set(findings(two)) == {"label-unknown"}


def test_a_stopped_container_that_is_declared_to_run(two: LiveHost) -> None:
    assert two.pct("stop", "101").ok
    found = findings(two)
    assert set(found) == {"not-running"} and "phoenix apply 101" in found["not-running"]["hint"]
    assert two.phoenix("plan", "--detailed-exitcode").code == 3
    # Exactly where apply would start it: not a locked one, not a template, not one that need not run.
    path = two.lxc / "101.conf"
    text = path.read_text()
    path.write_text("lock: backup\n" + text)
    assert not findings(two)["not-running"]["fault"]
    assert two.phoenix("plan", "--detailed-exitcode").code == 0
    path.write_text("template: 1\n" + text)
    assert findings(two) == {}
    path.write_text(text)
    two.declare({"101": {"apparmor_profile": "lxc-a", "start": False}, "102": "lxc-b"})
    assert findings(two) == {}
    two.declare({"101": "lxc-a", "102": "lxc-b"})
    _settles(two, "apply", "101")


@pytest.mark.parametrize(
    ("folder", "code", "words"),
    [
        ("disable", "disabled", "the boot does not load it"),
        ("force-complain", "force-complain", "the boot loads it in complain mode"),
    ],
)
def test_a_profile_that_is_switched_off(two: LiveHost, folder: str, code: str, words: str) -> None:
    link = two.installed / folder / "lxc-a"
    link.parent.mkdir()
    link.symlink_to("../lxc-a")
    found = findings(two)
    assert set(found) == {code} and words in found[code]["cause"]
    assert words in two.phoenix("status").out
    before = two.policy()
    for change in (False, True):
        if change:
            two.source("lxc-a", "network,")
        result = two.phoenix("setup")
        assert result.code == 1 and words in result.err and "nothing was changed" in result.err
        assert f"rm /etc/apparmor.d/{folder}/lxc-a" in result.err
    assert two.policy() == before
    link.unlink()
    _settles(two)
    (two.installed / folder / "lxc-other").symlink_to("../lxc-other")
    assert findings(two) == {}


def test_apparmor_off(two: LiveHost) -> None:
    shutil.rmtree(two.root / "sys")
    assert {"apparmor-off", "not-loaded"} <= set(findings(two))


def test_a_container_on_another_node(two: LiveHost) -> None:
    other = two.root / "etc/pve/nodes/pve2/lxc"
    other.mkdir(parents=True)
    (two.lxc / "102.conf").rename(other / "102.conf")
    shutil.rmtree(two.root / "proc")
    found = findings(two)
    assert set(found) == {"on-another-node"} and "node pve2" in found["on-another-node"]["cause"]
    assert found["on-another-node"]["fault"] is False
    assert two.phoenix("verify").code == 0


def test_a_container_that_is_a_vm_by_now(two: LiveHost) -> None:
    (two.lxc / "102.conf").rename(two.root / "etc/pve/nodes/pve1/qemu-server/102.conf")
    shutil.rmtree(two.root / "proc")
    assert set(findings(two)) == {"is-vm"}


def _cache(live: LiveHost, name: str, data: bytes, ahead: float) -> Path:
    path = live.root / "var/cache/apparmor/201d1af9.0" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    files = [live.installed / name, live.installed / "abstractions/phoenix/x"]
    files += list((live.installed / "tunables").rglob("*"))
    newest = max(file.stat().st_mtime_ns for file in files)
    os.utime(path, ns=(newest, newest + int(ahead * 1e9)))
    return path


def test_a_stale_parser_cache(two: LiveHost) -> None:
    right = two.policy()["lxc-a"]
    _cache(two, "lxc-a", right, 0)
    assert findings(two) == {}
    _cache(two, "lxc-a", right, 60)
    assert findings(two) == {}, "it is what would be compiled"
    _cache(two, "lxc-a", b"anything", -60)
    found = findings(two)
    assert set(found) == {"stale-cache"} and not found["stale-cache"]["fault"]
    assert two.phoenix("verify").code == 0
    path = _cache(two, "lxc-a", two.policy()["lxc-b"], 60)
    found = findings(two)
    assert set(found) == {"stale-cache"} and "the next boot would load it" in found["stale-cache"]["cause"]
    _settles(two)
    assert not path.exists()


def test_an_unfinished_transaction(two: LiveHost) -> None:
    path = two.root / "var/lib/phoenix/journal/00000001.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert set(findings(two)) == {"unfinished-transaction"}


def test_an_id_that_nothing_has(two: LiveHost) -> None:
    (two.lxc / "102.conf").unlink()
    shutil.rmtree(two.root / "proc")
    assert set(findings(two)) == {"missing"}


def test_a_configuration_that_cannot_be_edited(two: LiveHost) -> None:
    two.conf("102", "[1x]\nlxc.apparmor.profile: lxc-b\n")
    assert "conf-unusable" in findings(two)
