"""Making the kernel log what `deny` rules refuse, for a while.

Owns AppArmor's parameter `audit`, which is of the whole host, and the record by which it is put back: also
when whoever set it was killed.  The transaction journal would not do: a transaction holds Phoenix's lock, so
nothing could be applied while somebody listens, and an unfinished one would make every other command undo
it at once.  The record has a lock of its own; it is free when its process is gone, however that ended.
Source: param_set_audit in security/apparmor/lsm.c, aa_audit_mode in include/audit.h.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from phoenix_hypervisor.errors import PhoenixError, UsageError
from phoenix_hypervisor.host.append import Appender
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.host.parameters import read_parameter, write_parameter
from phoenix_hypervisor.host.trust import require_own
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.model import Finding, Note
from phoenix_hypervisor.plan.verify import HOST
from phoenix_hypervisor.profiles.records import LISTENING, STATE_DIR
from phoenix_hypervisor.values import dataclass

PARAMETER = "/sys/module/apparmor/parameters/audit"
SPEAKS = "noquiet"
VALUES = ("normal", "quiet_denied", "quiet", SPEAKS, "all")
"""What it can be."""
NAME = os.path.basename(LISTENING)
_BOOT = "/proc/sys/kernel/random/boot_id"
_MAX = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Who made the kernel speak, and what it is to be put back to."""

    pid: int
    began: str
    boot: str
    before: str


def _boot(host: Host) -> str:
    return read_parameter(host, _BOOT) or ""


def read_record(host: Host) -> Record | None:
    """The record that stands; None where there is none.  Raises PhoenixError where it cannot be ours."""
    directory = host.directory(STATE_DIR)
    if directory is None:
        return None
    with directory:
        if directory.lstat(NAME) is None:
            return None
        for place in (STATE_DIR, LISTENING):
            require_own(host.root, place)
        data = directory.read(NAME, _MAX)
    try:
        found = json.loads(data or b"")
        record = Record(
            pid=int(found["pid"]),
            began=str(found["began"]),
            boot=str(found["boot"]),
            before=str(found["before"]),
        )
    except (ValueError, TypeError, KeyError):
        record = None
    if record is None or record.before not in VALUES:
        raise PhoenixError(
            "says not what the kernel's parameter was before",
            where=host.root.shown(LISTENING),
            hint=f"write `normal` into {PARAMETER}, then remove the file",
        )
    return record


def is_alive(host: Host) -> bool:
    """Whether whoever wrote the record still is at work."""
    return host.is_locked(LISTENING)


def judge(host: Host) -> Finding | None:
    """What status and verify say: the kernel was left speaking, or somebody listens now."""
    try:
        record = read_record(host)
    except PhoenixError as error:
        return Finding(
            Code.LISTENING_UNREADABLE, error.where or HOST, {"why": error.message, "next": error.hint}
        )
    if record is None or record.boot != _boot(host):
        return None
    alive = is_alive(host)
    code = Code.LISTENING if alive else Code.LISTENING_LEFT
    return Finding(code, HOST, {"pid": record.pid, "began": record.began}, fault=not alive)


def put_back(host: Host) -> Note | None:
    """Put back what a killed run left; None where there is nothing to put back.  Raises PhoenixError."""
    record = read_record(host) if host.is_live else None
    if record is None or is_alive(host):
        return None
    now = read_parameter(host, PARAMETER)
    left = record.boot == _boot(host) and now == SPEAKS
    if left:
        write_parameter(host, PARAMETER, record.before)
    _remove(host)
    # After a reboot, or set by somebody else meanwhile, it is not ours to set.
    data = {"value": record.before, "pid": record.pid, "began": record.began}
    return Note(Code.LISTENING_ENDED, HOST, data) if left else None


def _remove(host: Host) -> None:
    directory = host.directory(STATE_DIR)
    if directory is not None:
        with directory:
            if directory.lstat(NAME) is not None:
                directory.remove(NAME)


@contextmanager
def listening(host: Host, tell: Callable[[Note], None]) -> Iterator[None]:
    """A context in which the kernel logs what `deny` rules refuse.

    `tell` is told what is set and what is put back.  Raises PhoenixError where it cannot be set, and
    where it could not be put back.
    """
    if not host.is_live:
        raise UsageError("--listen sets a parameter of the running kernel, and --root touches none")
    before = read_parameter(host, PARAMETER)
    if before is None:
        hint = "run it as root, on a host with AppArmor: `phoenix doctor`"
        raise PhoenixError("cannot be read", where=PARAMETER, hint=hint)
    left = put_back(host)
    if left is not None:
        tell(left)
        before = read_parameter(host, PARAMETER) or before
    standing = read_record(host)
    if standing is not None:
        raise PhoenixError(
            f"another phoenix listens already (process {standing.pid}, since {standing.began})",
            where=host.root.shown(LISTENING),
            hint="wait for it to end; `phoenix denials --follow` shows what it makes the kernel log",
        )
    if before in (SPEAKS, "all"):
        # Somebody wants it so: it stays.
        yield
        return
    record = {
        "version": 1,
        "pid": os.getpid(),
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "boot": _boot(host),
        "before": before,
    }
    told = {"pid": record["pid"], "began": record["began"]}
    directory = host.directory(STATE_DIR, create=True, mode=0o700)
    assert directory is not None
    with directory:
        require_own(host.root, STATE_DIR)
        # Held open, and so locked, as long as this goes on.
        held = Appender.create(directory, NAME, json.dumps(record).encode() + b"\n")
        try:
            try:
                write_parameter(host, PARAMETER, SPEAKS)
                tell(Note(Code.LISTENING_BEGAN, HOST, {"value": SPEAKS, "before": before}))
                yield
            finally:
                ours = read_parameter(host, PARAMETER) == SPEAKS
                if ours:
                    write_parameter(host, PARAMETER, before)
                directory.remove(NAME)
                if ours:
                    tell(Note(Code.LISTENING_ENDED, HOST, {**told, "value": before}))
        finally:
            held.close()
