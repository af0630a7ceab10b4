"""Which containers are meant by what was typed.

Owns the words that name containers: a CTID, a name, a list (`103,104`) and a range (`103-110`).
Pure: words and names come in, CTIDs go out.  Must not ask whether a CTID is declared or exists:
whoever uses it does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from phoenix_hypervisor.errors import UsageError
from phoenix_hypervisor.plan.declared import is_ctid

FORMS = "a CTID (100 to 999999999), a name, a list such as 103,104 or a range such as 103-110"

_NUMBER = re.compile("[0-9]+")
_NAME = re.compile("[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""What a host name may be; an underscore is LXC's only."""


def read(words: Iterable[str]) -> tuple[str, ...]:
    """What `words` name one by one, lists taken apart, each once.

    Raises UsageError for a word that can name nothing.
    """
    found: dict[str, None] = {}
    for word in words:
        if is_ctid(word):
            found[word] = None
            continue
        pieces = [piece for piece in word.split(",") if piece]
        for piece in pieces or [word]:
            if is_ctid(piece) or (_NAME.fullmatch(piece) and not _NUMBER.fullmatch(piece)):
                found[piece] = None
                continue
            raise UsageError(f"{piece!r} is not a CTID, nor can it be a name", hint=f"name {FORMS}")
    return tuple(found)


def are_ctids(pieces: Iterable[str]) -> bool:
    """Whether each of `pieces` is a CTID, so that no name need be known."""
    return all(map(is_ctid, pieces))


def choose(pieces: Iterable[str], names: Mapping[str, str]) -> tuple[str, ...]:
    """The CTIDs that `pieces` (as `read` returns them) mean, in their order, each once.

    `names` has every container that is declared or exists, with its name or an empty string.  A range
    takes those of them that lie within it.  Raises UsageError for a name that no container has or that
    several have, and for a range without a container.
    """
    found: dict[str, None] = {}
    for piece in pieces:
        first, _, last = piece.partition("-")
        if is_ctid(piece):
            found[piece] = None
        elif is_ctid(first) and is_ctid(last):
            found.update(dict.fromkeys(_within(piece, int(first), int(last), names)))
        else:
            found[_called(piece, names)] = None
    return tuple(found)


def shortest(ctids: Iterable[str]) -> str:
    """One word that `read` and `choose` take for just these: `101-103,110`."""
    runs: list[list[int]] = []
    for number in sorted({int(ctid) for ctid in ctids}):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)


def _within(piece: str, first: int, last: int, names: Mapping[str, str]) -> Sequence[str]:
    if last < first:
        raise UsageError(f"the range {piece} ends before it begins", hint=f"{last}-{first}")
    found = sorted((ctid for ctid in names if first <= int(ctid) <= last), key=int)
    if not found:
        raise UsageError(f"no container in {piece} is declared or on this host", hint=listed(names))
    return found


def _called(name: str, names: Mapping[str, str]) -> str:
    # Host names do not tell capital letters from small ones.
    found = [ctid for ctid, own in names.items() if own.lower() == name.lower()]
    if len(found) > 1:
        exact = [ctid for ctid in found if names[ctid] == name]
        found = exact if len(exact) == 1 else sorted(found, key=int)
    if len(found) > 1:
        raise UsageError(f"containers {', '.join(found)} are all called {name}", hint="name one by its CTID")
    if not found:
        raise UsageError(f"{name!r} is not a CTID, nor the name of a container", hint=_near(name, names))
    return found[0]


def _near(name: str, names: Mapping[str, str]) -> str:
    import difflib

    by_name = {own.lower(): (own, ctid) for ctid, own in names.items() if own}
    near = [by_name[one] for one in difflib.get_close_matches(name.lower(), by_name, 3)]
    if near:
        return "did you mean " + " or ".join(f"{own} ({ctid})" for own, ctid in near) + "?"
    return f"name {FORMS}"


def listed(names: Iterable[str]) -> str:
    """The first of the containers that there are, and how many more."""
    ctids = sorted(names, key=int)
    more = f" and {len(ctids) - 10} more" if len(ctids) > 10 else ""
    return f"there are {', '.join(ctids[:10])}{more}" if ctids else "`phoenix status` lists the containers"
