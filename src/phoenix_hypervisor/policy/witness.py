"""A string for every state, so that a kernel can be asked about all of them.

Owns the list of raw queries that a proof compares.  Must not compare.  The strings are
shortest ones and need not be askable by a real operation: `.access` takes any.
"""

from __future__ import annotations

from collections.abc import Iterator

from phoenix_hypervisor.policy.grammar import anything
from phoenix_hypervisor.policy.product import Search, Side
from phoenix_hypervisor.policy.profile import Class, Database, Profile


def raw_queries(profile: Profile) -> Iterator[tuple[int, bytes]]:
    """A (class, string) for every state of every class that `profile` can be in.

    `string` is what follows the class byte, as in `{"kind": "raw"}`.  Every mediated class
    comes with its states; classes 3 (capabilities) and those that are not mediated come
    once, with an empty string.
    """
    file = profile.file
    if file is not None:
        for string in _strings(file, profile.file_start):
            yield Class.FILE, string
    else:
        yield Class.FILE, b"/"
    policy = profile.policy
    for number in range(256):
        if number == Class.FILE:
            continue
        # Asking walks from the class byte, which `mediates` may not have (class 2 aside it does).
        start = policy.dfa.step(policy.starts[0], number) if policy is not None else 0
        if policy is None or not start:
            if number <= 40:
                yield number, b""
            continue
        for string in _strings(policy, start):
            yield number, string


def _strings(database: Database, start: int) -> Iterator[bytes]:
    search = Search(anything(1), Side.of(database.dfa, start), Side.constant(alive=False))
    for node in search:
        yield search.string(node)
