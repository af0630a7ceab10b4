"""The timers that look at a host by themselves.

Owns which there are, and switching them on and off with systemctl.  Must not know what they find.
"""

from __future__ import annotations

from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.errors import PhoenixError, UsageError
from phoenix_hypervisor.values import dataclass

VERIFY, METRICS = "phoenix-verify.timer", "phoenix-metrics.timer"
TIMERS = (VERIFY, METRICS)
UNIT_DIRS = ("/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")


@dataclass(frozen=True, slots=True)
class Timer:
    """One timer, as systemd has it."""

    unit: str
    enabled: bool
    """It starts at boot."""
    active: bool
    """It is waiting for its next time now."""


def timers(session: Session) -> tuple[Timer, ...]:
    """Each timer as it is.  Raises PhoenixError where there is no systemd or no such unit."""
    _require(session)
    found = []
    for unit in TIMERS:
        words = []
        for question in ("is-enabled", "is-active"):
            done = session.host.runner.run(["systemctl", question, unit], timeout=30)
            words.append(done.stdout.strip())
        found.append(Timer(unit, words[0] == b"enabled", words[1] == b"active"))
    return tuple(found)


def switch(session: Session, on: bool) -> tuple[Timer, ...]:
    """Enable and start the timers, or disable and stop them.  Raises PhoenixError with systemd's words."""
    _require(session)
    argv = ["systemctl", "enable" if on else "disable", "--now", *TIMERS]
    done = session.host.runner.run(argv, timeout=60)
    if not done.ok:
        raise PhoenixError(f"systemctl failed: {done.words()}", hint=" ".join(argv))
    return timers(session)


def _require(session: Session) -> None:
    host = session.host
    if not host.is_live:
        raise UsageError("timers belong to a running system, and --root names a directory")
    if not host.exists("/run/systemd/system"):
        raise PhoenixError("systemd does not run here", hint="run `phoenix verify` from cron instead")
    missing = [unit for unit in TIMERS if not any(host.exists(f"{folder}/{unit}") for folder in UNIT_DIRS)]
    if missing:
        text = f"{missing[0]} is not installed"
        raise PhoenixError(text, hint="the package phoenix-hypervisor and `make install` bring it")
