"""Root prefix, atomic files, locks and processes."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from phoenix_hypervisor.containers.runtimes.liblxc import LibLxc
from phoenix_hypervisor.errors import PhoenixError, UsageError
from phoenix_hypervisor.host import process
from phoenix_hypervisor.host.files import ACCESS_LIST, ChangedMeanwhile, Directory, temporary_name
from phoenix_hypervisor.host.kernel import Kernel
from phoenix_hypervisor.host.locks import exclusive, is_held
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.host.process import ProcessRunner
from phoenix_hypervisor.host.root import Root
from phoenix_hypervisor.host.streams import Growing


def opened(path: Path) -> Directory:
    return Directory("/d", str(path), "/d")


def test_links_stay_inside_the_root(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/absolute").symlink_to("/etc")
    (tmp_path / "etc/up").symlink_to("../../../../../etc")
    root = Root(str(tmp_path))
    assert root.locate("/etc/absolute/x") == str(tmp_path / "etc/x")
    assert root.locate("/etc/up/x") == str(tmp_path / "etc/x")
    assert root.locate("/../../etc/x") == str(tmp_path / "etc/x")
    assert root.locate("/etc/absolute", follow_last=False) == str(tmp_path / "etc/absolute")


def test_a_loop_of_links_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(PhoenixError, match="symbolic links"):
        Root(str(tmp_path)).locate("/a/x")


def test_a_root_that_is_no_directory(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        Root(str(tmp_path / "missing"))


def test_replace_keeps_mode_and_owner(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"old")
    file.chmod(0o600)
    with opened(tmp_path) as directory:
        directory.replace("f", b"new", before=b"old")
    assert file.read_bytes() == b"new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["f"]


def test_replace_sets_the_mode_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        with opened(tmp_path) as directory:
            directory.replace("f", b"x", before=None, mode=0o644)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o644


@pytest.mark.parametrize("before", [None, b"other"])
def test_replace_refuses_what_changed_meanwhile(tmp_path: Path, before: bytes | None) -> None:
    (tmp_path / "f").write_bytes(b"theirs")
    with opened(tmp_path) as directory, pytest.raises(ChangedMeanwhile):
        directory.replace("f", b"ours", before=before)
    assert (tmp_path / "f").read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["f"]


def _access_list(group: int, mask: int) -> bytes:
    """`u::rw, u:1000:rw, g::GROUP, mask::MASK, o::-` as the kernel takes it (linux/posix_acl_xattr.h)."""
    none = 0xFFFFFFFF
    entries = ((1, 6, none), (2, 6, 1000), (4, group, none), (0x10, mask, none), (0x20, 0, none))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def _set(path: Path, key: str, value: bytes) -> bool:
    try:
        os.setxattr(path, key, value)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return False
    return True


def test_replace_keeps_access_lists_and_attributes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    kept = [("user.of", b"theirs"), (ACCESS_LIST, _access_list(0, 6))]
    kept = [(key, value) for key, value in kept if _set(path, key, value)]
    mode = stat.S_IMODE(path.stat().st_mode)
    seen: list[tuple[int, list[str]]] = []
    real = os.write

    def write(fd: int, data: bytes) -> int:
        seen.append((stat.S_IMODE(os.fstat(fd).st_mode), os.listxattr(fd)))
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    with opened(tmp_path) as directory:
        directory.replace("f", b"new", before=b"old")
    assert path.read_bytes() == b"new" and stat.S_IMODE(path.stat().st_mode) == mode
    for key, value in kept:
        assert os.getxattr(path, key) == value
    if ACCESS_LIST in dict(kept):
        assert seen == [(0o600, [])], "the group could read it meanwhile"


def test_replace_takes_no_access_list_from_the_directory(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    path.chmod(0o640)
    if not _set(tmp_path, "system.posix_acl_default", _access_list(6, 6)):
        return
    with opened(tmp_path) as directory:
        directory.replace("f", b"new", before=b"old")
    assert ACCESS_LIST not in os.listxattr(path) and stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_attributes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (tmp_path / "f").write_bytes(b"old")

    def none(fd: int) -> list[str]:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "listxattr", none)
    with opened(tmp_path) as directory:
        directory.replace("f", b"new", before=b"old")
    assert (tmp_path / "f").read_bytes() == b"new"


@pytest.mark.parametrize("ask", [Directory.names, lambda d: d.lstat("f"), lambda d: list(d.entries())])
def test_a_directory_that_cannot_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Directory], object]
) -> None:
    """What takes steps back goes on after a PhoenixError and no other."""

    def broken(*_: object, **__: object) -> object:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with opened(tmp_path) as directory:
        monkeypatch.setattr(os, "listdir", broken)
        monkeypatch.setattr(os, "stat", broken)
        with pytest.raises(PhoenixError, match="Input/output error"):
            ask(directory)


def test_a_leftover_temporary_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / temporary_name("f")).write_bytes(b"half")
    with opened(tmp_path) as directory:
        directory.replace("f", b"x", before=None, mode=0o644)
    assert os.listdir(tmp_path) == ["f"]


def test_a_file_whose_size_is_not_known() -> None:
    """Files of /proc and securityfs have size 0, whatever they hold."""
    with opened(Path("/proc")) as directory:
        assert directory.read("version") == Path("/proc/version").read_bytes() != b""
        with pytest.raises(PhoenixError, match="over 3 bytes"):
            directory.read("version", 3)


def test_content_is_what_a_reader_that_follows_links_finds(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_bytes(b"x")
    (tmp_path / "to-file").symlink_to("/d/f")
    (tmp_path / "to-folder").symlink_to("d")
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "nowhere").symlink_to("none")
    os.mkfifo(tmp_path / "pipe")
    host = Host(str(tmp_path))
    assert host.content("/to-file") == host.content("/to-folder/f") == b"x"
    assert host.content("/to-folder") == host.content("/d/") == ["f"]
    for name in ("round", "nowhere", "pipe", "none/x"):
        assert host.content(f"/{name}") is None


def test_links_devices_and_sizes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"x" * 100)
    (tmp_path / "link").symlink_to("target")
    os.mkfifo(tmp_path / "pipe")
    with opened(tmp_path) as directory:
        with pytest.raises(PhoenixError, match="symbolic link"):
            directory.read("link")
        with pytest.raises(PhoenixError, match="regular"):
            directory.read("pipe")
        with pytest.raises(PhoenixError, match="over 50 bytes"):
            directory.read("target", 50)
        with pytest.raises(PhoenixError, match="symbolic link"):
            directory.replace("link", b"y", before=b"x" * 100)
        assert directory.read("missing") is None
    assert (tmp_path / "target").read_bytes() == b"x" * 100


def test_remove_only_while_it_is_what_was_seen(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"new")
    with opened(tmp_path) as directory:
        with pytest.raises(ChangedMeanwhile):
            directory.remove("f", before=b"old")
        directory.remove("f", before=b"new")
    assert os.listdir(tmp_path) == []


def test_a_lock_waits_a_bounded_time(tmp_path: Path) -> None:
    path = str(tmp_path / "run/lock")
    with exclusive(path, timeout=1, what="x"):
        caught: list[BaseException] = []

        def second() -> None:
            try:
                with exclusive(path, timeout=0.1, what="the lock"):
                    pass
            except PhoenixError as error:
                caught.append(error)

        thread = threading.Thread(target=second)
        thread.start()
        thread.join(10)
        assert "the lock is held by another process" in str(caught[0])
    with exclusive(path, timeout=1, what="x"):
        pass


def test_a_lock_whose_file_was_replaced_is_taken_anew(tmp_path: Path) -> None:
    """Who waits for a file that is removed meanwhile must not think that it holds the lock."""
    path = tmp_path / "run/lock"
    states: list[str] = []

    def second() -> None:
        with exclusive(str(path), timeout=60, what="x", private=True):
            states.append("second" if is_held(str(path)) else "nothing")

    def holders() -> int:
        targets = []
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                targets.append(os.readlink(f"/proc/self/fd/{fd}"))
        return targets.count(str(path))

    with exclusive(str(path), timeout=1, what="x", private=True):
        thread = threading.Thread(target=second)
        thread.start()
        end = time.monotonic() + 60
        while holders() < 2:
            assert time.monotonic() < end, "nobody waits for it"
            time.sleep(0.01)
        path.unlink()
    thread.join(60)
    assert states == ["second"]


def test_processes_get_a_plain_environment_and_a_bound(tmp_path: Path) -> None:
    runner = ProcessRunner({"PATH": os.environ["PATH"], "LANG": "de_DE.UTF-8", "LC_MESSAGES": "de"})
    done = runner.run(["env"])
    assert b"LC_ALL=C" in done.stdout and b"LANG" not in done.stdout and b"LC_MESSAGES" not in done.stdout
    assert runner.run(["cat"], input=b"x").stdout == b"x"
    assert runner.run(["sh", "-c", "cat; exit 3"]).returncode == 3
    with pytest.raises(PhoenixError, match="did not finish"):
        runner.run(["sleep", "60"], timeout=0.2)
    with pytest.raises(PhoenixError, match="not installed"):
        runner.run(["phoenix-no-such-program"])


def test_programs_in_sbin_are_found_whatever_path_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cron's PATH is /usr/bin:/bin, and an ordinary user's has no sbin either."""
    program = tmp_path / "sbin" / "phoenix-test-program"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$PATH"\n')
    program.chmod(0o755)
    monkeypatch.setattr(process, "SBIN", (str(program.parent),))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert process.find_program("phoenix-test-program") == str(program)
    for environment in (None, {"PATH": "/usr/bin:/bin"}, {}):
        done = ProcessRunner(environment).run(["phoenix-test-program"])
        assert done.stdout.decode().strip().endswith(f":{program.parent}"), "and what it runs finds it too"
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin")
    assert process.search_path() == f"{program.parent}:/usr/bin"


def test_the_kernel_of_a_directory(tmp_path: Path) -> None:
    kernel = Kernel(Root(str(tmp_path)))
    containers = LibLxc(Host(str(tmp_path)))
    assert kernel.loaded_profiles() is None
    assert containers.processes() is None
    securityfs = tmp_path / "sys/kernel/security/apparmor"
    securityfs.mkdir(parents=True)
    (securityfs / "profiles").write_text("lxc-a (enforce)\n/usr/bin/man (complain)\nodd (name) (kill)\n")
    assert kernel.loaded_profiles() == {"lxc-a": "enforce", "/usr/bin/man": "complain", "odd (name)": "kill"}
    (tmp_path / "var/lib/lxc/952-2").mkdir(parents=True)
    for pid, cgroup, nspid, label in (
        (10, "0::/lxc/950/ns", "10 1", "lxc-a (enforce)\n"),
        (11, "0::/lxc/950/ns/system.slice/x", "11 7", "unconfined\n"),
        (12, "0::/lxc/950/ns/lxc.payload.951", "12 9 1", "lxc-b (enforce)\n"),
        (13, "0::/lxc.payload.952", "13 1", "lxc-c (enforce)\n"),
        (14, "0::/lxc.monitor/950", "14", "unconfined\n"),
        (15, "0::/user.slice", "15", "unconfined\n"),
        # Anybody may name a cgroup of their own like another container.
        (16, "0::/lxc/950/ns/lxc/999", "16 7", "lxc-a (enforce)\n"),
        (17, "0::/user.slice/user-1000.slice/lxc.payload.952", "17", "unconfined\n"),
        (18, "0::/system.slice/x.service/lxc/950/ns", "18", "unconfined\n"),
        (19, "1:name=systemd:/lxc/950/ns\n0::/", "19 8", "lxc-a (enforce)\n"),
        (20, "0::/lxc/9500x", "20", "unconfined\n"),
        # Left by LXC where the name was taken, and containers whose names only look so.
        (21, "0::/lxc.payload.952-1/x", "21 7", "lxc-c (enforce)\n"),
        (22, "0::/lxc.payload.952-web", "22 1", "unconfined\n"),
        (23, "0::/lxc.payload.952-2", "23 1", "unconfined\n"),
        (24, "0::/lxc.payload.952-2-1", "24 7", "unconfined\n"),
    ):
        process = tmp_path / f"proc/{pid}"
        (process / "attr/apparmor").mkdir(parents=True)
        (process / "cgroup").write_text(cgroup + "\n")
        (process / "status").write_text(f"Name:\tx\nNSpid:\t{nspid}\n")
        (process / "attr/apparmor/current").write_text(label)
    found = containers.processes()
    assert found is not None
    assert {name: [p.pid for p in ps] for name, ps in found.items()} == {
        "950": [10, 11, 12, 16, 19],
        "952": [13, 21],
        "952-web": [22],
        "952-2": [23, 24],
    }
    assert [(p.pid, p.is_init, p.depth) for p in found["950"][:3]] == [
        (10, True, 2),
        (11, False, 2),
        (12, True, 3),
    ]
    assert kernel.labels()[14] == "unconfined"


def test_a_missing_directory_is_none(tmp_path: Path) -> None:
    host = Host(str(tmp_path))
    assert host.directory("/etc/none") is None
    assert host.read("/etc/none/x") is None
    assert not host.is_live


def test_a_process_may_clean_up_before_it_is_killed(tmp_path: Path) -> None:
    """`pct` ends its worker, which lives in a session of its own, only when it is asked to end itself."""
    done, ready = tmp_path / "done", tmp_path / "ready"
    script = f"trap 'echo clean > {done}; exit 1' TERM; : > {ready}; sleep 90 & wait"
    for timeout in (0.3, 3, 30):
        with pytest.raises(PhoenixError, match="did not finish"):
            ProcessRunner().run(["sh", "-c", script], timeout=timeout)
        if ready.exists():
            break  # Else it was ended before it had begun.
    assert done.read_text() == "clean\n"


def test_a_process_that_will_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phoenix_hypervisor.host.process.GRACE", 0.2)
    with pytest.raises(PhoenixError, match="did not finish"):
        ProcessRunner().run(["sh", "-c", "trap '' TERM; sleep 60"], timeout=0.2)


def test_what_keeps_the_pipes_open_does_not_count(tmp_path: Path) -> None:
    """A hook that stays in the background: the program itself has ended, and well."""
    script = f"echo said; setsid sleep 90 & echo $! > {tmp_path}/pid; exit 3"
    for timeout in (0.5, 5, 50):
        try:
            done = ProcessRunner().run(["sh", "-c", script], timeout=timeout)
        except PhoenixError:
            if timeout == 50:
                raise
            continue  # A machine so busy that the shell itself has not ended.
        os.kill(int((tmp_path / "pid").read_text()), 9)
        break
    assert (done.returncode, done.stdout) == (3, b"said\n")


def test_what_came_just_before_a_log_was_put_away_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer adds a line after the last read, then renames the file and begins a new one."""
    path, really = tmp_path / "log", os.stat
    path.write_bytes(b"")
    growing = Growing(str(path))

    def stat(name: str, **how: bool) -> os.stat_result:
        monkeypatch.undo()
        path.write_bytes(b"last of the old\n")
        path.rename(tmp_path / "log.1")
        path.write_bytes(b"first of the new\n")
        return really(name, **how)

    monkeypatch.setattr(os, "stat", stat)
    assert growing.read() == b"last of the old\n"
    assert growing.read() == b"first of the new\n"
    growing.close()
