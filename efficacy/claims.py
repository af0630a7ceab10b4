"""What is claimed of the profiles, and whether what was measured bears it out.

Owns the sentences and their arithmetic; pure.  The command ends with 1 where one does not hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from efficacy import known
from efficacy.places import KINDS, LAYERS, SECCOMP, Place, places
from efficacy.report import grounds, measured, numbers
from efficacy.rows import BASE, NESTING, OURS

CORE = "/proc/sys/kernel/core_pattern"
SHARE = 95
CLOSED = {
    "the host's disk, detached": "every way to the host's disk through a detached mount",
    "renamed mounts": "every procfs and sysfs under a name that no rule knows",
}
WITH_COMPANION = {"files of the host's disk, detached": "every way to a file of the host's disk by fsopen"}
"""The same, where the seccomp companion is."""
"""Classes of which nothing may be open, but under nesting-v1."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence; `holds` None: not measured."""

    text: str
    holds: bool | None
    why: str = ""

    def __str__(self) -> str:
        word = {True: "holds", False: "DOES NOT HOLD", None: "NOT MEASURED"}[self.holds]
        return f"{word}: {self.text}" + (f" ({self.why})" if self.why else "")


def all_claims(document: dict[str, Any], releases: Iterable[str] | None = None) -> list[Claim]:
    """Every claim on every release that is on file, or on these."""
    found = []
    for release in releases or document.get("releases", {}):
        found += [*_share(document, release), *_against_generated(document, release)]
        found += [*_promises(document, release), *_core_pattern(document, release)]
        found += [*_closed(document, release), *_swept(document, release)]
        found += [*_life(document, release), *_same_bytes(document, release)]
    return found


def _ours() -> Iterable[Place]:
    return (place for place in places() if place.profile in OURS)


def _at(release: str, place: Place) -> str:
    return f"{release}, {place.kind}, {place.layer}"


def _share(document: dict[str, Any], release: str) -> Iterable[Claim]:
    n = numbers(document, release, "privileged", "bare", BASE)
    text = f"{release}: {BASE} blocks at least {SHARE} % where AppArmor has a hook, privileged, bare"
    if not n:
        yield Claim(text, None)
        return
    share = 100 * n["hooked_blocked"] / n["hooked"]
    yield Claim(text, share >= SHARE, f"{n['hooked_blocked']} of {n['hooked']}, {share:.1f} %")


def _against_generated(document: dict[str, Any], release: str) -> Iterable[Claim]:
    for kind, layer in grounds():
        ours = numbers(document, release, kind, layer, BASE)
        theirs = numbers(document, release, kind, Place(kind, layer, BASE).reference, "generated")
        text = f"{release}, {kind}, {layer}: {BASE} blocks no fewer than generated, and more where that leaves a hook unused"
        if not ours or not theirs:
            yield Claim(text, None)
            continue
        better = ours["blocked"] > theirs["blocked"]
        unused = theirs["hooked_blocked"] < theirs["hooked"]
        only = [name for name in ours["open"] if name not in theirs["open"]]
        why = f"{ours['blocked']} against {theirs['blocked']} of {ours['dangerous']}"
        why += f"; open here only: {'; '.join(only)}" if only else ""
        yield Claim(text, (better if unused else ours["blocked"] >= theirs["blocked"]) and not only, why)


def _promises(document: dict[str, Any], release: str) -> Iterable[Claim]:
    for place in _ours():
        n = numbers(document, release, place.kind, place.layer, place.profile)
        text = f"{_at(release, place)}: {place.profile} allows all that it promises"
        broken = "; ".join(n["broken_promises"]) if n else ""
        yield Claim(text, not broken if n else None, broken or (f"{n['kept']}" if n else ""))


def _core_pattern(document: dict[str, Any], release: str) -> Iterable[Claim]:
    ways = {one["name"] for one in document["operations"] if one.get("watch") == CORE}
    for place in _ours():
        nesting = measured(document, release, place.kind, place.reference, "generated+nesting")
        done = measured(document, release, place.kind, place.layer, place.profile)
        what = "no way" if place.profile == BASE else "no way that generated+nesting closes"
        text = f"{_at(release, place)}: {what} to write core_pattern under {place.profile}"
        if done is None or nesting is None:
            yield Claim(text, None)
            continue
        opened = sorted(ways & done)
        left = opened if place.profile == BASE else sorted(set(opened) - nesting)
        yield Claim(text, not left, "; ".join(opened))


def _closed(document: dict[str, Any], release: str) -> Iterable[Claim]:
    """The host's disk through the detached world, and the renaming hole: nothing of either is left."""
    for klass, said in (CLOSED | WITH_COMPANION).items():
        for place in _ours():
            if place.profile == NESTING or (klass in WITH_COMPANION and place.layer != SECCOMP):
                continue
            n = numbers(document, release, place.kind, place.layer, place.profile)
            text = f"{_at(release, place)}: {place.profile} stops {said}"
            members = {o["name"] for o in document["operations"] if o["class"] == klass}
            left = [name for name in n["open"] if name in members] if n else []
            yield Claim(text, not left if n else None, "; ".join(left))


def _swept(document: dict[str, Any], release: str) -> Iterable[Claim]:
    for kind in KINDS:
        for layer in LAYERS:
            place = Place(kind, layer, BASE)
            if place not in places():
                continue
            found = document.get("combinations", {}).get(place.key(release), {}).get("sweep")
            text = f"{_at(release, place)}: no writable file of the host's /proc and /sys is open under {BASE}, by any name"
            if not found or "failed" in found:
                yield Claim(text, None, (found or {}).get("failed", ""))
                continue
            left = [name for name in found["opened_names"] if not known.reason(name)]
            whole = found["opened"] == len(found["opened_names"]) and not found["cut"]
            tried = sum(way["tried"] for way in found["ways"].values())
            why = f"{tried} names, {found['opened']} open" + (f": {'; '.join(left[:20])}" if left else "")
            yield Claim(text, whole and not left, why)


def _life(document: dict[str, Any], release: str) -> Iterable[Claim]:
    wrong, missing = [], []
    for place in places():
        where = f"{place.kind}/{place.layer}/{place.profile}"
        one = document.get("combinations", {}).get(place.key(release))
        if one is None:
            missing.append(f"{where} is not measured")
        elif "failed" in one or one.get("cut") or not (one.get("attach") and one.get("killed")):
            wrong.append(f"{where}: {one.get('failed') or one.get('cut') or 'attach, kill'}")
        elif one.get("broken"):
            wrong.append(f"{where}: no answer for {'; '.join(one['broken'])}")
    holds = False if wrong else None if missing else True
    yield Claim(f"{release}: every combination starts, is attached to, runs through and is killed", holds,
                "; ".join(wrong + missing)[:600])  # fmt: skip


def _same_bytes(document: dict[str, Any], release: str) -> Iterable[Claim]:
    present = document["releases"][release].get("compiled", {})
    names = {one["name"] for one in document["operations"]}
    wrong = []
    for key, one in document.get("combinations", {}).items():
        at, _, _, profile = key.split("/")
        if at != release or "failed" in one:
            continue
        assigned = one.get("assigned", profile)
        if assigned in present and one.get("policy") != present[assigned].get("sha256"):
            wrong.append(f"{key}: other bytes of the profile")
        if profile == "unconfined" and not names <= set(one.get("names", ())):
            wrong.append(f"{key}: without operations that were added since")
    yield Claim(f"{release}: all was measured with the same policy and all operations", not wrong,
                "; ".join(wrong)[:600])  # fmt: skip
