"""The journal on a live host: what it holds, and what is made of a damaged one."""

from __future__ import annotations

import base64
import re
import stat
from collections.abc import Callable

import pytest

from phoenix_hypervisor.engine import journal as journal_module
from phoenix_hypervisor.engine.perform import LOCK
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.append import Appender
from phoenix_hypervisor.plan import entries
from phoenix_hypervisor.plan.actions import InstallFile
from support.hosts import LiveHost, contents, snapshot
from support.journals import JOURNAL, created_is_left, lines, much_to_do, world
from support.killed import killed


@pytest.fixture
def busy(live: LiveHost) -> LiveHost:
    return much_to_do(live)


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
    assert created_is_left(busy, world(busy)) == before


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
    assert created_is_left(busy, world(busy)) == before


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
