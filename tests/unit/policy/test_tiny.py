"""Tiny compiled policies: every check of the reader refuses what a kernel would refuse."""

from __future__ import annotations

from array import array

import pytest

from phoenix_hypervisor.policy.diff import diff_profiles
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.names import extents
from phoenix_hypervisor.policy.profile import Mode
from phoenix_hypervisor.policy.queries import RawQuery, UmountQuery
from phoenix_hypervisor.policy.reader import profile_names, read_policy
from unit.policy import tiny
from unit.policy.samples import blob

WIDE = [0] * 512


def test_a_tiny_profile_is_read_and_asked() -> None:
    (found,) = read_policy(tiny.profile(tiny.dfa())).profiles
    judge = Evaluator(found)
    assert judge.file(b"/x", "r").allowed
    assert not judge.file(b"/x", "w").allowed
    assert not judge.file(b"x", "r").allowed
    assert judge.ask(UmountQuery(b"/")).reason.value == "unmediated"


def test_the_automaton_may_stand_anywhere_in_the_stream() -> None:
    for size in range(9):
        title = b"lxc-" + b"x" * size
        single = tiny.profile(tiny.dfa(), title=title)
        # In a stream of several the compiler aligned each one to its own beginning.
        both = read_policy(tiny.profile(title=b"first" * (size + 1)) + single)
        assert Evaluator(both.profiles[1]).file(b"/x", "r").allowed


def test_difference_encoding_falls_back_on_another_state() -> None:
    content = tiny.tables(
        accept=[0, 0, 4, 2], base=[0, 0x80000000 | 256, 256, 0], default=[0, 3, 2, 0], accept2=[0] * 4
    )
    content[tiny.CHECK] = [3 if n == 0x2F else 1 if n == 256 + 0x61 else 0 for n in range(512)]
    content[tiny.NEXT] = [2 if n == 0x2F else 3 if n == 256 + 0x61 else 0 for n in range(512)]
    (found,) = read_policy(tiny.profile(tiny.dfa(content, flags=1))).profiles
    assert found.own_file is not None
    assert found.own_file.dfa.walk(1, b"/") == 2
    assert found.own_file.dfa.walk(1, b"a") == 3
    assert found.own_file.dfa.walk(1, b"b") == 0


BROKEN: dict[str, tuple[bytes, str]] = {
    "too short": (tiny.dfa()[:10], "too short"),
    "magic": (tiny.dfa(magic=1), "magic"),
    "flags": (tiny.dfa(flags=4), "unknown flags"),
    "header size": (tiny.dfa(header_size=1 << 30), "header cut off"),
    "small header": (tiny.dfa(header_size=4), "header cut off"),
    "table cut off": (tiny.dfa(extra=b"\0\1\0\4\0\0\0\0"), "table cut off"),
    "table twice": (tiny.dfa(extra=tiny.table(1, [0, 0, 0])), "twice"),
    "unknown table": (tiny.dfa(extra=tiny.table(1, [0], 4).replace(b"\0\1", b"\0\6", 1)), "table 6"),
    "width": (tiny.dfa(extra=tiny.table(1, [0, 0, 0], 2)), "width 2"),
    "empty table": (tiny.dfa(extra=tiny.table(tiny.EC, [])), "cut off"),
    "no check table": (tiny.dfa(tiny.tables(check=[])), "lacks table 3"),
    "no accept2": (tiny.dfa(tiny.tables(accept2=[])), "lacks table 7"),
    "accept length": (tiny.dfa(tiny.tables(accept=[0, 0])), "different lengths"),
    "accept2 length": (tiny.dfa(tiny.tables(accept2=[0, 0])), "different lengths"),
    "default length": (tiny.dfa(tiny.tables(default=[0, 0])), "different lengths"),
    "next length": (tiny.dfa(tiny.tables(next=WIDE[1:])), "different lengths"),
    "one state": (tiny.dfa(tiny.tables(accept=[0], base=[0], default=[0], accept2=[0])), "without states"),
    "default range": (tiny.dfa(tiny.tables(default=[0, 0, 3])), "does not exist"),
    "next range": (tiny.dfa(tiny.tables(next=[3, *WIDE[1:]])), "does not exist"),
    "check range": (tiny.dfa(tiny.tables(check=[9, *WIDE[1:]])), "does not exist"),
    "base range": (tiny.dfa(tiny.tables(base=[0, 0, 257])), "beyond its transitions"),
    "base flags": (tiny.dfa(tiny.tables(base=[0, 0, 0x40000000])), "invalid flags"),
    "diff without header": (tiny.dfa(tiny.tables(base=[0, 0, 0x80000000])), "invalid flags"),
    "diff base range": (tiny.dfa(tiny.tables(base=[0, 0x80000000, 257]), flags=1), "beyond"),
    "diff circle": (
        tiny.dfa(tiny.tables(base=[0, 0x80000000, 0x80000000], default=[0, 2, 1]), flags=1),
        "circle",
    ),
    "diff of itself": (tiny.dfa(tiny.tables(base=[0, 0, 0x80000000]), flags=1), "circle"),
    "out of band": (tiny.dfa(tiny.tables(base=[0, 0, 0x20000000]), flags=2), "out-of-band"),
    "ec length": (tiny.dfa(tiny.tables(ec=[0] * 255)), "are not 256"),
    "exec transition": (tiny.dfa(tiny.tables(accept=[0, 0, 4 << 10])), "exec transition out of range"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_automata_are_refused(case: str) -> None:
    automaton, words = BROKEN[case]
    data = tiny.profile(automaton)
    assert profile_names(data) == ["lxc-tiny"]
    with pytest.raises(PolicyError, match=words):
        read_policy(data)


ENTRY = tiny.u32(0) * 14
TABLE_DFA = tiny.dfa(tiny.tables(accept2=[], accept=[0, 0, 0]))


def perms(*entries: bytes) -> bytes:
    count = len(entries).to_bytes(2, "little")
    content = name_version(1) + b"\x0b" + count + b"".join(entries) + b"\x0c"
    return tiny.struct_of(b"perms", content)


def name_version(version: int) -> bytes:
    return tiny.name(b"version") + tiny.u32(version)


def words_of(text: str) -> list[str]:
    return text.split()


def entry(**words: int) -> bytes:
    order = words_of(
        "reserved allow deny subtree cond kill complain prompt audit quiet hide xindex tag label"
    )
    return b"".join(tiny.u32(words.get(word, 0)) for word in order)


LIMITS = tiny.array_of(*[b"\3" + b"\0" * 8] * 17)

PARTS: dict[str, tuple[bytes, str]] = {
    "mode": (tiny.profile(mode=7), "unknown profile mode 7"),
    "no flags": (tiny.HEADER + tiny.struct_of(b"profile", tiny.string(b"a")), "flags expected"),
    "perms version": (
        tiny.profile(middle=tiny.struct_of(b"perms", name_version(2), tiny.array_of(ENTRY))),
        "version 2",
    ),
    "perms alone": (tiny.profile(middle=perms(ENTRY)), "without an automaton"),
    "perms cut off": (
        tiny.profile(middle=tiny.struct_of(b"perms", name_version(1), b"\x0b\xff\xff", ENTRY)),
        "cut off",
    ),
    "perms contradict": (tiny.profile(TABLE_DFA, middle=perms(entry(allow=1, deny=1))), "contradict"),
    "perms kill": (tiny.profile(TABLE_DFA, middle=perms(entry(allow=1, kill=1))), "contradict"),
    "perms cond": (tiny.profile(TABLE_DFA, middle=perms(entry(deny=1, cond=1))), "contradict"),
    "perms subtree": (tiny.profile(TABLE_DFA, middle=perms(entry(subtree=1))), "contradict"),
    "perms prompt": (tiny.profile(TABLE_DFA, middle=perms(entry(complain=1, prompt=1))), "contradict"),
    "perms xindex": (tiny.profile(TABLE_DFA, middle=perms(entry(xindex=0x08000000))), "exec transition"),
    "perms tag": (tiny.profile(TABLE_DFA, middle=perms(entry(tag=1))), "tag out of range"),
    "perms index": (
        tiny.profile(tiny.dfa(tiny.tables(accept2=[], accept=[0, 0, 1])), middle=perms(ENTRY)),
        "index out of range",
    ),
    "both encodings": (tiny.profile(tiny.dfa(), middle=perms(ENTRY)), "both encodings"),
    "start": (tiny.profile(tiny.dfa(), tail=tiny.name(b"start") + tiny.u32(3)), "start state"),
    "dfa start": (tiny.profile(tiny.dfa(), tail=tiny.name(b"dfa_start") + tiny.u32(9)), "start state"),
    "policydb": (tiny.profile(middle=tiny.name(b"policydb") + b"\x07\x08"), "policydb without"),
    "rlimits": (
        tiny.profile(middle=tiny.struct_of(b"rlimits", tiny.u32(0), LIMITS)),
        "17 rlimits",
    ),
    "xtable space": (
        tiny.profile(tiny.dfa(), tail=tiny.struct_of(b"xtable", tiny.array_of(tiny.string(b" a")))),
        "transition name",
    ),
    "xtable colon": (
        tiny.profile(tiny.dfa(), tail=tiny.struct_of(b"xtable", tiny.array_of(tiny.string(b":")))),
        "transition name",
    ),
    "xtable NUL": (
        tiny.profile(tiny.dfa(), tail=tiny.struct_of(b"xtable", tiny.array_of(tiny.string(b"a\0b")))),
        "transition name",
    ),
    "data": (
        tiny.profile(tail=tiny.struct_of(b"data", tiny.string(b"k"))),
        "bad profile data",
    ),
    "trailing": (tiny.profile()[:-1] + tiny.u32(1) + b"\x08", "end of the profile expected"),
}


@pytest.mark.parametrize("case", PARTS)
def test_broken_parts_are_refused(case: str) -> None:
    data, words = PARTS[case]
    with pytest.raises(PolicyError, match=words):
        read_policy(data)


def flagged(accept2: list[int], *entries: bytes, version: int = 3, tags: bytes = b"") -> bytes:
    """A file automaton with a permission table and, where `accept2` is given, flags beside it."""
    table = tiny.dfa(tiny.tables(accept=[0, 0, 1], accept2=accept2))
    return tiny.profile(table, middle=tags + perms(*entries) + tiny.name(b"permsv") + tiny.u32(version))


def test_flags_beside_a_table_tell_the_owner() -> None:
    entries = (ENTRY, entry(allow=6), entry(allow=4))
    tags = tiny.struct_of(b"tags", name_version(1), tiny.struct_of(b"strs", tiny.array_of(tiny.string(b"a"))))
    for flags, others in (([0, 0, 1], 4), ([0, 0, 0], 6)):
        (found,) = read_policy(flagged(flags, *entries, tags=tags)).profiles
        file = found.own_file
        assert file is not None and file.flagged
        assert file.file_perms(2, owner=True).allow == 6
        assert file.file_perms(2, owner=False).allow == others
    with pytest.raises(PolicyError, match="lacks table 7"):
        read_policy(flagged([], *entries))
    with pytest.raises(PolicyError, match="both encodings"):
        read_policy(flagged([0, 0, 1], *entries, version=2))


def test_a_table_without_flags_is_read_differently_by_newer_kernels() -> None:
    (found,) = read_policy(flagged([], ENTRY, entry(allow=6), entry(allow=4), version=2)).profiles
    asked = RawQuery(2, b"/", 1000)
    assert Evaluator(found).raw(asked, (6, 12)).allow == 4
    assert Evaluator(found).raw(asked, (7, 2)).allow == 6


def test_rare_parts_are_read() -> None:
    middle = (
        tiny.struct_of(b"capsx", tiny.u32(1), tiny.u32(2))
        + tiny.struct_of(b"xattrs", tiny.array_of(tiny.string(b"user.x")))
        + tiny.struct_of(b"secmark", tiny.array_of(b"\0\1\0\0" + tiny.string(b"web")))
    )
    tail = tiny.struct_of(
        b"xtable", tiny.array_of(tiny.string(b":ns\0name"), tiny.string(b"&stack"))
    ) + tiny.struct_of(b"data", tiny.string(b"key"), b"\x06\x02\0\0\0ab")
    (found,) = read_policy(tiny.profile(tiny.dfa(), middle=middle, tail=tail, mode=2)).profiles
    assert found.mode is Mode.KILL
    assert found.capabilities.extended == 1 | 2 << 32
    assert found.xattrs == (b"user.x",)
    assert found.secmark == ((1, 0, b"web"),)
    assert found.data == {b"key": b"ab"}
    assert found.own_file is not None
    assert found.own_file.transitions == (b":ns:name", b"&stack")
    assert not Evaluator(found).file(b"/x", "w").allowed


def test_a_namespace_holds_for_the_profiles_behind_it() -> None:
    head = tiny.HEADER + tiny.name(b"namespace") + tiny.string(b"ns")
    data = tiny.profile(title=b"a", head=head) + tiny.profile(title=b"b")
    assert profile_names(data) == [":ns:a", ":ns:b"]
    assert read_policy(data).names() == [":ns:a", ":ns:b"]
    assert [p.extent for p in read_policy(data).profiles] == extents(data)


def test_a_complaining_profile_goes_on_executing_what_a_rule_denies() -> None:
    profile = read_policy(blob("sample-308")).get("lxc-b")
    assert profile.own_file is not None
    state = profile.own_file.dfa.walk(1, b"/d")
    assert isinstance(profile.own_file.dfa.accept2, array)
    profile.own_file.dfa.accept2[state] |= 1 << 7
    answer = Evaluator(profile).file(b"/d", "x")
    assert (answer.allowed, answer.complain, answer.reason.value) == (True, True, "deny rule")


def test_raw_masks_hide_quiet_bits_that_are_allowed() -> None:
    profile = read_policy(blob("sample-308")).get("lxc-a//child")
    assert profile.own_file is not None
    state = profile.own_file.dfa.walk(1, b"/y")
    assert isinstance(profile.own_file.dfa.accept2, array)
    profile.own_file.dfa.accept2[state] |= (0x2 | 0x4) << 7
    masks = Evaluator(profile).raw(RawQuery(2, b"/y"))
    assert masks.quiet & 0x6 == 0x4


def test_the_second_half_of_a_link_is_asked_only_behind_an_allowed_first() -> None:
    one, two = (read_policy(blob("sample-308")).get("lxc-a//child") for _ in range(2))
    for profile in (one, two):
        assert profile.own_file is not None
        assert isinstance(profile.own_file.dfa.accept, array)
        profile.own_file.dfa.accept[profile.own_file.dfa.walk(1, b"/l/a")] &= ~(0x10 | 0x10 << 14)
    assert two.own_file is not None
    assert isinstance(two.own_file.dfa.accept, array)
    two.own_file.dfa.accept[two.own_file.dfa.walk(1, b"/l/a\0/t/b")] = 0
    assert [one for one in diff_profiles(one, two) if one.kind == "link"] == []


def test_classes_behind_the_last_known_one_are_mediated_by_their_byte() -> None:
    policy = read_policy(blob("sample-41-permstable")).get("lxc-a").policy
    assert policy is not None
    assert policy.mediates(0x34) == policy.dfa.walk(policy.starts[0], b"4") != 0
    assert policy.mediates(200) == 0
