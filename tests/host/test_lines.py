"""Lines beside the profile line: nesting, the seccomp companion, and the variant for a container's kind."""

from __future__ import annotations

import json

import pytest

from phoenix_hypervisor.containers.seccomp import COMMON, COMPANION, render
from support.hosts import DirectoryHost, LiveHost

RULES = b"2\ndenylist\nreject_force_umount\n[all]\nkexec_load errno 1\n"
NESTING = "lxc.apparmor.allow_nesting: 1\n"
SECCOMP = f"lxc.seccomp.profile: {COMPANION}\n"
PRIVILEGED, UNPRIVILEGED = "arch: amd64\n", "arch: amd64\nunprivileged: 1\n"


def common(host: DirectoryHost, data: bytes = RULES) -> None:
    path = host.root / COMMON[1:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def text(host: DirectoryHost, ctid: str = "101") -> str:
    return (host.lxc / f"{ctid}.conf").read_text()


@pytest.fixture
def one(host: DirectoryHost) -> DirectoryHost:
    host.source("lxc-a")
    host.declare({"101": "lxc-a"})
    return host


def test_nesting_survives_the_assignment(one: DirectoryHost) -> None:
    before = UNPRIVILEGED + "features: keyctl=1,nesting=1\n"
    one.conf("101", before + "\n[snap]\nmemory: 1\n")
    plan = one.phoenix("plan")
    assert "allow_nesting" in plan.out and "nesting=1" in plan.out
    assert one.apply().code == 0
    assert text(one) == before + "lxc.apparmor.profile: lxc-a\n" + NESTING + "\n[snap]\nmemory: 1\n"
    assert "changed=0" in one.apply().out


def test_the_nesting_line_goes_with_the_profile(one: DirectoryHost) -> None:
    before = UNPRIVILEGED + "features: nesting=1\n"
    one.conf("101", before)
    assert one.apply().code == 0
    one.declare({"101": "generated"})
    assert one.apply().code == 0
    assert text(one) == before


def test_a_nesting_line_that_stood_there_stays(one: DirectoryHost) -> None:
    before = NESTING + UNPRIVILEGED + "features: nesting=1\n"
    one.conf("101", before)
    assert one.apply().code == 0
    assert text(one) == before + "lxc.apparmor.profile: lxc-a\n"
    one.declare({"101": "generated"})
    assert one.apply().code == 0
    assert text(one) == before


def test_the_line_of_an_operator_with_another_value_is_kept_and_told(one: DirectoryHost) -> None:
    one.conf("101", UNPRIVILEGED + "features: nesting=1\nlxc.apparmor.allow_nesting: 0\n")
    done = one.apply("--all", "--no-start", "--json")
    found = {note["code"]: note["data"] for note in done.document["warnings"]}
    assert found["line-kept"] == {"key": "lxc.apparmor.allow_nesting"}
    assert "allow_nesting: 0\n" in text(one) and NESTING not in text(one)


def test_without_nesting_no_line_is_written(one: DirectoryHost) -> None:
    one.conf("101", UNPRIVILEGED + "features: nesting=0,keyctl=1\n")
    assert one.apply().code == 0
    assert "allow_nesting" not in text(one)


def test_a_line_that_somebody_removed_is_not_as_declared(two: LiveHost) -> None:
    conf = two.conf("101", UNPRIVILEGED + "features: nesting=1\n")
    assert two.apply("--all", "--no-start").code == 0
    conf.write_text(text(two).replace(NESTING, ""))
    verdicts = two.phoenix("verify", "101", "--json").document["containers"]
    assert [f["code"] for f in verdicts[0]["findings"]] == ["line-beside", "not-running"]


def test_a_rollback_takes_both_lines_back(two: LiveHost) -> None:
    common(two)
    before = PRIVILEGED + "features: nesting=1\n"
    two.conf("101", before)
    two.declare({"101": "lxc-a"})
    assert two.apply("--all", "--no-start").code == 0
    assert text(two) == before + "lxc.apparmor.profile: lxc-a\n" + SECCOMP + NESTING or text(two) == (
        before + "lxc.apparmor.profile: lxc-a\n" + NESTING + SECCOMP
    )
    assert (two.root / COMPANION[1:]).exists()
    assert two.phoenix("rollback").code == 0
    assert text(two) == before
    assert not (two.root / COMPANION[1:]).exists()


def test_the_companion_is_not_rolled_back_under_a_container_that_names_it(two: LiveHost) -> None:
    two.declare({"101": "lxc-a"})
    assert two.apply("--all", "--no-start").code == 0
    common(two)
    assert two.phoenix("setup").code == 0
    assert two.apply("--all", "--no-start").code == 0
    assert SECCOMP in text(two)
    done = two.phoenix("rollback", "2")
    assert done.code == 1 and "names it" in done.err and (two.root / COMPANION[1:]).exists()
    assert two.phoenix("rollback", "3").code == 0 and SECCOMP not in text(two)
    assert two.phoenix("rollback", "2").code == 0 and not (two.root / COMPANION[1:]).exists()


def test_a_privileged_container_gets_the_companion(one: DirectoryHost) -> None:
    common(one)
    one.conf("101", PRIVILEGED)
    assert one.apply().code == 0
    assert text(one) == PRIVILEGED + "lxc.apparmor.profile: lxc-a\n" + SECCOMP
    path = one.root / COMPANION[1:]
    assert path.read_bytes() == render(RULES)
    assert path.stat().st_mode & 0o777 == 0o644
    assert "changed=0" in one.apply().out


@pytest.mark.parametrize(
    ("conf", "fields"),
    [
        (UNPRIVILEGED, {"apparmor_profile": "lxc-a"}),
        (PRIVILEGED, {"apparmor_profile": "lxc-a", "seccomp": False}),
        (PRIVILEGED, {"apparmor_profile": "generated"}),
    ],
)
def test_others_do_not(one: DirectoryHost, conf: str, fields: dict[str, object]) -> None:
    common(one)
    one.conf("101", conf)
    one.declare({"101": fields})
    assert one.apply().code == 0
    assert "seccomp" not in text(one)


def test_the_companion_goes_when_it_is_switched_off(one: DirectoryHost) -> None:
    common(one)
    one.conf("101", PRIVILEGED)
    assert one.apply().code == 0
    one.declare({"101": {"apparmor_profile": "lxc-a", "seccomp": False}})
    assert one.apply().code == 0
    assert text(one) == PRIVILEGED + "lxc.apparmor.profile: lxc-a\n"


def test_an_operators_own_seccomp_file_is_kept(one: DirectoryHost) -> None:
    common(one)
    own = one.root / "etc/own.seccomp"
    own.write_bytes(RULES)
    one.conf("101", PRIVILEGED + "lxc.seccomp.profile: /etc/own.seccomp\n")
    notes = one.apply("--all", "--no-start", "--json").document["warnings"]
    (note,) = [note for note in notes if note["code"] != "sandboxes-lost"]
    assert (note["code"], note["data"]) == ("line-kept", {"key": "lxc.seccomp.profile"})
    assert COMPANION not in text(one)


def test_a_start_without_its_seccomp_file_is_refused(two: LiveHost) -> None:
    two.conf("101", UNPRIVILEGED + "lxc.seccomp.profile: /etc/missing.seccomp\n")
    before = text(two)
    done = two.apply("101")
    assert done.code == 1 and "/etc/missing.seccomp" in done.err
    assert text(two) == before and not (two.root / "var/lib/phoenix").exists()


def test_rules_that_are_not_understood_are_not_extended(one: DirectoryHost) -> None:
    common(one, b"1\nallowlist\n3\n")
    one.conf("101", PRIVILEGED)
    done = one.apply()
    assert done.code == 1 and COMMON in done.err
    assert text(one) == PRIVILEGED


def test_a_companion_that_was_edited_or_removed_is_found(two: LiveHost) -> None:
    common(two)
    assert two.apply("--all", "--no-start").code == 0
    path = two.root / COMPANION[1:]
    path.write_bytes(render(RULES) + b"#\n")
    host = two.phoenix("verify", "--json").document["host"]
    assert [f["code"] for f in host["findings"]] == ["file-edited"]
    path.unlink()
    assert "seccomp-missing" in two.phoenix("verify", "--json").out
    assert two.phoenix("setup").code == 0
    assert path.read_bytes() == render(RULES)


def test_the_hosts_own_rules_are_followed(one: DirectoryHost) -> None:
    common(one)
    one.conf("101", PRIVILEGED)
    assert one.apply().code == 0
    common(one, RULES + b"acct errno 1\n")
    assert one.apply().code == 0
    assert (one.root / COMPANION[1:]).read_bytes() == render(RULES + b"acct errno 1\n")


# Variants -----------------------------------------------------------------------------


def test_an_unprivileged_container_gets_the_variant(one: DirectoryHost) -> None:
    one.source("lxc-a-unprivileged")
    one.conf("101", UNPRIVILEGED)
    one.conf("102", PRIVILEGED)
    one.declare({"101": "lxc-a", "102": "lxc-a"})
    plan = one.phoenix("plan")
    assert "assign lxc-a-unprivileged; the variant for unprivileged containers" in plan.out
    assert one.apply().code == 0
    assert "lxc.apparmor.profile: lxc-a-unprivileged\n" in text(one)
    assert "lxc.apparmor.profile: lxc-a\n" in text(one, "102")
    shown = json.loads(one.phoenix("status", "101", "--json").out)["containers"][0]
    assert (shown["declared"], shown["assigned"], shown["unprivileged"]) == (
        "lxc-a",
        "lxc-a-unprivileged",
        True,
    )


def test_a_container_that_changes_its_kind_is_followed(one: DirectoryHost) -> None:
    one.source("lxc-a-unprivileged")
    conf = one.conf("101", PRIVILEGED)
    assert one.apply().code == 0
    conf.write_text(text(one) + "unprivileged: 1\n")
    assert one.phoenix("plan", "--detailed-exitcode").code == 3
    assert one.apply().code == 0
    assert "lxc.apparmor.profile: lxc-a-unprivileged\n" in text(one)


def test_a_variant_of_its_own_name_is_assigned_as_declared(one: DirectoryHost) -> None:
    one.source("lxc-a-unprivileged")
    one.declare({"101": "lxc-a-unprivileged"})
    one.conf("101", UNPRIVILEGED)
    assert one.apply().code == 0
    assert "lxc.apparmor.profile: lxc-a-unprivileged\n" in text(one)


def test_a_privileged_container_under_the_unprivileged_variant_is_told(one: DirectoryHost) -> None:
    one.source("lxc-a-unprivileged", "file,", "capability,", "mount,")
    one.declare({"101": "lxc-a-unprivileged"})
    one.conf("101", PRIVILEGED)
    assert "made for unprivileged containers" in one.phoenix("plan").out


# What a profile takes away ---------------------------------------------------------------
