"""Properties of the policy engine, over random automata and random strings."""

from __future__ import annotations

from array import array

from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_hypervisor.policy.dfa import Dfa
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.grammar import anything, mount, path, two_paths
from phoenix_hypervisor.policy.product import Search, Side
from phoenix_hypervisor.policy.queries import MountQuery, RawQuery
from phoenix_hypervisor.policy.source import read_source
from phoenix_hypervisor.policy.strings import flag_bytes, mount_question
from phoenix_hypervisor.policy.witness import raw_queries
from unit.policy.samples import ENCODINGS, policy

STRINGS = st.binary(max_size=40)
MOUNTS = st.builds(
    MountQuery,
    source=st.sampled_from([None, b"proc", b"/a/", b"/b", b"x//y"]),
    target=st.sampled_from([b"/", b"/a", b"/b/", b"/a/b/c"]),
    fstype=st.sampled_from([None, b"proc", b"tmpfs"]),
    flags=st.integers(0, 0xFFFFFFFF),
)


def reference(dfa: Dfa, state: int, data: bytes) -> int:
    """The kernel's loop, letter by letter (match_char in match.c)."""
    for byte in data:
        char = dfa.ec[byte] if dfa.ec is not None else byte
        while True:
            base = dfa.base[state]
            at = (base & 0xFFFFFF) + char
            if dfa.check[at] == state:
                state = dfa.next[at]
                break
            state = dfa.default[state]
            if not base & 0x80000000:
                break
    return state


@given(st.sampled_from(ENCODINGS), STRINGS, st.integers(1, 50))
def test_walking_rows_is_the_kernels_loop(which: str, data: bytes, start: int) -> None:
    for profile in policy(f"sample-{which}").profiles:
        for database in (profile.own_file, profile.policy):
            if database is not None and start < len(database.dfa):
                assert database.dfa.walk(start, data) == reference(database.dfa, start, data)


@st.composite
def automata(draw: st.DrawFn) -> Dfa:
    """A random automaton with plain states and, where they can, difference-encoded ones."""
    states = draw(st.integers(2, 6))
    number = st.integers(0, states - 1)
    width = 300
    base = array("I", [0] + [draw(st.integers(0, width - 256)) for _ in range(states - 1)])
    default = array("H", [0] + [draw(number) for _ in range(states - 1)])
    for state in range(1, states):
        if default[state] < state and draw(st.booleans()):
            base[state] |= 0x80000000
    check = array("H", [draw(st.sampled_from([0, *range(states)])) for _ in range(width)])
    following = array("H", [draw(number) for _ in range(width)])
    ec = array("B", [draw(st.integers(0, 7)) for _ in range(256)]) if draw(st.booleans()) else None
    zeros = array("I", [0] * states)
    return Dfa(base=base, default=default, next=following, check=check, ec=ec, accept=zeros, accept2=zeros)


@settings(max_examples=60)
@given(automata(), st.lists(STRINGS, min_size=1, max_size=8))
def test_random_automata_walk_like_the_kernel(dfa: Dfa, strings: list[bytes]) -> None:
    for data in strings:
        assert dfa.walk(1, data) == reference(dfa, 1, data)


@settings(max_examples=40)
@given(automata())
def test_a_search_reaches_every_state_by_a_string_that_leads_there(dfa: Dfa) -> None:
    search = Search(anything(1), Side.of(dfa, 1), Side.constant(alive=False))
    reached: dict[int, bytes] = {}
    for _, state, _ in search:
        reached.setdefault(state, search.string((0, state, 0)))
    for state, data in reached.items():
        assert reference(dfa, 1, data) == state
    following = {dfa.step(state, byte) for state in reached for byte in range(256)} - {0}
    assert following <= set(reached)


@given(st.sampled_from(ENCODINGS), MOUNTS)
def test_a_rewritten_mount_is_in_the_grammar_of_mounts(which: str, query: MountQuery) -> None:
    target, source, fstype, flags = mount_question(query)
    string = target + b"\0" + source + b"\0" + fstype + b"\0" + flag_bytes(flags)
    binds = bool(flags & 0x1000) and not flags & 0x20
    strange = not source.startswith(b"/") or b"//" in source
    if flags & 0x80000000 or (not fstype and not flags & 0x1E3020) or (binds and strange):
        return  # EINVAL before or without AppArmor
    if flags == 0x2000 and source and strange:
        return
    if not flags & 0x1E3020 and not target.endswith(b"/"):
        return  # a file system is mounted on a directory, or ENOTDIR behind AppArmor
    assert mount().accepts(string) == 2


@given(st.sampled_from(ENCODINGS), MOUNTS)
def test_a_mount_is_its_raw_string(which: str, query: MountQuery) -> None:
    judge = Evaluator(policy(f"sample-{which}").get("lxc-a"))
    target, source, fstype, flags = mount_question(query)
    if flags & 0x1000 and not flags & 0x20 and not source:
        return
    string = target + b"\0" + source + b"\0" + fstype + b"\0" + flag_bytes(flags)
    assert judge.ask(query).allowed is bool(judge.raw(RawQuery(7, string)).allow & 2)


@given(st.lists(st.sampled_from([b"/", b".", b"a", b"\0", b".."]), max_size=8).map(b"".join))
def test_path_grammar(data: bytes) -> None:
    text = b"/" + data
    components = text.split(b"/")[1:]
    bad = b"\0" in text or b"" in components[:-1] or {b".", b".."} & set(components)
    assert bool(path(1).accepts(text)) is not bool(bad)
    assert bool(two_paths(1).accepts(text + b"\0/x")) is not bool(bad)


def test_raw_queries_reach_every_reachable_state_once() -> None:
    for which in ENCODINGS:
        for profile in policy(f"sample-{which}").profiles:
            queries = list(raw_queries(profile))
            assert len(queries) == len(set(queries))
            file = profile.file
            if file is None:
                continue
            ends = {file.dfa.walk(profile.file_start, string) for number, string in queries if number == 2}
            todo, seen = [profile.file_start], {profile.file_start}
            while todo:
                for target in file.dfa.row(todo.pop()):
                    if target and target not in seen:
                        seen.add(target)
                        todo.append(target)
            assert ends == seen


@given(st.text(alphabet='ab{}(),#" \n\\/@=profile^', max_size=60))
def test_any_text_survives_being_cut_up(text: str) -> None:
    data = text.encode()
    assert read_source("f", data).text == data
