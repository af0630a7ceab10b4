"""The part of an automaton that questions can reach, as a graph to read patterns from.

Owns walking only what is reached.  Must not know classes of questions.
"""

from __future__ import annotations

from collections.abc import Callable

from phoenix_hypervisor.policy.dfa import Dfa
from phoenix_hypervisor.policy.grammar import DEAD, Grammar
from phoenix_hypervisor.policy.paths import LIMIT, too_large
from phoenix_hypervisor.policy.patterns import Graph


def everywhere(grammar: Grammar, dfa: Dfa, start: int, wanted: Callable[[int], bool]) -> bool:
    """Whether every question ends in a wanted state.  Raises PolicyError as `graph`."""
    root = (grammar.start, start)
    seen = {root}
    todo = [root]
    while todo:
        shape, state = todo.pop()
        if grammar.reads[shape] and not (state and wanted(state)):
            return False
        for pair in zip(grammar.rows[shape], dfa.row(state), strict=True):
            if pair[0] != DEAD and pair not in seen:
                seen.add(pair)
                todo.append(pair)
        if len(seen) > LIMIT:
            raise too_large(len(seen))
    return True


def graph(grammar: Grammar, dfa: Dfa, start: int, wanted: Callable[[int], bool]) -> Graph:
    """Combinations of `grammar` and `dfa`; final where a question ends and the state is wanted.

    Raises PolicyError behind LIMIT combinations.
    """
    root = (grammar.start, start)
    numbers = {root: 0}
    queue = [root]
    edges: dict[int, dict[int, frozenset[int]]] = {}
    final = set()
    for number, (shape, state) in enumerate(queue):
        if grammar.reads[shape] and wanted(state):
            final.add(number)
        targets: dict[int, set[int]] = {}
        for byte, (to_shape, to_state) in enumerate(zip(grammar.rows[shape], dfa.row(state), strict=True)):
            if to_shape == DEAD or not to_state:
                continue
            pair = (to_shape, to_state)
            if pair not in numbers:
                numbers[pair] = len(queue)
                queue.append(pair)
            targets.setdefault(numbers[pair], set()).add(byte)
        edges[number] = {target: frozenset(found) for target, found in targets.items()}
        if len(queue) > LIMIT:
            raise too_large(len(queue))
    return Graph(0, edges, frozenset(final))
