"""Variants of profiles that refuse the nodes of other GPUs by name.

Owns their names, their rules, and making their sources of another profile's: there is no file of theirs among
the sources.  Must not know which container gets which: `engine.scoping` does.

A name is one wall of several: who can make a device node, or move one, can call it anything.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from phoenix_hypervisor.profiles.sources import Sources
from phoenix_hypervisor.values import dataclass, replace

_DIGITS = "0123456789"
LONGEST = 3
"""Digits of a GPU's or a capability's number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The GPUs whose nodes a profile leaves alone."""

    gpus: frozenset[int] = frozenset()
    """Numbers of NVIDIA's nodes."""
    caps: frozenset[int] | None = None
    """Numbers of MIG capability nodes, where slices are assigned; None: these are not looked at."""
    others: tuple[str, ...] = ()
    """Nodes of other vendors' GPUs that are not assigned, by path."""

    @property
    def suffix(self) -> str:
        """What its variants' names end in: the GPUs that are left to them."""
        words = [str(number) for number in sorted(self.gpus)] or ["none"]
        caps = [f"c{number}" for number in sorted(self.caps or ())]
        return f"gpus-{'.'.join([*words, *caps])}"

    def rules(self) -> str:
        """The rules: each name below any directory, because a node can be bound anywhere."""
        patterns = [f"nvidia{pattern}" for pattern in but(self.gpus)]
        if self.caps is not None:
            patterns += [f"nvidia-cap{pattern}" for pattern in but(self.caps)]
        patterns += [path.removeprefix("/dev/") for path in self.others]
        lines = "".join(f"  deny /{{,**/}}{pattern} rwklmx,\n" for pattern in patterns)
        return f"  # The nodes of GPUs that are not assigned.\n{lines}\n"


def but(numbers: Collection[int]) -> Iterator[str]:
    """Patterns of AppArmor for every number of up to LONGEST digits but these."""
    words = {str(number) for number in numbers}
    for length in range(1, LONGEST + 1):
        yield from _but({word for word in words if len(word) == length}, length)


def _but(words: set[str], length: int) -> Iterator[str]:
    if not words:
        yield "[0-9]" * length
        return
    first = {word[0] for word in words}
    others = "".join(digit for digit in _DIGITS if digit not in first)
    if others:
        yield f"[{others}]" + "[0-9]" * (length - 1)
    if length > 1:
        for digit in sorted(first):
            for rest in _but({word[1:] for word in words if word[0] == digit}, length - 1):
                yield digit + rest


def with_scoped(sources: Sources, wanted: Iterable[tuple[str, Scope]]) -> Sources:
    """The sources, and a variant of each named profile for each scope.

    A profile that is not among them, or whose source has another form, gets none.
    """
    profiles, optional = dict(sources.profiles), dict(sources.optional)
    made: dict[str, str] = {}
    for base, scope in wanted:
        name, rules = f"{base}-{scope.suffix}", scope.rules().encode()
        if base in sources.profiles and name not in sources.profiles:
            plain = _made(sources.profiles[base], base, name, rules)
            newer = _made(sources.optional[base], base, name, rules) if base in sources.optional else b""
            if plain is not None and newer is not None:
                made[name] = base
                profiles[name] = plain
                if newer:
                    optional[name] = newer
    return replace(sources, profiles=profiles, optional=optional, made_of=made)


def _made(source: bytes, base: str, name: str, rules: bytes) -> bytes | None:
    """A source under another name, with more rules at its beginning; None where its head is not found."""
    head = re.compile(rb"(?m)^(profile[ \t]+)" + re.escape(base.encode()) + rb"(\b[^\n{]*\{[ \t]*\n)")
    found = list(head.finditer(source))
    if len(found) != 1:
        return None
    match = found[0]
    note = f'# Made by Phoenix of {base}: "scope_gpus" is declared.\n'.encode()
    start = source[: match.start()] + match[1] + name.encode() + match[2]
    return note + start + rules + source[match.end() :]
