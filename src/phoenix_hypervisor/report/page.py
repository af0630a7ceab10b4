"""The report as one HTML page that needs nothing from elsewhere, and no script.

Owns its sections and their order.  Pure: facts come in, a page goes out; must not judge.  All text goes
through `report.markup`; the page's own policy (CSP) forbids scripts and whatever is not in it, should a text
ever become markup all the same.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence

from phoenix_hypervisor.plan.chosen import shortest
from phoenix_hypervisor.report import walls
from phoenix_hypervisor.report.markup import Html, joined, tag
from phoenix_hypervisor.report.node_section import COLUMNS, nodes
from phoenix_hypervisor.report.parts import badge, code, listed, many, moment, prose, row, section, table
from phoenix_hypervisor.report.report_facts import Changes, Container, Report, Said
from phoenix_hypervisor.report.style import sheet

ACCEPTED = ("profile", "rule", "accepted", "denial")
HISTORY = ("id", "when", "who", "command", "state", "what")
_TRANSACTIONS = 50


def page(report: Report) -> str:
    """The whole page."""
    tables = {
        "containers": walls.CONTAINERS,
        "gpus": walls.matrix_columns(report),
        "shared": walls.SHARED_NODES,
        "profiles": walls.PROFILES,
        "places": walls.PLACES,
        "nodes": COLUMNS,
        "accepted": ACCEPTED,
        "history": HISTORY,
    }
    counts = _counts(report.containers)
    style = Html(sheet(tables, walls.WIDTHS, {name: count for name, _, count in counts if count}))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    sections = [
        _attention(report),
        _changes(report),
        walls.containers(report),
        *([] if report.other_nodes is None else [nodes(report.other_nodes)]),
        *([walls.gpus(report)] if report.gpus else []),
        walls.profiles(report),
        _accepted(report),
        _history(report),
        _kernel(report),
    ]
    head = joined(
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"Phoenix: {_headline(report)} on {report.host}"),
        tag("style", style),
    )
    body = joined(_header(report, counts), tag("main", *sections), _footer())
    return f"<!doctype html>\n{tag('html', tag('head', head), tag('body', body), lang='en')}\n"


# The head ---------------------------------------------------------------------------


def _headline(report: Report) -> str:
    return f"{report.confined:,} of {many(len(report.containers), 'container')} confined"


def _counts(containers: Iterable[Container]) -> list[tuple[str, str, int]]:
    """Class, words and number of each state."""
    found = {"good": 0, "bad": 0, "none": 0, "warn": 0}
    for one in containers:
        found[walls.state(one)[0]] += 1
    words = {"good": "confined", "bad": "unconfined", "none": "not running", "warn": "not known"}
    return [(name, words[name], count) for name, count in found.items()]


def _header(report: Report, counts: Sequence[tuple[str, str, int]]) -> Html:
    shown = [(name, words, count) for name, words, count in counts if count]
    facts = [
        ("Host", report.host),
        ("Kernel", report.kernel or "not asked"),
        ("Made", moment(report.time)),
        ("Configuration", report.configuration or "none"),
        ("Phoenix", report.phoenix),
    ]
    links = [("attention", "Attention"), ("changes", "Changes"), ("containers", "Containers")]
    links += [("nodes", "Other nodes")] if report.other_nodes is not None else []
    links += [("gpus", "GPUs")] if report.gpus else []
    links += [("profiles", "Profiles"), ("accepted", "Accepted rules"), ("history", "History")]
    links += [("kernel", "Kernel"), ("reading", "How to read this")]
    bar = tag("div", *(tag("i", class_=name) for name, _, _ in shown), class_="bar", aria_hidden="true")
    key = (tag("li", tag("i", class_=f"k-{name}"), f"{count:,} {words}") for name, words, count in shown)
    verdict = badge("good", "as declared") if report.as_declared else badge("bad", "not as declared")
    return tag(
        "header",
        tag("h1", f"Phoenix report of {report.host}"),
        tag("p", _headline(report), class_="big"),
        bar if shown else "",
        tag("ul", *key, tag("li", verdict), class_="key"),
        tag("dl", *(tag("div", tag("dt", name), tag("dd", text)) for name, text in facts), class_="facts"),
        tag(
            "nav",
            tag("ul", *(tag("li", tag("a", text, href=f"#{to}")) for to, text in links)),
            aria_label="Sections",
        ),
    )


# What is wrong, and what changed ------------------------------------------------------


def _attention(report: Report) -> Html:
    """Each finding once, with all that it is found of; faults first."""
    found: dict[tuple[bool, str, str, str | None], list[str]] = {}
    for said in report.findings:
        found.setdefault(_alike(said, None), []).append("")
    for one in report.containers:
        for said in one.findings:
            found.setdefault(_alike(said, one.ctid), []).append(one.ctid)
    for profile in report.profiles:
        for said in profile.findings:
            found.setdefault(_alike(said, None), []).append(f"profile {profile.name}")
    told = sorted(found.items(), key=lambda item: item[0][0])
    items = [_told(key, whose) for key, whose in told]
    items += [
        tag("li", tag("p", badge("warn", "not read"), " ", text), class_="said warn")
        for text in report.not_read
    ]
    faults = sum(1 for key, _ in told if not key[0])
    text = "Everything is as declared." if report.as_declared else ""
    return section(
        "attention",
        "What needs attention",
        tag("p", text) if text else "",
        tag("ul", *items, class_="list") if items else "",
        count=many(faults, "fault") if faults else "",
    )


_ITS = "\0"
"""Stands for the CTID in a hint that several containers have in common."""


def _alike(said: Said, ctid: str | None) -> tuple[bool, str, str, str | None]:
    hint = said.next
    if hint is not None and ctid is not None:
        hint = re.sub(rf"\b{ctid}\b", _ITS, hint)
    return not said.fault, said.code, said.text, hint


def _told(key: tuple[bool, str, str, str | None], whose: Sequence[str]) -> Html:
    harmless, code, text, hint = key
    ctids = [one for one in whose if one.isdigit()]
    of = f"Container {listed(ctids)}" if len(ctids) == 1 else f"Containers {listed(ctids)}"
    others = [one for one in whose if one and not one.isdigit()]
    who = ", ".join([*([of] if ctids else []), *others])
    following = "" if hint is None else hint.replace(_ITS, shortest(ctids) if ctids else "")
    return tag(
        "li",
        tag("p", badge("warn" if harmless else "bad", code), " ", tag("strong", who) if who else ""),
        tag("p", prose(text)),
        tag("p", "Next: ", prose(following), class_="dim") if following else "",
        class_=f"said {'warn' if harmless else 'bad'}",
    )


def _changes(report: Report) -> Html:
    compared = report.compared
    if compared.last is None:
        text = "This is the first report. The next one says here what has changed."
    elif compared.changed:
        text = ""
    else:
        text = f"Nothing has changed since {moment(compared.last)}."
    parts: list[str] = [tag("p", text)] if text else []
    parts += [_set(one) for one in compared.found]
    if compared.not_kept is not None:
        parts.append(
            tag(
                "p", f"What this report saw was not kept for the next one: {compared.not_kept}.", class_="dim"
            )
        )
    return section("changes", "What changed", *parts)


_SHOWN_CHANGES = 60


def _set(found: Changes) -> Html:
    kinds = {
        "containers": "container",
        "profiles": "profile",
        "accepted": "accepted rule",
        "kernel": "not mediated",
        "gpus": "GPU",
    }
    colours = {"new": "good", "gone": "warn", "changed": "none"}
    items = [
        tag(
            "li",
            badge(colours.get(one.how, "none"), one.how),
            " ",
            tag("strong", f"{kinds.get(one.of, '')} {one.what}".strip()),
            *(joined(" · ", detail) for detail in one.details),
        )
        for one in found.changes[:_SHOWN_CHANGES]
    ]
    left = len(found.changes) - _SHOWN_CHANGES
    more = tag("p", f"and {left:,} more; the JSON report has all", class_="dim") if left > 0 else ""
    return joined(
        tag(
            "h3",
            f"Between {moment(found.since)} and {moment(found.until)}",
            tag("small", many(len(found.changes), "change")),
        ),
        tag("ul", *items, class_="list small"),
        more,
    )


# The rest -----------------------------------------------------------------------------


def _accepted(report: Report) -> Html:
    rows = []
    for one in report.accepted:
        evidence = [tag("div", line) for line in one.evidence] or [
            tag("div", "by hand: no evidence", class_="dim")
        ]
        rows.append(row(one.profile, code(one.rule), joined(*evidence), code(one.id) if one.id else ""))
    empty = tag("p", "No rule was accepted: profiles are as they are shipped or written.")
    body = table("accepted", ACCEPTED, rows) if rows else empty
    return section(
        "accepted", "Accepted rules and their evidence", body, count=f"{len(rows)}" if rows else ""
    )


def _history(report: Report) -> Html:
    colours = {"committed": "good", "undone": "warn", "unfinished": "bad"}
    rows = [
        row(
            str(one.id),
            moment(one.time),
            one.user,
            code(one.command),
            badge(colours.get(one.state, "none"), one.state),
            one.what,
        )
        for one in report.history[:_TRANSACTIONS]
    ]
    left = len(report.history) - _TRANSACTIONS
    return section(
        "history",
        "History",
        table("history", HISTORY, rows) if rows else tag("p", "Phoenix has changed nothing on this host."),
        tag("p", f"and {left:,} older ones: `phoenix history` shows them", class_="dim") if left > 0 else "",
        count=many(len(report.history), "transaction") if rows else "",
    )


def _kernel(report: Report) -> Html:
    if report.unmediated is None:
        body = tag("p", "No kernel says what it mediates: this was a look at files.")
    elif not report.unmediated:
        body = tag("p", "This kernel asks AppArmor about everything that Phoenix knows of.")
    else:
        items = (
            tag(
                "li",
                tag("p", tag("strong", one.what), " ", badge("warn", one.by)),
                tag("p", prose(one.means)),
                class_="said warn",
            )
            for one in report.unmediated
        )
        body = tag("ul", *items, class_="list")
    return section("kernel", "What the kernel does not mediate", body)


_READING = (
    ("confined", "The container runs, and each of its processes carries a profile that refuses something."),
    (
        "as declared",
        "The configuration, the container's own file, the loaded policy and the running label agree.",
    ),
    ("device cgroup", "Which device nodes the container may use at all. The lines shown are its own."),
    (
        "opens, can make",
        "A line brings the GPU's node and nothing stops it; or no line does, but the container can "
        "make the node itself. Root of the container is who asks.",
    ),
    (
        "what a running container has",
        "is what its configuration said when it was started. Devices and seccomp are "
        "shown as the configuration says now.",
    ),
)


def _footer() -> Html:
    told = (joined(tag("dt", name), tag("dd", text)) for name, text in _READING)
    return tag("footer", tag("h2", "How to read this", id="reading"), tag("dl", *told))
