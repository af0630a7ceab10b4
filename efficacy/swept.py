"""The tables of the sweep in docs/efficacy.md.

Owns their words.  Must not run anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from efficacy import known
from efficacy.places import places
from efficacy.rows import OURS


def section(document: dict[str, Any], release: str) -> Iterable[str]:
    """One line a combination that was swept, and what is open under ours."""
    found = [
        (place, one["sweep"])
        for place in places()
        if (one := document.get("combinations", {}).get(place.key(release)))
        and "ways" in one.get("sweep", {})
    ]
    if not found:
        return
    files = found[0][1]["files"]
    yield f"### {release}: the sweep\n"
    yield (
        f"{sum(files.values())} writable files of the host's "
        f"({', '.join(f'{count} in {fstype}' for fstype, count in files.items())}), each opened for writing "
        "under every name that could be made. `open` counts files, whatever the number of their names.\n"
    )
    ways = list(dict.fromkeys(way for _, one in found for way in one["ways"]))
    yield "| kind, layer, profile | names tried | open | " + " | ".join(ways) + " |"
    yield "|---|---|---|" + "---|" * len(ways)
    for place, one in found:
        cells = [str(one["ways"][way]["opened"]) if way in one["ways"] else "" for way in ways]
        tried = sum(way["tried"] for way in one["ways"].values())
        cut = f" (cut in {one['cut']})" if one["cut"] else ""
        yield (
            f"| {place.kind}, {place.layer}, {place.profile} | {tried} | {one['opened']}{cut} | {' | '.join(cells)} |"
        )
    yield ""
    for place, one in found:
        if place.profile in OURS and one["opened"]:
            yield f"- {place.kind}, {place.layer}, `{place.profile}`: {_told(one['opened_names'], one['opened'])}"
    yield ""


def _told(names: list[str], opened: int) -> str:
    reasons: dict[str, list[str]] = {}
    for name in names:
        reasons.setdefault(known.reason(name) or "not explained", []).append(name)
    parts = []
    for why, members in reasons.items():
        if len(members) > 12:
            below = Counter("/".join(name.split("/")[:2]) for name in members)
            members = [f"{count} in {top}" if count > 1 else top for top, count in below.items()]
        parts.append(f"{'; '.join(members)} ({why})")
    more = f"; and {opened - len(names)} more" if opened > len(names) else ""
    return "; ".join(parts) + more
