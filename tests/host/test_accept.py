"""`phoenix accept`: from a denial to a rule that is installed; what is refused leaves no trace."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from phoenix_hypervisor.plan.fault_codes import Fault
from phoenix_hypervisor.profiles.accepted import Entry, added, entries, removed
from support.hosts import TOP, LiveHost, Result, snapshot

INCLUDE = "include if exists <accepted/lxc-a>"
SERIAL = 7


def line(fields: str, profile: str = "lxc-a", serial: int = SERIAL) -> str:
    head = f'audit: type=1400 audit(1764166800.123:{serial}): apparmor="DENIED" '
    return head + fields.replace(" profile ", f' profile="{profile}" ') + "\n"


def reads(path: str, **more: Any) -> str:
    return line(f'operation="open" class="file" profile name="{path}" pid=3 comm="app" requested_mask="r"'
                f' denied_mask="r" fsuid=0 ouid=0', **more)  # fmt: skip


@pytest.fixture
def applied(two: LiveHost) -> LiveHost:
    two.source("lxc-a", "/etc/hosts r,", "signal peer=lxc-none,", INCLUDE)
    assert two.apply().code == 0
    return two


def log(host: LiveHost, *lines: str) -> tuple[str, ...]:
    path = host.folder / "log"
    path.write_bytes("".join(lines).encode("utf-8", "surrogateescape"))
    return ("--file", str(path), "--trust")


def ids(host: LiveHost, where: tuple[str, ...], verdict: str | None = None) -> list[str]:
    found = host.phoenix("denials", "--json", *where).document["denials"]
    return [one["id"] for one in found if verdict in (None, one["verdict"])]


def codes(result: Result) -> list[str]:
    return [code for code, _ in result.problems]


def test_from_a_denial_to_an_installed_rule(applied: LiveHost) -> None:
    where = log(applied, reads("/srv/app/a b"), reads("/srv/app/a b", serial=8))
    (one,) = ids(applied, where, "offered")
    done = applied.phoenix("accept", one, *where)
    assert done.code == 0, done.err
    assert 'owner "/srv/app/a b" r,' in done.out and "next: phoenix plan" in done.out
    text = (applied.sources / "accepted/lxc-a").read_text()
    assert f"# accepted {one} 20" in text and " by " in text
    assert "app: reading /srv/app/a b; container 101" in text
    assert "seen 2 times, 2025-11-26 14:20:00 UTC; audit(1764166800.123:8)" in text
    assert not (applied.installed / "accepted").exists(), "only apply installs it"
    plan = applied.phoenix("plan")
    assert '+owner "/srv/app/a b" r,' in plan.out and "opens" in plan.out
    assert applied.apply().code == 0
    assert (
        applied.phoenix("policy", "query", "loaded:lxc-a", "file", "/srv/app/a b", "--access", "r").code == 0
    )
    assert applied.phoenix("policy", "query", "loaded:lxc-a", "file", "/srv/app/b", "--access", "r").code == 3
    assert ids(applied, where, "allowed-now") == [one]
    again = applied.phoenix("accept", one, *where)
    assert again.code == 0 and "accepted already" in again.out
    assert (applied.sources / "accepted/lxc-a").read_text() == text


def test_who_used_sudo_accepted_it(applied: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "alice\n}evil")
    where = log(applied, reads("/srv/x"))
    assert applied.phoenix("accept", *ids(applied, where), *where).code == 0
    text = (applied.sources / "accepted/lxc-a").read_text()
    assert "UTC by alice\\x0a}evil\n" in text
    assert applied.phoenix("check").code == 0


def test_list_and_remove(applied: LiveHost) -> None:
    where = log(applied, reads("/srv/x"), reads("/srv/y", serial=9))
    both = ids(applied, where)
    assert len(both) == 2 and applied.phoenix("accept", *both, *where).code == 0
    both = [one.id for one in entries((applied.sources / "accepted/lxc-a").read_bytes())]
    file = applied.sources / "accepted/lxc-a"
    file.write_text(file.read_text() + "\n# of hand\n/srv/z r,\n")
    listed = applied.phoenix("accept", "--list", "--json").document
    rules = [one["rule"] for one in listed["rules"]]
    assert sorted(rules[:2]) == ["owner /srv/x r,", "owner /srv/y r,"]
    assert [(one["id"], one["profile"], one["rule"]) for one in listed["rules"]] == [
        (both[0], "lxc-a", rules[0]), (both[1], "lxc-a", rules[1]), (None, "lxc-a", "/srv/z r,"),
    ]  # fmt: skip
    assert listed["rules"][0]["evidence"][1].startswith("app: reading /srv/")
    assert listed["version"] == 1
    shown = applied.phoenix("accept", "--list")
    assert "3 accepted rules" in shown.out and "by hand" in shown.out and "seen once" in shown.out
    assert applied.phoenix("accept", "--remove", both[0]).code == 0
    assert [one.id for one in entries(file.read_bytes())] == [both[1], ""]
    before = file.read_bytes()
    assert applied.phoenix("accept", "--remove", both[1], "00000000").code == 2
    assert file.read_bytes() == before
    assert applied.phoenix("accept", "--remove", both[1]).code == 0
    assert [one.rule for one in entries(file.read_bytes())] == ["/srv/z r,"]


def test_with_the_last_rule_its_file_goes(applied: LiveHost) -> None:
    where = log(applied, reads("/srv/x"))
    (one,) = ids(applied, where)
    assert applied.phoenix("accept", one, *where).code == 0
    assert applied.apply().code == 0
    assert applied.phoenix("accept", "--remove", one).code == 0
    assert not (applied.sources / "accepted/lxc-a").exists()
    assert applied.apply().code == 0
    assert not (applied.installed / "accepted/lxc-a").exists()
    assert applied.phoenix("policy", "query", "loaded:lxc-a", "file", "/srv/x", "--access", "r").code == 3


DANGERS = {
    "kernel programs": 'operation="open" profile name="/proc/sys/kernel/core_pattern" requested_mask="w" fsuid=0 ouid=0',
    "crash": 'operation="open" profile name="/proc/sysrq-trigger" requested_mask="w" fsuid=0 ouid=0',
    "second procfs or sysfs": 'operation="mount" profile name="/mnt/p/" fstype="proc" srcname="proc" flags="rw"',
    "raw devices": 'operation="open" profile name="/dev/sda" requested_mask="r" fsuid=0 ouid=0',
    "other profiles": 'operation="change_profile" class="file" profile name="unconfined" pid=4 comm="a" target="unconfined"',
    "other labels": 'operation="signal" profile pid=4 comm="a" requested_mask="send" denied_mask="send" signal=kill peer="lxc-b"',
    "capability sys_module": 'operation="capable" profile capability=16 capname="sys_module"',
}


@pytest.mark.parametrize("danger", DANGERS)
def test_a_danger_is_not_accepted(applied: LiveHost, danger: str) -> None:
    """No policy test speaks of this profile: then everything counts."""
    applied.source("lxc-a", "/etc/hosts r,", "mount fstype=tmpfs,", "signal peer=lxc-none,", INCLUDE)
    where = log(applied, reads("/srv/x"), line(DANGERS[danger], serial=8))
    before = snapshot(applied.folder, without=("root/double",))
    failed = applied.phoenix("accept", *ids(applied, where), *where, "--json")
    assert failed.code == 1 and codes(failed) == [Fault.NOT_OFFERED]
    assert f"{danger}: " in failed.out
    assert snapshot(applied.folder, without=("root/double",)) == before


def test_under_a_profile_that_only_complains_a_rule_must_let_it_through_by_itself(applied: LiveHost) -> None:
    text = f"profile lxc-a flags=(complain) {{\n  /etc/hosts r,\n  {INCLUDE}\n}}\n"
    applied.source("lxc-a", data=text.encode())
    where = log(applied, reads("/srv/x"), reads("/etc/hosts", serial=8))
    found = applied.phoenix("denials", "--json", *where).document["denials"]
    assert {one["object"]: one["verdict"] for one in found} == {
        "/srv/x": "offered",
        "/etc/hosts": "allowed-now",
    }


def test_what_a_deny_rule_holds_is_not_accepted(applied: LiveHost) -> None:
    path = applied.source("lxc-a", "/srv/** r,", "deny /srv/x r,", INCLUDE)
    where = log(applied, reads("/srv/x"))
    failed = applied.phoenix("accept", *ids(applied, where), *where)
    assert failed.code == 1 and f"{path}:4" in failed.err and "nothing was accepted" in failed.err


def test_a_profile_without_a_place_for_accepted_rules_says_which_line_to_add(applied: LiveHost) -> None:
    path = applied.source("lxc-a", "/etc/hosts r,")
    where = log(applied, reads("/srv/x"))
    failed = applied.phoenix("accept", *ids(applied, where), *where)
    assert failed.code == 1 and str(path) in failed.err and f"write `{INCLUDE}` into it" in failed.err
    assert not (applied.sources / "accepted").exists()


def test_a_line_that_proves_nothing_is_not_accepted(applied: LiveHost) -> None:
    where = log(applied, reads("/srv/x"))[:2]
    failed = applied.phoenix("accept", *ids(applied, where), *where)
    assert failed.code == 1 and "proves nothing" in failed.err


def test_a_container_cannot_write_into_the_file(applied: LiveHost) -> None:
    """Names that containers choose stand in the evidence, and in the rule."""
    evil = b'/srv/#include <x>\n}\nprofile lxc-evil {\n# lint: allow-file redundant-rule x\n"'
    comm = b"a\n/** rwx,\n#"
    fields = (
        f'operation="open" profile name={evil.hex().upper()} comm={comm.hex().upper()} requested_mask="r"'
    )
    where = log(applied, line(f"{fields} fsuid=0 ouid=0"))
    assert applied.phoenix("accept", *ids(applied, where, "offered"), *where).code == 0
    data = (applied.sources / "accepted/lxc-a").read_bytes()
    assert all(one.startswith((b"#", b"owner ")) or not one for one in data.split(b"\n"))
    assert data.count(b"\nowner ") == 1 and b"# lint" not in data and b"#include" not in data
    assert applied.phoenix("check").code == 0 and applied.apply().code == 0
    assert "lxc-evil" not in applied.loaded()
    listed = applied.phoenix("accept", "--list")
    assert all(part.isprintable() for part in listed.out.split("\n"))


def test_two_denials_of_one_rule_are_one_rule(applied: LiveHost) -> None:
    where = log(applied, reads("/proc/7/io"), reads("/proc/7/io", serial=9).replace("open", "file_perm"))
    both = ids(applied, where)
    assert len(both) == 2 and applied.phoenix("accept", *both, *where).code == 0
    assert [one.rule for one in entries((applied.sources / "accepted/lxc-a").read_bytes())] == [
        "owner /proc/@{pid}/io r,"
    ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "name a denial"),
        (("xyz",), "is not the ID"),
        (("0123456",), "is not the ID"),
        (("--list", "01234567"), "--list goes alone"),
        (("--remove", "01234567", "--trust"), "looks into no log"),
        (("01234567", "--trust"), "--trust is about"),
        (("--remove", "01234567"), "no rule was accepted"),
    ],
    ids=["none", "word", "short", "list", "remove", "trust", "unknown"],
)
def test_words_that_make_no_sense(applied: LiveHost, words: tuple[str, ...], says: str) -> None:
    failed = applied.phoenix("accept", *words)
    assert failed.code == 2 and says in failed.err


def test_an_id_that_no_log_holds(applied: LiveHost) -> None:
    failed = applied.phoenix("accept", "01234567", *log(applied, reads("/srv/x")))
    assert failed.code == 2 and "no log holds a denial 01234567" in failed.err


def test_below_etc_pve_modes_are_pmxcfs(applied: LiveHost) -> None:
    """There files get a mode of their own, and take no other."""
    place = applied.root / "etc/pve/phoenix"
    place.mkdir(mode=0o755)
    os.rename(applied.sources, place / "apparmor")
    os.rename(applied.config, place / applied.config.name)
    where = log(applied, reads("/srv/x"))
    done = applied.phoenix("accept", *ids_of(applied, where), *where, config=False)
    assert done.code == 0, done.err
    assert (place / "apparmor/accepted/lxc-a").stat().st_mode & 0o777 == 0o640


def ids_of(host: LiveHost, where: tuple[str, ...]) -> list[str]:
    document = json.loads(host.phoenix("denials", "--json", *where, config=False).out)
    return [one["id"] for one in document["denials"]]


def test_the_form_of_a_file() -> None:
    one = Entry(id="01234567", rule="/a r,", evidence=("now by me", "what"))
    data = added(None, "lxc-a", [one])
    assert entries(data) == [one]
    more = added(data, "lxc-a", [Entry(id="76543210", rule="/b r,", evidence=("now", "x # y\n"))])
    assert [(found.id, found.rule) for found in entries(more)] == [
        ("01234567", "/a r,"),
        ("76543210", "/b r,"),
    ]
    assert removed(more, ["76543210"]) == data
    assert removed(data, ["01234567"]) is None
    by_hand = data + b"\n/c r,\n\n# a word\n"
    assert removed(by_hand, ["01234567"]) is not None
    assert b"/a r," not in (removed(by_hand, ["01234567"]) or b"")
    assert entries(b"") == [] and Path(TOP / "etc/apparmor/lxc-base").is_file()
