"""`phoenix import`: what stands is declared, so that a plan finds nothing to do."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from phoenix_hypervisor.containers.seccomp import COMPANION
from phoenix_hypervisor.engine import importing
from support.confs import LEFT_OUT, PVE, imported, numbered, prepared
from support.hosts import DirectoryHost, LiveHost, Result, contents, snapshot, temporary_files, told


@pytest.fixture
def one(host: DirectoryHost) -> DirectoryHost:
    return prepared(host)


@pytest.fixture
def running(live: LiveHost) -> LiveHost:
    prepared(live)
    return live


def container_actions(result: Result) -> list[str]:
    return [a["target"] for a in result.document["actions"] if a["target"].isdigit()]


# After an import there is nothing to do --------------------------------------------------------


def test_every_conf_of_the_corpus(one: DirectoryHost) -> None:
    corpus = numbered()
    assert len(corpus) > 186
    for ctid, (_, data) in corpus.items():
        one.conf(ctid, data)
    before = snapshot(one.root)
    result = one.phoenix("import", "--json")
    assert snapshot(one.root) == before, "only the configuration is written"
    left = {corpus[n["target"].removeprefix("container ")][0] for n in result.document["left_out"]}
    assert (result.code, left) == (3, set(LEFT_OUT))
    assert set(imported(one)) == {ctid for ctid, (name, _) in corpus.items() if name not in LEFT_OUT}
    assert one.phoenix("check", "--quick").code == 0

    written = one.config.read_bytes()
    one.config.unlink()
    assert one.phoenix("import").code == 3
    assert one.config.read_bytes() == written, "twice the same bytes"

    assert one.phoenix("setup").code == 0
    plan = one.phoenix("plan", "--detailed-exitcode", "--json")
    assert container_actions(plan) == []
    assert plan.code == 0 and plan.document["changes"] == 0
    confs = contents(one.lxc)
    assert one.apply("--all").recap["changed"] == 0
    assert contents(one.lxc) == confs


@pytest.mark.parametrize(
    ("conf", "profile", "keep"),
    [
        ("", "generated", False),
        ("lxc.apparmor.profile: generated\n", "generated", True),
        ("lxc.apparmor.profile: lxc-b\n", "lxc-b", False),
        ("lxc.apparmor.profile: lxc-a-unprivileged\n", "lxc-a", False),
        ("lxc.apparmor.profile: lxc-a\n", "lxc-a", True),
        ('lxc.apparmor.profile: "lxc-b"\n', "lxc-b", True),
        ("lxc.apparmor.profile: lxc-a\nlxc.apparmor.profile: lxc-b\n", "lxc-b", True),
        ("lxc.apparmor.profile: unchanged\n", "unchanged", True),
        ("lxc.apparmor.profile: lxc-gone\n", "lxc-gone", True),
        ("features: nesting=1\nlxc.apparmor.profile: lxc-b\n", "lxc-b", True),
        ("features: nesting=1\nlxc.apparmor.profile: lxc-b\nlxc.apparmor.allow_nesting: 1\n", "lxc-b", False),
        ("features: nesting=1\nlxc.apparmor.profile: lxc-b\nlxc.apparmor.allow_nesting: 0\n", "lxc-b", True),
        ("features: nesting=1\nlxc.apparmor.profile: unconfined\n", "unconfined", False),
        ("lxc.aa_profile: unconfined\n", "generated", False),
        ("hostname: x\n[snap]\nlxc.apparmor.profile: unconfined\n", "generated", False),
    ],
)
def test_what_a_line_becomes(one: DirectoryHost, conf: str, profile: str, keep: bool) -> None:
    one.conf("101", "unprivileged: 1\n" + conf)
    assert one.phoenix("import").code == 0
    entry = imported(one)["101"]
    assert entry["apparmor_profile"] == profile
    assert entry.get("lines") == ("keep" if keep else None)
    means = json.loads(one.config.read_text()).get("unconfined_means")
    assert means == ("explicit-line" if profile == "unconfined" else None)


@pytest.mark.parametrize("line", ["", f"lxc.seccomp.profile: {COMPANION}\n"])
def test_a_privileged_container_with_and_without_the_companion(one: DirectoryHost, line: str) -> None:
    one.conf("101", f"lxc.apparmor.profile: lxc-b\n{line}")
    assert one.phoenix("import").code == 0
    assert imported(one)["101"].get("lines") == (None if line else "keep")


def test_lines_of_our_own_that_have_lost_their_reason_stay(one: DirectoryHost) -> None:
    """Phoenix wrote them, and would take them away again: what is imported stays."""
    one.conf("101", "unprivileged: 1\nfeatures: nesting=1\n")
    one.declare({"101": "lxc-b"})
    assert one.apply().code == 0
    path = one.lxc / "101.conf"
    path.write_text(path.read_text().replace("features: nesting=1\n", ""))
    one.config.unlink()
    assert one.phoenix("import").code == 0
    assert one.phoenix("plan", "--detailed-exitcode").code == 0
    assert imported(one)["101"]["lines"] == "keep"


def test_nothing_is_powered_on_or_off(running: LiveHost) -> None:
    for ctid in ("101", "102", "103", "104"):
        running.conf(ctid, PVE.format(f"c{ctid}"))
    assert running.pct("start", "101").ok and running.pct("start", "104").ok
    running.conf("103", PVE.format("c103") + "template: 1\n")
    running.conf("104", PVE.format("c104") + "lock: backup\n")
    assert running.phoenix("import").code == 0
    assert {ctid: entry.get("start") for ctid, entry in imported(running).items()} == {
        "101": None,
        "102": False,
        "103": False,
        "104": None,
    }
    assert running.phoenix("setup").code == 0
    labels = running.labels()
    assert running.phoenix("plan", "--detailed-exitcode").code == 0
    assert running.phoenix("verify").code == 0
    with running.recorded() as argvs:
        assert running.apply().recap["changed"] == 0
    assert running.labels() == labels and not argvs


def test_25_containers_of_every_kind(running: LiveHost) -> None:
    lines = (
        "",
        "lxc.apparmor.profile: unconfined\n",
        "lxc.apparmor.profile: lxc-b\n",
        "features: nesting=1\n",
    )
    for number in range(24):
        ctid = str(101 + number)
        running.conf(ctid, PVE.format(f"ct-{number}") + lines[number % 4])
        if number % 3 == 0 and "lxc-b" not in lines[number % 4]:
            assert running.pct("start", ctid).ok
    running.conf("125", "hostname: broken\n[not a section\nmemory: 512\n")
    result = running.phoenix("import", "--json")
    assert result.code == 3 and told(result.document["left_out"]) == [("conf-unusable", "container 125")]
    entries = imported(running)
    assert len(entries) == 24 and entries["101"]["name"] == "ct-0"
    assert running.phoenix("setup").code == 0
    assert running.phoenix("plan", "--detailed-exitcode").code == 0


# What cannot be declared ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conf", "code"),
    [
        (b"[1x]\nmemory: 512\n", "conf-unusable"),
        (b"memory: \x00\n", "conf-unusable"),
        (b"lxc.apparmor.profile:\n", "line-unusable"),
        (b"lxc.apparmor.profile: a\x01b\n", "line-unusable"),
        (b"lxc.apparmor.profile: lxc-\xff\n", "line-unusable"),
        (b"#" * (1024 * 1024 + 1), "conf-unusable"),
    ],
)
def test_what_is_left_out_is_named(one: DirectoryHost, conf: bytes, code: str) -> None:
    one.conf("101", conf)
    one.conf("102", PVE.format("b"))
    result = one.phoenix("import", "--json")
    assert result.code == 3 and told(result.document["left_out"]) == [(code, "container 101")]
    assert list(imported(one)) == ["102"]
    one.config.unlink()
    text = one.phoenix("import")
    assert "left out container 101: " in text.out and "skipped=1" in text.out


def test_a_conf_that_cannot_be_read(one: DirectoryHost) -> None:
    one.conf("102", PVE.format("b"))
    (one.lxc / "101.conf").symlink_to("/etc/passwd")
    (one.lxc / "103.conf").mkdir()
    result = one.phoenix("import", "--json")
    assert result.code == 3 and list(imported(one)) == ["102"]
    assert [n["target"] for n in result.document["left_out"]] == ["container 101", "container 103"]


def test_a_profile_that_begins_with_a_colon_is_shown_as_it_is(one: DirectoryHost) -> None:
    one.conf("101", PVE.format("a") + "lxc.apparmor.profile: :lxc-x:unconfined\n")
    one.conf("102", "lxc.apparmor.profile: :lxc-x:unconfined\n")
    text = one.phoenix("import").out
    assert "101 a: :lxc-x:unconfined, its" in text and "102: :lxc-x:unconfined, its" in text


def test_an_id_that_is_none(one: DirectoryHost) -> None:
    one.conf("99", PVE.format("a"))
    result = one.phoenix("import", "--json")
    assert result.code == 3 and told(result.document["left_out"]) == [("foreign-id", "container 99")]
    (note,) = result.document["left_out"]
    assert note["hint"] == "pct takes no such container either: move /etc/pve/lxc/99.conf away"
    one.config.unlink()
    assert "left out container 99: what it is called is no CTID" in one.phoenix("import").out


@pytest.mark.parametrize(("output", "words"), [("", "is empty"), ("config", "is a directory")])
def test_a_file_that_is_none_is_not_taken_for_another(one: DirectoryHost, output: str, words: str) -> None:
    """An empty variable of a script is no wish for the configuration's own place."""
    one.conf("101", PVE.format("a"))
    before = snapshot(one.folder)
    for more in ((), ("--merge",)):
        result = one.phoenix("import", "--output", str(one.folder / output) if output else "", *more)
        assert result.code == 2 and words in result.err and snapshot(one.folder) == before


def test_an_unknown_profile_may_stand_and_is_written_nowhere(one: DirectoryHost) -> None:
    one.conf("101", "unprivileged: 1\nlxc.apparmor.profile: lxc-gone\n")
    assert one.phoenix("import").code == 0
    assert one.phoenix("setup").code == 0
    assert one.phoenix("plan", "--detailed-exitcode").code == 0
    one.conf("101", "unprivileged: 1\n")
    result = one.apply("--all", "--json")
    assert result.code == 1 and result.problems == [("profile-unknown", "container 101")]


def test_a_host_that_phoenix_was_never_set_up_on(one: DirectoryHost) -> None:
    """Nothing of ours is used, so nothing of ours is missing: not even the profiles are installed."""
    one.conf("101", PVE.format("a"))
    one.conf("102", PVE.format("b") + "lxc.apparmor.profile: lxc-container-default\n")
    assert one.phoenix("import").code == 0
    assert one.phoenix("plan", "--detailed-exitcode").code == 0
    assert one.phoenix("verify").code == 0 and "not-installed" in one.phoenix("status").out
    before = snapshot(one.root)
    assert one.apply("--all").recap["changed"] == 0
    assert snapshot(one.root) == before

    document = json.loads(one.config.read_text())
    document["lxc_configs"]["101"]["apparmor_profile"] = "lxc-b"
    one.config.write_text(json.dumps(document))
    assert one.phoenix("plan", "--detailed-exitcode").code == 3 and one.phoenix("verify").code == 3
    assert one.apply("--all").code == 0
    assert (one.installed / "lxc-b").is_file() and (one.installed / "lxc-a").is_file()
    assert one.phoenix("verify").code == 0


def test_setup_installs_whatever_is_declared(one: DirectoryHost) -> None:
    one.conf("101", PVE.format("a"))
    assert one.phoenix("import").code == 0 and one.phoenix("setup").code == 0
    assert (one.installed / "lxc-b").is_file()
    assert one.phoenix("plan", "--detailed-exitcode").code == 0


# The file --------------------------------------------------------------------------------------


def test_a_file_that_is_there_is_not_touched(one: DirectoryHost) -> None:
    one.conf("101")
    one.config.write_text("{}")
    result = one.phoenix("import")
    assert result.code == 1 and "--merge" in result.err
    assert one.config.read_text() == "{}"


def test_only_a_file_can_be_merged_into(one: DirectoryHost) -> None:
    one.conf("101")
    one.config.symlink_to("nowhere")
    result = one.phoenix("import", "--merge")
    assert result.code == 1 and "regular file" in result.err
    one.config.unlink()
    os.mkfifo(one.config)
    assert one.phoenix("import", "--merge").code == 1 and one.phoenix("import").code == 1


def test_what_changes_meanwhile_is_not_overwritten(
    one: DirectoryHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody writes the file between our reading and our replacing it."""
    one.config.write_text(NOTED)
    one.conf("101")
    check = importing._check

    def edited(*arguments: Any) -> None:
        check(*arguments)
        one.config.write_text(NOTED.replace("ours", "theirs"))

    monkeypatch.setattr(importing, "_check", edited)
    result = one.phoenix("import", "--merge")
    assert result.code == 1 and "changed by someone else" in result.err
    assert one.config.read_text() == NOTED.replace("ours", "theirs")
    assert temporary_files(one.etc) == []


def test_it_is_printed(one: DirectoryHost) -> None:
    one.conf("101")
    before = snapshot(one.folder)
    result = one.phoenix("import", "--output", "-")
    assert list(json.loads(result.out)["lxc_configs"]) == ["101"]
    assert snapshot(one.folder) == before
    document = one.phoenix("import", "--output", "-", "--json").document
    assert document["configuration"] == json.loads(result.out) and not document["written"]


def test_it_goes_where_it_is_told(one: DirectoryHost, tmp_path: Path) -> None:
    one.conf("101")
    target = tmp_path / "new.json"
    assert one.phoenix("import", "--output", str(target), config=False).code == 0
    assert list(json.loads(target.read_text())["lxc_configs"]) == ["101"]
    missing = one.phoenix("import", "--output", str(tmp_path / "no/new.json"))
    assert missing.code == 2 and "mkdir -p" in missing.err


def test_it_needs_no_configuration(one: DirectoryHost) -> None:
    one.conf("101")
    result = one.phoenix("import", config=False)
    assert result.code == 0
    (path,) = list(one.root.rglob("phoenix_lxc_configs.json"))
    assert list(json.loads(path.read_text())["lxc_configs"]) == ["101"]


def test_the_schema_beside_it_is_named(one: DirectoryHost) -> None:
    (one.etc / "phoenix_lxc_configs.schema.json").symlink_to(
        Path(__file__).parents[2] / "etc/phoenix_lxc_configs.schema.json"
    )
    one.conf("101")
    assert one.phoenix("import").code == 0
    assert json.loads(one.config.read_text())["$schema"] == "phoenix_lxc_configs.schema.json"


def test_no_container_at_all(one: DirectoryHost) -> None:
    assert one.phoenix("import").code == 0
    assert imported(one) == {} and one.phoenix("check", "--quick").code == 0


# Merging ---------------------------------------------------------------------------------------

NOTED = """{
  "note": "ours",
  "deprecated_profiles": {"lxc-old": "lxc-b"},
  "lxc_configs": {
    "950": {
      "note": "restarts at night",  "apparmor_profile": "lxc-b"
    }
  }
}
"""


def test_merge_adds_what_is_missing_and_keeps_the_rest(one: DirectoryHost) -> None:
    one.config.write_text(NOTED)
    one.conf("950", "lxc.apparmor.profile: unconfined\n")
    one.conf("101", "unprivileged: 1\n")
    one.conf("102", "lxc.apparmor.profile: unconfined\nunprivileged: 1\n")
    one.conf("103", "lxc.apparmor.profile: lxc-old\nunprivileged: 1\n")
    result = one.phoenix("import", "--merge", "--json")
    assert result.code == 3 and told(result.document["left_out"]) == [("line-unusable", "container 103")]
    assert result.document["declared_already"] == 1
    assert one.config.read_text() == NOTED.replace(
        '  "lxc_configs"', '  "unconfined_means": "explicit-line",\n  "lxc_configs"'
    ).replace(
        "    }\n  }\n}",
        """    },
    "101": {
      "apparmor_profile": "generated",
      "start": false,
      "unprivileged": true
    },
    "102": {
      "apparmor_profile": "unconfined",
      "start": false,
      "unprivileged": true
    }
  }
}""",
    )
    assert one.phoenix("check", "--quick").code == 0
    before = snapshot(one.etc)
    again = one.phoenix("import", "--merge")
    assert again.code == 3 and "nothing written" in again.out
    assert snapshot(one.etc) == before


@pytest.mark.parametrize(
    ("top", "entry"),
    [
        ({}, {"apparmor_profile": "unconfined"}),
        ({"unconfined_means": "no-line"}, {"apparmor_profile": "lxc-b"}),
    ],
)
def test_merge_changes_no_meaning_of_unconfined(
    one: DirectoryHost, top: dict[str, Any], entry: dict[str, Any]
) -> None:
    one.declare({"950": {**entry, "start": False}}, **top)
    one.conf("950", "unprivileged: 1\n" + ("lxc.apparmor.profile: lxc-b\n" if top else ""))
    one.conf("101", "unprivileged: 1\nlxc.apparmor.profile: unconfined\n")
    assert one.phoenix("import", "--merge").code == 0
    assert json.loads(one.config.read_text()).get("unconfined_means") == top.get("unconfined_means")
    assert imported(one)["101"] == {
        "apparmor_profile": "unconfined",
        "lines": "keep",
        "start": False,
        "unprivileged": True,
    }
    assert one.phoenix("setup").code == 0
    assert one.phoenix("plan", "--detailed-exitcode").code == 0


def test_merge_into_nothing_is_an_import(one: DirectoryHost) -> None:
    one.conf("101")
    assert one.phoenix("import", "--merge").code == 0
    assert list(imported(one)) == ["101"]


def test_merge_into_what_cannot_be_used(one: DirectoryHost) -> None:
    one.conf("101")
    one.config.write_text('{"lxc_configs": {"950": {"memory": 1}}}')
    result = one.phoenix("import", "--merge")
    assert result.code == 1 and "did you mean" in result.err
    assert one.config.read_text() == '{"lxc_configs": {"950": {"memory": 1}}}'


def test_merge_through_a_link(one: DirectoryHost) -> None:
    real = one.folder / "real.json"
    real.write_text(NOTED)
    one.config.symlink_to(real)
    one.conf("101")
    assert one.phoenix("import", "--merge").code == 0
    assert one.config.is_symlink() and "101" in json.loads(real.read_text())["lxc_configs"]


def test_a_dry_run_says_the_very_bytes_and_writes_nothing(host: DirectoryHost) -> None:
    host.conf("101", "arch: amd64\nhostname: web\n")
    host.config.unlink(missing_ok=True)
    before = contents(host.folder)
    planned = host.phoenix("import", "--merge", "--dry-run", "--json").document
    assert contents(host.folder) == before
    assert (planned["dry_run"], planned["written"], planned["before"]) == (True, False, None)
    done = host.phoenix("import", "--merge", "--json").document
    assert done["written"] and done["after"] == planned["after"] == host.config.read_bytes().decode()
    host.conf("102")
    standing = host.config.read_text()
    planned = host.phoenix("import", "--merge", "--dry-run", "--json").document
    assert planned["before"] == standing and '"102"' in planned["after"]
    assert "nothing written" in host.phoenix("import", "--merge", "--dry-run").out
    assert host.phoenix("import", "--dry-run").code == 1, "as without it: the file is there"
    assert host.config.read_text() == standing
    host.phoenix("import", "--merge")
    assert host.config.read_text() == planned["after"]
    again = host.phoenix("import", "--merge", "--dry-run", "--json").document
    assert again["before"] == again["after"] and again["containers"] == []
