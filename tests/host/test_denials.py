"""`phoenix denials`: which denials the logs of a host hold, of which container, and what may be done."""

from __future__ import annotations

import gzip
import os
import time
from pathlib import Path

import pytest

from support.denied import BASE, JOURNAL, auditd, body, journald, printk, syslog, with_journal, write
from support.forged import FORGED
from support.hosts import DirectoryHost, LiveHost, Result, run, snapshot

AUDIT = "/var/log/audit/audit.log"


@pytest.fixture
def one(host: DirectoryHost) -> DirectoryHost:
    """A host with a profile of Phoenix's and two containers."""
    return prepared(host)


def prepared(host: DirectoryHost) -> DirectoryHost:
    host.source("lxc-a", "/etc/hosts r,", "/srv/now r,", "deny /srv/never r,")
    host.declare({"101": "lxc-a"})
    host.conf("101", "arch: amd64\nlxc.apparmor.profile: lxc-a\n")
    host.conf("102", "arch: amd64\n")
    return host


def denials(result: Result) -> list[tuple[object, ...]]:
    keys = ("ctid", "profile", "object", "count", "trusted")
    return [tuple(one[key] for key in keys) for one in result.document["denials"]]


def test_nothing_was_denied(one: DirectoryHost) -> None:
    write(one, AUDIT, "type=SYSCALL msg=audit(1.000:1): arch=c000003e\n")
    before = snapshot(one.root)
    result = one.phoenix("denials", "--json")
    assert result.code == 0
    assert (result.document["denials"], result.document["lines"], result.document["unread"]) == ([], 1, 0)
    assert snapshot(one.root) == before


def test_what_auditd_wrote(one: DirectoryHost) -> None:
    write(one, AUDIT, auditd(body(), 1) + auditd(body(pid=9), 2) + auditd(body(name="/srv/y"), 3))
    result = one.phoenix("denials", "--json")
    assert result.code == 3
    assert denials(result) == [("101", "lxc-a", "/srv/x", 2, True), ("101", "lxc-a", "/srv/y", 1, True)]
    first = result.document["denials"][0]
    assert (first["first"], first["last"]) == ("2026-11-26T08:17:38.500Z", "2026-11-26T08:17:39.500Z")
    assert first["meaning"] == "reading /srv/x" and first["requested"] == "r" and first["kind"] == "file"


def test_people_see_whose_it_is_what_it_was_and_what_to_do(one: DirectoryHost) -> None:
    write(one, AUDIT, auditd(body()))
    result = one.phoenix("denials")
    head, what, *more = result.out.splitlines()
    assert "container 101" in head and "lxc-a" in head and "1 time" in head
    assert what == "  cat: reading /srv/x: refused"
    assert any(line.startswith("  ") for line in more)
    assert "1 denial, 1 event, in 1 line of" in result.out and "--listen" in result.out


@pytest.mark.parametrize(
    ("name", "verdict", "code"),
    [("/srv/now", "allowed-now", "allowed"), ("/srv/never", "refused", "deny-rule")],
)
def test_a_denial_is_judged(one: DirectoryHost, name: str, verdict: str, code: str) -> None:
    write(one, AUDIT, auditd(body(name=name)))
    (found,) = one.phoenix("denials", "--json").document["denials"]
    assert (found["verdict"], found["code"], found["trusted"]) == (verdict, code, True)


def test_of_others(one: DirectoryHost) -> None:
    space = "root//lxc-102_<-var-lib-lxc>"
    write(
        one,
        AUDIT,
        auditd(body("/usr/sbin/cupsd"), 1)
        + auditd(body("docker-default", space=space), 2)
        + auditd(body("lxc-102_</var/lib/lxc>"), 3)
        + auditd(body("lxc-a", space=space), 4),
    )
    found = one.phoenix("denials", "--json").document["denials"]
    assert [(d["ctid"], d["verdict"]) for d in found] == [
        (None, "not-ours"),
        ("102", "foreign-namespace"),
        ("102", "not-ours"),
        ("102", "foreign-namespace"),
    ]


def test_no_container_is_guessed(one: DirectoryHost) -> None:
    one.conf("103", "arch: amd64\nlxc.apparmor.profile: lxc-a\n")
    write(one, AUDIT, auditd(body()))
    (found,) = one.phoenix("denials", "--json").document["denials"]
    assert (found["ctid"], found["candidates"]) == (None, ["101", "103"])
    assert "container 101 or 103" in one.phoenix("denials").out


def test_a_container_that_cannot_be_read_may_have_been_it(one: DirectoryHost) -> None:
    one.conf("103").unlink()
    (one.lxc / "103.conf").mkdir()
    write(one, AUDIT, auditd(body()))
    (found,) = one.phoenix("denials", "--json").document["denials"]
    assert found["ctid"] is None and found["candidates"] == ["101", "103"]


def test_of_some_containers(one: DirectoryHost) -> None:
    write(one, AUDIT, auditd(body(), 1) + auditd(body("lxc-102_</var/lib/lxc>"), 2))
    assert [d[0] for d in denials(one.phoenix("denials", "101", "--json"))] == ["101"]
    assert [d[0] for d in denials(one.phoenix("denials", "102", "--json"))] == ["102"]
    result = one.phoenix("denials", "104", "--json")
    assert (result.code, result.document["denials"]) == (0, [])


def test_since(one: DirectoryHost) -> None:
    text = auditd(body(), 1) + auditd(body(name="/srv/y"), 1000)
    write(one, AUDIT, text)
    day = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(BASE + 500))
    assert [d[2] for d in denials(one.phoenix("denials", "--since", day, "--json"))] == ["/srv/y"]
    assert one.phoenix("denials", "--since", "1s").code == 0
    write(one, AUDIT, auditd(body()).replace(f"{BASE + 1}.500", f"{time.time() - 60:.3f}"))
    assert (
        one.phoenix("denials", "--since", "1m30s").code,
        one.phoenix("denials", "--since", "30s").code,
    ) == (3, 0)
    for wrong in ("yesterday", "1", "h", "-1h", "1h 3", "2026-13-01"):
        assert one.phoenix("denials", "--since", wrong).code == 2


def test_what_was_put_away_is_read_too(one: DirectoryHost) -> None:
    old = write(one, f"{AUDIT}.2", auditd(body(name="/srv/1"), 1))
    write(one, f"{AUDIT}.1", auditd(body(name="/srv/2"), 2))
    write(one, AUDIT, auditd(body(name="/srv/3"), 3))
    packed = write(one, "/var/log/syslog.3.gz", "")
    packed.write_bytes(gzip.compress(syslog(body(name="/srv/0"), 0).encode()))
    write(one, "/var/log/syslog", syslog(body(name="/srv/4"), 4) + syslog(body(name="/srv/3"), 3))
    found = one.phoenix("denials", "--json")
    assert [(d[2], d[4]) for d in denials(found)] == [
        ("/srv/0", False),
        ("/srv/1", True),
        ("/srv/2", True),
        ("/srv/3", True),
        ("/srv/4", False),
    ]
    assert found.document["repeated"] == 1
    os.utime(old, (BASE, BASE))
    late = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(BASE + 100))
    assert not any(
        "audit.log.2" in s for s in one.phoenix("denials", "--since", late, "--json").document["sources"]
    )


def test_syslog_is_shown_and_not_believed(one: DirectoryHost) -> None:
    write(one, "/var/log/kern.log", syslog(body()))
    result = one.phoenix("denials", "--json")
    (found,) = result.document["denials"]
    assert (found["verdict"], found["code"], found["trusted"]) == ("unknown", "untrusted", False)
    assert "not believed" in one.phoenix("denials").out


def test_auditds_file_is_believed_where_only_root_writes(one: DirectoryHost) -> None:
    path = write(one, AUDIT, auditd(body()))
    path.chmod(0o666)
    assert denials(one.phoenix("denials", "--json"))[0][4] is False


def test_a_line_with_the_name_of_another_machine_is_of_no_container_here(one: DirectoryHost) -> None:
    write(one, "/etc/hostname", "pve1\n")
    write(
        one, AUDIT, "node=pve1.example.org " + auditd(body()) + "node=pve2 " + auditd(body(name="/srv/y"), 2)
    )
    found = one.phoenix("denials", "--json").document["denials"]
    assert [(d["object"], d["trusted"], d["code"] == "untrusted") for d in found] == [
        ("/srv/x", True, False),
        ("/srv/y", False, True),
    ]


def test_a_file_that_is_named(one: DirectoryHost, tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(auditd(body()).encode()) + gzip.compress(auditd(body(), 2).encode()))
    result = one.phoenix("denials", "--file", str(path), "--json")
    assert denials(result) == [("101", "lxc-a", "/srv/x", 2, False)]
    (found,) = one.phoenix("denials", "--file", str(path), "--trust", "--json").document["denials"]
    assert found["trusted"] and found["verdict"] != "untrusted"
    assert "--trust" in one.phoenix("denials", "--file", str(path)).out


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--file", "/nowhere/log"], 2, "is not a file"),
        (["--file", "."], 2, "is a directory"),
        (["--trust"], 2, "--file"),
        (["--file", "-", "--file", "-"], 2, "once"),
        (["--file", "-", "--follow"], 2, "exclude"),
        (["--replay", "lxc-a", "--follow"], 2, "exclude"),
        ([], 1, "there is no log to read"),
    ],
)
def test_what_makes_no_sense_is_said(one: DirectoryHost, words: list[str], code: int, says: str) -> None:
    result = one.phoenix("denials", *words)
    assert result.code == code and says in result.err


@pytest.mark.parametrize("cut", [10, 30])
def test_a_damaged_packed_log_is_no_short_one(one: DirectoryHost, tmp_path: Path, cut: int) -> None:
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(auditd(body()).encode())[:-cut])
    result = one.phoenix("denials", "--file", str(path))
    assert result.code == 1 and "is damaged" in result.err


def test_a_damaged_log_of_the_host_keeps_no_other_from_being_read(one: DirectoryHost) -> None:
    write(one, AUDIT, auditd(body()))
    write(one, "/var/log/kern.log", syslog(body(name="/srv/y"), 2))
    damaged = write(one, "/var/log/kern.log.2.gz", "")
    damaged.write_bytes(gzip.compress(syslog(body(name="/srv/z"), 3).encode())[:-10])
    result = one.phoenix("denials", "--json")
    assert result.code == 3 and {"/srv/x", "/srv/y"} <= {d[2] for d in denials(result)}
    (failed,) = result.document["failed"]
    assert failed["where"].endswith("kern.log.2.gz") and "is damaged" in failed["message"]
    assert "not read to its end" in one.phoenix("denials").out


def test_no_name_from_a_container_reaches_the_terminal(one: DirectoryHost) -> None:
    odd = "/srv/\x1b[31mred\r\n\u202e".encode().hex().upper()
    comm = b"\x1b]0;x\x07".hex().upper()
    text = auditd(body()).replace('"/srv/x"', odd).replace('"cat"', comm)
    write(one, AUDIT, text)
    for words in (["denials"], ["denials", "--json"]):
        out = one.phoenix(*words).out
        assert not {"\x1b", "\r", "\u202e", "\x07"} & set(out)
        assert "\\x1b[31mred" in out.replace("\\\\", "\\")


@pytest.mark.parametrize("words", [["denials"], ["denials", "--json"], ["denials", "--replay", "lxc-a"]])
def test_forged_lines_get_no_proposal_and_reach_no_terminal(
    one: DirectoryHost, tmp_path: Path, words: list[str]
) -> None:
    path = tmp_path / "forged"
    lines = [line for _, line in FORGED.values()]
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass") + b"\n")
    result = one.phoenix(*words, "--file", str(path))
    assert (result.code == 3 and "lxc-forged" in result.out) or "--replay" in words
    assert [one for one in result.out if not one.isprintable() and one != "\n"] == []
    if "--json" in words:
        found = result.document["denials"]
        assert found and {(d["verdict"], d["code"], d["trusted"]) for d in found} == {
            ("unknown", "untrusted", False)
        }


def test_replay(one: DirectoryHost, tmp_path: Path) -> None:
    write(
        one, AUDIT, auditd(body(name="/srv/now"), 1) + auditd(body(), 2) + auditd(body(name="/srv/never"), 3)
    )
    result = one.phoenix("denials", "--replay", "lxc-a", "--json")
    assert result.code == 3
    replayed = {r["object"]: (r["allowed"], r["refused"]) for r in result.document["replayed"]}
    assert replayed == {"/srv/now": (1, 0), "/srv/x": (0, 1), "/srv/never": (0, 1)}
    assert one.phoenix("denials", "102", "--replay", "lxc-a", "--json").document["replayed"] == []
    wide = one.source("lxc-wide", "/srv/** r,")
    assert one.phoenix("denials", "--replay", str(wide)).code == 0
    blob = tmp_path / "blob"
    assert one.phoenix("policy", "compile", str(wide), "-o", str(blob)).code == 0
    result = one.phoenix("denials", "--replay", str(blob))
    assert result.code == 0 and "lets 3 of 3 events through" in result.out
    assert one.phoenix("denials", "--replay", "lxc-nothing").code == 2


def test_replay_of_a_file_with_several_profiles(one: DirectoryHost, tmp_path: Path) -> None:
    source = tmp_path / "two"
    source.write_bytes(b"profile lxc-a { /srv/x r, }\nprofile lxc-b { /srv/y r, }\n")
    text = auditd(body(), 1) + auditd(body("lxc-b"), 2) + auditd(body("lxc-c"), 3)
    write(one, AUDIT, text)
    found = one.phoenix("denials", "--replay", str(source), "--json").document
    assert (found["allowed"], found["refused"], found["not_asked"]) == (1, 1, 1)


# On a live host --------------------------------------------------------------------------------


@pytest.fixture
def running(live: LiveHost) -> LiveHost:
    prepared(live)
    live.conf("103", "arch: amd64\nlxc.apparmor.profile: lxc-a\n")
    return live


def test_the_journal_is_read_and_believed(running: LiveHost) -> None:
    with_journal(running, journald(body()))
    result = running.phoenix("denials", "--since", "2026-11-26", "--json")
    assert [(d[2], d[4]) for d in denials(result)] == [("/srv/x", True)]
    calls = (running.root / "var/log/journal/double.calls").read_text()
    assert "_TRANSPORT=kernel" in calls and "--all" in calls and "--since=@" in calls


def test_a_journal_that_cannot_be_read_is_an_error(running: LiveHost) -> None:
    with_journal(running, "")
    write(running, f"{JOURNAL}/double.fails", "Permission denied\n")
    result = running.phoenix("denials")
    assert result.code == 1 and "journalctl failed: Permission denied" in result.err


def test_without_journal_and_auditd_the_kernels_own_buffer_is_read(running: LiveHost) -> None:
    write(running, "/dev/kmsg", f"5,7,12,-;{printk(body())}\n SUBSYSTEM=x\n13,8,13,-;{printk(body(), 2)}\n")
    write(running, "/var/log/syslog", syslog(body(name="/srv/y"), 3))
    result = running.phoenix("denials", "--json")
    assert result.document["sources"][0] == "/dev/kmsg"
    assert [(d[2], d[3], d[4]) for d in denials(result)] == [("/srv/x", 2, True), ("/srv/y", 1, False)]


def process(live: LiveHost, pid: int, cgroup: str, began: float) -> None:
    live.process(pid, cgroup, "lxc-a (enforce)")
    ticks = int((began - time.time() + time.clock_gettime(time.CLOCK_BOOTTIME)) * os.sysconf("SC_CLK_TCK"))
    stat = f"{pid} (a) b) S " + " ".join(["0"] * 18) + f" {ticks} 0 0\n"
    (live.root / "proc" / str(pid) / "stat").write_text(stat)


def test_a_process_that_lives_says_its_container(running: LiveHost) -> None:
    now = time.time()
    text = auditd(body(pid=812)).replace(f"{BASE + 1}.500", f"{now - 10:.3f}")
    write(running, AUDIT, text)
    (found,) = running.phoenix("denials", "--json").document["denials"]
    assert (found["ctid"], found["candidates"]) == (None, ["101", "103"])
    process(running, 812, "/lxc/103/ns", now - 100)
    (found,) = running.phoenix("denials", "--json").document["denials"]
    assert (found["ctid"], found["candidates"]) == ("103", [])


def test_a_process_that_began_later_is_another_one(running: LiveHost) -> None:
    now = time.time()
    write(running, AUDIT, auditd(body(pid=812)).replace(f"{BASE + 1}.500", f"{now - 10:.3f}"))
    process(running, 812, "/lxc/103/ns", now - 5)
    (found,) = running.phoenix("denials", "--json").document["denials"]
    assert found["ctid"] is None


def test_nobody_but_the_kernel_names_a_process(running: LiveHost) -> None:
    now = time.time()
    process(running, 812, "/lxc/103/ns", now - 100)
    text = syslog(body(pid=812)).replace(f"{BASE + 1}.500", f"{now - 10:.3f}")
    write(running, "/var/log/kern.log", text)
    (found,) = running.phoenix("denials", "--json").document["denials"]
    assert found["ctid"] is None and not found["trusted"]


def test_the_name_stays_when_the_process_has_ended(running: LiveHost) -> None:
    now = time.time()
    write(running, AUDIT, auditd(body(pid=812)).replace(f"{BASE + 1}.500", f"{now - 10:.3f}"))
    (ended,) = running.phoenix("denials", "--json").document["denials"]
    process(running, 812, "/lxc/103/ns", now - 100)
    (lives,) = running.phoenix("denials", "--json").document["denials"]
    assert ended["id"] == lives["id"] and lives["ctid"] == "103"


def test_no_configuration_is_needed(one: DirectoryHost) -> None:
    write(one, AUDIT, auditd(body("lxc-102_</var/lib/lxc>")))
    result = run(["--root", str(one.root), "denials", "--json"])
    assert result.code == 3 and result.document["denials"][0]["ctid"] == "102"


def test_dmesg_can_be_piped_in(one: DirectoryHost, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text(f"[   12.5] eth0: link up\n[   12.5] {printk(body())}\n")
    assert denials(one.phoenix("denials", "--file", str(path), "--json"))[0][2] == "/srv/x"


def test_the_next_step_of_what_people_paste(one: DirectoryHost, tmp_path: Path) -> None:
    log = tmp_path / "pasted"
    one.conf("103", "arch: amd64\n")
    stock = body(profile="lxc-container-default-cgns")
    log.write_text(f"> {body()}\n{auditd(stock)}")
    result = one.phoenix("denials", "--file", str(log), "--trust")
    assert result.code == 3 and "2 denials" in result.out
    assert "it is not as the kernel's log holds it" in result.out
    assert "  next: phoenix policy query --denial 'LINE'" in result.out
    assert "  next: phoenix status shows which containers run under LXC's own profiles" in result.out
