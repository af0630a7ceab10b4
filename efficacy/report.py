"""docs/efficacy.md, from what was measured and method.md.

Owns the numbers and tables.  Must not run anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from efficacy import swept
from efficacy.places import PROFILES, SECCOMP, Place, places
from efficacy.prose import wrapped
from efficacy.rows import BASE, OURS

SHORT = {name: name.removeprefix("lxc-") for name in PROFILES}
CORE = "/proc/sys/kernel/core_pattern"


def write(document: dict[str, Any], claims: list[str], path: Path) -> None:
    """The whole document; `claims` are the sentences of claims.py, judged."""
    method = (Path(__file__).parent / "method.md").read_text()
    parts = ["## What is claimed, and whether it holds\n", *[f"- {claim}" for claim in claims], ""]
    for release in document.get("releases", {}):
        parts += _release(document, release)
    parts += _unhooked(document)
    path.write_text(wrapped(method.replace("<!-- tables -->\n", "\n".join(parts) + "\n")))


def measured(document: dict[str, Any], release: str, kind: str, layer: str, profile: str) -> set[str] | None:
    """The operations that went through; None where this was not measured."""
    found = document.get("combinations", {}).get(f"{release}/{kind}/{layer}/{profile}")
    return None if found is None or "failed" in found else set(found["done"])


def unhooked(document: dict[str, Any], release: str, one: dict[str, Any]) -> bool:
    """Whether AppArmor has no hook for the operation on this release's kernel."""
    kernel = document.get("releases", {}).get(release, {}).get("kernel", "")
    return bool(one.get("no_hook")) and kernel.startswith(one.get("no_hook_kernel", ""))


def numbers(document: dict[str, Any], release: str, kind: str, layer: str, profile: str) -> dict[str, Any]:
    """What one combination comes to, against unconfined in the same layer."""
    free = measured(document, release, kind, Place(kind, layer, profile).reference, "unconfined")
    done = measured(document, release, kind, layer, profile)
    if free is None or done is None:
        return {}
    ops = document["operations"]
    dangerous = [o for o in ops if o["dangerous"] and o["name"] in free]
    hooked = [o for o in dangerous if not unhooked(document, release, o)]
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
        "hooked_open": [o["name"] for o in hooked if o["name"] in done],
        "broken_promises": [o["name"] for o in promised if o["name"] not in done],
        "gpu": [sum(o["name"] in done for o in legitimate if o["class"] == c) for c in ("gpu", "docker")],
        "gpu_of": [sum(o["class"] == c for o in legitimate) for c in ("gpu", "docker")],
    }


def grounds() -> list[tuple[str, str]]:
    """Kind and layer of every table, in order."""
    return list(dict.fromkeys((place.kind, place.layer) for place in places()))


def _release(document: dict[str, Any], release: str) -> Iterable[str]:
    facts = document["releases"][release]
    yield f"## {release}: kernel {facts['kernel']}, AppArmor {facts['apparmor']}, LXC {facts['lxc']}\n"
    yield "The policy that was measured, as the release's parser compiled it (SHA-256, bytes):\n"
    for name, one in facts.get("compiled", {}).items():
        yield f"- `{name}`: `{one.get('sha256', 'unknown')[:16]}`, {one['bytes']}"
    yield ""
    for kind, layer in grounds():
        first = numbers(document, release, kind, Place(kind, layer, BASE).reference, "unconfined")
        if not first or (layer == SECCOMP and not numbers(document, release, kind, layer, BASE)):
            yield f"**{kind}, {layer}**: not measured.\n"
            continue
        yield f"### {release}, {kind}, {layer}\n"
        yield (
            f"{first['dangerous']} dangerous operations succeed unconfined, "
            f"{first['dangerous'] - first['hooked']} of them have no hook; {first['legitimate']} legitimate ones do.\n"
        )
        yield "| profile | dangerous blocked | where AppArmor has a hook | GPU | Docker | all legitimate | promised |"
        yield "|---|---|---|---|---|---|---|"
        for place in places((kind,), (layer,)):
            yield _line(place.profile, numbers(document, release, kind, layer, place.profile))
        yield ""
        yield from _classes(document, release, kind, layer)
        yield from _open(document, release, kind, layer)
    yield from swept.section(document, release)


def _line(profile: str, n: dict[str, Any]) -> str:
    if not n:
        return f"| {profile} | not measured | | | | | |"
    promised = f"{n['kept']}/{n['promised']}" if n["promised"] else ""
    return (
        f"| {profile} | {n['blocked']}/{n['dangerous']} | {n['hooked_blocked']}/{n['hooked']} "
        f"| {n['gpu'][0]}/{n['gpu_of'][0]} | {n['gpu'][1]}/{n['gpu_of'][1]} "
        f"| {n['allowed']}/{n['legitimate']} | {promised} |"
    )


def _classes(document: dict[str, Any], release: str, kind: str, layer: str) -> Iterable[str]:
    """Blocked operations of each class that has any, with those that have no hook."""
    free = measured(document, release, kind, Place(kind, layer, BASE).reference, "unconfined") or set()
    done = {p: measured(document, release, kind, layer, p) for p in PROFILES[1:]}
    shown = [p for p in PROFILES[1:] if done[p] is not None]
    if not shown:
        return
    classes: dict[str, list[str]] = {}
    for one in document["operations"]:
        if one["dangerous"] and one["name"] in free:
            classes.setdefault(one["class"], []).append(one["name"])
    yield "| blocked | of | " + " | ".join(SHORT[p] for p in shown) + " |"
    yield "|---|---|" + "---|" * len(shown)
    for name, members in classes.items():
        cells = [str(sum(m not in (done[p] or ()) for m in members)) for p in shown]
        yield f"| {name} | {len(members)} | " + " | ".join(cells) + " |"
    yield ""


def _open(document: dict[str, Any], release: str, kind: str, layer: str) -> Iterable[str]:
    free = [o for o in document["operations"] if o["dangerous"]]
    unconfined = measured(document, release, kind, Place(kind, layer, BASE).reference, "unconfined") or set()
    none = [o["name"] for o in free if o["name"] in unconfined and unhooked(document, release, o)]
    if none:
        yield f"Without a hook, open under every profile unless something else stops it: {_list(none)}.\n"
    for profile in OURS:
        n = numbers(document, release, kind, layer, profile)
        if not n:
            continue
        yield f"- `{profile}` leaves open where there is a hook: {_list(n['hooked_open'])}."
        if n["broken_promises"]:
            yield f"  Promised but refused: {_list(n['broken_promises'])}."
    yield from _core_pattern(document, release, kind, layer)
    yield ""


def _core_pattern(document: dict[str, Any], release: str, kind: str, layer: str) -> Iterable[str]:
    ways = [o["name"] for o in document["operations"] if o.get("watch") == CORE]
    nesting = measured(document, release, kind, layer, "generated+nesting")
    for profile in OURS:
        done = measured(document, release, kind, layer, profile)
        opened = [w for w in ways if done and w in done]
        if opened or (profile == BASE and done is not None):
            under = (
                "open under generated+nesting, too"
                if nesting and set(opened) <= nesting
                else "NOT all open there"
            )
            yield f"- core_pattern under `{profile}`: {_list(opened)}" + (f" ({under})." if opened else ".")


def _unhooked(document: dict[str, Any]) -> Iterable[str]:
    yield "## What AppArmor has no hook for, and what stops it\n"
    yield "| operation | class | kernel | why |"
    yield "|---|---|---|---|"
    for one in document.get("operations", []):
        if one.get("no_hook"):
            kernel = one.get("no_hook_kernel", "").rstrip(".") or "both"
            yield f"| {one['name']} | {one['class']} | {kernel} | {one['no_hook']} |"
    yield ""
    yield "## Where a hook is left unused, and what using it would break\n"
    yield "| operation | class | why |"
    yield "|---|---|---|"
    for one in document.get("operations", []):
        if one.get("accepted"):
            yield f"| {one['name']} | {one['class']} | {one['accepted']} |"
    yield ""


def _list(names: list[str]) -> str:
    return "; ".join(names) if names else "nothing"
