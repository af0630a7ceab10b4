"""Denials as they happen; and the kernel made to speak for a while, put back however that ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import pytest

from phoenix_hypervisor.engine.listening import PARAMETER, put_back
from phoenix_hypervisor.engine.phoenix import Phoenix
from phoenix_hypervisor.engine.requests import DenialsRequest
from phoenix_hypervisor.profiles.records import LISTENING
from support.denied import JOURNAL, auditd, body, journald, with_journal, write
from support.hosts import TOP, LiveHost, contents

AUDIT = "/var/log/audit/audit.log"
SCRIPT = """
import signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup's would be inherited
sys.path[:0] = [{src!r}, {tests!r}]
from phoenix_hypervisor.cli import running
from phoenix_hypervisor.cli.main import main
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.host.process import ProcessRunner, ReplacingRunner
sys.argv[1:] = {words!r}
runner = ReplacingRunner(ProcessRunner(), {{"journalctl": [{double!r}]}})
sys.exit(main(host=Host({root!r}, runner, live=True)))
"""


@pytest.fixture
def quiet(live: LiveHost) -> LiveHost:
    """A live host whose kernel has the parameter."""
    live.source("lxc-a", "/etc/hosts r,")
    live.declare({})
    live.conf("101", "arch: amd64\nlxc.apparmor.profile: lxc-a\n")
    write(live, PARAMETER, "normal\n")
    write(live, "/proc/sys/kernel/random/boot_id", "one\n")
    write(live, AUDIT, "")
    return live


def value(live: LiveHost) -> str:
    return (live.root / PARAMETER.lstrip("/")).read_text().strip()


def record(live: LiveHost) -> Path:
    return live.root / LISTENING.lstrip("/")


@contextmanager
def begun(live: LiveHost, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that runs `phoenix denials`."""
    text = SCRIPT.format(
        src=str(TOP / "src"),
        tests=str(TOP / "tests"),
        words=["--config", str(live.config), "denials", *words],
        double=str(TOP / "tests/doubles/journalctl"),
        root=str(live.root),
    )
    process = subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def until(true: object, what: str = "") -> None:
    """Wait until a call says yes."""
    end = time.monotonic() + 30
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end, what
        time.sleep(0.05)


def append(live: LiveHost, text: str, path: str = AUDIT) -> None:
    with open(live.root / path.lstrip("/"), "a") as file:
        file.write(text)


def follows(pid: int | str, live: LiveHost) -> bool:
    """Whether a process has the log open, and has gone to the end of what there is; an empty log does not tell."""
    log = live.root / AUDIT.lstrip("/")
    assert log.stat().st_size
    with suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{fd}") == str(log):
                    position = Path(f"/proc/{pid}/fdinfo/{fd}").read_text().split()[1]
                    return int(position) == log.stat().st_size
    return False


def append_when_followed(live: LiveHost, text: str) -> None:
    until(lambda: follows("self", live))
    append(live, text)


# Following --------------------------------------------------------------------------------------


def test_each_denial_is_told_once_and_then_counted(quiet: LiveHost) -> None:
    write(quiet, AUDIT, auditd(body(name="/old"), 1))
    heard = Phoenix(host=quiet.host, config=str(quiet.config)).follow_denials()
    try:
        Thread(target=append_when_followed, args=(quiet, auditd(body(), 2) + auditd(body(), 3)[:40])).start()
        first = next(heard)
        assert first.new and first.denial.group.object == "/srv/x" and first.denial.ctid == "101"
        assert first.denial.group.count == 1
        append(quiet, auditd(body(), 3)[40:] + auditd(body(name="/srv/y"), 4))
        second = next(heard)
        assert second.new and second.denial.group.object == "/srv/y"
    finally:
        heard.close()


def test_since_tells_first_what_there_is(quiet: LiveHost) -> None:
    write(quiet, AUDIT, auditd(body(), 1))
    heard = Phoenix(host=quiet.host, config=str(quiet.config)).follow_denials(DenialsRequest(since=0.0))
    assert next(heard).denial.group.object == "/srv/x"
    heard.close()


def test_a_log_that_is_put_away_is_followed_on(quiet: LiveHost) -> None:
    write(quiet, AUDIT, auditd(body(name="/old"), 1))
    with begun(quiet, "--follow", "--json") as process:
        assert process.stdout is not None
        until(lambda: follows(process.pid, quiet), "the log is open")
        path = quiet.root / AUDIT.lstrip("/")
        seen = []
        append(quiet, auditd(body(name="/srv/1"), 2))
        seen.append(json.loads(process.stdout.readline())["denial"]["object"])
        path.rename(f"{path}.1")
        write(quiet, AUDIT, auditd(body(name="/srv/2"), 3))
        while seen[-1] != "/srv/2":
            seen.append(json.loads(process.stdout.readline())["denial"]["object"])
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert "/srv/1" in seen and (process.returncode, err) == (130, "")


def test_the_journal_is_followed(quiet: LiveHost) -> None:
    with_journal(quiet, journald(body(name="/old"), 1))
    with begun(quiet, "--follow", "--json") as process:
        assert process.stdout is not None
        calls = quiet.root / JOURNAL.lstrip("/") / "double.calls"
        until(lambda: calls.exists() and "--follow" in calls.read_text(), "journalctl follows")
        append(quiet, journald(body(), 2), f"{JOURNAL}/double.json")
        told = json.loads(process.stdout.readline())
        assert told["version"] == 1 and told["new"] and told["denial"]["object"] == "/srv/x"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143


# Listening --------------------------------------------------------------------------------------


def test_the_kernel_speaks_for_a_while(quiet: LiveHost) -> None:
    with begun(quiet, "101", "--listen", "--for", "3s") as process:
        until(lambda: value(quiet) == "noquiet", "the parameter is set")
        found = json.loads(record(quiet).read_text())
        assert (found["pid"], found["before"]) == (process.pid, "normal")
        # The event is of now: what the logs held before is not told.
        append(quiet, auditd(body()).replace("1795681058.500", f"{time.time():.3f}"))
        out, err = process.communicate(timeout=30)
    assert process.returncode == 3, err
    assert "every profile on this host" in err and "put back: normal" in err and "/srv/x" in out
    assert value(quiet) == "normal" and not record(quiet).exists()


def test_nothing_heard_is_no_denial(quiet: LiveHost) -> None:
    before = contents(quiet.root)
    result = quiet.phoenix("denials", "101", "--listen", "--for", "1s")
    assert result.code == 0 and value(quiet) == "normal"
    after = contents(quiet.root)
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert changed == {PARAMETER.lstrip("/")}, "with a line break, which the kernel adds, and we do not"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_puts_it_back(quiet: LiveHost, number: signal.Signals) -> None:
    with begun(quiet, "101", "--listen") as process:
        until(lambda: value(quiet) == "noquiet")
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 128 + number and "put back: normal" in err
    assert value(quiet) == "normal" and not record(quiet).exists()


def killed(quiet: LiveHost) -> None:
    with begun(quiet, "101", "--listen") as process:
        until(lambda: value(quiet) == "noquiet")
        process.kill()
        process.wait()
    assert value(quiet) == "noquiet" and record(quiet).exists()


def codes(quiet: LiveHost) -> list[str]:
    return [one["code"] for one in quiet.phoenix("status", "--json").document["host"]["findings"]]


@pytest.mark.parametrize(
    "command", [["denials"], ["setup"], ["apply", "--all"], ["denials", "--replay", "lxc-a"]]
)
def test_the_next_command_puts_back_what_a_killed_one_left(quiet: LiveHost, command: list[str]) -> None:
    killed(quiet)
    assert "listening-left" in codes(quiet)
    assert quiet.phoenix("verify").code == 3 and value(quiet) == "noquiet", "who only looks changes nothing"
    quiet.phoenix(*command)
    assert value(quiet) == "normal" and not record(quiet).exists()
    assert "listening-left" not in codes(quiet)


def test_recovery_puts_it_back(quiet: LiveHost) -> None:
    killed(quiet)
    Phoenix(host=quiet.host, config=str(quiet.config)).recover()
    assert value(quiet) == "normal" and not record(quiet).exists()


def test_who_listens_is_left_alone(quiet: LiveHost) -> None:
    with begun(quiet, "101", "--listen") as process:
        until(lambda: value(quiet) == "noquiet")
        assert "listening" in codes(quiet) and "listening-left" not in codes(quiet)
        result = quiet.phoenix("denials", "101", "--listen", "--for", "1s")
        assert result.code == 1 and "another phoenix listens already" in result.err
        quiet.phoenix("setup")
        assert value(quiet) == "noquiet"
        process.kill()


def test_after_a_reboot_it_is_not_ours_to_set(quiet: LiveHost) -> None:
    killed(quiet)
    write(quiet, "/proc/sys/kernel/random/boot_id", "two\n")
    assert codes(quiet) == []
    assert put_back(quiet.host) is None
    assert value(quiet) == "noquiet" and not record(quiet).exists()


def test_what_somebody_else_set_meanwhile_stays(quiet: LiveHost) -> None:
    killed(quiet)
    write(quiet, PARAMETER, "all\n")
    assert put_back(quiet.host) is None and value(quiet) == "all"


def test_a_kernel_that_speaks_already_is_left_so(quiet: LiveHost) -> None:
    write(quiet, PARAMETER, "all\n")
    assert quiet.phoenix("denials", "101", "--listen", "--for", "1s").code == 0
    assert value(quiet) == "all" and not record(quiet).exists()


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"pid":1,"began":"x","boot":"one","before":"rm -rf"}', "\xff", '{"pid":"a"}']
)
def test_a_record_that_cannot_be_ours_is_no_order(quiet: LiveHost, text: str) -> None:
    write(quiet, LISTENING, text).chmod(0o600)
    assert "listening-unreadable" in codes(quiet)
    result = quiet.phoenix("denials", "101", "--listen", "--for", "1s")
    assert result.code == 1 and value(quiet) == "normal"
    assert quiet.phoenix("setup").code == 1


def test_a_record_that_others_can_write_is_no_order(quiet: LiveHost) -> None:
    killed(quiet)
    record(quiet).chmod(0o666)
    assert quiet.phoenix("setup").code == 1 and value(quiet) == "noquiet"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--listen"], "takes the container"),
        (["101", "--listen", "--follow"], "exclude"),
        (["101", "--listen", "--since", "1h"], "exclude"),
        (["101", "--listen", "--for", "soon"], "--for takes a time"),
        (["101", "--for", "1m"], "--listen"),
    ],
)
def test_what_makes_no_sense_changes_nothing(quiet: LiveHost, words: list[str], says: str) -> None:
    result = quiet.phoenix("denials", *words)
    assert result.code == 2 and says in result.err and value(quiet) == "normal"


def test_a_directory_has_no_kernel(quiet: LiveHost) -> None:
    from support.hosts import run

    result = run(["--root", str(quiet.root), "--config", str(quiet.config), "denials", "101", "--listen"])
    assert result.code == 2 and "--root" in result.err and value(quiet) == "normal"


def test_without_apparmor_nothing_can_be_heard(quiet: LiveHost) -> None:
    (quiet.root / PARAMETER.lstrip("/")).unlink()
    result = quiet.phoenix("denials", "101", "--listen")
    assert result.code == 1 and "phoenix doctor" in result.err and not record(quiet).exists()


def test_a_parameter_that_cannot_be_set_leaves_no_record(
    quiet: LiveHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    from phoenix_hypervisor.engine import listening
    from phoenix_hypervisor.errors import PhoenixError

    def refuse(*_: object) -> None:
        raise PhoenixError("cannot be set", where=PARAMETER)

    monkeypatch.setattr(listening, "write_parameter", refuse)
    result = quiet.phoenix("denials", "101", "--listen")
    assert result.code == 1 and not record(quiet).exists() and os.path.exists(record(quiet).parent)
