"""The journal on a live host: what it holds, and what the next run makes of a killed one."""

from __future__ import annotations

import base64
import json
import re
import stat
from collections.abc import Callable
from typing import Any

import pytest

from phoenix_hypervisor.engine import journal as journal_module
from phoenix_hypervisor.engine.perform import LOCK
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.append import Appender
from phoenix_hypervisor.plan import entries
from phoenix_hypervisor.plan.actions import InstallFile
from support.hosts import LiveHost, contents, profile, snapshot, temporary_files, told
from support.killed import killed

FIELDS: dict[str, Any] = {
    "name": "new",
    "apparmor_profile": "lxc-a",
    "template": "local:vztmpl/x.tar.zst",
    "storage_pool": "local-zfs",
    "storage_size_gb": 8,
}
JOURNAL = "var/lib/phoenix/journal"


def lines(live: LiveHost, number: int) -> list[dict[str, Any]]:
    text = (live.root / JOURNAL / f"{number:08d}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines() if line]


def world(live: LiveHost) -> tuple[object, ...]:
    state = {
        k: v
        for k, v in contents(live.root / "var/lib").items()
        if not k.startswith(("phoenix/journal", "phoenix/replaced"))
    }
    return contents(live.installed), contents(live.lxc), live.loaded(), live.policy(), state


@pytest.fixture
def busy(live: LiveHost) -> LiveHost:
    """Applied once; then sources, an include and the declaration change, and a profile is retired."""
    live.source("abstractions/phoenix/x", data=b"  network,\n")
    live.source("lxc-a", "include <abstractions/phoenix/x>")
    live.source("lxc-b")
    live.conf("101")
    live.conf("102", "a: 1\r\nlxc.apparmor.profile = lxc-old\r\nb: 2")
    (live.installed / "lxc-old").write_bytes(profile("lxc-old"))
    live.load_file("lxc-old")
    live.declare({"101": "lxc-a", "102": "lxc-old"})
    assert live.apply("--all", "--no-start").code == 0
    live.source("abstractions/phoenix/x", data=b"  network inet,\n")
    live.source("lxc-c")
    live.declare(
        {"101": "lxc-b", "102": "lxc-c", "950": {**FIELDS, "apparmor_profile": "lxc-c"}},
        deprecated_profiles={"lxc-old": "lxc-a"},
    )
    return live


STEPS = 10


def test_what_a_journal_holds(busy: LiveHost) -> None:
    before = (busy.lxc / "102.conf").read_bytes()
    assert busy.apply("--all", "--no-start").code == 0
    header, *rest = lines(busy, 2)
    assert header["version"] == entries.VERSION and header["id"] == 2
    assert header["command"][0] == "phoenix" and "--no-start" in header["command"]
    assign = next(a for a in header["actions"] if (a["kind"], a["target"]) == ("assign", "102"))
    assert base64.b64decode(assign["before"]) == before
    load = next(a for a in header["actions"] if (a["kind"], a["target"]) == ("load", "lxc-a"))
    assert base64.b64decode(load["before"]) and "after" not in load
    assert [next(iter(line)) for line in rest[:4]] == ["begin", "done", "begin", "done"]
    assert rest[-1]["end"] == "committed"
    created = next(line for line in rest if "after" in line)
    assert header["actions"][created["done"]]["target"] == "950"
    for path in (busy.root / JOURNAL).iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not [k for k in contents(busy.root / "etc/pve") if "jsonl" in k]


def test_a_run_that_changes_nothing_writes_no_journal(busy: LiveHost) -> None:
    assert busy.apply("--all", "--no-start").code == 0
    before = snapshot(busy.root, without=("double",))
    assert busy.apply("--all", "--no-start").recap["changed"] == 0
    assert busy.phoenix("setup").recap["changed"] == 0
    assert snapshot(busy.root, without=("double",)) == before


def test_a_failed_run_is_on_record_as_undone(busy: LiveHost) -> None:
    busy.fail(pct_create=1)
    assert busy.apply("--all", "--no-start").code == 1
    assert lines(busy, 2)[-1]["end"] == "undone"


def _created_is_left(busy: LiveHost, state: tuple[Any, ...]) -> tuple[Any, ...]:
    """Created containers stay, without a line."""
    made = state[1].pop("950.conf", None)
    assert made is None or b"lxc.apparmor" not in made
    return state


@pytest.mark.parametrize(
    ("when", "number"), [*(("begin", n) for n in range(STEPS)), *(("done", n) for n in (0, 3, 5, 7, 8, 9))]
)
def test_the_next_run_undoes_what_a_killed_one_left(busy: LiveHost, when: str, number: int) -> None:
    before = world(busy)
    with killed(when, number):
        busy.apply("--all", "--no-start")
    halfway = snapshot(busy.root, without=("double",))
    verify = busy.phoenix("verify")
    assert verify.code == 3 and "unfinished-transaction: transaction 2" in verify.out
    assert "unfinished-transaction" in busy.phoenix("plan").out
    assert busy.apply("--all", "--dry-run").code == 0
    assert (
        busy.phoenix("status", "--json").document["host"]["findings"][0]["code"] == "unfinished-transaction"
    )
    assert snapshot(busy.root, without=("double",)) == halfway, "a command that reads has written"
    # A configuration that is broken by now does not stand in the way.
    good = busy.config.read_bytes()
    busy.config.write_text("{")
    result = busy.apply("--all", "--no-start")
    assert result.code == 1
    assert "recovered: transaction 2" in result.out and "has been rolled back" in result.out
    assert _created_is_left(busy, world(busy)) == before
    assert lines(busy, 2)[-1]["end"] == "undone"
    assert temporary_files(busy.root) == []
    busy.config.write_bytes(good)
    assert busy.apply("--all").code == 0
    assert busy.phoenix("verify").code == 0
    assert busy.apply("--all").recap["changed"] == 0


def test_there_are_that_many_steps(busy: LiveHost) -> None:
    actions = busy.phoenix("plan", "--no-start", "--json").document["actions"]
    assert len(actions) == STEPS
    kinds = {a["kind"] for a in actions}
    assert kinds == {"install", "load", "create", "assign", "unload", "remove"}


def test_killed_between_the_last_step_and_the_end(busy: LiveHost) -> None:
    before = world(busy)
    with killed("end", 0):
        busy.apply("--all", "--no-start")
    busy.config.write_text("{")
    assert "recovered" in busy.apply("--all", "--no-start").out
    assert _created_is_left(busy, world(busy)) == before


def test_recovery_leaves_alone_what_somebody_changed_meanwhile(busy: LiveHost) -> None:
    with killed("end", 0):
        busy.apply("--all", "--no-start")
    (busy.installed / "lxc-c").write_bytes(profile("lxc-c", "/srv/theirs r,"))
    busy.conf("102", "lxc.apparmor.profile: theirs\n")
    text = (busy.lxc / "101.conf").read_text()
    busy.conf("101", f"cores: 3\n{text}")
    busy.config.write_text("{")
    out = busy.apply().out
    assert "lxc-c: changed by someone else" in out and "102.conf: changed by someone else" in out
    assert b"/srv/theirs" in (busy.installed / "lxc-c").read_bytes()
    assert (busy.lxc / "102.conf").read_text() == "lxc.apparmor.profile: theirs\n"
    assert (busy.lxc / "101.conf").read_text() == f"cores: 3\n{text.replace('lxc-b', 'lxc-a')}"
    end = lines(busy, 2)[-1]
    # lxc-old was loaded by hand, and this kernel shows nothing of it.
    assert end["end"] == "undone" and told(end["left"])[2:] == [
        ("policy-guessed", "profile lxc-old"),
        ("created", "container 950"),
    ]


@pytest.mark.parametrize("line", ["lxc.apparmor.profile: lxc-a # site", "lxc.apparmor.profile:"])
def test_recovery_puts_back_a_line_that_it_would_never_write(live: LiveHost, line: str) -> None:
    live.source("lxc-a")
    live.conf("101", f"memory: 512\n{line}\n")
    live.declare({"101": "lxc-a"})
    with killed("end", 0):
        live.apply("--all", "--no-start")
    path = live.lxc / "101.conf"
    path.write_text(path.read_text().replace("512", "1024"))
    live.config.write_text("{")
    assert "has been rolled back" in live.apply().out
    assert path.read_text() == f"memory: 1024\n{line}\n"


def test_recovery_tells_of_a_container_that_has_left(live: LiveHost) -> None:
    """Migrated between the kill and the recovery: the line travels with it."""
    live.source("lxc-a")
    live.conf("101")
    live.declare({"101": "lxc-a"})
    with killed("end", 0):
        live.apply("--all", "--no-start")
    there = live.root / "etc/pve/nodes/pve2/lxc"
    there.mkdir(parents=True)
    (live.lxc / "101.conf").rename(there / "101.conf")
    live.config.write_text("{")
    assert live.apply().code == 1
    (entry,) = live.phoenix("history", "--json", config=False).document["transactions"]
    assert told(entry["left"]) == [("container-gone", "container 101")]


def test_recovery_tells_what_stays(live: LiveHost) -> None:
    live.source("lxc-a")
    live.conf("101")
    live.declare({"101": "lxc-a", "950": {**FIELDS, "apparmor_profile": "lxc-a"}})
    with killed("end", 0):
        live.apply()
    result = live.phoenix("setup", "--json")
    assert told(result.document["recovered"]["left"])[-3:] == [
        ("created", "container 950"),
        ("maybe-started", "container 101"),
        ("maybe-started", "container 950"),
    ]
    assert "container 950: created and left in place" in live.phoenix("history").out.replace("\n", " ")


def test_an_apply_that_finds_another_killed_meanwhile_tells_it(
    busy: LiveHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between this run's first look and its lock."""
    from phoenix_hypervisor.engine.perform import locked as real

    def locked(session: Any) -> Any:
        monkeypatch.undo()
        with killed("end", 0):
            busy.apply("--all", "--no-start")
        return real(session)

    monkeypatch.setattr("phoenix_hypervisor.engine.perform.locked", locked)
    document = busy.apply("--all", "--no-start", "--json").document
    assert document["recovered"]["id"] == 2 and document["changed"] > 0
    assert busy.phoenix("verify").code == 3  # Nothing was started.


def test_recovery_waits_for_what_it_cannot_see(live: LiveHost) -> None:
    """After a power cut Phoenix may run before pve-cluster does."""
    live.source("lxc-a")
    live.conf("101", "memory: 512\n")
    live.declare({"101": "lxc-a"})
    with killed("end", 0):
        live.apply("--all", "--no-start")
    pve, away = live.root / "etc/pve", live.root / "etc/away"
    pve.rename(away)
    pve.mkdir()
    before = live.loaded(), contents(live.installed)
    result = live.phoenix("setup")
    assert result.code == 1 and "pve-cluster" in result.err, result
    assert (live.loaded(), contents(live.installed)) == before
    assert "end" not in lines(live, 1)[-1]
    pve.rmdir()
    away.rename(pve)
    live.config.write_text("{")
    assert "has been rolled back" in live.phoenix("setup").out
    assert (live.lxc / "101.conf").read_text() == "memory: 512\n" and "lxc-a" not in live.loaded()


def test_recovery_unloads_nothing_that_a_process_carries(busy: LiveHost) -> None:
    with killed("end", 0):
        busy.apply("--all", "--no-start")
    assert busy.pct("start", "102").ok
    busy.config.write_text("{")
    assert "profile lxc-c: stays loaded: PID" in busy.apply().out
    assert busy.loaded()["lxc-c"] == "enforce"
    assert busy.labels()["102"] == "lxc-c (enforce)"


def test_recovery_that_fails_is_tried_again(busy: LiveHost) -> None:
    before = world(busy)
    with killed("end", 0):
        busy.apply("--all", "--no-start")
    busy.fail(parser_replace=1)
    result = busy.apply("--all", "--json")
    assert result.code == 1 and [code for code, _ in result.problems] == ["recovery-failed", "undo-failed"]
    assert "docs/guide/failures.md" in result.err
    assert "unfinished-transaction" in busy.phoenix("status").out
    busy.no_more_failures()
    busy.config.write_text("{")
    assert "recovered" in busy.apply().out
    assert _created_is_left(busy, world(busy)) == before


def test_recovery_after_a_reboot_into_a_kernel_without_apparmor(busy: LiveHost) -> None:
    before = world(busy)
    with killed("end", 0):
        busy.apply("--all", "--no-start")
    import shutil

    shutil.rmtree(busy.root / "sys")
    busy.config.write_text("{")
    assert "recovered" in busy.apply().out
    assert contents(busy.installed) == before[0]


@pytest.mark.parametrize("torn", [b"", b'{"version":1', b'{"version":1,"id":2}'])
def test_a_torn_header_never_began(busy: LiveHost, torn: bytes) -> None:
    path = busy.root / JOURNAL / "00000002.jsonl"
    path.write_bytes(torn)
    assert "unfinished" not in busy.phoenix("status").out
    assert busy.apply("--all", "--no-start").code == 0
    assert not path.exists(), "it stays for ever"


def test_a_torn_last_line(busy: LiveHost) -> None:
    before = world(busy)
    with killed("done", 6):
        busy.apply("--all", "--no-start")
    path = busy.root / JOURNAL / "00000002.jsonl"
    path.write_bytes(path.read_bytes() + b'{"done":6,"aft')
    busy.config.write_text("{")
    assert "recovered" in busy.apply().out
    assert _created_is_left(busy, world(busy)) == before


def _without_hash(data: bytes) -> bytes:
    """As the versions before wrote it."""
    return re.sub(rb',"sha256":"[0-9a-f]{64}"\}\n', b"}\n", data, count=1)


def _flip(data: bytes) -> bytes:
    """One letter of the bytes that stood in a file, which stays base64."""
    match = re.search(rb'"before":"[A-Za-z0-9+/]{30}', data)
    assert match is not None
    at = match.end()
    return data[:at] + (b"A" if data[at : at + 1] != b"A" else b"B") + data[at + 1 :]


def _begin_with(data: bytes, header: bytes) -> bytes:
    return header + data[data.index(b"\n") :]


UNREADABLE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a version to come": (lambda data: b'{"version":7,"id":2}\n', "version 7"),
    "a damaged header": (lambda data: _begin_with(data, b'{"version":1,"id"\xff'), "utf-8"),
    "zeroes for a header": (lambda data: _begin_with(data, b"\0" * 512), "cannot be read"),
    "another number": (
        lambda data: _without_hash(data).replace(b'"id":2', b'"id":3', 1),
        "says that it is number 3",
    ),
    "a damaged before-image": (lambda data: _flip(data), "is damaged"),
    "a damaged hash": (lambda data: data.replace(b'"sha256":"', b'"sha257":"', 1), "unknown sha257"),
    "no number": (lambda data: data.replace(b'"id":2', b'"id":-2', 1), "-2 is not a number of a journal"),
    "a flag for a number": (lambda data: data.replace(b'"id":2', b'"id":true', 1), "True is not a number"),
}


@pytest.mark.parametrize("damage", UNREADABLE)
def test_a_journal_that_cannot_be_read_is_reported(busy: LiveHost, damage: str) -> None:
    """Its transaction may be unfinished, so nothing goes on before somebody looked."""
    with killed("done", 3):
        busy.apply("--all", "--no-start")
    path = busy.root / JOURNAL / "00000002.jsonl"
    change, words = UNREADABLE[damage]
    path.write_bytes(change(path.read_bytes()))
    before = world(busy), path.read_bytes()
    verify = busy.phoenix("verify")
    assert verify.code == 3 and "journal-unreadable" in verify.out
    for arguments in (("apply", "--all", "--no-start"), ("setup",), ("rollback",)):
        result = busy.phoenix(*arguments)
        assert result.code == 1 and words in result.err and "00000002.jsonl" in result.err, result
        assert "docs/guide/failures.md" in result.err
        assert (world(busy), path.read_bytes()) == before


def test_a_damaged_journal_of_a_finished_run(busy: LiveHost) -> None:
    """A rollback by it would install what never stood there."""
    assert busy.apply("--all", "--no-start").code == 0
    path = busy.root / JOURNAL / "00000002.jsonl"
    path.write_bytes(_flip(path.read_bytes()))
    before = world(busy)
    verify = busy.phoenix("verify")
    assert verify.code == 3 and "journal-unreadable" in verify.out
    for words in (("setup",), ("apply", "--all", "--no-start"), ("rollback",)):
        result = busy.phoenix(*words)
        assert result.code == 1 and "is damaged" in result.err and "00000002.jsonl" in result.err
    assert world(busy) == before
    path.rename(busy.root / "away")
    assert busy.phoenix("setup").code == 0


def test_a_journal_without_a_hash_is_one_of_an_earlier_version(busy: LiveHost) -> None:
    before = world(busy)
    with killed("end", 0):
        busy.apply("--all", "--no-start")
    path = busy.root / JOURNAL / "00000002.jsonl"
    path.write_bytes(_without_hash(path.read_bytes()))
    assert b"sha256" not in path.read_bytes()
    busy.config.write_text("{")
    assert "recovered" in busy.apply("--all", "--no-start").out
    assert _created_is_left(busy, world(busy)) == before


def test_no_journal_is_written_that_would_not_be_read(
    busy: LiveHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is begun must be undone by the next run: so it is refused before it begins."""
    before = world(busy)
    with monkeypatch.context() as patch:
        patch.setattr(journal_module, "MAX_JOURNAL", 4096)
        result = busy.apply("--all", "--no-start")
    assert result.code == 1 and "is too large for one transaction" in result.err
    assert "change fewer profiles" in result.err
    assert world(busy) == before
    action = InstallFile(target="x", path="/etc/apparmor.d/../shadow", before=None, after=b"", profile=None)
    header = entries.Header(
        id=1, time="t", user="u", command=(), runtime="lxc", actions=(action,), manifest=None
    )
    with pytest.raises(PhoenixError, match="is not a place where Phoenix installs"):
        entries.header_line(header)


def test_old_journals_go_after_the_new_one_is_there(busy: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "KEPT_BYTES", 1)
    assert busy.apply("--all", "--no-start").code == 0

    def full(*_: object) -> Appender:
        raise PhoenixError("no space left")

    busy.source("lxc-b", "/srv/last r,")
    monkeypatch.setattr(Appender, "create", full)
    assert busy.phoenix("setup").code == 1
    names = sorted(path.name for path in (busy.root / JOURNAL).iterdir())
    assert names == ["00000001.jsonl", "00000002.jsonl"]


def test_another_phoenix_at_work_is_not_taken_for_a_killed_one(busy: LiveHost) -> None:
    with killed("end", 0):
        busy.apply("--all", "--no-start")
    with busy.host.lock(LOCK, timeout=1, what="the test", private=True):
        assert "transaction-under-way" in busy.phoenix("status").out
    assert "unfinished-transaction" in busy.phoenix("status").out


def test_retention(busy: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    busy.declare({})
    monkeypatch.setattr(journal_module, "KEPT", 3)
    for index in range(6):
        busy.source("lxc-b", f"/srv/{index} r,")
        assert busy.phoenix("setup").code == 0
    names = sorted(path.name for path in (busy.root / JOURNAL).iterdir())
    assert names == ["00000005.jsonl", "00000006.jsonl", "00000007.jsonl"]
    monkeypatch.setattr(journal_module, "KEPT_BYTES", 1)
    busy.source("lxc-b", "/srv/last r,")
    assert busy.phoenix("setup").code == 0
    names = sorted(path.name for path in (busy.root / JOURNAL).iterdir())
    assert names == ["00000007.jsonl", "00000008.jsonl"], "the newest stay whatever they weigh"


def test_a_journal_that_cannot_be_written_changes_nothing(busy: LiveHost) -> None:
    before = world(busy)
    (busy.root / JOURNAL).rename(busy.root / "away")
    (busy.root / JOURNAL).write_text("in the way")
    result = busy.apply()
    assert result.code == 1 and "journal" in result.err
    (busy.root / JOURNAL).unlink()
    assert world(busy)[:4] == before[:4]
