"""Files that are named as policy: pipes, and what can be none, each with its own words."""

from __future__ import annotations

import gzip
import lzma
import os
import threading
from pathlib import Path

import pytest

from phoenix_hypervisor.engine import policy_files
from phoenix_hypervisor.engine.policy_files import MAX_POLICY, read_file, require_content
from phoenix_hypervisor.errors import PhoenixError, UsageError
from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.reader import looks_compiled, read_policy
from unit.policy.samples import blob

_TEXT = b"profile x { }\n"


@pytest.fixture
def fifo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(policy_files, "NO_WRITER", 0.2)
    monkeypatch.setattr(policy_files, "SILENT", 0.2)
    os.mkfifo(tmp_path / "pipe")
    return str(tmp_path / "pipe")


def test_a_pipe_without_a_writer_does_not_block(fifo: str) -> None:
    with pytest.raises(PhoenixError, match="nobody writes to"):
        read_file(fifo)


def test_a_pipe_whose_writer_says_nothing_does_not_block(fifo: str) -> None:
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(fifo, os.O_WRONLY)
    try:
        with pytest.raises(PhoenixError, match="has sent nothing"):
            read_file(fifo)
    finally:
        os.close(writer)
        os.close(reader)


def test_a_pipe_is_read_to_its_end(fifo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_files, "NO_WRITER", 30.0)
    monkeypatch.setattr(policy_files, "SILENT", 30.0)
    pieces = [_TEXT, blob("sample-41") * 40]  # more than a pipe holds

    def write() -> None:
        with open(fifo, "wb") as file:
            for piece in pieces:
                file.write(piece)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert read_file(fifo) == b"".join(pieces)
    finally:
        thread.join()


def test_what_a_shell_hands_over_is_read() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as file:
        file.write(_TEXT)
    try:
        assert read_file(f"/dev/fd/{reader}") == _TEXT
    finally:
        os.close(reader)


def test_a_device_without_end_is_refused_at_the_limit() -> None:
    with pytest.raises(PhoenixError, match=f"over {MAX_POLICY} bytes"):
        read_file("/dev/zero")


def test_directories_and_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a directory"):
        read_file(str(tmp_path))
    with pytest.raises(UsageError, match="is not a file"):
        read_file(str(tmp_path / "no"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (gzip.compress(_TEXT, mtime=0), "compressed with gzip"),
        (lzma.compress(_TEXT), "compressed with xz"),
        (b"\x28\xb5\x2f\xfd\x20\x00", "compressed with Zstandard"),
    ],
)
def test_what_is_no_policy_is_named(data: bytes, words: str) -> None:
    with pytest.raises(PhoenixError, match=words) as caught:
        require_content(data, "it")
    assert caught.value.where == "it"


def test_sources_and_policy_are_let_through() -> None:
    for data in (_TEXT, blob("sample-41"), b"\x01\x03\0\0\0\0\0\0\x28\xb5\x2f\xfd"):
        require_content(data, "it")


@pytest.mark.parametrize("which", ["sample-308", "sample-41-permstable"])
def test_policy_that_is_cut_anywhere_is_said_to_be_cut(which: str) -> None:
    """Unless the cut is between two profiles, where what is left is whole."""
    whole = blob(which)
    names = read_policy(whole).names()
    for size in {*range(1, 60), *range(60, len(whole), 97)}:
        part = whole[:size]
        assert looks_compiled(part)
        try:
            assert read_policy(part).names() == names[: len(read_policy(part).names())]
        except PolicyError as error:
            assert "cut off" in error.message, (size, error.message)
