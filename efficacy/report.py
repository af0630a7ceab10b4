"""docs/efficacy.md, from what was measured and method.md.

Owns the numbers and tables.  Must not run anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from efficacy.rows import OURS

PLACES = [(k, l) for k in ("privileged", "unprivileged") for l in ("bare", "stock")]  # noqa: E741
PROFILES = ("unconfined", "generated", "generated+nesting", "lxc-container-default-cgns", *OURS)


def write(document: dict[str, Any], path: Path) -> None:
    method = (Path(__file__).parent / "method.md").read_text()
    tables = "\n".join(
        part for release in document.get("releases", {}) for part in _release(document, release)
    )
    tables += "\n" + "\n".join(_unhooked(document)) + "\n"
    path.write_text(method.replace("<!-- tables -->\n", tables))


def _unhooked(document: dict[str, Any]) -> Iterable[str]:
    yield "## What AppArmor has no hook for, and what stops it\n"
    yield "| operation | class | why |"
    yield "|---|---|---|"
    for one in document.get("operations", []):
        if one.get("no_hook"):
            yield f"| {one['name']} | {one['class']} | {one['no_hook']} |"


def _done(document: dict[str, Any], release: str, kind: str, layer: str, profile: str) -> set[str] | None:
    found = document.get("combinations", {}).get(f"{release}/{kind}/{layer}/{profile}")
    return None if found is None or "failed" in found else set(found["done"])


def numbers(document: dict[str, Any], release: str, kind: str, layer: str, profile: str) -> dict[str, Any]:
    """What one combination comes to, against unconfined in the same layer."""
    free = _done(document, release, kind, layer, "unconfined")
    done = _done(document, release, kind, layer, profile)
    if free is None or done is None:
        return {}
    ops = document["operations"]
    dangerous = [o for o in ops if o["dangerous"] and o["name"] in free]
    hooked = [o for o in dangerous if not o.get("no_hook")]
    legitimate = [o for o in ops if not o["dangerous"] and o["name"] in free]
    promised = [o for o in legitimate if profile in o["promises"]]
    return {
        "dangerous": len(dangerous),
        "blocked": sum(o["name"] not in done for o in dangerous),
        "hooked": len(hooked),
        "hooked_blocked": sum(o["name"] not in done for o in hooked),
        "legitimate": len(legitimate),
        "allowed": sum(o["name"] in done for o in legitimate),
        "promised": len(promised),
        "kept": sum(o["name"] in done for o in promised),
        "open": [o["name"] for o in dangerous if o["name"] in done],
        "broken_promises": [o["name"] for o in promised if o["name"] not in done],
        "gpu": [sum(o["name"] in done for o in legitimate if o["class"] == c) for c in ("gpu", "docker")],
        "gpu_of": [sum(o["class"] == c for o in legitimate) for c in ("gpu", "docker")],
    }


def _release(document: dict[str, Any], release: str) -> Iterable[str]:
    facts = document["releases"][release]
    yield f"## {release}: kernel {facts['kernel']}, AppArmor {facts['apparmor']}, LXC {facts['lxc']}\n"
    for kind, layer in PLACES:
        first = numbers(document, release, kind, layer, "unconfined")
        if not first:
            continue
        yield (
            f"**{kind}, {layer}**: {first['dangerous']} dangerous operations succeed unconfined, "
            f"{first['dangerous'] - first['hooked']} of them have no hook; {first['legitimate']} legitimate ones do.\n"
        )
        yield "| profile | dangerous blocked | where AppArmor has a hook | GPU | Docker | all legitimate | promised |"
        yield "|---|---|---|---|---|---|---|"
        for profile in PROFILES:
            n = numbers(document, release, kind, layer, profile)
            if not n:
                yield f"| {profile} | not measured | | | | | |"
                continue
            promised = f"{n['kept']}/{n['promised']}" if n["promised"] else ""
            yield (
                f"| {profile} | {n['blocked']}/{n['dangerous']} | {n['hooked_blocked']}/{n['hooked']} "
                f"| {n['gpu'][0]}/{n['gpu_of'][0]} | {n['gpu'][1]}/{n['gpu_of'][1]} "
                f"| {n['allowed']}/{n['legitimate']} | {promised} |"
            )
        yield ""
    yield from _details(document, release)


def _details(document: dict[str, Any], release: str) -> Iterable[str]:
    for kind, layer in PLACES:
        said = []
        for profile in OURS:
            n = numbers(document, release, kind, layer, profile)
            if n and (n["open"] or n["broken_promises"]):
                said.append(f"- `{profile}` leaves open: {_list(n['open'])}.")
                if n["broken_promises"]:
                    said[-1] += f" Promised but refused: {_list(n['broken_promises'])}."
        if said:
            yield f"### {release}, {kind}, {layer}: what ours leave open\n"
            yield from said
            yield ""


def _list(names: list[str]) -> str:
    return "; ".join(names) if names else "nothing"
