"""Directories of the host: how they are made, held open, and listed."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from phoenix_hypervisor.host.files import (
    Directory,
    make_directories,
)
from support.places import broken, mode_of


def test_missing_directories_are_made_with_just_the_mode_that_was_asked_for(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        make_directories(str(tmp_path / "a/b/c"), 0o750)
    finally:
        os.umask(old)
    assert [mode_of(tmp_path / name) for name in ("a", "a/b", "a/b/c")] == [0o755, 0o755, 0o750]
    make_directories(str(tmp_path / "a/b"), 0o700)
    assert mode_of(tmp_path / "a/b") == 0o755, "one that is there stays as it is"


def test_a_directory_keeps_the_group_bit_that_its_parent_hands_down(tmp_path: Path) -> None:
    (tmp_path / "g").mkdir()
    (tmp_path / "g").chmod(0o2755)
    old = os.umask(0o027)
    try:
        make_directories(str(tmp_path / "g/h"), 0o755)
    finally:
        os.umask(old)
    assert mode_of(tmp_path / "g/h") == 0o2755


def test_a_directory_whose_mode_is_right_is_not_changed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/etc/pve refuses chmod."""
    monkeypatch.setattr(os, "fchmod", broken(errno.EPERM))
    old = os.umask(0o022)
    try:
        make_directories(str(tmp_path / "a/b"), 0o755)
    finally:
        os.umask(old)
    assert mode_of(tmp_path / "a/b") == 0o755


def test_a_directory_that_somebody_else_makes_meanwhile_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = os.mkdir, []

    def mkdir(path: str, mode: int) -> None:
        made.append(path)
        if path.endswith("/b") and made.count(path) == 2:
            real(path, 0o701)
        real(path, mode)

    monkeypatch.setattr(os, "mkdir", mkdir)
    make_directories(str(tmp_path / "a/b"), 0o755)
    assert mode_of(tmp_path / "a/b") == 0o701, "whoever made it knows best"


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_stands_in_the_place_of_a_new_directory_is_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Whoever can write the parent may swap it before its mode is set."""
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)

    def mkdir(path: str, mode: int) -> None:
        Path(path).symlink_to(victim) if kind == "link" else Path(path).touch(0o600)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(OSError, match="Not a directory"):
        make_directories(str(tmp_path / "d"), 0o755)
    assert mode_of(victim) == 0o700


def test_a_directory_is_closed_once(tmp_path: Path) -> None:
    directory = Directory("/d", str(tmp_path), "/d")
    assert (directory.path, directory.real, directory.shown) == ("/d", str(tmp_path), "/d")
    fd = directory.fd
    assert os.fstat(fd).st_ino == tmp_path.stat().st_ino
    with directory as same:
        assert same is directory
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    assert directory.fd == -1
    directory.close()


def test_a_directory_that_is_forgotten_is_closed(tmp_path: Path) -> None:
    directory = Directory("/d", str(tmp_path), "/d")
    fd = directory.fd
    del directory
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_entries_are_sorted_and_links_stay_links(folder: Directory, tmp_path: Path) -> None:
    for name in "cab":
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "link").symlink_to("nowhere")
    assert [name for name, _ in folder.entries()] == ["a", "b", "c", "link"]
    info = dict(folder.entries())["link"]
    assert stat.S_ISLNK(info.st_mode)
    assert folder.lstat("none") is None


def test_a_name_that_vanishes_is_left_out(
    folder: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b").write_bytes(b"x")
    monkeypatch.setattr(os, "listdir", lambda fd: ["a", "b", "c"])
    assert [name for name, _ in folder.entries()] == ["b"]
