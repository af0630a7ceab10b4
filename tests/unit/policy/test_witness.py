"""What a difference or a failed test prints is what `phoenix policy query` takes."""

from __future__ import annotations

import subprocess

import pytest

from phoenix_hypervisor.cli.question import read_question
from phoenix_hypervisor.policy import constants
from phoenix_hypervisor.policy.diff import diff_policies
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.queries import FileQuery, show
from phoenix_hypervisor.policy.reader import read_policy
from support.typed import words_and_options
from unit.policy import tiny
from unit.policy.samples import policy


@pytest.mark.parametrize("first", constants.FILE_ACCESS_WORDS.values())
@pytest.mark.parametrize("second", constants.FILE_ACCESS_WORDS.values())
def test_every_access_is_written_as_it_is_read(first: int, second: int) -> None:
    assert constants.file_access(constants.file_letters(first | second)) == first | second


@pytest.mark.parametrize(
    "data", [b"/a", b"/a b", b"/'", b"/\xc3\xa4", b"/\xff\\", b"/\n\t\x7f'\"$(x)`", b"", bytes(range(1, 256))]
)
def test_a_shell_gives_back_every_byte(data: bytes) -> None:
    done = subprocess.run(["bash", "-c", f"printf %s {show(data)}"], capture_output=True, check=True)
    assert done.stdout == data


def arguments(text: str) -> tuple[list[str], dict[str, object]]:
    """The words and options that a shell makes of a witness."""
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {text}"], capture_output=True, check=True)
    given = done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]
    return words_and_options(given)


@pytest.mark.parametrize(
    ("a", "b"),
    [("sample-308", "sample-41"), ("mounts-308", "mounts-41"), ("network-308", "plain-308")],
)
def test_a_witness_is_the_question_itself(a: str, b: str) -> None:
    found = [one for one in diff_policies(policy(a), policy(b)) if one.query is not None]
    assert found
    for one in found:
        assert read_question(*arguments(one.witness)) == (None, one.query), one.witness


def test_a_witness_tells_two_policies_apart_where_each_allows_more() -> None:
    read, write = (
        read_policy(tiny.profile(tiny.dfa(tiny.tables(accept=[0, 0, bit | bit << 14])))) for bit in (4, 2)
    )
    (found,) = (one for one in diff_policies(read, write) if one.kind == "file")
    assert (found.only_a, found.only_b) == ("r", "write,create,delete,setattr,chmod,chown")
    assert isinstance(found.query, FileQuery)
    assert Evaluator(read.profiles[0]).ask(found.query).allowed
    assert not Evaluator(write.profiles[0]).ask(found.query).allowed


def test_a_mount_flag_without_a_name_is_read_as_it_is_written() -> None:
    assert constants.mount_flags(constants.mount_words(0xFFFFFFFF)) == 0xFFFFFFFF
