"""Hosts with logs in which AppArmor denied something."""

from __future__ import annotations

import json
from pathlib import Path

from support.hosts import DirectoryHost, LiveHost

JOURNAL = "/var/log/journal"
BASE = 1795681057
"""The seconds of the first event."""


def body(
    profile: str = "lxc-a", name: str = "/srv/x", *, pid: int = 812, comm: str = "cat", requested: str = "r",
    verdict: str = "DENIED", space: str | None = None,
) -> str:  # fmt: skip
    """The fields of a file's denial."""
    named = f'namespace="{space}" ' if space else ""
    return (
        f'apparmor="{verdict}" operation="open" class="file" {named}profile="{profile}" name="{name}" pid={pid}'
        f' comm="{comm}" requested_mask="{requested}" denied_mask="{requested}" fsuid=0 ouid=0'
    )


def auditd(fields: str, number: int = 1) -> str:
    return f"type=AVC msg=audit({BASE + number}.500:{number}): {fields}\n"


def printk(fields: str, number: int = 1) -> str:
    return f"audit: type=1400 audit({BASE + number}.500:{number}): {fields}"


def journald(fields: str, number: int = 1) -> str:
    record = {"_TRANSPORT": "kernel", "SYSLOG_FACILITY": "0", "MESSAGE": printk(fields, number)}
    return json.dumps(record) + "\n"


def syslog(fields: str, number: int = 1) -> str:
    return f"2026-11-26T08:17:{number % 60:02d}.500000+00:00 pve1 kernel: [  12.5] {printk(fields, number)}\n"


def write(host: DirectoryHost, path: str, text: str) -> Path:
    place = host.root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    return place


def with_journal(live: LiveHost, text: str) -> Path:
    """A journal on a live host, read by the double of journalctl."""
    return write(live, f"{JOURNAL}/double.json", text)
