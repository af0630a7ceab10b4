"""What people do with a command line: pipe it into head, close its output, press Ctrl-C, press TAB."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.hosts import TOP, DirectoryHost, LiveHost, contents

READING = ("status", "verify", "plan", "check", "history", "policy list lxc-a", "--help", "plan --json")


@pytest.fixture
def two(host: DirectoryHost) -> DirectoryHost:
    host.source("lxc-a")
    host.source("lxc-b")
    host.conf("101")
    host.declare({"101": {"apparmor_profile": "lxc-a", "name": "web"}, "102": "lxc-b", "2001": "lxc-b"})
    return host


def _phoenix(host: DirectoryHost) -> str:
    return f"{sys.executable} -I {TOP}/bin/phoenix --root {host.root} --config {host.config}"


def _bash(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    argv = ["/bin/bash", "-c", f"set -o pipefail; {script}"]
    env = {**os.environ, **environment}
    return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=120, env=env)


# Output that nobody reads ------------------------------------------------------------------


@pytest.mark.parametrize("command", READING)
def test_a_reader_that_goes_away_ends_a_look_silently(two: DirectoryHost, command: str) -> None:
    """`true` reads nothing at all, which is more than `head` can do."""
    done = _bash(f"{_phoenix(two)} {command} | true")
    assert (done.stdout, done.stderr) == ("", "")
    assert done.returncode in (0, 3, 141)


@pytest.mark.parametrize("command", READING)
def test_closed_output_is_like_dev_null(two: DirectoryHost, command: str) -> None:
    closed = _bash(f"{_phoenix(two)} {command} >&-")
    silent = _bash(f"{_phoenix(two)} {command} > /dev/null")
    assert (closed.returncode, closed.stderr) == (silent.returncode, silent.stderr)


def test_closed_output_ends_no_apply_and_gets_nothing_into_files(two: DirectoryHost) -> None:
    """File 1 would be given to the next file that is opened, such as the journal."""
    done = _bash(f"{_phoenix(two)} apply 101 --no-start >&- 2>&- <&-")
    assert done.returncode == 0
    assert b"lxc.apparmor.profile: lxc-a" in (two.lxc / "101.conf").read_bytes()
    for path, data in contents(two.root).items():
        assert b"changed=" not in data, path


def test_a_full_disk_is_told(two: DirectoryHost) -> None:
    done = _bash(f"{_phoenix(two)} status > /dev/full")
    assert done.returncode == 1
    assert done.stderr == "phoenix: the output could not be written: No space left on device\n"


# Ctrl-C --------------------------------------------------------------------------------------

IMPORTED = """
import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class At:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, At())
sys.argv = ["phoenix", *{words!r}]
runpy.run_path({program!r}, run_name="__main__")
"""


@pytest.mark.parametrize(
    "name",
    [
        "phoenix_hypervisor",
        "phoenix_hypervisor.errors",
        "phoenix_hypervisor.cli.main",
        "phoenix_hypervisor.cli.status",
        "phoenix_hypervisor.engine.session",
        "rich",
    ],
)
def test_ctrl_c_says_nothing_however_early(two: DirectoryHost, name: str) -> None:
    """While `name` is imported: the first 0.1 s are nothing but imports."""
    words = ["--root", str(two.root), "--config", str(two.config), "status"]
    script = IMPORTED.format(name=name, words=words, program=str(TOP / "bin/phoenix"))
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], check=False, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (130, "")


def _interrupted(host: DirectoryHost, number: signal.Signals, *words: str) -> tuple[int, str]:
    """Exit code and standard error of a command that gets a signal while its parser runs."""
    begun = host.folder / "begun"
    parser = host.folder / "parser"
    parser.write_text(f"#!/bin/sh\n: > {begun}\nsleep 60\n")
    parser.chmod(0o755)
    argv = [sys.executable, "-I", str(TOP / "bin/phoenix"), "--root", str(host.root)]
    argv += ["--config", str(host.config), "--parser", str(parser), *words]
    process = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    end = time.monotonic() + 60
    while not begun.exists():
        assert process.poll() is None and time.monotonic() < end, "the parser was not run"
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert out == ""
    return process.returncode, err


@pytest.mark.parametrize("words", [("plan",), ("check",), ("policy", "list", "lxc-a")])
def test_ctrl_c_while_something_is_only_read(two: DirectoryHost, words: tuple[str, ...]) -> None:
    assert _interrupted(two, signal.SIGINT, *words) == (130, "")


def test_ending_a_look_by_sigterm(two: DirectoryHost) -> None:
    assert _interrupted(two, signal.SIGTERM, "plan") == (143, "")


def test_ctrl_c_in_an_apply_says_that_nothing_is_lost(two: DirectoryHost) -> None:
    code, said = _interrupted(two, signal.SIGINT, "apply", "101", "--no-start")
    assert code == 1
    assert said == "phoenix: interrupted: every file is intact; the next run finishes the rollback\n"


# TAB -----------------------------------------------------------------------------------------


def _tab(host: DirectoryHost, line: str, *, listing: bool = False) -> list[str]:
    """What bash offers behind `line`; `listing`: at the second TAB, when it lists them."""
    first, *others = line.split(" ")
    words = [first, "--root", str(host.root), "--config", str(host.config), *others]
    quoted = " ".join(f"'{word}'" for word in words)
    program = host.folder / "bin"
    program.mkdir(exist_ok=True)
    script = program / "phoenix"
    if not script.exists():
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -I {TOP}/bin/phoenix "$@"\n')
        script.chmod(0o755)
    done = _bash(
        f"""
        PATH={program}:$PATH
        source <(phoenix completion bash) || exit 9
        compopt() {{ local IFS=' '; echo "compopt $*"; }}
        COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; COMP_TYPE={63 if listing else 9}
        _phoenix_completion phoenix
        printf '%s\\n' "${{COMPREPLY[@]}}"
        """
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [line for line in done.stdout.split("\n") if line]


def test_tab_completes_commands_and_options(two: DirectoryHost) -> None:
    assert _tab(two, "phoenix ver") == ["verify"]
    assert _tab(two, "phoenix policy q") == ["query"]
    assert _tab(two, "phoenix lab st") == ["stop"]
    assert "--detailed-exitcode" in _tab(two, "phoenix plan --")
    assert _tab(two, "phoenix status --runtime pro") == ["proxmox"]
    assert _tab(two, "phoenix completion z") == ["zsh"]


def test_tab_completes_ctids_and_lists_them_with_their_names(two: DirectoryHost) -> None:
    assert _tab(two, "phoenix apply 10") == ["101", "102"]
    assert _tab(two, "phoenix apply 10", listing=True) == ["101  (web)", "102"]
    assert _tab(two, "phoenix status 101 ") == ["102", "2001"]
    assert _tab(two, "phoenix verify 2") == ["2001"]
    assert _tab(two, "phoenix apply w") == ["web"]
    assert _tab(two, "phoenix status 101,1") == ["101,102"]
    two.conf("103", "hostname: nas\n")
    assert _tab(two, "phoenix status n") == ["nas"] and _tab(two, "phoenix apply n") == []
    assert _tab(two, "phoenix policy query 103") == ["103"]


def test_tab_completes_profiles_and_kinds_of_question(two: DirectoryHost) -> None:
    assert _tab(two, "phoenix policy list lxc-") == ["lxc-a", "lxc-b"]
    assert _tab(two, "phoenix policy query lxc-a cap") == ["capability"]
    assert _tab(two, "phoenix policy query lxc-a capability ") == []
    assert _tab(two, "phoenix setup --adopt lxc-b") == ["lxc-b"]
    assert _tab(two, "phoenix policy diff lxc-a ./x") == ["compopt -o default"]


def test_tab_completes_transactions_with_what_they_were(two: DirectoryHost) -> None:
    assert _tab(two, "phoenix rollback ") == []
    assert two.phoenix("setup").code == 0
    assert two.apply("101", "--no-start").code == 0
    assert _tab(two, "phoenix rollback ") == ["2", "1"]
    newest = _tab(two, "phoenix rollback ", listing=True)[0]
    assert newest.startswith("2  (20") and newest.endswith("apply 101 --no-start)")


@pytest.mark.parametrize("damage", ["{", "[]", '{"lxc_configs": 3}', "\udc80"])
def test_tab_says_nothing_of_a_broken_configuration(two: DirectoryHost, damage: str) -> None:
    two.config.write_bytes(damage.encode("utf-8", "surrogateescape"))
    assert _tab(two, "phoenix apply ") == []


def test_tab_at_what_is_wrong_already(two: DirectoryHost) -> None:
    for line in ("phoenix nosuch x", "phoenix status --root /no/such 1", "phoenix policy nosuch x"):
        assert _tab(two, line) == [], line


@pytest.mark.parametrize(("shell", "check"), [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")])
def test_the_completion_script_of_each_shell_is_read_by_it(tmp_path: Path, shell: str, check: str) -> None:
    done = _bash(f"{TOP}/bin/phoenix completion {shell} > {tmp_path}/script")
    assert (done.returncode, done.stderr) == (0, "")
    text = (tmp_path / "script").read_text()
    assert f"_PHOENIX_COMPLETE={shell}_complete" in text
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert _bash(f"{shell} {check} {tmp_path}/script").returncode == 0


def test_zsh_and_fish_are_told_the_names_too(two: DirectoryHost) -> None:
    words = {"COMP_WORDS": f"phoenix --config {two.config} apply 10", "COMP_CWORD": "4"}
    zsh = _bash(_phoenix(two), _PHOENIX_COMPLETE="zsh_complete", **words)
    assert zsh.stdout.split("\n")[:3] == ["plain", "101", "web"]
    fish = _bash(_phoenix(two), _PHOENIX_COMPLETE="fish_complete", **{**words, "COMP_CWORD": "10"})
    assert fish.stdout.split("\n")[0] == "plain,101\tweb"


# Tables ----------------------------------------------------------------------------------------

NAMES = ("lxc-gpu-docker-storage", "lxc-nvidia-gpu-base", "vllm-qwen2.5-7b-awq")


@pytest.fixture
def busy(live: LiveHost) -> LiveHost:
    for name in NAMES[:2]:
        live.source(name)
    declared = {"apparmor_profile": NAMES[1], "name": NAMES[2]}
    live.declare({"950": declared, "123456789": {**declared, "apparmor_profile": NAMES[0]}, "101": NAMES[0]})
    for ctid in ("950", "123456789", "101"):
        live.conf(ctid)
    assert live.apply("--all").code == 0
    return live


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_tables_fit_the_terminal_and_break_no_name(
    busy: LiveHost, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    busy.conf("101", "arch: amd64\nlxc.apparmor.profile: lxc-container-default-cgns\n")
    for words, shown in (
        (("status",), (*NAMES, "123456789")),
        (("status", "101,950"), (*NAMES, "lxc-container-default-cgns", "PID")),
    ):
        status = busy.phoenix(*words).out
        assert all(name in status for name in shown)
        for line in status[status.rindex("container 101" if len(words) > 1 else "Containers") :].splitlines():
            assert len(line) <= width, line
    history = busy.phoenix("history").out
    assert str(busy.config) in history and "committed" in history
    for line in history.splitlines():
        longest = max(map(len, line.split()), default=0)
        assert len(line) <= width or longest > width - 24, line


def test_a_table_in_a_pipe_has_a_line_for_each_row(busy: LiveHost) -> None:
    out = busy.phoenix("status").out
    row = next(line for line in out.splitlines() if line.startswith("950 "))
    *cells, pid, was, declared = row.split()
    assert cells == ["950", NAMES[2], "priv", NAMES[1], NAMES[1], NAMES[1], "(enforce)", "PID"]
    assert pid.isdigit() and (was, declared) == ("as", "declared")
    assert all(line == line.rstrip() for line in out.splitlines())


# Waiting ---------------------------------------------------------------------------------------


def _on_a_terminal(host: DirectoryHost, *words: str, text: str) -> tuple[int, str, str]:
    """Exit code, output and what the terminal at standard error got, with a parser that goes on when it got `text`.

    It goes on without that after a minute.
    """
    parser, shown = host.folder / "slow", host.folder / "shown"
    waits = f"for i in $(seq 600); do [ -e {shown} ] && break; sleep 0.1; done"
    parser.write_text(f'#!/bin/sh\n{waits}\nexec apparmor_parser "$@"\n')
    parser.chmod(0o755)
    master, slave = os.openpty()
    argv = [sys.executable, "-I", str(TOP / "bin/phoenix"), "--root", str(host.root)]
    argv += ["--config", str(host.config), "--parser", str(parser), *words]
    env = {**os.environ, "TERM": "xterm"}
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=slave, text=True, env=env)
    os.close(slave)
    seen = b""
    with contextlib.suppress(OSError):  # EIO: nobody has it open any more.
        while piece := os.read(master, 4096):
            seen += piece
            if text.encode() in seen:
                shown.touch()
    os.close(master)
    out, _ = process.communicate(timeout=60)
    return process.returncode, out, seen.decode()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("plan",), "planning"),
        (("setup",), "working"),
        (("policy", "lint", "--quick"), "looking at lxc-a (1 of 2)"),
        (("policy", "diff", "lxc-a", "lxc-b"), "comparing"),
    ],
)
def test_a_long_wait_shows_what_is_being_done(two: DirectoryHost, words: tuple[str, ...], text: str) -> None:
    code, out, seen = _on_a_terminal(two, *words, text=text)
    assert code in (0, 1, 3) and text not in out
    assert text in seen
    assert seen.endswith(("\x1b[2K", "\x1b[?25h", "\r"))  # The line is wiped away, the cursor is back.


def test_nothing_is_shown_of_a_wait_where_nobody_watches(two: DirectoryHost) -> None:
    done = _bash(f"{_phoenix(two)} check")
    assert (done.returncode, done.stderr) == (0, "")


# Words -----------------------------------------------------------------------------------------


def test_a_misspelt_command_of_a_group_gets_a_suggestion(two: DirectoryHost) -> None:
    result = two.phoenix("policy", "qeury")
    assert result.code == 2
    assert "No such command 'qeury'. Did you mean 'query'?" in result.err
    assert "Did you mean 'boot'?" in two.phoenix("lab", "boott").err


def test_the_kinds_of_question_are_in_the_help(two: DirectoryHost) -> None:
    for command in ("query", "explain"):
        words = " ".join(two.phoenix("policy", command, "--help").out.split())
        assert "KIND is one of attachment, capability, change-profile, " in words and " file, " in words


def test_list_says_what_it_leaves_out(two: DirectoryHost) -> None:
    two.source("lxc-a", *(f"/srv/{number}/** {'rwk'[number % 3]}w," for number in range(9)))
    some = two.phoenix("policy", "list", "lxc-a", "--limit", "1").out
    assert "there may be more (--limit)" in some and some.count("/srv/") == 1
    assert two.phoenix("policy", "list", "lxc-a", "--limit", "500").out.count("/srv/") == 3


def test_lint_and_test_say_that_they_found_nothing_to_look_at(two: DirectoryHost) -> None:
    for path in two.sources.iterdir():
        path.unlink()
    for command in ("lint", "test"):
        result = two.phoenix("policy", command)
        assert result.code == 2 and "there are no profile" in result.err


def test_a_checkout_answers_about_its_own_profiles(tmp_path: Path) -> None:
    """Before anything is installed, from anywhere."""
    done = subprocess.run(
        [str(TOP / "bin/phoenix"), "policy", "query", "lxc-none", "userns"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "lxc-nvidia-gpu-base" in done.stderr
