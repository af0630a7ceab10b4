"""What `phoenix status` and `phoenix verify` show people.

Owns the overview, from which one can choose, and all of one container.  Must not judge: the verdicts
are `plan.verify`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.notes import words
from phoenix_hypervisor.cli.output import say, show_findings
from phoenix_hypervisor.cli.tables import Form, Row, block, table
from phoenix_hypervisor.plan.chosen import shortest
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.lines import UNPRIVILEGED
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from phoenix_hypervisor.engine.condition import Status
    from phoenix_hypervisor.plan.model import Finding, Note
    from phoenix_hypervisor.plan.verify import ContainerVerdict, ProfileVerdict

_ELSEWHERE = (Code.ON_ANOTHER_NODE, Code.MADE_ELSEWHERE)
FEW = 12
"""Containers that one line names."""


def headline(found: Status) -> str:
    """`N of M containers confined`, counting what runs and not what is declared."""
    verdicts = of_this_node(found)
    text = f"{found.confined} of {len(verdicts)} containers confined"
    stopped = sum(1 for v in verdicts if v.running is False)
    unknown = sum(1 for v in verdicts if v.running is None or (v.running and v.confined is None))
    loose = sum(1 for v in verdicts if v.confined is False)
    counts = ((loose, "unconfined"), (stopped, "not running"), (unknown, "label unknown"))
    more = [f"{n} {word}" for n, word in counts if n]
    return text + (f" ({', '.join(more)})" if more else "")


def of_this_node(found: Status) -> list[ContainerVerdict]:
    """Without the containers that another node looks after, or is to create."""
    return [v for v in found.containers if not any(finding.code in _ELSEWHERE for finding in v.findings)]


def effect(found: Status, verdict: ContainerVerdict) -> str | None:
    """What applies to a container without a line."""
    return found.without_line if verdict.exists and verdict.assigned is None else None


def show(settings: Settings, found: Status, *, named: bool, wide: bool) -> None:
    """A host's status: the containers last, so that they stay on the screen; `named`: all of each."""
    say(settings, headline(found), style="bold")
    if found.configuration is None:
        text = "no configuration: no container is declared (next: `phoenix import` writes one)"
        say(settings, text, style="yellow")
    show_findings(settings, found.host)
    for gap in found.unmediated or ():
        say(settings, f"not mediated ({gap.by}): {gap.what}: {gap.means}")
    profiles = found.profiles
    if named and not wide:
        used = {name for v in found.containers for name in (v.declared, v.wanted, v.assigned)}
        profiles = tuple(p for p in profiles if p.name in used)
    _show_profiles(settings, profiles, every=len(profiles) == len(found.profiles), wide=wide)
    if named and not wide:
        say(settings)
        for verdict in found.containers:
            _show_whole(settings, found, verdict)
        return
    _show_notes(settings, found)
    say(settings)
    if not found.containers:
        say(settings, "no container is declared or on this host")
        return
    rows = [_Cells(v) for v in of_this_node(found)]
    if not rows:
        say(settings, "no container is on this node")
        return
    table(
        settings,
        "Containers",
        Form(_WIDE, [(cells.wide(), cells.color) for cells in rows]),
        _without_empty(Form(_USUAL, [(cells.usual(), cells.color) for cells in rows])),
        Form(_NARROW, [(cells.narrow(), cells.color) for cells in rows]),
        wide=wide,
    )


# Profiles ---------------------------------------------------------------------------


def _show_profiles(
    settings: Settings, profiles: Sequence[ProfileVerdict], *, every: bool, wide: bool
) -> None:
    """All of them with `wide`, else how many there are, and each that is not as declared; `every`: these
    are all that there are."""
    if wide:
        columns = ("profile", "installed", "loaded", "used by", "verdict")
        table(settings, "Profiles", Form(columns, [_profile_row(p) for p in profiles]), wide=True)
        return
    odd = [p for p in profiles if any(finding.fault for finding in p.findings)]
    used = sum(1 for p in profiles if p.used_by)
    if profiles:
        text = f"{len(profiles)} profile{'s' * (len(profiles) > 1)}, {used} in use"
        good = "" if any(p.findings for p in profiles) else ": as declared"
        say(settings, text + (f": {len(odd)} not as declared" if odd else good))
    # A host that was never set up has the same to say of all of them.
    alike: dict[tuple[str, str], list[str]] = {}
    for one in (p for p in profiles if p.findings):
        text = _coded(one.findings, hints=True).replace(one.name, "NAME")
        alike.setdefault((text, "red" if one in odd else "magenta"), []).append(one.name)
    for (text, style), names in alike.items():
        if len(names) == 1:
            text = text.replace("NAME", names[0])
        which = "all profiles" if every and len(names) == len(profiles) > 1 else f"profile {_listed(names)}"
        say(settings, f"{which}: {text}", style=style)


def _profile_row(one: ProfileVerdict) -> Row:
    verdict = _coded(one.findings, hints=True) or "as declared"
    cells = (one.name, one.installed, one.loaded, ", ".join(one.used_by) or "-", verdict)
    return cells, "red" if any(finding.fault for finding in one.findings) else "green"


def _coded(findings: Iterable[Finding], *, hints: bool = False) -> str:
    found = [(finding.code, *words(finding)) for finding in findings]
    return "; ".join(f"{code}: {text}" + (f" ({hint})" if hints else "") for code, text, hint in found)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + more


# The overview -----------------------------------------------------------------------


def _show_notes(settings: Settings, found: Status) -> None:
    """Each fault with its next step, and what is no fault; once for all containers that have the same."""
    told: dict[tuple[str, str | None, str], list[ContainerVerdict]] = {}
    for verdict in found.containers:
        for finding in verdict.findings:
            text, hint = words(finding)
            style = "red" if finding.fault else "magenta"
            told.setdefault(_alike(verdict, f"{finding.code}: {text}", hint, style), []).append(verdict)
    declared = [v for v in found.containers if v.declared is not None]
    for verdict in declared:
        if verdict.wanted is None and effect(found, verdict) is not None:
            text = f"no profile line: {found.without_line}"
            told.setdefault(_alike(verdict, text, None, ""), []).append(verdict)
        if verdict.declared == verdict.assigned == "unconfined":
            text = "explicitly unconfined: AppArmor refuses nothing"
            told.setdefault(_alike(verdict, text, None, "red"), []).append(verdict)
        for note in verdict.notes:
            told.setdefault(_alike(verdict, *words(note), "magenta"), []).append(verdict)
    for (text, hint, style), verdicts in told.items():
        ctids = shortest(v.ctid for v in verdicts)
        name = _called(verdicts[0]) if len(verdicts) == 1 else ctids
        line = f"container {name}: {text}" + (f" (next: {hint})" if hint else "")
        say(settings, line.replace(_ITS, ctids), style=style or None)


_ITS = "\0"
"""Stands for the CTID in words that several containers have in common."""


def _alike(verdict: ContainerVerdict, text: str, hint: str | None, style: str) -> tuple[str, str | None, str]:
    """What is said, the same for all of whom it is said."""
    pattern = rf"\b{verdict.ctid}\b"
    # Only commands name a CTID that may become a list; a text with one is said of that one.
    return text, None if hint is None else re.sub(pattern, _ITS, hint), style


def _called(verdict: ContainerVerdict) -> str:
    return f"{verdict.ctid} {verdict.name}".rstrip()


_WIDE = (
    "CTID",
    "name",
    "kind",
    "GPU",
    "features",
    "lock",
    "snapshots",
    "declared",
    "assigned",
    "running label",
    "verdict",
)
_USUAL = ("CTID", "name", "kind", "GPU", "features", "profile", "state", "verdict")
_NARROW = ("CTID", "name", "kind", "profile", "verdict")


def _without_empty(form: Form) -> Form:
    """Without the columns that say nothing of any container."""
    kept = [
        number
        for number, column in enumerate(form.columns)
        if column in ("CTID", "name", "kind") or any(cells[number] for cells, _ in form.rows)
    ]
    rows: list[Row] = [([cells[number] for number in kept], color) for cells, color in form.rows]
    return Form([form.columns[number] for number in kept], rows)


def gpu_words(nodes: Iterable[str]) -> str:
    """NVIDIA's GPUs by number, others by their driver: `0 1 dri`."""
    found: dict[str, None] = {}
    for node in nodes:
        match = re.fullmatch(r"/dev/(?:nvidia([0-9]+)|nvidia\S*|(dri|kfd)\S*)", node)
        found[(match[1] or match[2] or "nvidia") if match is not None else node] = None
    if any(word.isdigit() for word in found):
        found.pop("nvidia", None)
    return " ".join(found)


class _Cells:
    """One container in cells."""

    def __init__(self, verdict: ContainerVerdict) -> None:
        self._verdict = v = verdict
        self._kind = "unpriv" if v.unprivileged else "priv"
        self._gpu = gpu_words(v.details.gpu_nodes)
        # `mount=nfs;cifs` is one word otherwise, and no column may be narrower than a word.
        self._features = re.sub(r"\s+", " ", v.features.replace("=1", "").replace(",", " "))
        self._label = v.label or ("stopped" if v.running is False else "unknown")
        explicit = v.assigned == "unconfined"
        self.color = "red" if not v.as_declared or explicit else "cyan" if v.declared is None else "green"

    def wide(self) -> tuple[str, ...]:
        v = self._verdict
        return (
            *(v.ctid, v.name, self._kind, self._gpu, v.features),
            v.lock.reason if v.lock is not None else "",
            ", ".join(f"{name}: {profile or 'no line'}" for name, profile in v.details.snapshots),
            *(v.declared or "-", v.assigned or "no line"),
            self._label if v.pid is None else f"{self._label}  PID {v.pid}",
            _coded(v.findings) or self._summary(),
        )

    def usual(self) -> tuple[str, ...]:
        v = self._verdict
        profile = v.declared or v.assigned or "no line"
        features = self._features.replace(";", " ")
        return (v.ctid, v.name, self._kind, self._gpu, features, profile, self._state(), self._short())

    def narrow(self) -> tuple[str, ...]:
        v = self._verdict
        return (v.ctid, v.name, self._kind, v.declared or v.assigned or "no line", self._short())

    def _state(self) -> str:
        """Whether it runs, where that is known."""
        running = self._verdict.running
        return "" if running is None else "runs" if running else "stopped"

    def _short(self) -> str:
        """The verdict as its codes' words, and what an operator has to know before touching it."""
        v = self._verdict
        parts = [str(finding.code).replace("-", " ") for finding in v.findings] or [self._summary()]
        if v.lock is not None:
            parts.append(f"locked ({v.lock.reason})")
        if v.is_template:
            parts.append("template")
        if v.details.snapshots:
            parts.append("snapshot differs")
        return ", ".join(parts)

    def _summary(self) -> str:
        v = self._verdict
        if v.declared is None:
            return "not declared, unconfined" if v.assigned == "unconfined" else "not declared"
        if not v.exists:
            return "; ".join(words(note)[0] for note in v.notes)
        return "as declared"


# One container ----------------------------------------------------------------------


def _show_whole(settings: Settings, found: Status, verdict: ContainerVerdict) -> None:
    """Everything about one container."""
    if settings.json or settings.quiet:
        return
    v, cells = verdict, _Cells(verdict)
    lock = ""
    if v.lock is not None:
        lock = f"{v.lock.reason} (by {v.lock.by or 'its runtime'}" + (
            f"; `{v.lock.command}` ends it by hand)" if v.lock.command else ")"
        )
    running = "not known" if v.running is None else "no" if not v.running else f"yes, PID {v.pid}"
    if v.running and v.processes > 1:
        running += f", {v.processes} processes"
    declared = v.declared or "not declared"
    if v.wanted is not None and v.wanted == f"{v.declared}{UNPRIVILEGED}":
        declared += f"; {v.wanted} is its variant for unprivileged containers"
    elif v.wanted is not None and v.declared is not None and v.wanted.startswith(f"{v.declared}-"):
        declared += f"; {v.wanted} is its variant that refuses other GPUs' nodes"
    assigned = v.assigned if v.assigned is not None else f"no profile line: {found.without_line}"
    pairs = [
        ("kind", ("unprivileged" if v.unprivileged else "privileged") + (", template" * v.is_template)),
        ("declared", declared),
        ("assigned", assigned if v.exists else ""),
        ("running", running if v.exists else ""),
        ("label", v.label),
        ("GPU", ", ".join(v.details.gpu_nodes)),
        ("features", v.features),
        ("lock", lock),
        *(("snapshot", f"{name}: {profile or 'no profile line'}") for name, profile in v.details.snapshots),
        ("file", v.path if v.exists else ""),
        *(pair for finding in v.findings for pair in _finding(finding)),
        *(("note", _note(note)) for note in (v.notes if v.declared is not None else ())),
        ("verdict", _verdict(v)),
    ]
    if v.declared == v.assigned == "unconfined":
        pairs.insert(3, ("", "explicitly unconfined: AppArmor refuses nothing"))
    block(settings, f"container {_called(v)}", pairs, cells.color)


def _finding(finding: Finding) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("fault" if finding.fault else "note", _coded([finding])), ("next", words(finding)[1] or "")


def _verdict(v: ContainerVerdict) -> str:
    if v.findings:
        return "as declared" if v.as_declared else "not as declared"
    return "not declared" if v.declared is None else "as declared"


def _note(note: Note) -> str:
    text, hint = words(note)
    return f"{note.code}: {text}" + (f" ({hint})" if hint else "")
