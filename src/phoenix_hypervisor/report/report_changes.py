"""What changed since the last report.

Owns which facts are kept for that, their form on disk, and comparing two sets of them.  Pure: bytes and
facts in, bytes and changes out.  Names that containers chose are among them: whoever shows them escapes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from phoenix_hypervisor.plan.verify import HOST
from phoenix_hypervisor.report.report_facts import SHUT, Change, Changes, Container, Profile, Report
from phoenix_hypervisor.values import dataclass

VERSION = 1
_WRITES = "writes in "
KEPT = 10
"""Sets of changes that are kept."""
MOST = 500
"""Changes of one set: a host that was set up anew differs in everything."""
Value = str | list[str]
Facts = Mapping[str, Mapping[str, Mapping[str, Value]]]
"""By kind and by name, each fact: a text, or a set of texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the last report left."""

    time: str
    facts: Facts
    found: tuple[Changes, ...] = ()
    """Newest first."""


def facts_of(report: Report) -> Facts:
    """What is compared of a report: nothing that differs at each look."""
    return {
        "host": {
            HOST: {
                "kernel": report.kernel,
                "phoenix": report.phoenix,
                "without a profile line": report.without_line,
                "findings": [one.code for one in report.findings],
            }
        },
        "containers": {one.ctid: _container(one) for one in report.containers},
        "profiles": {one.name: _profile(one) for one in report.profiles},
        "accepted": {f"{one.profile}: {one.rule}": {"denial": one.id} for one in report.accepted},
        "kernel": {one.what: {"by": one.by} for one in report.unmediated or ()},
        "gpus": {str(one.gpu): {"is": one.called} for one in report.gpus},
    }


def _container(one: Container) -> dict[str, Value]:
    devices = one.devices
    return {
        "name": one.name,
        "kind": "unprivileged" if one.unprivileged else "privileged",
        "declared": one.declared or "not declared",
        "assigned": one.assigned or "no line",
        "confined": {True: "yes", False: "no", None: "not running"}[one.confined if one.running else None],
        "seccomp": one.seccomp_file or one.seccomp,
        "device cgroup": [] if devices is None else [devices.state, *devices.own],
        "GPUs": [f"{cell.gpu} {cell.access}" for cell in one.gpus if cell.access != SHUT],
        "findings": [said.code for said in one.findings],
    }


def _profile(one: Profile) -> dict[str, Value]:
    found: dict[str, Value] = {"installed": one.installed, "loaded": one.loaded}
    if one.mode is not None:
        found["mode"] = one.mode
    for place in one.places:
        found[f"{_WRITES}{place.path}"] = list(place.names) or [f"all {place.known}"]
    return found


def differences(before: Facts, now: Facts) -> tuple[Change, ...]:
    """What is new, gone and changed, by kind and name."""
    found = [
        change
        for of, names in now.items()
        for change in _of_kind(of, before.get(of, {}), names, known=of in before)
    ]
    return tuple(found[:MOST])


def _of_kind(
    of: str, before: Mapping[str, Mapping[str, Value]], now: Mapping[str, Mapping[str, Value]], *, known: bool
) -> Iterator[Change]:
    if not known:
        return
    for name, facts in now.items():
        if name not in before:
            yield Change(of=of, what=name, how="new", details=tuple(_told({}, facts)))
        elif details := tuple(_told(*_comparable(before[name], facts))):
            yield Change(of=of, what=name, how="changed", details=details)
    for name in before:
        if name not in now:
            yield Change(of=of, what=name, how="gone", details=())


def _comparable(*both: Mapping[str, Value]) -> Iterator[Mapping[str, Value]]:
    """What a profile lets be written is compared where it was asked both times."""
    asked = all("mode" in one for one in both)
    for one in both:
        yield {k: v for k, v in one.items() if asked or not (k == "mode" or k.startswith(_WRITES))}


def _told(before: Mapping[str, Value], now: Mapping[str, Value]) -> Iterator[str]:
    for key in {**before, **now}:
        old, new = before.get(key), now.get(key)
        if isinstance(old, list) or isinstance(new, list):
            yield from _sets(key, _many(old), _many(new))
        elif old != new and not before:
            yield f"{key}: {new}"
        elif old != new:
            yield f"{key}: {old or 'nothing'} → {new or 'nothing'}"


def _many(value: Value | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else value


_NAMED = 8
"""Members of a set that one change names."""


def _sets(key: str, old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    for sign, some, others in (("more", new, old), ("no longer", old, new)):
        known = set(others)
        left = [one for one in some if one not in known]
        if left:
            more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
            yield f"{key}, {sign}: {', '.join(left[:_NAMED])}{more}"


# On disk -----------------------------------------------------------------------------


def written(kept: Kept) -> bytes:
    """The file that the next report reads."""
    found = [
        {
            "since": one.since,
            "until": one.until,
            "changes": [[c.of, c.what, c.how, list(c.details)] for c in one.changes],
        }
        for one in kept.found[:KEPT]
    ]
    text = json.dumps({"version": VERSION, "time": kept.time, "facts": kept.facts, "found": found})
    return text.encode() + b"\n"


def read(data: bytes) -> Kept:
    """What `written` wrote.  Raises ValueError for anything else."""
    try:
        found: Any = json.loads(data)
        if found["version"] != VERSION:
            raise ValueError(f"it has version {found['version']!r:.20}")
        return Kept(time=str(found["time"]), facts=_facts(found["facts"]), found=_found(found["found"]))
    except (KeyError, TypeError, AttributeError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError("it is not what Phoenix wrote") from error


def _facts(given: Any) -> Facts:
    return {
        str(of): {
            str(name): {str(key): _value(value) for key, value in facts.items()}
            for name, facts in names.items()
        }
        for of, names in given.items()
    }


def _value(value: Any) -> Value:
    return [str(one) for one in value] if isinstance(value, list) else str(value)


def _found(given: Any) -> tuple[Changes, ...]:
    return tuple(
        Changes(
            since=str(one["since"]),
            until=str(one["until"]),
            changes=tuple(
                Change(of=str(of), what=str(what), how=str(how), details=tuple(map(str, details)))
                for of, what, how, details in one["changes"]
            ),
        )
        for one in given
    )
