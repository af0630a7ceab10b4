"""Which containers a word names: CTIDs, names, lists, ranges."""

from __future__ import annotations

import pytest

from phoenix_hypervisor.errors import UsageError
from phoenix_hypervisor.plan.chosen import are_ctids, choose, read, shortest

NAMES = {"103": "pihole", "104": "Gitea", "110": "web-1", "107": "", "1000": "db", "1001": "db", "1002": "DB"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["103"], ["103"]),
        (["999"], ["999"]),
        (["104,103"], ["104", "103"]),
        (["103,", "104"], ["103", "104"]),
        (["103-110"], ["103", "104", "107", "110"]),
        (["100-104,107"], ["103", "104", "107"]),
        (["110", "103-110"], ["110", "103", "104", "107"]),
        (["pihole"], ["103"]),
        (["PiHole", "103"], ["103"]),
        (["gitea,web-1"], ["104", "110"]),
        (["DB"], ["1002"]),
        ([], []),
    ],
)
def test_what_is_named(words: list[str], expected: list[str]) -> None:
    assert list(choose(read(words), NAMES)) == expected


@pytest.mark.parametrize(
    ("word", "message", "hint"),
    [
        ("99", "'99' is not a CTID", "name a CTID"),
        ("0103", "'0103' is not a CTID", "name a CTID"),
        ("103,99", "'99' is not a CTID", "name a CTID"),
        (",", "',' is not a CTID", "name a CTID"),
        ("", "'' is not a CTID", "name a CTID"),
        ("../103", "'../103' is not a CTID", "name a CTID"),
        ("103\n", "is not a CTID", "name a CTID"),
        ("９５０", "is not a CTID", "name a CTID"),
        ("pihol", "'pihol' is not a CTID, nor the name", "did you mean pihole (103)?"),
        ("gittea", "'gittea' is not a CTID, nor the name", "did you mean Gitea (104)?"),
        ("nothing-like-it", "nor the name of a container", "name a CTID"),
        ("db", "containers 1000, 1001", "CTID"),
        ("110-103", "the range 110-103 ends before it begins", "103-110"),
        ("200-300", "no container in 200-300", "there are 103, 104"),
        ("1-5", "'1-5' is not a CTID, nor the name", "name a CTID"),
    ],
)
def test_what_names_none_or_several(word: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose(read([word]), NAMES if word != "db" else {**NAMES, "1000": "db", "1001": "db"})
    assert message in caught.value.message and hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("ctids", "word"),
    [
        ("103", "103"),
        ("103 104", "103,104"),
        ("107 104 103 105", "103-105,107"),
        ("999 1000 1001", "999-1001"),
    ],
)
def test_the_shortest_word_for_some(ctids: str, word: str) -> None:
    assert shortest(ctids.split()) == word
    names = {str(ctid): "" for ctid in range(100, 1100)}
    assert sorted(choose(read([word]), names)) == sorted(ctids.split())


def test_no_name_need_be_known_for_ctids() -> None:
    assert are_ctids(read(["103,104", "950"]))
    assert not are_ctids(read(["103-104"])) and not are_ctids(read(["pihole"]))


def test_a_host_with_many_containers_is_not_listed_whole() -> None:
    with pytest.raises(UsageError) as caught:
        choose(("900-901",), {str(ctid): "" for ctid in range(100, 126)})
    assert caught.value.hint is not None and caught.value.hint.endswith("109 and 16 more")
