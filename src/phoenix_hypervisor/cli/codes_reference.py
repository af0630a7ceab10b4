"""The registry of codes as Markdown: docs/codes.md is what this returns.

Owns how a row is shown.  Pure: registries come in, text goes out.
"""

from __future__ import annotations

from collections.abc import Iterable

from phoenix_hypervisor.audit.dangers import CAPABILITIES, CLASSES
from phoenix_hypervisor.audit.verdict import CODES as VERDICTS
from phoenix_hypervisor.plan.mediation import ASKED
from phoenix_hypervisor.plan.registries import every
from phoenix_hypervisor.plan.roles import Role
from phoenix_hypervisor.policy.lint import CODES as LINT

_HEAD = """# Codes

Everything that Phoenix refuses, skips, warns of or finds has a code. Codes are stable: act on them, not on
the words, which may change. With `--json` each comes as an object:

| field | what |
|---|---|
| `code` | one of the names below |
| `target` | what it is about: `container 950`, `profile lxc-a`, a file, or a place in the configuration |
| `data` | the values that belong to the code |
| `text` (`cause` in `status` and `verify`), `hint` | the same for people, and the next step |

`phoenix_hypervisor.plan.registries.every()` is the same list for programs in Python, where
`note.code == "restart-needed"` holds. This page is made from that list:
`make reference` writes it, and a test compares them.
"""

_ROLES = {
    Role.REFUSAL: "Refusals: the run ends before the first write (exit 1)",
    Role.SKIP: "Skipped: one thing is not done; the run continues",
    Role.WARNING: "Warnings: done all the same, but look at it",
    Role.FAULT: "Faults of the configuration and of profile sources (exit 1)",
    Role.FINDING: "Findings of `status` and `verify`",
    Role.AGAINST: "`migrate-check`: what speaks against moving a container (exit 3)",
    Role.FAILURE: "A transaction failed: where, why, and how that left the host (exit 1)",
    Role.PROGRESS: "Told while a run waits",
    Role.STAYED: "A transaction was rolled back, and this stays: `left` of `history`",
}


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for role, title in _ROLES.items():
        rows = [(code, code.meaning, ", ".join(code.data)) for code in every() if role in code.roles]
        parts.append(_table(title, ("code", "means", "data"), rows))
    gaps = [(one.code, f"Nothing mediates {one.what}.", one.means) for one in ASKED]
    parts.append(
        _table("What AppArmor cannot mediate on a host (`unmediated`)", ("code", "means", "so"), gaps)
    )
    lint = [(code, f"{meaning[0].upper()}{meaning[1:]}.") for code, meaning in LINT.items()]
    parts.append(_table("Findings of `policy lint`", ("code", "means"), lint))
    verdicts = [(code, f"{meaning[0].upper()}{meaning[1:]}.") for code, meaning in VERDICTS.items()]
    parts.append(_table("Reasons of verdicts (`denials`, `accept`)", ("code", "means"), verdicts))
    kinds = [(name, f"{why[0].upper()}{why[1:]}.") for name, why in CLASSES.items()]
    kinds += [(f"capability {name}", f"{why[0].upper()}{why[1:]}.") for name, why in CAPABILITIES.items()]
    parts.append(_table("Dangers that no accepted rule may open (`danger`)", ("what", "because"), kinds))
    return "\n".join(parts)


def _table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(columns)
    lines = [f"## {title}\n", f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    for code, *cells in rows:
        lines.append("| " + " | ".join([f"`{code}`", *(cell.replace("|", "\\|") for cell in cells)]) + " |")
    return "\n".join(lines) + "\n"
