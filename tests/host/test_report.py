"""`phoenix report`: the page, JSON and SARIF of a whole host, and what is kept for the next one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from phoenix_hypervisor.engine.reporting import NAME
from phoenix_hypervisor.policy.many_names import Names
from phoenix_hypervisor.policy.profile import Profile
from phoenix_hypervisor.report import report_changes
from support.hosts import SECURITYFS, TOP, DirectoryHost, LiveHost, Result, snapshot, temporary_files
from support.reported import EVIL, HOSTILE, busy
from support.sarif import sarif_faults

SCHEMA = json.loads((TOP / "src/phoenix_hypervisor/data/phoenix_report.schema.json").read_text())
jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.fixture
def reported(live: LiveHost) -> LiveHost:
    return busy(live)


def facts(host: DirectoryHost) -> dict[str, Any]:
    done = host.phoenix("report", "--json")
    assert done.code == 0, done.err
    jsonschema.Draft7Validator(SCHEMA).validate(done.document)
    return done.document


def by(found: list[dict[str, Any]], key: str) -> dict[str, dict[str, Any]]:
    return {str(one[key]): one for one in found}


# The facts --------------------------------------------------------------------------


def test_each_containers_walls_are_told(reported: LiveHost) -> None:
    found = facts(reported)
    assert (found["confined"], len(found["containers"]), found["as_declared"]) == (3, 5, False)
    one, two, four, five = (by(found["containers"], "ctid")[c] for c in ("101", "102", "104", "105"))
    assert (one["unprivileged"], one["assigned"], one["confined"]) == (True, "lxc-a", True)
    assert one["devices"]["state"] == "open" and one["gpus"][0] == {
        "gpu": 0,
        "access": "opens",
        "by": ["dev0: /dev/nvidia0,mode=0666", "lxc.cgroup2.devices.allow = a (LXC's default)"],
    }
    assert two["devices"] == {
        "state": "closed",
        "rules": 13,
        "own": ["lxc.cgroup2.devices.allow: c 195:* rwm"],
    }
    assert [cell["access"] for cell in two["gpus"]] == ["makes", "makes"]
    assert [said["code"] for said in two["findings"]] == ["gpu-open"]
    assert (four["assigned"], four["declared"], four["running"]) == ("unconfined", None, False)
    assert (five["assigned"], five["seccomp"]) == (None, "default")


def test_the_seccomp_companion_and_files_of_ones_own_are_told_apart(reported: LiveHost) -> None:
    reported.conf("104", "arch: amd64\nlxc.seccomp.profile: /var/lib/phoenix/seccomp/privileged\n")
    reported.conf("105", "arch: amd64\nlxc.seccomp.profile: /srv/own.seccomp\n")
    found = by(facts(reported)["containers"], "ctid")
    assert (found["104"]["seccomp"], found["105"]["seccomp"]) == ("companion", "own")
    assert found["105"]["seccomp_file"] == "/srv/own.seccomp"


def test_what_a_profile_lets_be_written_is_what_policy_answers(reported: LiveHost) -> None:
    profiles = by(facts(reported)["profiles"], "name")
    places = by(profiles["lxc-a"]["places"], "path")
    assert not [path for path in places if path.startswith(("/proc/sys/", "/sys/"))]
    assert places["/proc/[0-9]*"]["names"] == [] and places["/proc/[0-9]*"]["writable"] > 50
    top = by(profiles["lxc-b"]["places"], "path")["/proc"]
    assert top["writable"] == top["known"] - 1 and "sysrq-trigger" not in top["names"]
    for name, place in (("sysrq-trigger", "/proc"), ("kcore", "/proc")):
        words = ("policy", "query", "lxc-b", "file", f"{place}/{name}", "--access", "w")
        assert (reported.phoenix(*words).code == 0) is (name in top["names"]), name


def test_a_profile_is_asked_once_for_all_its_containers(
    reported: LiveHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = Names.allowed

    def counted(names: Names, profile: Profile, access: str = "w") -> frozenset[str]:
        asked.append(profile.label)
        return real(names, profile, access)

    monkeypatch.setattr(Names, "allowed", counted)
    for number in range(110, 130):
        reported.conf(str(number), "arch: amd64\nlxc.apparmor.profile: lxc-a\n")
    facts(reported)
    assert sorted(asked) == ["lxc-a", "lxc-b"]


def test_a_profile_that_is_not_known_says_so(reported: LiveHost) -> None:
    reported.conf("105", "arch: amd64\nlxc.apparmor.profile: lxc-container-default-cgns\n")
    found = by(facts(reported)["profiles"], "name")["lxc-container-default-cgns"]
    assert (found["ours"], found["installed"], found["loaded"]) == (False, "foreign", "enforce")
    assert (found["mode"], found["places"]) == (None, [])


def test_of_a_profile_of_others_the_kernel_is_asked(reported: LiveHost, tmp_path: Path) -> None:
    (tmp_path / "lxc-theirs").write_text("profile lxc-theirs {\n/proc/sys/kernel/core_pattern w,\n}\n")
    folder = reported.root / SECURITYFS / "policy/profiles/lxc-theirs.7"
    folder.mkdir(parents=True)
    words = ("policy", "compile", str(tmp_path / "lxc-theirs"), "-o", str(folder / "raw_data"))
    assert reported.phoenix(*words).code == 0
    reported.load_by_hand("lxc-theirs", "complain")
    reported.conf("105", "arch: amd64\nlxc.apparmor.profile: lxc-theirs\n")
    found = by(facts(reported)["profiles"], "name")["lxc-theirs"]
    assert (found["ours"], found["loaded"], found["mode"]) == (False, "complain", "enforce")
    (place,) = found["places"]
    assert (place["path"], place["names"]) == ("/proc/sys/kernel", ["core_pattern"])


def test_a_source_that_does_not_compile_does_not_end_it(reported: LiveHost) -> None:
    reported.source("lxc-b", "this is no rule,")
    found = by(facts(reported)["profiles"], "name")["lxc-b"]
    assert (found["mode"], found["places"]) == (None, []) and found["findings"]


def test_accepted_rules_history_and_the_kernel_are_told(reported: LiveHost) -> None:
    found = facts(reported)
    first, second = found["accepted"]
    assert (first["id"], first["rule"]) == ("1a2b3c4d", "/srv/www/cache/** rw,")
    assert len(first["evidence"]) == 3 and "seen 12 times" in first["evidence"][2]
    assert (second["id"], second["rule"], second["evidence"]) == ("", "/srv/by-hand/** r,", [])
    (transaction,) = found["history"]
    assert transaction["state"] == "committed" and "apply --all" in transaction["command"]
    assert "move_mount" in [gap["code"] for gap in found["unmediated"]]


def test_a_host_that_is_a_directory(host: DirectoryHost) -> None:
    host.source("lxc-a")
    host.conf("101")
    host.declare({"101": "lxc-a"})
    assert host.apply().code == 0
    found = facts(host)
    assert (found["kernel"], found["unmediated"], found["confined"]) == ("", None, 0)
    assert by(found["containers"], "ctid")["101"]["running"] is None
    assert by(found["profiles"], "name")["lxc-a"]["mode"] == "enforce"


def test_without_a_configuration_there_is_a_report(host: DirectoryHost) -> None:
    host.conf("101")
    done = host.phoenix("report", "--json", config=False)
    assert done.code == 0 and done.document["configuration"] is None
    assert [one["ctid"] for one in done.document["containers"]] == ["101"]


def test_a_container_that_cannot_be_read_does_not_end_it(reported: LiveHost) -> None:
    (reported.lxc / "105.conf").unlink()
    (reported.lxc / "105.conf").mkdir()
    found = by(facts(reported)["containers"], "ctid")["105"]
    assert found["devices"] is None and [said["code"] for said in found["findings"]] == ["conf-unusable"]


def test_a_damaged_journal_is_told(reported: LiveHost) -> None:
    (entry,) = (reported.root / "var/lib/phoenix/journal").iterdir()
    entry.write_bytes(b"\x00" + entry.read_bytes()[1:])
    found = facts(reported)
    assert found["history"] == [] and any(entry.name in text for text in found["not_read"])


# The page ---------------------------------------------------------------------------


def html(host: DirectoryHost, place: Path) -> tuple[Result, str]:
    done = host.phoenix("report", "--html", str(place))
    return done, place.read_text() if place.exists() else ""


def test_the_page_is_replaced_whole(reported: LiveHost, tmp_path: Path) -> None:
    place = tmp_path / "out/report.html"
    place.parent.mkdir()
    place.write_text("old")
    done, text = html(reported, place)
    assert done.code == 0 and done.out.startswith(f"{place}: 3 of 5 containers confined, not as declared")
    assert text.startswith("<!doctype html>") and text.endswith("</html>\n")
    assert temporary_files(place.parent) == [] and place.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", ["missing/report.html", "."])
def test_a_bad_place_is_refused_before_anything_is_looked_at(
    reported: LiveHost, tmp_path: Path, name: str
) -> None:
    before = snapshot(reported.root)
    done = reported.phoenix("report", "--html", str(tmp_path / name))
    assert done.code == 2 and "next: " in done.err and "Traceback" not in done.err
    assert snapshot(reported.root) == before


def test_a_link_is_not_followed(reported: LiveHost, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / "report.html").symlink_to(target)
    done = reported.phoenix("report", "--html", str(tmp_path / "report.html"))
    assert done.code == 1 and target.read_text() == "mine" and (tmp_path / "report.html").is_symlink()


def test_page_and_json_of_one_look(reported: LiveHost, tmp_path: Path) -> None:
    done = reported.phoenix("report", "--html", str(tmp_path / "r.html"), "--json")
    assert done.document["time"][:10] in (tmp_path / "r.html").read_text()


def test_the_page_can_be_printed(reported: LiveHost, tmp_path: Path) -> None:
    done = reported.phoenix("report", "--html", "-")
    assert done.code == 0 and done.out.startswith("<!doctype html>") and done.out.endswith("</html>\n")


@pytest.mark.parametrize(
    "words", [(), ("--sarif", "--json"), ("--sarif", "--html", "x"), ("--html", "-", "--json")]
)
def test_one_says_which_report(reported: LiveHost, words: tuple[str, ...]) -> None:
    done = reported.phoenix("report", *words)
    assert (done.code == 2 and "next" in done.err) or "say which report" in done.err


def test_hostile_names_stay_text_in_each_format(live: LiveHost, tmp_path: Path) -> None:
    busy(live, hostile=True)
    done, text = html(live, tmp_path / "r.html")
    assert done.code == 0, done.err
    for mark in ("<script", "<img", "</style><script", "\x1b", "\u202e", "\u200b", "\x07"):
        assert mark not in text, mark
    assert "&lt;img/src=x/onerror=alert(1)&gt;" in text and "ct\\x1b[2J" in text
    found = by(facts(live)["containers"], "ctid")
    assert found["201"]["name"] == EVIL and len(HOSTILE) == 9
    log = live.phoenix("report", "--sarif")
    assert log.code == 0 and sarif_faults(json.loads(log.out)) == []


# What changed -----------------------------------------------------------------------


def test_the_next_report_says_what_changed(reported: LiveHost) -> None:
    first = facts(reported)["compared"]
    assert (first["last"], first["changed"], first["found"], first["not_kept"]) == (None, False, [], None)
    reported.conf("103", "arch: amd64\nhostname: pihole\nunprivileged: 1\nlxc.apparmor.profile: lxc-b\n")
    reported.conf("106")
    second = facts(reported)["compared"]
    (found,) = second["found"]
    assert second["changed"] and [(c["what"], c["how"]) for c in found["changes"]] == [
        ("103", "changed"),
        ("106", "new"),
    ]
    assert "assigned: lxc-a → lxc-b" in found["changes"][0]["details"]
    third = facts(reported)["compared"]
    # Whoever made the second report: its changes are not lost for this one.
    assert not third["changed"] and third["found"] == [found]


def test_where_nothing_changed_nothing_is_written(reported: LiveHost) -> None:
    facts(reported)
    before = snapshot(reported.root)
    assert (reported.root / "var/lib/phoenix" / NAME).stat().st_mode & 0o777 == 0o600
    facts(reported)
    assert snapshot(reported.root) == before


def test_a_new_accepted_rule_and_a_wider_profile_are_changes(reported: LiveHost) -> None:
    facts(reported)
    reported.source("lxc-b", "/etc/hosts r,", "/proc/** rw,", "/sys/fs/** rw,")
    with (reported.sources / "accepted/lxc-a").open("a") as file:
        file.write("\n/srv/more/** r,\n")
    assert reported.apply("--all").code == 0
    (found,) = facts(reported)["compared"]["found"]
    told = {(c["of"], c["what"]): c["details"] for c in found["changes"]}
    assert ("accepted", "lxc-a: /srv/more/** r,") in told
    assert any("all 47" in detail for detail in told["profiles", "lxc-b"])


def test_sarif_keeps_nothing(reported: LiveHost) -> None:
    assert reported.phoenix("report", "--sarif").code == 0
    assert not (reported.root / "var/lib/phoenix" / NAME).exists()


def test_facts_that_are_damaged_are_told_and_replaced(reported: LiveHost) -> None:
    place = reported.root / "var/lib/phoenix" / NAME
    place.write_text("{}")
    found = facts(reported)
    assert found["compared"]["last"] is None and any(NAME in text for text in found["not_read"])
    assert json.loads(place.read_text())["version"] == 1
    assert not facts(reported)["not_read"]


def test_where_nothing_can_be_kept_there_is_a_report(reported: LiveHost) -> None:
    place = reported.root / "var/lib/phoenix" / NAME
    place.mkdir()
    found = facts(reported)["compared"]
    assert NAME in found["not_kept"]


def test_two_reports_at_once_do_not_spoil_each_other(
    reported: LiveHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts(reported)
    reported.conf("106")
    place = reported.root / "var/lib/phoenix" / NAME
    real = report_changes.written

    def meanwhile(kept: report_changes.Kept) -> bytes:
        place.write_bytes(place.read_bytes() + b" ")
        return real(kept)

    monkeypatch.setattr(report_changes, "written", meanwhile)
    found = facts(reported)["compared"]
    assert found["changed"] and "at the same time" in found["not_kept"]
    assert place.read_bytes().endswith(b" ")


# SARIF ------------------------------------------------------------------------------


def test_sarif_has_what_verify_and_lint_find(reported: LiveHost) -> None:
    log = json.loads(reported.phoenix("report", "--sarif").out)
    assert sarif_faults(log) == []
    verified, linted = log["runs"]
    assert verified["tool"]["driver"]["name"] == "phoenix verify"
    found = {one["ruleId"]: one for one in verified["results"]}
    assert set(found) == {"gpu-open", "undeclared-unconfined"}
    place = found["gpu-open"]["locations"][0]
    assert place["physicalLocation"]["artifactLocation"]["uri"].endswith("/etc/pve/lxc/102.conf")
    assert place["logicalLocations"] == [{"fullyQualifiedName": "container 102", "kind": "resource"}]
    assert "bare-capability" in [one["ruleId"] for one in linted["results"]]


def test_sarif_says_where_lint_cannot_run(reported: LiveHost) -> None:
    reported.source("lxc-b", "this is no rule,")
    log = json.loads(reported.phoenix("report", "--sarif").out)
    assert sarif_faults(log) == []
    (invocation,) = log["runs"][1]["invocations"]
    assert invocation["executionSuccessful"] is False
    assert log["runs"][0]["results"]
