"""Files of the host: what is read, replaced and removed, to the last attribute."""

from __future__ import annotations

import errno
import gc
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.files import (
    MAX_FILE,
    ChangedMeanwhile,
    Directory,
    explain,
    hint_for,
    make_directories,
    open_to_others,
    temporary_name,
)
from support.places import broken, mode_of

# What is said -----------------------------------------------------------------------


def test_an_error_is_explained_with_its_next_step() -> None:
    for number, words, hint in (
        (errno.ELOOP, "symbolic link", "place of the link"),
        (errno.EFBIG, "too large", None),
        (errno.ENOSPC, "no space left", "make room"),
        (errno.EROFS, "read-only", None),
        (errno.EACCES, "Permission denied", "as root"),
        (errno.EPERM, "Operation not permitted", "as root"),
        (errno.EIO, "Input/output error", None),
    ):
        error = OSError(number, os.strerror(number))
        assert words in explain(error)
        said = hint_for(error)
        assert said is None if hint is None else said is not None and hint in said
    assert explain(OSError("only words")) == "only words"
    assert hint_for(OSError("only words")) is None


def test_what_everybody_can_write_is_open_to_others(tmp_path: Path) -> None:
    for mode, expected in ((0o775, None), (0o1777, "(mode 1777)"), (0o702, "(mode 0702)")):
        tmp_path.chmod(mode)
        said = open_to_others(tmp_path.stat())
        assert said is None if expected is None else said is not None and said.endswith(expected)
        with Directory("/d", str(tmp_path), "/d") as directory:
            assert directory.open_to_others() == said
    tmp_path.chmod(0o755)


@pytest.mark.parametrize("name", ["link", "pipe", "large"])
def test_an_error_names_the_file_as_it_is_shown(folder: Directory, tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to("x")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"1234")
    with pytest.raises(PhoenixError) as caught:
        folder.read(name, 3)
    assert caught.value.where == f"ROOT/etc/x/{name}"
    assert caught.value.hint


@pytest.mark.parametrize(
    ("call", "where"),
    [
        ("listdir", "ROOT/etc/x"),
        ("stat", "ROOT/etc/x/f"),
        ("read", "ROOT/etc/x/f"),
        ("pread", "ROOT/etc/x/f"),
        ("unlink", "ROOT/etc/x/f"),
    ],
)
def test_an_error_of_the_file_system_is_one_of_ours(
    folder: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, where: str
) -> None:
    (tmp_path / "f").write_bytes(b"x")
    ask: dict[str, Callable[[], object]] = {
        "listdir": folder.names,
        "stat": lambda: folder.lstat("f"),
        "read": lambda: folder.read("f"),
        "pread": lambda: folder.tail("f", 1),
        "unlink": lambda: folder.remove("f"),
    }
    monkeypatch.setattr(os, call, broken(errno.EACCES))
    with pytest.raises(PhoenixError) as caught:
        ask[call]()
    monkeypatch.undo()
    assert caught.value.where == where
    assert caught.value.hint == "run it as root"
    prefix = "cannot remove: " if call == "unlink" else ""
    assert caught.value.message == prefix + "Permission denied"


# Reading ----------------------------------------------------------------------------


def test_a_file_of_just_the_limit_is_read(folder: Directory, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"123")
    assert folder.read("f", 3) == b"123"
    with pytest.raises(PhoenixError, match="over 2 bytes"):
        folder.read("f", 2)
    assert MAX_FILE == 4 * 1024 * 1024


def test_a_file_that_comes_in_parts_is_read_whole(
    folder: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_bytes(b"123456789")
    real = os.read
    monkeypatch.setattr(os, "read", lambda fd, size: real(fd, min(size, 2)))
    assert folder.read("f") == b"123456789"
    assert folder.read("f", 9) == b"123456789"


def test_a_file_that_grows_over_the_limit_while_it_is_read_is_refused(
    folder: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_bytes(b"12")
    parts = iter([b"12", b"3", b"4", b""])
    monkeypatch.setattr(os, "read", lambda fd, size: next(parts))
    with pytest.raises(PhoenixError, match="over 3 bytes"):
        folder.read("f", 3)


def test_the_end_of_a_file(folder: Directory, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"123456")
    (tmp_path / "link").symlink_to("f")
    assert folder.tail("f", 2) == b"56"
    assert folder.tail("f", 6) == folder.tail("f", 9) == b"123456"
    assert folder.tail("none", 2) == b""
    with pytest.raises(PhoenixError, match="symbolic link") as caught:
        folder.tail("link", 2)
    assert (caught.value.where, caught.value.hint) == (
        "ROOT/etc/x/link",
        "put the file itself in the place of the link",
    )


def test_no_file_descriptor_stays_open(folder: Directory, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    gc.collect()  # What other tests left in rings.
    before = os.listdir("/proc/self/fd")
    folder.read("f")
    folder.tail("f", 1)
    folder.replace("f", b"y", before=b"x")
    folder.remove("f", before=b"y")
    make_directories(str(tmp_path / "d"), 0o700)
    with pytest.raises(PhoenixError):
        folder.read("pipe")
    assert len(os.listdir("/proc/self/fd")) == len(before)


# Replacing --------------------------------------------------------------------------


def test_a_new_file_is_for_its_owner_and_group_only_unless_a_mode_is_given(
    folder: Directory, tmp_path: Path
) -> None:
    old = os.umask(0)
    try:
        folder.replace("f", b"x", before=None)
        folder.replace("g", b"x", before=None, mode=0o666)
    finally:
        os.umask(old)
    assert (mode_of(tmp_path / "f"), mode_of(tmp_path / "g")) == (0o640, 0o666)


def test_a_mode_that_is_given_counts_over_the_old_one(folder: Directory, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    (tmp_path / "f").chmod(0o600)
    folder.replace("f", b"new", before=b"old", mode=0o644)
    assert mode_of(tmp_path / "f") == 0o644


def test_a_mode_and_an_owner_are_set_only_where_they_differ(
    folder: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/etc/pve refuses chmod and chown to anything but its own."""
    (tmp_path / "f").write_bytes(b"old")
    (tmp_path / "f").chmod(0o640)
    monkeypatch.setattr(os, "fchmod", broken(errno.EPERM))
    monkeypatch.setattr(os, "fchown", broken(errno.EPERM))
    old = os.umask(0o022)
    try:
        folder.replace("f", b"new", before=b"old")
    finally:
        os.umask(old)
    assert (tmp_path / "f").read_bytes() == b"new"


def test_the_owner_is_kept_or_the_one_that_is_given(
    folder: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "fchown", lambda fd, user, group: asked.append((user, group)))
    me = (os.getuid(), os.getgid())
    folder.replace("f", b"x", before=None, mode=0o600, owner=(me[0], me[1] + 1))
    folder.replace("f", b"y", before=b"x", mode=0o600, owner=(me[0] + 1, me[1]))
    folder.replace("f", b"z", before=b"y", mode=0o600, owner=me)
    folder.replace("f", b"0", before=b"z", mode=0o600)
    assert asked == [(me[0], me[1] + 1), (me[0] + 1, me[1])]
    real = os.stat

    def owned(*words: Any, **more: Any) -> os.stat_result:
        found = list(real(*words, **more))
        found[4:6] = 1234, 5678
        return os.stat_result(found)

    monkeypatch.setattr(os, "stat", owned)
    folder.replace("f", b"1", before=b"0", owner=me)
    assert asked[2:] == [(1234, 5678)], "keeping the mode is keeping the owner"


def test_a_file_that_is_written_in_parts_is_written_whole(
    folder: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:2]))
    folder.replace("f", b"123456789", before=None)
    assert (tmp_path / "f").read_bytes() == b"123456789"


def test_the_order_of_a_replacement(
    folder: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes are on disk before the name is, and the name before anything is said."""
    (tmp_path / "f").write_bytes(b"old")
    done: list[str] = []
    fsync, rename = os.fsync, os.replace

    def synced(fd: int) -> None:
        done.append("directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
        fsync(fd)

    def renamed(*words: Any, **more: Any) -> None:
        assert (words, more) == (
            (temporary_name("f"), "f"),
            {"src_dir_fd": folder.fd, "dst_dir_fd": folder.fd},
        )
        done.append("rename")
        rename(*words, **more)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    folder.replace("f", b"new", before=b"old")
    folder.remove("f")
    assert done == ["file", "rename", "directory", "directory"]


def test_a_directory_that_cannot_be_synced_fails_no_step(
    folder: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: broken(errno.EIO)() if stat.S_ISDIR(os.fstat(fd).st_mode) else real(fd)
    )
    folder.replace("f", b"new", before=None)
    folder.remove("f")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_replacement_that_fails_leaves_the_old_file_and_nothing_else(
    folder: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    (tmp_path / "f").write_bytes(b"old")
    monkeypatch.setattr(os, call, broken(errno.ENOSPC))
    with pytest.raises(PhoenixError) as caught:
        folder.replace("f", b"new", before=b"old")
    monkeypatch.undo()
    assert caught.value.message == "cannot write: no space left"
    assert (caught.value.where, caught.value.hint) == ("ROOT/etc/x/f", "make room there")
    assert os.listdir(tmp_path) == ["f"] and (tmp_path / "f").read_bytes() == b"old"


def test_what_somebody_changed_is_named_and_left(folder: Directory, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"theirs")
    changes: list[Callable[[], None]] = [
        lambda: folder.replace("f", b"new", before=b"old"),
        lambda: folder.remove("f", before=b"old"),
    ]
    for change in changes:
        with pytest.raises(ChangedMeanwhile) as caught:
            change()
        assert caught.value.where == "ROOT/etc/x/f"
        assert caught.value.code == "changed-meanwhile"
        assert caught.value.hint == "run the command again"
        assert "someone else" in caught.value.message
    assert os.listdir(tmp_path) == ["f"]


def test_a_file_larger_than_we_read_otherwise_is_compared_whole(folder: Directory, tmp_path: Path) -> None:
    """It was that large when it was read, so it may be that large when it is replaced."""
    large = b"x" * (MAX_FILE + 1)
    (tmp_path / "f").write_bytes(large)
    folder.replace("f", large + b"y", before=large)
    folder.remove("f", before=large + b"y")
    assert os.listdir(tmp_path) == []


def test_hashes_of_the_old_bytes_are_not_kept(folder: Directory, tmp_path: Path) -> None:
    """IMA's and EVM's would refuse the new ones."""
    (tmp_path / "f").write_bytes(b"old")
    try:
        for key in ("security.ima", "security.other", "user.kept"):
            os.setxattr(tmp_path / "f", key, b"v")
    except OSError:
        pytest.skip("this file system or this user may not set security attributes")
    folder.replace("f", b"new", before=b"old")
    assert sorted(os.listxattr(tmp_path / "f")) == ["security.other", "user.kept"]
    folder.replace("f", b"newer", before=b"new", mode=0o600)
    assert os.listxattr(tmp_path / "f") == [], "a mode of its own: nothing is kept"


def test_a_label_that_the_kernel_gives_by_itself_is_left_to_it(
    folder: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_bytes(b"old")
    names = ["security.selinux"]
    monkeypatch.setattr(os, "listxattr", lambda fd: names)
    monkeypatch.setattr(os, "getxattr", lambda fd, key: b"v")
    monkeypatch.setattr(os, "setxattr", broken(errno.EPERM))
    folder.replace("f", b"new", before=b"old")
    assert (tmp_path / "f").read_bytes() == b"new"
    names[0] = "user.theirs"
    with pytest.raises(PhoenixError, match="Operation not permitted"):
        folder.replace("f", b"newer", before=b"new")


def test_an_error_that_says_more_than_that_there_are_no_attributes_counts(
    folder: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_bytes(b"old")
    monkeypatch.setattr(os, "listxattr", broken(errno.EIO))
    with pytest.raises(PhoenixError, match="cannot write: Input/output error"):
        folder.replace("f", b"new", before=b"old")
    assert (tmp_path / "f").read_bytes() == b"old"
