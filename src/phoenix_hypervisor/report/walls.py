"""Walls, as sections of the page: containers, GPUs, profiles.

Owns what is shown of each.  Pure: facts come in, markup goes out; must not judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from phoenix_hypervisor.report.markup import Html, cut, joined, tag
from phoenix_hypervisor.report.parts import badge, code, listed, many, row, section, table
from phoenix_hypervisor.report.report_facts import (
    BROKEN,
    CLOSED,
    COMPANION,
    DEFAULT,
    MAKES,
    OPENS,
    SHUT,
    Container,
    Devices,
    GpuCell,
    Place,
    Profile,
    Report,
)

CONTAINERS = ("CTID", "name", "kind", "profile", "state", "seccomp", "device cgroup", "GPU", "verdict")
WIDTHS = {"containers": (6, 12, 10, 18, 9, 10, 17, 7, 11)}
"""Of columns, in percent: a thousand rows are read more easily where no name moves them."""
PROFILES = ("profile", "source", "installed", "kernel", "used by", "verdict")
PLACES = ("place", "writable", "which")
SHARED_NODES = ("node", "who can open it", "what that means")
_NAMES = 24
_LINES = 4


def matrix_columns(report: Report) -> tuple[str, ...]:
    """Of the table of containers and GPUs."""
    return ("CTID", "name", *(f"GPU {one.gpu}" for one in report.gpus), "let in by", "stopped by")


def containers(report: Report) -> Html:
    """Each container with all its walls."""
    places = _anchors(report.profiles)
    rows = (_container(report, one, places) for one in report.containers)
    body = table("containers", CONTAINERS, rows) if report.containers else tag("p", "There is no container.")
    return section("containers", "Containers and their walls", body, count=f"{len(report.containers):,}")


def _container(report: Report, one: Container, places: Mapping[str, str]) -> Html:
    profile: list[str] = [one.assigned if one.assigned is not None else "no profile line"]
    if one.assigned is None and one.exists:
        profile.append(report.without_line)
    if (
        one.declared is not None
        and one.declared != one.assigned
        and not (one.assigned or "").startswith(f"{one.declared}-")
    ):
        profile.append(f"declared: {one.declared}")
    name = one.label.rpartition(" (")[0] or one.label
    if one.label and name != one.assigned:
        profile.append(f"runs under: {one.label}")
    first, *more = profile
    verdict = [badge("bad" if said.fault else "warn", said.code) for said in one.findings]
    if not verdict:
        verdict = [badge("none", "not declared") if one.declared is None else badge("good", "as declared")]
    return row(
        one.ctid,
        tag("span", cut(one.name), class_="any") if one.name else "",
        "unprivileged" if one.unprivileged else "privileged",
        joined(
            tag("div", _assigned(first, places)),
            *(tag("div", cut(text), class_="dim small") for text in more),
        ),
        badge(*state(one)),
        _seccomp(one),
        "" if one.devices is None else _devices(one.devices),
        _gpu_words(one.gpus) if report.gpus else "",
        joined(*(joined(part, " ") for part in verdict)),
        name=f"c{one.ctid}",
    )


def _assigned(line: str, places: Mapping[str, str]) -> str:
    """A profile line: it leads to what the profile lets be written, or is red where nothing is confined."""
    if line.strip("'\"") == "unconfined":
        return badge("bad", line)
    return tag("a", cut(line), href=f"#{places[line]}") if line in places else cut(line)


def _anchors(profiles: Iterable[Profile]) -> dict[str, str]:
    """By name, where the page says what a profile lets be written."""
    return {one.name: f"p{n}" for n, one in enumerate(profiles) if one.used_by and one.mode is not None}


def _seccomp(one: Container) -> str:
    if not one.exists:
        return ""
    if one.seccomp in (COMPANION, DEFAULT):
        return {COMPANION: "Phoenix's companion", DEFAULT: "runtime's default"}[one.seccomp]
    return code(one.seccomp_file or "")


def _devices(one: Devices) -> Html:
    if one.state == BROKEN:
        return joined(tag("div", "does not start"), *(tag("div", code(cut(line))) for line in one.own))
    if one.state == CLOSED:
        text = f"closed but for {many(one.rules, 'rule')}"
    else:
        text = f"open but for {many(one.rules, 'rule')}" if one.rules else "open"
    more = len(one.own) - _LINES
    lines = [code(cut(line)) for line in one.own[:_LINES]] + (
        [joined(f"and {more} more")] if more > 0 else []
    )
    return joined(tag("div", text), *(tag("div", line, class_="small dim") for line in lines))


def _gpu_words(cells: Iterable[GpuCell]) -> str:
    parts = []
    for access, word in ((OPENS, "opens"), (MAKES, "can make")):
        numbers = [str(cell.gpu) for cell in cells if cell.access == access]
        if numbers:
            parts.append(f"{word} {', '.join(numbers)}")
    return "; ".join(parts) or "none"


def gpus(report: Report) -> Html:
    """Who can open which GPU, and by what."""
    own = [
        tag("li", tag("strong", f"GPU {one.gpu}"), f": {one.called}, ", code(one.node)) for one in report.gpus
    ]
    let_in = [one for one in report.containers if any(cell.access != SHUT for cell in one.gpus)]
    known = {one.ctid for one in let_in}
    others = [one.ctid for one in report.containers if one.gpus and one.ctid not in known]
    matrix = table("gpus", matrix_columns(report), map(_matrix_row, let_in)) if let_in else ""
    shut = ""
    if others:
        shut = tag("p", f"{many(len(others), 'container')} cannot open any GPU: {listed(others)}.")
    shared = [
        row(
            code(one.path),
            listed(one.users)
            if one.tenants
            else joined(badge("bad", "no container should"), " ", listed(one.users)),
            one.means,
        )
        for one in report.shared_nodes
        if one.users
    ]
    return section(
        "gpus",
        "Who can open which GPU",
        tag("ul", *own),
        matrix,
        shut,
        joined(tag("h3", "Shared nodes"), table("shared", SHARED_NODES, shared)) if shared else "",
        count=f"{len(report.gpus)}",
    )


_SIGNS = {
    OPENS: badge("none", "opens"),
    MAKES: badge("bad", "can make"),
    SHUT: tag("span", "no", class_="dim"),
}


def _matrix_row(one: Container) -> Html:
    by: dict[str, None] = {}
    walls: dict[str, None] = {}
    for cell in one.gpus:
        (walls if cell.access == SHUT else by).update(dict.fromkeys(cell.by))
    return row(
        one.ctid,
        tag("span", cut(one.name), class_="any") if one.name else "",
        *(_SIGNS[cell.access] for cell in one.gpus),
        joined(*(tag("div", code(cut(line))) for line in by)),
        ", ".join(walls),
    )


# Profiles -----------------------------------------------------------------------------


def profiles(report: Report) -> Html:
    """Each profile, and what those in use let be written."""
    colours = {"same": "good", "differs": "bad", "missing": "warn", "foreign": "none"}
    rows = []
    for one in report.profiles:
        verdict = [badge("bad" if said.fault else "warn", said.code) for said in one.findings]
        kernel = "good" if one.loaded in ("enforce", "kill") else "none" if one.loaded == "unknown" else "bad"
        rows.append(
            row(
                tag("span", cut(one.name), class_="any") if one.name else "",
                "Phoenix" if one.ours else "others",
                badge(colours.get(one.installed, "none"), one.installed),
                badge(kernel, one.loaded if one.loaded != "no" else "not loaded"),
                joined(
                    tag("div", f"{len(one.used_by):,}"), tag("div", listed(one.used_by), class_="dim small")
                )
                if one.used_by
                else "",
                joined(*verdict) if verdict else "as declared" if one.ours else "",
            )
        )
    return section(
        "profiles",
        "Profiles",
        table("profiles", PROFILES, rows) if rows else tag("p", "There is no profile."),
        *_writes(report.profiles),
        count=f"{len(report.profiles)}",
    )


def _writes(profiles: Sequence[Profile]) -> list[Html]:
    """What profiles in use let be written; those that let the same be written are told once."""
    anchors = _anchors(profiles)
    alike: dict[tuple[str, tuple[Place, ...]], list[str]] = {}
    unknown = []
    for one in profiles:
        if one.used_by and one.mode is None:
            unknown.append(one.name)
        elif one.used_by:
            alike.setdefault((one.mode or "", one.places), []).append(one.name)
    if not alike and not unknown:
        return []
    found = [
        tag("h3", "What they let be written below /proc and /sys"),
        tag(
            "p",
            "Asked of the compiled policy, for the names that kernels are known to have. AppArmor is not the"
            " only wall there: file modes, the user namespace of an unprivileged container and read-only"
            " mounts refuse most of it.",
            class_="dim",
        ),
    ]
    for (mode, places), names in alike.items():
        named = (tag("code", name, id=anchors[name]) for name in names)
        title = tag("h4", *(joined(", " if n else "", name) for n, name in enumerate(named)))
        if mode not in ("enforce", "kill"):
            title = joined(title, tag("p", badge("bad", mode), " it refuses only what a rule denies"))
        found.append(joined(title, *_places(places)))
    if unknown:
        text = "What these let be written is not known, because their policy is not shown: "
        found.append(tag("p", text, ", ".join(unknown)))
    return found


def _places(places: Sequence[Place]) -> list[Html]:
    """Places where some names can be written as a table, those where all can as a list."""
    if not places:
        return [tag("p", "Nothing.")]
    rows = []
    for one in (place for place in places if place.names):
        more = len(one.names) - _NAMES
        which = code(" ".join(one.names[:_NAMES]))
        rows.append(
            row(
                code(_path(one)),
                f"{one.writable} of {one.known}",
                joined(which, f" and {more} more") if more > 0 else which,
            )
        )
    whole = [tag("li", code(_path(one)), f" {one.known}") for one in places if not one.names]
    return [
        *([table("places", PLACES, rows)] if rows else []),
        *(
            [tag("p", "Every name in these places:"), tag("ul", *whole, class_="chips small")]
            if whole
            else []
        ),
    ]


def _path(one: Place) -> str:
    return one.path.replace("/proc/[0-9]*", "/proc/PID")


def state(one: Container) -> tuple[str, str]:
    """The colour and the words of what a container is now."""
    if not one.exists:
        return "none", "not on this host"
    if one.running is False:
        return "none", "template" if one.template else "not running"
    if one.running is None or one.confined is None:
        return "warn", "not known"
    return ("good", "confined") if one.confined else ("bad", "unconfined")
