"""What a profile allows of the files that kernels are known to have.

Owns putting names of one directory together.  Must not know where the names come from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from phoenix_hypervisor.policy.braces import joined
from phoenix_hypervisor.policy.shapes import Alphabet, Pattern

_TOPS = ("/dev", "/proc", "/sys")


def by_name(
    alphabet: Alphabet, allows: Callable[[Pattern], int], names: Sequence[str]
) -> list[tuple[int, str, list[Pattern]]]:
    """Access, names and what these are, by directory.

    A directory stands alone where all below it, known or not, allows the same.  `names` may hold `*` and
    sets in brackets, and each allows what every such name does.  `allows`: what all paths of a pattern do.
    """
    parsed = {name: alphabet.parse(name) for name in names}
    access = {name: allows(pattern) for name, pattern in parsed.items()}
    below: dict[str, list[str]] = {}
    for name in names:
        folder = name.rpartition("/")[0]
        while folder:
            below.setdefault(folder, []).append(name)
            folder = folder.rpartition("/")[0]
    whole: set[str] = set()
    groups: dict[int, dict[str, Pattern]] = {}
    for folder in sorted(below):  # what contains others comes first
        if folder in _TOPS or any(folder.startswith(f"{one}/") for one in whole):
            continue
        found = {access[name] for name in below[folder]}
        if len(found) != 1 or len(below[folder]) < 2:
            continue
        (alike,) = found
        if not alike:
            whole.add(folder)
            continue
        everything = (*alphabet.parse(folder), (alphabet.slash, False), *alphabet.deep)
        if allows(everything) & alike == alike:
            whole.add(folder)
            groups.setdefault(alike, {})[f"{folder}/**"] = everything
    for name, kept in access.items():
        if kept and not any(name.startswith(f"{one}/") for one in whole):
            groups.setdefault(kept, {})[name] = parsed[name]
    return [
        (kept, text, [group[one] for one in members])
        for kept, group in groups.items()
        for text, members in joined(group).items()
    ]
