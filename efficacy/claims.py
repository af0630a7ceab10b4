"""What is claimed of the profiles, and whether what was measured bears it out.

Owns the sentences and their arithmetic; pure.  The command ends with 1 where one does not hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from efficacy.report import KINDS, LAYERS, PROFILES, measured, numbers
from efficacy.rows import BASE, OURS

CORE = "/proc/sys/kernel/core_pattern"
SHARE = 95


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
        found += [*_life(document, release), *_same_bytes(document, release)]
    return found


def _places() -> Iterable[tuple[str, str]]:
    return ((kind, layer) for kind in KINDS for layer in LAYERS)


def _share(document: dict[str, Any], release: str) -> Iterable[Claim]:
    n = numbers(document, release, "privileged", "bare", BASE)
    text = f"{release}: {BASE} blocks at least {SHARE} % where AppArmor has a hook, privileged, bare"
    if not n:
        yield Claim(text, None)
        return
    share = 100 * n["hooked_blocked"] / n["hooked"]
    yield Claim(text, share >= SHARE, f"{n['hooked_blocked']} of {n['hooked']}, {share:.1f} %")


def _against_generated(document: dict[str, Any], release: str) -> Iterable[Claim]:
    for kind, layer in _places():
        ours = numbers(document, release, kind, layer, BASE)
        theirs = numbers(document, release, kind, layer, "generated")
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
    for kind, layer in _places():
        for profile in OURS:
            n = numbers(document, release, kind, layer, profile)
            text = f"{release}, {kind}, {layer}: {profile} allows all that it promises"
            broken = "; ".join(n["broken_promises"]) if n else ""
            yield Claim(text, not broken if n else None, broken or (f"{n['kept']}" if n else ""))


def _core_pattern(document: dict[str, Any], release: str) -> Iterable[Claim]:
    ways = {one["name"] for one in document["operations"] if one.get("watch") == CORE}
    for kind, layer in _places():
        nesting = measured(document, release, kind, layer, "generated+nesting")
        for profile in OURS:
            done = measured(document, release, kind, layer, profile)
            what = "no way" if profile == BASE else "no way that generated+nesting closes"
            text = f"{release}, {kind}, {layer}: {what} to write core_pattern under {profile}"
            if done is None or nesting is None:
                yield Claim(text, None)
                continue
            opened = sorted(ways & done)
            left = opened if profile == BASE else sorted(set(opened) - nesting)
            yield Claim(text, not left, "; ".join(opened))


def _life(document: dict[str, Any], release: str) -> Iterable[Claim]:
    wrong, missing = [], []
    for kind, layer in _places():
        for profile in PROFILES:
            one = document.get("combinations", {}).get(f"{release}/{kind}/{layer}/{profile}")
            if one is None:
                missing.append(f"{kind}/{layer}/{profile} is not measured")
            elif "failed" in one or one.get("cut") or not (one.get("attach") and one.get("killed")):
                wrong.append(
                    f"{kind}/{layer}/{profile}: {one.get('failed') or one.get('cut') or 'attach, kill'}"
                )
            elif one.get("broken"):
                wrong.append(f"{kind}/{layer}/{profile}: no answer for {'; '.join(one['broken'])}")
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
        if profile in present and one.get("policy") != present[profile].get("sha256"):
            wrong.append(f"{key}: other bytes of the profile")
        if profile == "unconfined" and not names <= set(one.get("names", ())):
            wrong.append(f"{key}: without operations that were added since")
    yield Claim(f"{release}: all was measured with the same policy and all operations", not wrong,
                "; ".join(wrong)[:600])  # fmt: skip
