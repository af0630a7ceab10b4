"""The profile store on a directory host: prove first, then touch; never what is not ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from phoenix_hypervisor import Phoenix
from phoenix_hypervisor.engine.requests import SetupRequest
from phoenix_hypervisor.host.machine import Host
from support.hosts import DirectoryHost, RecordingRunner, profile, run, snapshot, told

FIVE = ("lxc-a", "lxc-b", "lxc-c", "lxc-d", "lxc-e")


@pytest.fixture
def five(host: DirectoryHost) -> DirectoryHost:
    for name in FIVE:
        host.source(name)
    host.declare({})
    return host


def _refused(host: DirectoryHost, *words: str, arguments: tuple[str, ...] = ("setup",)) -> None:
    before = snapshot(host.root)
    result = host.phoenix(*arguments)
    assert result.code == 1, result
    for word in words:
        assert word in result.err, result.err
    assert "internal error" not in result.err
    assert snapshot(host.root) == before, "a refused setup wrote something"


# Proof ---------------------------------------------------------------------------------


def test_one_broken_profile_of_five(five: DirectoryHost) -> None:
    assert five.phoenix("setup").code == 0
    for name in FIVE:
        five.source(name, "/etc/passwd r,")
    path = five.source("lxc-c", "this is no rule,")
    for command in (("setup",), ("apply", "--all"), ("plan",), ("check",)):
        _refused(five, str(path), "line 3", "syntax error, unexpected TOK_ID", arguments=command)


def test_every_broken_profile_is_named(five: DirectoryHost) -> None:
    five.source("lxc-b", "nonsense")
    five.source("lxc-d", "include <abstractions/not-there>")
    _refused(five, "lxc-b", "lxc-d", "abstractions/not-there")


def test_a_broken_include_fails_those_that_include_it(five: DirectoryHost) -> None:
    five.source("abstractions/phoenix/x", data=b"  nonsense,\n")
    five.source("lxc-a", "include <abstractions/phoenix/x>")
    _refused(five, "lxc-a", "abstractions/phoenix/x")


def test_a_source_that_names_one_profile_twice(five: DirectoryHost) -> None:
    five.source("lxc-a", data=profile("lxc-a") + profile("lxc-a"))
    _refused(five, str(five.sources / "lxc-a"), "lxc-a")


def test_a_source_that_defines_another_name(five: DirectoryHost) -> None:
    five.source("lxc-a", data=profile("lxc-other"))
    _refused(five, "defines lxc-other and not lxc-a")


def test_a_source_that_defines_a_second_profile(five: DirectoryHost) -> None:
    five.source("lxc-a", data=profile("lxc-a") + b"profile lxc-second {\n}\n")
    _refused(five, "also defines lxc-second")


def test_children_and_hats_belong_to_their_profile(five: DirectoryHost) -> None:
    five.source("lxc-a", "profile child { /etc/hosts r, }", "^hat { /etc/hosts r, }")
    assert five.phoenix("setup").code == 0


@pytest.mark.parametrize("text", [b"", b"# nothing\n", b"@{X}=/a\n"])
def test_a_source_that_defines_nothing(five: DirectoryHost, text: bytes) -> None:
    five.source("lxc-a", data=text)
    _refused(five, str(five.sources / "lxc-a"))


@pytest.mark.parametrize(
    "name", ["lxc_a", "LXC-a", "nvidia", "lxc-container-default-cgns", "lxc-a b", "lxc-ä"]
)
def test_names_that_cannot_be(five: DirectoryHost, name: str) -> None:
    five.source(name, data=b"profile x {\n}\n")
    _refused(five, name)


def test_names_that_differ_by_case_only(five: DirectoryHost) -> None:
    five.source("lxc-A")
    _refused(five, "only by case")


def test_a_source_that_is_a_link(five: DirectoryHost, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(profile("lxc-z"))
    (five.sources / "lxc-z").symlink_to(secret)
    _refused(five, "lxc-z", "symbolic link")


def test_a_source_that_is_a_fifo_does_not_hang(five: DirectoryHost) -> None:
    os.mkfifo(five.sources / "lxc-z")
    _refused(five, "lxc-z", "is not a regular file")


def test_a_stray_directory(five: DirectoryHost) -> None:
    (five.sources / "old").mkdir()
    _refused(five, "is not a directory for includes")


def test_a_parser_that_says_parser_error_and_ends_with_0(five: DirectoryHost, tmp_path: Path) -> None:
    script = tmp_path / "liar"
    script.write_text(
        "#!/bin/sh\ncase $* in *version*) echo 'AppArmor parser version 3.0.8'; exit;; esac\n"
        "echo 'AppArmor parser error for x in x at line 7: Could not open' >&2\nprintf anything\n"
    )
    script.chmod(0o755)
    _refused(five, "at line 7: Could not open", arguments=("--parser", str(script), "setup"))


def test_a_parser_that_is_missing(five: DirectoryHost) -> None:
    _refused(five, "/nonexistent is not installed", "doctor", arguments=("--parser", "/nonexistent", "setup"))


POLICY_TEST = """version = 1
[[test]]
name = "hosts"
profiles = ["lxc-one"]
kind = "file"
path = "{path}"
access = "r"
expect = "allowed"
why = "a test"
"""


@pytest.mark.parametrize("path, code", [("/etc/hosts", 0), ("/etc/shadow", 1)])
def test_a_policy_test_that_fails_stops_the_setup(host: DirectoryHost, path: str, code: int) -> None:
    """The operator's own tests, beside the configuration, are part of the proof."""
    host.source("lxc-one")
    host.declare({})
    (host.etc / "policy_tests").mkdir()
    (host.etc / "policy_tests/mine.toml").write_text(POLICY_TEST.format(path=path))
    before = snapshot(host.root)
    result = host.phoenix("setup")
    assert result.code == code, result
    if code:
        assert "/etc/shadow" in result.err and "mine.toml" in result.err
        assert snapshot(host.root) == before
    else:
        assert (host.installed / "lxc-one").exists()


# Ownership ------------------------------------------------------------------------------


def test_a_foreign_file_with_other_bytes(five: DirectoryHost) -> None:
    foreign = five.installed / "lxc-c"
    foreign.write_bytes(profile("lxc-c", "network,"))
    _refused(five, "/etc/apparmor.d/lxc-c", "exists with other content", "--adopt lxc-c")
    assert five.phoenix("setup", "--adopt", "lxc-c").code == 0
    assert foreign.read_bytes() == profile("lxc-c")
    kept = [p.read_bytes() for p in (five.root / "var/lib/phoenix/replaced").iterdir()]
    assert kept == [profile("lxc-c", "network,")]
    assert five.phoenix("setup").recap["changed"] == 0


def test_a_foreign_file_with_the_same_bytes_is_adopted(five: DirectoryHost) -> None:
    foreign = five.installed / "lxc-c"
    foreign.write_bytes(profile("lxc-c"))
    before = foreign.stat()
    assert five.phoenix("setup").code == 0
    assert (foreign.stat().st_ino, foreign.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    # It is ours now: a change of the source replaces it.
    five.source("lxc-c", "network,")
    assert five.phoenix("setup").code == 0
    assert foreign.read_bytes() == profile("lxc-c", "network,")


def test_an_installed_file_that_someone_edited_is_refused(five: DirectoryHost) -> None:
    assert five.phoenix("setup").code == 0
    with (five.installed / "lxc-b").open("ab") as file:
        file.write(b"# by hand\n")
    _refused(five, "/etc/apparmor.d/lxc-b", "exists with other content")
    assert five.phoenix("verify").code == 3
    assert five.phoenix("setup", "--adopt", "lxc-b").code == 0
    assert five.phoenix("verify").code == 0


def test_an_include_that_someone_edited_is_refused(five: DirectoryHost) -> None:
    five.source("tunables/phoenix", data=b"@{phoenix_x}=/mnt\n")
    assert five.phoenix("setup").code == 0
    (five.installed / "tunables/phoenix").write_bytes(b"@{phoenix_x}=/\n")
    _refused(five, "/etc/apparmor.d/tunables/phoenix", "--adopt tunables/phoenix")
    assert five.phoenix("setup", "--adopt", "tunables/phoenix").code == 0


def test_an_installed_file_that_vanished_comes_back(five: DirectoryHost) -> None:
    assert five.phoenix("setup").code == 0
    (five.installed / "lxc-b").unlink()
    assert five.phoenix("verify").code == 3
    assert five.phoenix("setup").recap["changed"] == 1
    assert five.phoenix("verify").code == 0


def test_an_installed_file_that_is_a_link(five: DirectoryHost, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("old")
    (five.installed / "lxc-b").symlink_to(target)
    _refused(five, "/etc/apparmor.d/lxc-b", "symbolic link")
    assert target.read_text() == "old"


@pytest.mark.parametrize("where", ["usr.bin.other", "lxc/lxc-other", "lxc-other"])
def test_the_name_is_defined_in_another_file(five: DirectoryHost, where: str) -> None:
    foreign = five.installed / where
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_bytes(profile("lxc-b"))
    _refused(five, f"already defined by /etc/apparmor.d/{where}")


def test_the_name_is_defined_in_a_fragment_that_lxc_containers_pulls_in(five: DirectoryHost) -> None:
    (five.installed / "lxc").mkdir()
    # No tunables of its own: alone it does not compile.
    (five.installed / "lxc/lxc-default").write_bytes(b"profile lxc-b {\n  @{PROC}/* r,\n}\n")
    (five.installed / "lxc-containers").write_bytes(b"include <tunables/global>\ninclude <lxc>\n")
    _refused(five, "already defined by /etc/apparmor.d/lxc/lxc-default")


def test_a_name_computed_from_a_variable_is_seen(five: DirectoryHost) -> None:
    (five.installed / "computed").write_bytes(b"@{N}=lxc-b\nprofile @{N} {\n  /etc/hosts r,\n}\n")
    _refused(five, "already defined by /etc/apparmor.d/computed")


def test_the_name_is_defined_behind_a_link(five: DirectoryHost) -> None:
    (five.root / "opt").mkdir()
    (five.root / "opt/mine").write_bytes(profile("lxc-b"))
    (five.installed / "mine").symlink_to("/opt/mine")
    _refused(five, "already defined by /etc/apparmor.d/mine")


def test_links_that_lead_nowhere_and_pipes_are_passed_over(five: DirectoryHost) -> None:
    (five.installed / "gone").symlink_to("/nowhere")
    (five.installed / "loop").symlink_to("loop")
    os.mkfifo(five.installed / "pipe")
    assert five.phoenix("setup").code == 0


def test_check_needs_no_record_of_the_host(five: DirectoryHost) -> None:
    assert five.phoenix("setup").code == 0
    (five.root / "var/lib/phoenix/manifest.json").write_bytes(b"{")
    assert five.phoenix("check").code == 0
    assert five.phoenix("setup").code == 1


@pytest.mark.parametrize("name", ["lxc-b.dpkg-old", ".lxc-b", "lxc-b~", "lxc-b.rpmsave"])
def test_files_that_the_parser_passes_over_do_not_count(five: DirectoryHost, name: str) -> None:
    (five.installed / name).write_bytes(profile("lxc-b"))
    assert five.phoenix("setup").code == 0


def test_a_mention_in_a_comment_is_no_definition(five: DirectoryHost) -> None:
    (five.installed / "usr.bin.x").write_bytes(
        b"# see lxc-b\nprofile other {\n  change_profile -> lxc-b,\n}\n"
    )
    assert five.phoenix("setup").code == 0


def test_a_damaged_manifest_is_refused(five: DirectoryHost) -> None:
    assert five.phoenix("setup").code == 0
    for damage in (b"{", b"[]", b'{"version": 2}', b"\xff", b'{"version": 1, "files": 3, "loaded": {}}'):
        (five.root / "var/lib/phoenix/manifest.json").write_bytes(damage)
        _refused(five, "manifest.json", "cannot be read")
    (five.root / "var/lib/phoenix/manifest.json").unlink()
    assert five.phoenix("setup").code == 0


# Includes -------------------------------------------------------------------------------


def _proven(host: DirectoryHost) -> list[str]:
    """The sources that a setup would compile, and nothing else."""
    runner = RecordingRunner(Host().runner)
    Phoenix(config=str(host.config), host=Host(str(host.root), runner)).plan(SetupRequest())
    return [os.path.basename(argv[-1]) for argv in runner.argvs if argv[-2:-1] == ("--stdout",)]


def test_a_changed_include_proves_every_includer_again(five: DirectoryHost) -> None:
    five.source("abstractions/phoenix/deep", data=b"  network,\n")
    five.source("abstractions/phoenix/x", data=b"  include <abstractions/phoenix/deep>\n")
    five.source("lxc-a", "include <abstractions/phoenix/x>")
    five.source("lxc-b", "#include <abstractions/phoenix/x>")
    assert _proven(five) == list(FIVE)
    assert five.phoenix("setup").code == 0
    assert _proven(five) == []
    five.source("abstractions/phoenix/deep", data=b"  network inet,\n")
    assert _proven(five) == ["lxc-a", "lxc-b"]
    five.source("lxc-e", "/etc/passwd r,")
    assert _proven(five) == ["lxc-a", "lxc-b", "lxc-e"]


def test_one_changed_profile_is_one_compile(five: DirectoryHost) -> None:
    assert five.phoenix("setup").code == 0
    five.source("lxc-d", "network,")
    assert _proven(five) == ["lxc-d"]


def test_an_orphan_is_reported(five: DirectoryHost) -> None:
    assert five.phoenix("setup").code == 0
    (five.sources / "lxc-e").unlink()
    result = five.phoenix("setup", "--json")
    assert told(result.document["warnings"]) == [("not-shipped", "/etc/apparmor.d/lxc-e")]
    assert (five.installed / "lxc-e").exists()


# Deprecated profiles, on files only -----------------------------------------------------

OLD = b"profile lxc-old flags=(attach_disconnected) {\n  file,\n}\n"


@pytest.fixture
def deprecated(five: DirectoryHost) -> DirectoryHost:
    (five.installed / "lxc-old").write_bytes(OLD)
    five.declare({"101": "lxc-a"}, deprecated_profiles={"lxc-old": "lxc-a"})
    return five


def test_an_unused_deprecated_profile_is_removed(deprecated: DirectoryHost) -> None:
    deprecated.conf("101", "lxc.apparmor.profile: lxc-a\n")
    assert deprecated.phoenix("setup").code == 0
    assert not (deprecated.installed / "lxc-old").exists()
    assert [p.read_bytes() for p in (deprecated.root / "var/lib/phoenix/replaced").iterdir()] == [OLD]
    assert deprecated.phoenix("setup").recap["changed"] == 0


def test_setup_refuses_while_a_declared_container_is_assigned_to_it(deprecated: DirectoryHost) -> None:
    deprecated.conf("101", "lxc.apparmor.profile: lxc-old\n")
    _refused(deprecated, "lxc-old", "still assigned to container 101", "phoenix apply 101")
    assert deprecated.apply().code == 0
    assert not (deprecated.installed / "lxc-old").exists()
    assert b"lxc.apparmor.profile: lxc-a\n" in (deprecated.lxc / "101.conf").read_bytes()
    assert deprecated.apply().recap["changed"] == 0


def test_a_container_that_is_not_declared_keeps_it(deprecated: DirectoryHost) -> None:
    deprecated.conf("101", "lxc.apparmor.profile: lxc-old\n")
    deprecated.conf("999", "lxc.apparmor.profile: lxc-old\n")
    skipped = deprecated.apply("--all", "--no-start", "--json").document["skipped"]
    (kept,) = [note for note in skipped if note["target"] == "lxc-old"]
    assert (kept["code"], kept["data"]) == ("deprecated-assigned", {"containers": ["999"]})
    assert (deprecated.installed / "lxc-old").read_bytes() == OLD


def test_a_file_of_a_package_is_kept(deprecated: DirectoryHost) -> None:
    info = deprecated.root / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (info / "some-package.list").write_text("/.\n/etc\n/etc/apparmor.d/lxc-old\n")
    (info / "other.list").write_text("/etc/apparmor.d/lxc-old-too\n")
    skipped = deprecated.phoenix("setup", "--json").document["skipped"]
    (kept,) = [note for note in skipped if note["target"] == "lxc-old"]
    assert (kept["code"], kept["data"]) == ("deprecated-kept", {"reason": "package", "by": "some-package"})
    assert (deprecated.installed / "lxc-old").exists()


def test_a_longer_path_in_a_package_is_not_this_file(deprecated: DirectoryHost) -> None:
    info = deprecated.root / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (info / "other.list").write_text("/etc/apparmor.d/lxc-old-too\n/x/etc/apparmor.d/lxc-old\n")
    assert deprecated.phoenix("setup").code == 0
    assert not (deprecated.installed / "lxc-old").exists()


@pytest.mark.parametrize(
    "text",
    [
        OLD + b"profile lxc-more {\n}\n",
        b"profile broken {{{\n" + OLD,  # no parser reads this one
        b"/usr/bin/thing {\n}\n" + OLD,
    ],
)
def test_a_file_that_defines_something_else_is_kept(deprecated: DirectoryHost, text: bytes) -> None:
    (deprecated.installed / "lxc-old").write_bytes(text)
    skipped = deprecated.phoenix("setup", "--json").document["skipped"]
    (kept,) = [note for note in skipped if note["target"] == "lxc-old"]
    assert (kept["code"], kept["data"]["reason"]) == ("deprecated-kept", "defines")
    assert (deprecated.installed / "lxc-old").read_bytes() == text


def test_the_documents_own_profile_that_no_parser_reads_is_still_retired(deprecated: DirectoryHost) -> None:
    broken = OLD.replace(b"file,", b"nvidia everything")
    (deprecated.installed / "lxc-old").write_bytes(broken)
    assert deprecated.phoenix("setup").code == 0
    assert not (deprecated.installed / "lxc-old").exists()


def test_a_deprecated_link_is_kept(deprecated: DirectoryHost, tmp_path: Path) -> None:
    target = tmp_path / "t"
    target.write_bytes(OLD)
    (deprecated.installed / "lxc-old").unlink()
    (deprecated.installed / "lxc-old").symlink_to(target)
    assert deprecated.phoenix("setup").code == 0
    assert target.exists() and (deprecated.installed / "lxc-old").is_symlink()


def test_a_declared_container_may_not_name_it(deprecated: DirectoryHost) -> None:
    deprecated.declare({"101": "lxc-old"}, deprecated_profiles={"lxc-old": "lxc-a"})
    _refused(deprecated, "/lxc_configs/101/apparmor_profile", "profile lxc-old is deprecated", "use lxc-a")


def test_adopting_something_that_is_not_there_is_a_mistake(five: DirectoryHost) -> None:
    before = snapshot(five.root)
    result = five.phoenix("setup", "--adopt", "lxc-x")
    assert result.code == 2
    assert "lxc-x" in result.err
    assert snapshot(five.root) == before


def test_json_of_a_refusal(five: DirectoryHost) -> None:
    (five.installed / "lxc-c").write_bytes(b"# mine\n")
    result = run(["--root", str(five.root), "--config", str(five.config), "--json", "setup"])
    assert result.code == 1
    problems = result.document["error"]["problems"]
    assert [p["pointer"] for p in problems] == ["/etc/apparmor.d/lxc-c"]
    assert result.document["version"] == 1


# Where things lie -----------------------------------------------------------------------


def test_sources_beside_a_linked_configuration_are_found(five: DirectoryHost) -> None:
    link = five.folder / "link.json"
    link.symlink_to(five.config)
    words = ["--root", str(five.root), "--config", str(link)]
    assert run([*words, "check"]).code == 0
    assert "lxc-a" in run([*words, "policy", "list", "lxc-none"]).err


def test_a_quick_check_proves_for_the_kernel_in_use_only(five: DirectoryHost) -> None:
    assert five.phoenix("check", "--quick", "--json").document["kernels"] == []
    assert "proxmox-9-7.0" in five.phoenix("check", "--json").document["kernels"]
