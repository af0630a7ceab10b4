"""Denials in words and as JSON.

Owns what `phoenix denials` prints.  Every name in it was chosen inside a container: nothing is printed
that `printable` has not seen.
"""

from __future__ import annotations

import os
import sys
import time

from phoenix_hypervisor.audit.event import Doubt
from phoenix_hypervisor.audit.meaning import means, printable
from phoenix_hypervisor.audit.verdict import Verdict
from phoenix_hypervisor.cli.output import emit, say
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from phoenix_hypervisor.audit.groups import Group
    from phoenix_hypervisor.cli.given import Settings
    from phoenix_hypervisor.engine.denials import Denial, Denials
    from phoenix_hypervisor.engine.following import Counted
    from phoenix_hypervisor.engine.replaying import Replay, Replayed

_COLORS = {Verdict.OFFERED: "green", Verdict.REFUSED: "red"}
_ENDED = {
    "ALLOWED": "let through, because the profile only complains",
    "AUDIT": "let through, because the container is on trial",
    "KILLED": "refused, and it was killed",
}
MANY = 5
"""Candidates that are named."""


def document(found: Denials) -> dict[str, Any]:
    """What `denials --json` prints; stable."""
    return {
        "denials": [denial_document(denial) for denial in found.denials],
        "lines": found.lines,
        "unread": found.unread,
        "repeated": found.repeated,
        "left_out": found.left_out,
        "sources": [printable(place) for place in found.places],
        "failed": [{"where": error.where, "message": error.message} for error in found.failed],
    }


def denial_document(denial: Denial) -> dict[str, Any]:
    """One of them."""
    group, judged = denial.group, denial.judged
    line, proposal = group.event.line, judged.proposal
    return {
        "id": group.id,
        "count": group.count,
        "first": _iso(group.first),
        "last": _iso(group.last),
        "ctid": denial.ctid,
        "candidates": [printable(name) for name in denial.candidates],
        "containers": [printable(name) for name in group.containers],
        "profile": printable(group.subject.profile) or None,
        "namespace": printable(group.subject.namespace) or None,
        "logged": line.verdict,
        "kind": group.kind,
        "operation": printable(line.operation),
        "object": group.object,
        "requested": group.requested,
        "comm": printable(line.fields.get("comm", b"")) or None,
        "meaning": _means(group),
        "trusted": group.event.trusted,
        "verdict": judged.verdict.value,
        "code": judged.code,
        "reason": printable(judged.reason),
        "where": None if judged.where is None else printable(judged.where),
        "proposal": None
        if proposal is None
        else {
            "rule": proposal.rule,
            "profile": proposal.profile,
            "opens": list(proposal.opens),
            "note": proposal.note,
        },
    }


def _iso(seconds: float | None) -> str | None:
    if seconds is None or not 0 <= seconds < 253402300800:
        return None
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{int(seconds * 1000) % 1000:03d}Z"


def _local(seconds: float | None) -> str:
    if seconds is None or not 0 <= seconds < 253402300800:
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _means(group: Group) -> str:
    return means(group.event.line, group.kind, group.object, group.requested)


def show(settings: Settings, found: Denials, chosen: tuple[str, ...], *, files: bool) -> None:
    """All denials for people, newest last; `files`: of logs that were named."""
    for denial in found.denials:
        show_denial(settings, denial)
        say(settings)
    events = sum(denial.group.count for denial in found.denials)
    what = f"{_count(len(found.denials), 'denial')}, {_count(events, 'event')}"
    of = f" of {', '.join(chosen)}" if chosen else ""
    say(settings, f"{what}{of}, in {_count(found.lines, 'line')} of {', '.join(found.places)}")
    if any(denial.group.event.doubt is Doubt.PLACE for denial in found.denials):
        text = "others than the kernel could have written these lines: --trust says that you know who did"
        text = text if files else "syslog's lines are not believed: anybody on the host can write there"
        say(settings, text, "yellow")
    if found.unread:
        what = "line looks" if found.unread == 1 else "lines look"
        say(settings, f"{found.unread:,} {what} like AppArmor's and could not be read", "yellow")
    for error in found.failed:
        text = f"{error.where or 'a log'} {error.message}" + (f" ({error.hint})" if error.hint else "")
        say(settings, f"not read to its end: {text}", "yellow")
    if found.left_out:
        say(settings, f"{_count(found.left_out, 'event')} are not shown: too many different ones", "yellow")
    hint = "rules that say `deny` log nothing: `phoenix denials CTID --listen` makes the kernel log them too"
    say(settings, hint)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def show_denial(settings: Settings, denial: Denial) -> None:
    """One denial: whose, how often and when; what it was; what may be done."""
    group, judged = denial.group, denial.judged
    head = f"{group.id}  {_whose(denial)}  {_count(group.count, 'time')}{_when(group)}"
    say(settings, head, "bold")
    comm = printable(group.event.line.fields.get("comm", b""))
    ended = _ENDED.get(group.event.line.verdict, "refused")
    _wrapped(settings, f"{comm + ': ' if comm else ''}{_means(group)}: {ended}")
    place = f" ({printable(judged.where)})" if judged.where else ""
    text = f"{judged.verdict.value}: {printable(judged.reason)}{place}"
    _wrapped(settings, text, color=_COLORS.get(judged.verdict))
    if judged.proposal is not None:
        say(settings, f"    {judged.proposal.rule}", "green")
        for one in judged.proposal.opens:
            _wrapped(settings, f"also opens: {one}", indent=4)
        if judged.proposal.note:
            _wrapped(settings, judged.proposal.note, indent=4)
    step = next_step(denial)
    if step:
        say(settings, f"  next: {step}")


def _wrapped(settings: Settings, text: str, *, indent: int = 2, color: str | None = None) -> None:
    """A text below a heading; on a terminal no wider than that."""
    lines = [" " * indent + text]
    if sys.stdout.isatty():
        import textwrap

        width = max(40, os.get_terminal_size(sys.stdout.fileno()).columns or 80)
        lines = textwrap.wrap(
            text,
            width,
            initial_indent=" " * indent,
            subsequent_indent=" " * (indent + 2),
            break_long_words=False,
            break_on_hyphens=False,
        )
    for line in lines:
        say(settings, line, color)


def next_step(denial: Denial) -> str:
    """The command that goes on from a denial; empty where there is none."""
    verdict, event = denial.judged.verdict, denial.group.event
    if verdict is Verdict.OFFERED:
        return f"phoenix accept {denial.group.id}"
    if verdict is Verdict.ALLOWED_NOW:
        return f"phoenix apply {denial.ctid}" if denial.ctid else "phoenix plan"
    if verdict is Verdict.NOT_OURS and denial.ctid:
        return f"phoenix status {denial.ctid}"
    if verdict is Verdict.FOREIGN:
        return "its policy is loaded inside the container: look there"
    if verdict is Verdict.NOT_OURS and denial.group.subject.profile.startswith("lxc-container-default"):
        return "phoenix status shows which containers run under LXC's own profiles"
    if event.doubt is Doubt.FORM:
        return "phoenix policy query --denial 'LINE' asks the profile, whoever wrote the line"
    if event.doubt is Doubt.CUT:
        return "install auditd, which keeps long lines whole"
    return ""


def _whose(denial: Denial) -> str:
    subject = denial.group.subject
    profile = printable(subject.profile) or "no profile"
    if subject.namespace:
        profile += f" in {printable(subject.namespace)}"
    if denial.ctid is not None:
        return f"container {denial.ctid}  {profile}"
    if denial.candidates:
        names = [printable(name) for name in denial.candidates]
        more = f" or {len(names) - MANY} others" if len(names) > MANY else ""
        return f"container {' or '.join(names[:MANY])}{more}  {profile}"
    return f"no container known  {profile}"


def _when(group: Group) -> str:
    first, last = _local(group.first), _local(group.last)
    if not last:
        return ""
    if first == last:
        return f", {last}"
    same_day = first[:10] == last[:10]
    return f", {first} to {last[11:] if same_day else last}"


def show_counted(settings: Settings, counted: Counted) -> None:
    """A denial as it happens."""
    if settings.json:
        emit({"new": counted.new, "denial": denial_document(counted.denial)})
    elif counted.new:
        show_denial(settings, counted.denial)
    else:
        group = counted.denial.group
        say(settings, f"{group.id}  again: {_count(group.count, 'time')}, last {_local(group.last)}")


def replay_document(found: Replay) -> dict[str, Any]:
    """What `denials --replay --json` prints; stable."""
    return {
        "profile": printable(found.profile),
        "kernel": found.kernel,
        "allowed": found.allowed,
        "refused": found.refused,
        "not_asked": found.not_asked,
        "replayed": [
            {
                "id": one.group.id,
                "count": one.group.count,
                "kind": one.group.kind,
                "operation": printable(one.group.event.line.operation),
                "object": one.group.object,
                "requested": one.group.requested,
                "meaning": _means(one.group),
                "allowed": one.allowed,
                "refused": one.refused,
                "not_asked": one.not_asked,
                "reason": printable(one.reason) or None,
            }
            for one in found.replayed
        ],
        "lines": found.lines,
        "unread": found.unread,
    }


def show_replay(settings: Settings, found: Replay) -> None:
    """Which events a profile lets through, for people."""
    for one in found.replayed:
        say(settings, f"{one.group.id}  {_outcome(one)}: {_means(one.group)}", _color(one))
    events = _count(found.allowed + found.refused + found.not_asked, "event")
    text = f"{printable(found.profile)} lets {found.allowed:,} of {events} through, refuses {found.refused:,}"
    if found.not_asked:
        text += f"; {found.not_asked:,} cannot be asked"
    say(settings, text)


def _outcome(one: Replayed) -> str:
    parts: Iterable[tuple[int, str]] = (
        (one.allowed, "let through"),
        (one.refused, f"refused ({printable(one.reason)})"),
        (one.not_asked, f"not asked ({printable(one.reason)})"),
    )
    return ", ".join(f"{count:,} {word}" for count, word in parts if count)


def _color(one: Replayed) -> str | None:
    return "red" if one.refused else "green" if one.allowed else "yellow"
