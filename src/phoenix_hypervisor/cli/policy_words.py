"""What the `policy` commands print.

Owns turning the engine's answers into lines for people and documents for `--json`.  Must not
ask anything.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from phoenix_hypervisor.cli.output import emit, say

if TYPE_CHECKING:
    from phoenix_hypervisor.cli.given import Settings
    from phoenix_hypervisor.engine.ask import (
        Answered,
        AnsweredEach,
        Compared,
        Compiled,
        Explained,
        Linted,
        RawAnswered,
        Tested,
    )
    from phoenix_hypervisor.engine.listed import Listed
    from phoenix_hypervisor.policy.answers import Answer
    from phoenix_hypervisor.policy.summary import Line

NOT_JUDGED = "not judged: file ownership and modes, seccomp, the device cgroup, the peer's own side"


def _show(settings: Settings, lines: list[str], document: dict[str, object]) -> None:
    for line in lines:
        say(settings, line)
    if settings.json:
        emit(document)


def show_raw(settings: Settings, found: RawAnswered) -> None:
    masks = found.masks._asdict()
    document = {"profile": found.profile, "query": str(found.question), **masks}
    _show(settings, [f"{word} {mask:#010x}" for word, mask in masks.items()], document)


def show_answer(settings: Settings, found: Answered, note: str | None = None) -> None:
    """`note`: what the command line has to tell of the question."""
    answer = found.answer
    lines = [f"{_verdict(answer)}  {found.profile}: {found.question}"]
    if answer.transition:
        alone = answer.transition.partition(" ")[0] in ("px", "Px", "cx", "Cx")
        needed = "; where no such profile is loaded, not at all" if alone else ""
        lines.append(f"  runs as: {answer.transition}{needed}")
    for name, holds in found.holds.items():
        lines.append(f"  also needs the capability {name}: this profile {'has it' if holds else 'lacks it'}")
    document = {"profile": found.profile, "query": str(found.question), **answer.as_json()}
    document["transition"] = answer.transition
    if found.logged is not None:
        document["logged"] = found.logged
        lines.append(f"  logged as: {found.logged}")
    if found.asked is not None:
        document["holds_for"] = f"{_WHOSE[found.asked.name]}, asked {found.asked}"
        lines.append(f"  holds for {document['holds_for']}; for other kernels: --features NAME")
    _noted(lines, document, found.note or note, found.kernel)
    _show(settings, lines, document)


def show_each(settings: Settings, found: AnsweredEach) -> None:
    lines = [f"{found.profile}: {found.question}"]
    lines += [f"  {letter}  {_verdict(answer)}{_runs_as(answer)}" for letter, answer in found.answers.items()]
    answers = {
        letter: {**answer.as_json(), "transition": answer.transition}
        for letter, answer in found.answers.items()
    }
    document: dict[str, object] = {"profile": found.profile, "query": str(found.question), "answers": answers}
    _noted(lines, document, found.note, found.kernel)
    _show(settings, lines, document)


def _noted(lines: list[str], document: dict[str, object], note: str | None, kernel: str) -> None:
    if note is not None:
        document["note"] = note
        lines.append(f"  {note}")
    document["kernel"] = kernel
    lines += [f"  {_for(kernel)}", f"  {NOT_JUDGED}"]


def _runs_as(answer: Answer) -> str:
    return f", runs as: {answer.transition}" if answer.transition else ""


_WHOSE = {
    "TYPE": "Linux before 6.17, Debian's among them",
    "PROTOCOL": "Proxmox's and Ubuntu's kernels",
    "NINTH": "Linux from 6.17",
}


def _for(kernel: str) -> str:
    return f"for the kernel: {kernel}"


def _verdict(answer: Answer) -> str:
    words = "allowed" if answer.allowed else "denied"
    extra = [answer.reason.value]
    if answer.audited:
        extra.append("logged")
    if answer.complain:
        extra.append("the profile only complains")
    return f"{words} ({', '.join(extra)})"


def show_list(settings: Settings, found: Listed) -> None:
    from phoenix_hypervisor.policy.abilities import grouped

    lines = [f"{found.profile}, {_for(found.kernel)}", *_files(found)]
    for group in found.found:
        if group.shown:
            lines.append(f"{group.kind}: {group.count} situations, as")
            lines += [f"  {one}" for one in group.shown]
    for kinds, texts in grouped(found.abilities or ()):
        lines += [kinds, *(f"  {text}" for text in texts)]
    document: dict[str, object] = {"profile": found.profile, "under": found.under or "/"}
    document["kernel"] = found.kernel
    if found.capabilities is not None:
        lines.append(f"capabilities: {' '.join(found.capabilities) or 'none'}")
        document["capabilities"] = list(found.capabilities)
    document["found"] = [group.as_json() for group in found.found]
    document["lines"] = [line.as_json() for line in found.lines]
    if found.abilities is not None:
        document["abilities"] = [one.as_json() for one in found.abilities]
    _show(settings, lines, document)


_WIDE = 110


def _files(found: Listed) -> list[str]:
    """Files: each line's access in front; behind a wide one its exceptions, with what they keep."""
    if not found.lines:
        return ["files: nothing"]
    lines: list[str] = []
    hidden = {one for line in found.lines for one in line.but}
    kept = {line.pattern: line.access for line in found.lines if line.pattern in hidden}
    for named, title in ((True, "files that kernels have, by name"), (False, "files, by pattern")):
        own = [line for line in found.lines if line.named is named]
        own = [line for line in own if named or line.pattern not in hidden]
        lines += [title] if own else []
        for at, line in enumerate(own, 1):
            lines.append(f"  {line.access:<7} {line.pattern}{' except' if line.but else ''}")
            if own[at : at + 1] and _below(own[at]) == _below(line):
                continue  # the same exceptions: told once, behind the last line
            groups: dict[str, list[str]] = {}
            for one, words in zip(line.but, _below(line), strict=True):
                groups.setdefault(kept.get(one, ""), []).append(words)
            for access, patterns in groups.items():
                lines += [f"    {access or '-':<7} {row}" for row in _rows(patterns)]
    # Each line is true; that they are all is proven of none.
    return [*lines, "  there may be more (--limit); `phoenix policy query` answers for any path"]


def _below(line: Line) -> list[str]:
    """Exceptions without the directory that they lie below: `/home/**` has `.../bin/*`."""
    head = re.sub(r"/(\{,\*\*\}|\*\*)$", "", line.pattern)
    shown = len(head)
    if not all(one.startswith(f"{head}/") for one in line.but):  # of /a/b/*/** one may be /a/b/c
        head = head.removesuffix("/*")
        shown = head.rfind("/")
    if shown > 0 and all(one.startswith(f"{head}/") for one in line.but):
        return [f"...{one[shown:]}" for one in line.but]
    return list(line.but)


def _rows(patterns: list[str]) -> list[str]:
    """Patterns, as many in a row as fit."""
    rows = [""]
    for pattern in patterns:
        if rows[-1] and len(rows[-1]) + len(pattern) > _WIDE:
            rows.append("")
        rows[-1] += f" {pattern}" if rows[-1] else pattern
    return rows


def show_diff(settings: Settings, found: Compared) -> None:
    lines = [f"A: {found.a}", f"B: {found.b}", *map(str, found.differences)]
    if found.equal:
        lines = ["equal in what was compared" if found.not_compared else "equal"]
    lines += map(str, found.not_compared)
    lines.append(_for(found.kernel))
    document: dict[str, object] = {
        "a": found.a,
        "b": found.b,
        "differences": [one.as_json() for one in found.differences],
        "not_compared": [one.as_json() for one in found.not_compared],
        "kernel": found.kernel,
    }
    _show(settings, lines, document)


def show_test(settings: Settings, found: Tested) -> None:
    lines = [str(failure) for failure in found.failures]
    lines += [f"{where}: {name}: no profile {', '.join(profiles)}" for where, name, profiles in found.unused]
    lines.append(f"asked={found.asked} failed={len(found.failures)} profiles={found.profiles}")
    document: dict[str, object] = {
        "asked": found.asked,
        "failures": [failure.as_json() for failure in found.failures],
        "unused": [name for _, name, _ in found.unused],
    }
    _show(settings, lines, document)


def show_lint(settings: Settings, found: Linted) -> None:
    lines = [str(one) for one in found.findings]
    waived = len(found.findings) - found.open
    lines.append(f"sources={len(found.sources)} findings={found.open} waived={waived}")
    document: dict[str, object] = {
        "sources": list(found.sources),
        "findings": [f.as_json() for f in found.findings],
    }
    _show(settings, lines, document)


_OTHERS = 3
"""How many further rules are shown to people."""


def show_explanation(settings: Settings, found: Explained) -> None:
    explanation = found.explanation
    lines = [f"{_verdict(explanation.answer)}  {found.question}"]
    for rule in explanation.rules:
        lines.append(f"  {rule.place}: {rule.text}")
        if rule.within:
            lines.append(f"    inside: {' '.join(rule.within)}")
        if rule.chain:
            lines.append(f"    included at: {', '.join(rule.chain)}")
    for name, places in explanation.variables.items():
        lines.append(f"    {name} is set at: {', '.join(places)}")
    for rules in explanation.others[:_OTHERS]:
        lines += [f"  and without that also {rule.place}: {rule.text}" for rule in rules]
    if len(explanation.others) > _OTHERS:
        lines.append(f"  and so do {len(explanation.others) - _OTHERS} more (--json lists them)")
    if explanation.note:
        lines.append(f"  {explanation.note}")
    logged = {} if found.logged is None else {"logged": found.logged}
    lines += [f"  logged as: {words}" for words in logged.values()]
    _show(settings, lines, {"query": str(found.question), **explanation.as_json(), **logged})


def show_compiled(settings: Settings, found: Compiled) -> None:
    names = ", ".join(name for name, _ in found.profiles)
    lines = [f"{found.source}: {len(found.blob)} bytes: {names}"]
    if found.unmediated:
        missing = ", ".join(found.unmediated)
        lines.append(f"  compiled WITHOUT {missing}: everything of it is allowed")
    lines += [f"  parser: {found.parser}", f"  features: {found.features}"]
    document: dict[str, object] = {
        "source": found.source,
        "bytes": len(found.blob),
        "profiles": [{"name": name, "sha256": sha256} for name, sha256 in found.profiles],
        "unmediated": list(found.unmediated),
        "parser": found.parser,
        "features": found.features,
    }
    _show(settings, lines, document)
