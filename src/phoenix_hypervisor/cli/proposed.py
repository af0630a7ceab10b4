"""What `phoenix import --propose` shows: which profile fits each container, why, and what it would lose.

Owns its words and what `--json` prints.  Must not decide: `plan.propose` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.output import emit, notes, recap, say, show_notes
from phoenix_hypervisor.cli.progress import Busy
from phoenix_hypervisor.cli.risk_words import asked_words
from phoenix_hypervisor.cli.status_words import gpu_words
from phoenix_hypervisor.cli.tables import Form, Row, table
from phoenix_hypervisor.errors import EXIT_NO, EXIT_OK
from phoenix_hypervisor.plan.propose import Proposal
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from phoenix_hypervisor.engine.proposing import Proposed

FEW = 3
"""Processes that one line names."""

_ORDINARY = re.compile(
    r"\(sd-pam\)|agetty|\S*sh|sshd\S*|cron|dbus\S*|rsyslogd|systemd\S*|init|login|sleep|su|sudo|dhclient|master"
    r"|pickup|qmgr|getty|udevd|supervise\S*"
)
"""What runs in nearly every container and says nothing of it."""
_USES = {"docker": "Docker", "lxc": "LXC in LXC"}
_KEEPS = {
    "mount": "only a privileged container can mount it; or the host mounts it and binds it in as mpN",
    "settings": "an unprivileged container cannot write the host's settings",
    "devices": "an unprivileged container gets single nodes, by devN",
    "capabilities": "an unprivileged container has no more than its user namespace gives",
    "raw": "rules of its own, for a profile that LXC generates",
}
_UID = 100_000
"""Where Proxmox maps an unprivileged container's root, if nothing else is said (PVE::LXC)."""


def run_propose(settings: Settings) -> int:
    """Look, and show; the exit code is an import's."""
    with Busy(settings, "looking at containers"):
        found = settings.phoenix().propose()
    if settings.json:
        emit(
            {
                "proposals": [_document(p, found.pct) for p in found.proposals],
                "left_out": notes(found.left_out),
            }
        )
    else:
        _show(settings, found)
    return EXIT_NO if found.left_out else EXIT_OK


def evidence(proposal: Proposal) -> str:
    """In one line, what the proposal was made from."""
    one = proposal.standing
    words = ["unprivileged" if one.unprivileged else "privileged"]
    if one.gpu_nodes:
        words.append(f"GPU {gpu_words(one.gpu_nodes)}")
    if one.features:
        words.append(one.features.replace("=1", "").replace(",", ", "))
    for use in proposal.uses:
        seen = [sign for kind, sign in one.signs if kind == use]
        words.append(f"{_USES[use]} ({', '.join(seen[:FEW]) or 'supposed: nobody could look'})")
    shown = {sign for _, sign in one.signs}
    others = [name for name in one.commands if name not in shown and not _ORDINARY.fullmatch(name)]
    if others:
        words.append("runs " + ", ".join(others[:FEW]) + (" ..." if len(others) > FEW else ""))
    elif not (one.commands or one.seen or proposal.supposed):
        words.append("nobody could look into it")
    return "; ".join(words)


def losses(proposal: Proposal) -> str:
    """What it would lose, in words; empty where that is nothing."""
    if proposal.profile is None:
        return ""
    return asked_words(ask.what for ask, _ in proposal.loses)


def steps(proposal: Proposal, *, pct: bool) -> Sequence[str]:
    """The commands that make an unprivileged container of it; none where something keeps it privileged."""
    one = proposal.standing
    if one.unprivileged or proposal.keeps or not pct:
        return ()
    storage = f" --storage {one.storage}" if one.storage else ""
    return (
        f"vzdump {one.ctid} --mode stop --dumpdir /var/tmp",
        f"pct restore NEWID /var/tmp/vzdump-lxc-{one.ctid}-*.tar* --unprivileged 1{storage}",
    )


def look_first(proposal: Proposal) -> Iterable[str]:
    """What to look at before those commands."""
    for path in proposal.standing.binds:
        yield (
            f"{path} is bound in and not in the backup: its files' owners must be {_UID} and up on the host "
            f"(root inside is {_UID}), or lxc.idmap lines must map them"
        )
    for node in proposal.standing.gpu_nodes[:1]:
        yield f"{node} must be readable there: name it as devN, which sets owner and mode"
    yield "NEWID is a free id: keep the old container until the new one works; snapshots are not in a backup"


def _document(proposal: Proposal, pct: bool) -> dict[str, Any]:
    one, commands = proposal.standing, steps(proposal, pct=pct)
    declared = (
        {} if proposal.profile is None else {"apparmor_profile": proposal.profile, "note": evidence(proposal)}
    )
    return {
        "ctid": one.ctid,
        "name": one.name,
        "unprivileged": one.unprivileged,
        "assigned": one.assigned,
        "declared": declared,
        "evidence": {
            "features": one.features,
            "gpu_nodes": list(one.gpu_nodes),
            "commands": list(one.commands),
            "signs": [{"use": use, "sign": sign} for use, sign in one.signs],
            "seen": one.seen,
            "uses": list(proposal.uses),
            "supposed": proposal.supposed,
        },
        "loses": [{"what": ask.what, "line": ask.line, "question": q} for ask, q in proposal.loses],
        "keeps_privileged": [{"kind": kind, "line": line} for kind, line in proposal.keeps],
        "make_unprivileged": list(commands),
        "look_first": list(look_first(proposal)) if commands else [],
    }


_WIDE = ("CTID", "name", "assigned", "profile", "because", "would lose")
_NARROW = ("CTID", "name", "profile", "because", "would lose")


def _show(settings: Settings, found: Proposed) -> None:
    rows: list[Row] = []
    narrow: list[Row] = []
    for one in found.proposals:
        color = "yellow" if one.loses or one.profile is None else None
        profile, lost = one.profile or "none is there", losses(one) or "-"
        cells = (one.standing.ctid, one.standing.name)
        assigned = one.standing.assigned or "no line"
        rows.append(((*cells, assigned, profile, evidence(one), lost), color))
        narrow.append(((*cells, profile, evidence(one), lost), color))
    table(settings, "Profiles that fit", Form(_WIDE, rows), Form(_NARROW, narrow))
    for one in found.proposals:
        if not one.standing.unprivileged:
            _show_privileged(settings, one, found.pct)
    show_notes(settings, "left out", found.left_out, "magenta")
    say(
        settings,
        "nothing was written; `apparmor_profile` in the configuration says which one a container gets",
    )
    recap(settings, ok=len(found.proposals), changed=0, skipped=len(found.left_out))


def _show_privileged(settings: Settings, proposal: Proposal, pct: bool) -> None:
    called = f"{proposal.standing.ctid} {proposal.standing.name}".rstrip()
    if proposal.keeps:
        for kind, line in proposal.keeps:
            say(settings, f"{called}: kept privileged by `{line}`: {_KEEPS[kind]}")
        return
    commands = steps(proposal, pct=pct)
    way = (
        "to make it unprivileged:"
        if commands
        else "declare lxc.idmap in its configuration (man lxc.container.conf)"
    )
    say(settings, f"{called}: nothing that is seen keeps it privileged; {way}")
    for text in look_first(proposal) if commands else ():
        say(settings, f"    first: {text}")
    for command in commands:
        say(settings, f"    {command}")
