"""Which logs a host has that AppArmor's lines may be in.

Owns that list: the journal, auditd's files, syslog's, the kernel's own buffer, and how each is read, once
or while it grows.  What a line in one of them is worth is the audit room's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from phoenix_hypervisor.audit.event import Transport
from phoenix_hypervisor.audit.logs import AUDITD, EVERYTHING, JOURNALD, KMSG, NOTHING
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.host.streams import ProgramOutput, chunks, kernel_log, unpacked
from phoenix_hypervisor.host.trust import owned_by_us
from phoenix_hypervisor.values import dataclass

AUDIT_LOG = "/var/log/audit/audit.log"
SYSLOGS = ("/var/log/kern.log", "/var/log/syslog", "/var/log/messages")
"""The first that is there is read: the others hold the same lines, and more."""
JOURNALS = ("/var/log/journal", "/run/log/journal")
KERNEL_LOG = "/dev/kmsg"
_FIELDS = (
    "MESSAGE,_TRANSPORT,SYSLOG_FACILITY,SYSLOG_IDENTIFIER,_AUDIT_TYPE,_AUDIT_ID,_SOURCE_REALTIME_TIMESTAMP"
)
_WANTED = ("_TRANSPORT=kernel", "+", "_TRANSPORT=audit", "_AUDIT_TYPE=1400")
_NUMBERED = r"\.([0-9]+)(?:\.gz)?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One log."""

    name: str
    """As people see it."""
    believes: frozenset[Transport]
    """The ways by which only the kernel's lines come here."""
    chunks: Callable[[], Iterator[bytes]]
    """All that is in it; raises PhoenixError."""
    program: tuple[str, ...] | None = None
    """What is run to follow it."""
    grows: str | None = None
    """The file that grows, on this machine."""


def named(paths: Sequence[str], piped: Iterable[bytes] | None, *, trust: bool) -> list[Place]:
    """The files that the operator names, and what is piped in; `trust`: where they come from is known."""
    believes = EVERYTHING if trust else NOTHING
    found = [
        Place(name=path, believes=believes, chunks=_reading(path), grows=os.path.abspath(path))
        for path in paths
    ]
    if piped is not None:
        pieces = iter(piped)
        found.append(
            Place(
                name="standard input",
                believes=believes,
                chunks=lambda: unpacked(pieces, "standard input"),
            )
        )
    return found


def of_host(host: Host, since: float | None) -> list[Place]:
    """Every log of the host, those first whose lines can be believed."""
    found = list(_journal(host, since))
    found += _files(host, AUDIT_LOG, AUDITD if owned_by_us(host.root, AUDIT_LOG) is None else NOTHING, since)
    if not found and host.is_live and host.exists(KERNEL_LOG):
        found.append(_buffer(host.root.locate(KERNEL_LOG)))
    for path in SYSLOGS:
        if host.exists(path):
            found += _files(host, path, NOTHING, since)
            break
    return found


def _buffer(path: str) -> Place:
    """What the kernel itself still knows."""
    return Place(name=KERNEL_LOG, believes=KMSG, chunks=lambda: kernel_log(path), grows=path)


def _journal(host: Host, since: float | None) -> Iterator[Place]:
    here = [path for path in JOURNALS if host.content(path)]
    program = host.runner.find("journalctl")
    if not here or program is None:
        return
    begin = [] if host.root.is_live else [f"--directory={host.root.locate(here[0])}"]
    argv = [program, *begin, "--no-pager", "--quiet", "--all", "-o", "json", f"--output-fields={_FIELDS}"]
    if since is not None:
        argv.append(f"--since=@{since:.0f}")
    once = (*argv, *_WANTED)
    later = [word for word in argv if not word.startswith("--since=")]
    yield Place(
        name="the journal",
        believes=JOURNALD,
        chunks=lambda: ProgramOutput(once).chunks(),
        program=(*later, "--follow", "--lines=0", *_WANTED),
    )


def _files(host: Host, path: str, believes: frozenset[Transport], since: float | None) -> list[Place]:
    """A log and what was put away of it, oldest first."""
    folder, name = os.path.split(path)
    names = host.content(folder)
    if not isinstance(names, list):
        hidden = host.exists(folder)
        return (
            [Place(name=host.root.shown(path), believes=believes, chunks=_hidden(host, folder))]
            if hidden
            else []
        )
    numbered = []
    for other in names:
        match = re.fullmatch(re.escape(name) + _NUMBERED, other)
        if match is not None:
            numbered.append((int(match[1]), other))
    found = []
    for _, other in [*sorted(numbered, reverse=True), (0, name)]:
        shown = f"{folder}/{other}"
        real = host.root.locate(shown)
        try:
            last = os.stat(real).st_mtime
        except OSError:
            continue
        if since is not None and other != name and last < since:
            continue
        found.append(
            Place(
                name=host.root.shown(shown),
                believes=believes,
                chunks=_reading(real),
                grows=real if other == name else None,
            )
        )
    return found


def _hidden(host: Host, folder: str) -> Callable[[], Iterator[bytes]]:
    """What says that a directory cannot be looked into."""

    def refuse() -> Iterator[bytes]:
        raise PhoenixError("cannot be looked into", where=host.root.shown(folder), hint="run it as root")

    return refuse


def _reading(path: str) -> Callable[[], Iterator[bytes]]:
    return lambda: chunks(path)


def none_found(host: Host) -> PhoenixError:
    """What to say where there is no log at all."""
    return PhoenixError(
        "there is no log to read: neither a journal, nor auditd's, nor syslog's",
        where=host.root.shown("/var/log"),
        hint="name one with --file, or pipe it in: `journalctl -k -o json | phoenix denials --file -`",
    )
