"""What a live run leaves when a step fails, when it is interrupted, and when others write meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from phoenix_hypervisor.host.process import Completed
from support.hosts import CREATION, SECURITYFS, LiveHost, profile, temporary_files, told, world

# Failures after the first write ----------------------------------------------------------


@pytest.mark.parametrize("how", ["exit", "says", "silent"])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_failed_first_load_restores_everything(two: LiveHost, nth: int, how: str) -> None:
    before = world(two)
    two.fail(parser_replace=[nth, how])
    result = two.apply("--all", "--no-start", "--json")
    assert result.code == 1
    failed = f"profile {('lxc-a', 'lxc-b')[nth - 1]}"
    assert result.problems == [("step-failed", failed), ("failed", failed), ("undone", "transaction")]
    assert world(two) == before
    assert temporary_files(two.root) == []
    two.no_more_failures()
    assert two.apply().code == 0
    assert two.phoenix("verify").code == 0
    assert two.apply().recap["changed"] == 0


@pytest.mark.parametrize("nth", [1, 2])
def test_a_failed_reload_puts_the_previous_policy_back(two: LiveHost, nth: int) -> None:
    assert two.apply().code == 0
    before = world(two)
    for name in ("lxc-a", "lxc-b"):
        two.source(name, "network,")
    # Twice: what the first failure leaves must not become the "previous policy" of the second.
    for attempt in (nth, 2):
        two.fail(parser_replace=attempt)
        result = two.apply()
        assert result.code == 1
        assert world(two) == before, "kernel or files differ from before"
    two.no_more_failures()
    assert two.apply().code == 0
    assert two.phoenix("verify").code == 0
    assert two.policy() != before[3]


def _by_hand(live: LiveHost, name: str, *rules: str) -> bytes:
    """Load a policy of that name which is in no file."""
    (live.installed / "by-hand").write_bytes(profile(name, *rules))
    live.load_file("by-hand")
    (live.installed / "by-hand").unlink()
    return live.policy()[name]


def _shown(live: LiveHost, name: str) -> None:
    """The kernel shows what a profile was loaded from, whatever is loaded later."""
    folder = live.root / SECURITYFS / "policy/profiles" / f"{name}.1"
    folder.mkdir(parents=True)
    (folder / "raw_data").symlink_to(live.root / "double/kernel" / name)


def test_a_policy_that_was_loaded_by_hand_is_put_back_where_the_kernel_shows_it(two: LiveHost) -> None:
    assert two.phoenix("setup").code == 0
    hand = _by_hand(two, "lxc-a", "/srv/hand r,")
    _shown(two, "lxc-a")
    for name in ("lxc-a", "lxc-b"):
        two.source(name, "network,")
    two.fail(parser_replace=2)
    result = two.phoenix("setup", "--json")
    assert result.code == 1 and result.problems[2:] == [("undone", "transaction")]
    assert two.policy()["lxc-a"] == hand


def test_a_policy_that_nobody_knows_is_told(two: LiveHost) -> None:
    """In complain mode it is not our copy, and this kernel shows nothing of it."""
    assert two.phoenix("setup").code == 0
    before = two.policy()["lxc-a"]
    two.profiles.write_text(two.profiles.read_text().replace("lxc-a (enforce)", "lxc-a (complain)"))
    for name in ("lxc-a", "lxc-b"):
        two.source(name, "network,")
    two.fail(parser_replace=2)
    result = two.phoenix("setup", "--json")
    assert result.code == 1
    assert result.problems[2:] == [("undone-but", "transaction"), ("policy-guessed", "profile lxc-a")]
    assert two.policy()["lxc-a"] == before, "what the restored file compiles to"


def test_a_loaded_policy_without_a_file_that_is_adopted_and_given_up(two: LiveHost) -> None:
    hand = _by_hand(two, "lxc-a", "/srv/hand r,")
    _shown(two, "lxc-a")
    assert two.phoenix("setup", "--adopt", "lxc-a").code == 0
    assert two.policy()["lxc-a"] != hand
    assert two.phoenix("rollback").code == 0
    assert two.policy()["lxc-a"] == hand and not (two.installed / "lxc-a").exists()


def test_where_nobody_knows_what_the_kernel_had_a_rollback_goes_on(two: LiveHost) -> None:
    _by_hand(two, "lxc-a", "/srv/hand r,")
    assert two.phoenix("setup", "--adopt", "lxc-a").code == 0
    ours = two.policy()["lxc-a"]
    result = two.phoenix("rollback", "--json")
    assert result.code == 0 and told(result.document["skipped"]) == [("policy-unknown", "profile lxc-a")]
    assert two.policy()["lxc-a"] == ours and not (two.installed / "lxc-a").exists()


def test_a_failed_creation_undoes_files_and_kernel(two: LiveHost) -> None:
    two.declare(
        {
            "101": "lxc-a",
            "103": {**CREATION, "gpu_assignment": "none"},
            "104": {**CREATION, "gpu_assignment": "none", "mac_address": "52:54:00:67:89:51"}
            | {"network_config": {"name": "eth0", "bridge": "vmbr0", "ip": "dhcp"}},
        }
    )
    before = world(two)
    two.fail(pct_create=2)
    result = two.apply("--all", "--json")
    assert result.code == 1
    assert result.problems == [
        ("step-failed", "container 104"),
        ("failed", "container 104"),
        ("undone", "transaction"),
        ("created", "container 103"),
        ("not-created", "container 104"),
    ]
    assert "failed because the test said so" in result.err, "what the program said is told"
    assert "container 103: created and left in place; container 104: was not created" in result.err
    after = world(two)
    created = after[1].pop("103.conf")
    assert after == before
    assert b"lxc.apparmor.profile" not in created
    two.no_more_failures()
    assert two.apply().code == 0
    assert two.phoenix("verify").code == 0


def test_a_failed_start_undoes_files_and_kernel(two: LiveHost) -> None:
    two.declare({"101": "lxc-a", "102": "lxc-b", "103": {**CREATION, "gpu_assignment": "none"}})
    two.conf("101", "a: 1\r\nlxc.apparmor.profile = unconfined\r\nb: 2")
    before = world(two)
    two.fail(pct_start=2)
    result = two.apply("--all", "--json")
    assert result.code == 1
    # lxc-a stays in the kernel: unloading it would leave container 101 unconfined.
    assert result.problems == [
        ("step-failed", "container 102"),
        ("failed", "container 102"),
        ("undone-but", "transaction"),
        ("stays-loaded", "profile lxc-a"),
        ("created", "container 103"),
        ("started", "container 101"),
        ("now-stopped", "container 102"),
    ]
    after = world(two)
    after[1].pop("103.conf")
    assert after[2].pop("lxc-a") == "enforce" and after[3].pop("lxc-a")
    assert after == before
    assert two.labels() == {"101": "lxc-a (enforce)"}
    two.no_more_failures()
    assert two.apply().code == 0
    assert two.phoenix("verify").code == 0


@pytest.mark.parametrize("down", [False, True])
def test_a_failed_restart_says_whether_the_container_is_down(
    two: LiveHost, monkeypatch: pytest.MonkeyPatch, down: bool
) -> None:
    assert two.pct("start", "101").ok
    _fails_after(two, monkeypatch, "reboot", lambda: down and two.pct("stop", "101"))
    result = two.apply("--all", "--restart", "--json")
    assert result.code == 1
    assert ("now-stopped" if down else "now-running", "container 101") in result.problems
    assert ("is stopped" if down else "is running, under lxc-101_</var/lib/lxc>") in result.err
    assert b"lxc.apparmor" not in (two.lxc / "101.conf").read_bytes()


def _fails_after(
    two: LiveHost, monkeypatch: pytest.MonkeyPatch, what: str, work: Callable[[], object]
) -> None:
    """`pct WHAT 101` does some work and fails."""
    real = two.runner.run

    def run(argv: Any, **more: Any) -> Any:
        if tuple(argv[:3]) == ("pct", what, "101"):
            work()
            return Completed(tuple(argv), 255, b"", b"it came to nothing\n")
        return real(argv, **more)

    monkeypatch.setattr(two.runner, "run", run)


def test_a_start_that_fails_and_leaves_the_container_running(
    two: LiveHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fails_after(
        two, monkeypatch, "start", lambda: two.process(4711, "/lxc/101/ns", "lxc-a (enforce)", nspid="4711 1")
    )
    result = two.apply("101", "--json")
    assert result.code == 1 and ("now-running", "container 101") in result.problems
    (note,) = (p for p in result.document["error"]["problems"] if p["code"] == "now-running")
    assert note["data"] == {"pid": 4711, "label": "lxc-a (enforce)"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lock: create\nmemory: 1\n", "was created in part, and is left; `pct destroy 101` ends that"),
        ("memory: 1\n", "was created in part, and is left"),
    ],
)
def test_a_creation_that_fails_and_leaves_something(
    two: LiveHost, monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    (two.lxc / "101.conf").unlink()
    two.declare({"101": {**CREATION, "gpu_assignment": "none"}})
    _fails_after(two, monkeypatch, "create", lambda: two.conf("101", text))
    result = two.apply("101", "--json")
    assert result.code == 1 and ("created-in-part", "container 101") in result.problems
    assert result.err.splitlines()[0].endswith(f"container 101: {expected}")


def test_what_mke2fs_says_is_not_why_a_creation_failed(
    two: LiveHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    (two.lxc / "101.conf").unlink()
    two.declare({"101": {**CREATION, "gpu_assignment": "none"}})
    real = two.runner.run
    noise = MKE2FS + b"".join(b"tar: ./etc/%d: Cannot open\n" % n for n in range(1400))

    def run(argv: Any, **more: Any) -> Any:
        if tuple(argv[:2]) == ("pct", "create"):
            why = b"unable to create CT 101 - command 'tar' failed: exit code 2\n"
            return Completed(tuple(argv), 255, noise, why)
        return real(argv, **more)

    monkeypatch.setattr(two.runner, "run", run)
    err = two.apply("101").err
    assert "(1392 more lines before)" in err and "unable to create CT 101 - command 'tar' failed" in err
    assert "mke2fs" not in err and "./etc/1399:" in err and "./etc/1380:" not in err
    assert len(err.splitlines()) <= 24


MKE2FS = b"""mke2fs 1.47.0 (5-Feb-2023)
Discarding device blocks:    4096/8388608\x08\x08\x08done
Creating filesystem with 8388608 4k blocks and 2097152 inodes
Filesystem UUID: 8a7bbfb9-94a9-4a9e-a2a4-4e6d6f4d0d4b
Superblock backups stored on blocks:
\t32768, 98304, 163840, 229376, 294912, 819200, 884736, 1605632, 2654208,
\t4096000, 7962624

Allocating group tables:   0/256\x08\x08done
Writing inode tables:   0/256\x08\x08done
Creating journal (65536 blocks): done
Writing superblocks and filesystem accounting information:   0/256\x08\x08done

"""


def test_undoing_an_assignment_that_pct_has_rewritten(two: LiveHost) -> None:
    """A start applies pending changes and writes the file anew, so the bytes are no longer ours."""
    two.conf("101", "#a: b\nmemory: 512\nlxc.apparmor.profile: unconfined\n\n[pve:pending]\nmemory: 1024\n")
    two.fail(pct_start=2)
    result = two.apply("--all", "--json")
    assert result.code == 1
    assert "undo-failed" not in dict(result.problems)
    assert (two.lxc / "101.conf").read_text() == "#a%3A b\nmemory: 1024\nlxc.apparmor.profile: unconfined\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_run_is_undone(
    two: LiveHost, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    from phoenix_hypervisor.containers.steps import ContainerSteps

    def start(self: ContainerSteps, action: object) -> None:
        raise error

    before = world(two)
    monkeypatch.setattr(ContainerSteps, "start", start)
    assert two.apply().code == 1
    assert world(two) == before


def test_an_interrupted_run_names_what_it_created(two: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    from phoenix_hypervisor.containers.steps import ContainerSteps

    def start(self: ContainerSteps, action: object) -> None:
        raise KeyboardInterrupt

    two.declare({"101": "lxc-a", "950": {**CREATION, "gpu_assignment": "none"}})
    before = world(two)
    monkeypatch.setattr(ContainerSteps, "start", start)
    result = two.apply()
    assert result.code == 1
    assert "start 101 failed: interrupted; files and kernel are as before" in result.err
    assert "container 950: created and left in place" in result.err
    after = world(two)
    after[1].pop("950.conf")
    assert after == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_while_progress_is_shown(
    two: LiveHost, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def say(settings: object, text: str = "", **style: object) -> None:
        if "assign" in text:
            raise error

    before = world(two)
    monkeypatch.setattr("phoenix_hypervisor.cli.apply.say", say)
    assert two.apply("--all", "--no-start").code == 1
    assert world(two) == before


def test_pct_writing_the_configuration_anew_changes_nothing_for_us(two: LiveHost) -> None:
    two.conf(
        "101",
        "lxc.cap.drop: mknod\nlxc.apparmor.profile = x\r\nmemory: 1\n#caf%C3%A9: 100%25\n\n"
        "[zz]\nmemory: 2\nlxc.apparmor.profile: old\n\n[pve:pending]\ncores: 3\n\n[aa]\nmemory: 3\n",
    )
    assert two.apply().code == 0
    assert two.pct("set", "101", "--memory", "1024").ok
    text = (two.lxc / "101.conf").read_text()
    assert text.startswith("#caf%C3%A9%3A 100%25\ncores: 3\nmemory: 1024\nlxc.cap.drop: mknod\nlxc.apparmor")
    assert two.phoenix("plan", "--detailed-exitcode").code == 0
    assert two.phoenix("verify").code == 0
    assert two.pct("config", "101").stdout.decode().endswith("lxc.apparmor.profile: lxc-a\n")
