"""Whether what `policy list` tells covers what a profile allows: random allowed paths, and lines as sets.

Owns drawing paths.  Must not know how lines are made.
"""

from __future__ import annotations

import random

from phoenix_hypervisor.policy.constants import file_access
from phoenix_hypervisor.policy.dfa import Dfa
from phoenix_hypervisor.policy.globs import glob_grammar, matches, under
from phoenix_hypervisor.policy.grammar import DEAD
from phoenix_hypervisor.policy.profile import Profile
from phoenix_hypervisor.policy.summary import Line


def covers(line: Line, path: bytes) -> bool:
    return matches(line.pattern.encode(), path) and not any(matches(one.encode(), path) for one in line.but)


def untrue(profile: Profile, line: Line) -> bool:
    """Whether some path of a line does not allow what the line says.  Not sampled: both are searched together."""
    database = profile.file
    assert database is not None
    mask = file_access(line.access)
    found = (database.file_perms(state, owner=True) for state in range(len(database.dfa)))
    allows = [one.allow & ~one.deny & mask == mask for one in found]
    exceptions = [glob_grammar(one.encode(), 1) for one in line.but]
    glob = glob_grammar(line.pattern.encode(), 1)
    root = (glob.start, profile.file_start, tuple(one.start for one in exceptions))
    seen, todo = {root}, [root]
    while todo:
        shape, state, others = todo.pop()
        excepted = any(at != DEAD and one.reads[at] for one, at in zip(exceptions, others, strict=True))
        if glob.reads[shape] and not excepted and not allows[state]:
            return True
        row = database.dfa.row(state)
        for byte in range(256):
            if glob.rows[shape][byte] == DEAD:
                continue
            moved = tuple(
                DEAD if at == DEAD else one.rows[at][byte] for one, at in zip(exceptions, others, strict=True)
            )
            node = (glob.rows[shape][byte], row[byte], moved)
            if node not in seen:
                seen.add(node)
                todo.append(node)
    return False


def random_paths(profile: Profile, letter: str, count: int, seed: int) -> list[bytes]:
    """Allowed paths: a walk through the automaton that goes on with any byte from which one can be reached.

    Every other walk chooses among the ways to go on rather than among bytes, so that rules of few words
    are met as often as wide ones.  It ends with one chance in six where a path is allowed.
    """
    database = profile.file
    assert database is not None
    mask = file_access(letter)
    perms = [database.file_perms(state, owner=True) for state in range(len(database.dfa))]
    grammar = glob_grammar(under(b"/"), 1)
    dfa: Dfa = database.dfa
    root = (grammar.start, profile.file_start)
    nodes, back = {root: 0}, [set[int]()]
    queue, rows = [root], list[dict[int, list[int]]]()
    for number, (shape, state) in enumerate(queue):
        found: dict[int, list[int]] = {}
        for byte, pair in enumerate(zip(grammar.rows[shape], dfa.row(state), strict=True)):
            if pair[0] == DEAD:
                continue
            if pair not in nodes:
                nodes[pair] = len(queue)
                queue.append(pair)
                back.append(set())
            back[nodes[pair]].add(number)
            found.setdefault(nodes[pair], []).append(byte)
        rows.append(found)
    final = {
        number
        for number, (shape, state) in enumerate(queue)
        if grammar.reads[shape] and perms[state].allow & ~perms[state].deny & mask == mask
    }
    alive, todo = set(final), list(final)
    while todo:
        for one in back[todo.pop()] - alive:
            alive.add(one)
            todo.append(one)
    onward = [{target: found for target, found in row.items() if target in alive} for row in rows]
    chance, out = random.Random(seed), list[bytes]()
    while len(out) < count and 0 in alive:
        at, path = 0, bytearray()
        while len(path) < 300 and not (at in final and chance.random() < 1 / 6):
            ways = onward[at]
            if not ways:
                break
            targets = list(ways)
            weights = [len(ways[one]) for one in targets] if len(out) & 1 else None
            at = chance.choices(targets, weights)[0]
            path.append(chance.choice(ways[at]))
        if at in final:
            out.append(bytes(path))
    return out
