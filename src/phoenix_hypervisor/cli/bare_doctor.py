"""`phoenix doctor`: what this machine lacks.

Owns the list of what Phoenix needs and the apt line for what is missing; what the machine is,
`engine.diagnosis` finds out.  Runs on a bare Python: it must import nothing outside the standard
library, because bin/phoenix calls `run` where click is missing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from phoenix_hypervisor.cli.machine_words import document, lines
from phoenix_hypervisor.containers.runtimes.registry import kind_of, none_installed
from phoenix_hypervisor.engine.diagnosis import diagnose
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.libraries import libraries
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.host.process import find_program
from phoenix_hypervisor.values import dataclass


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that Phoenix uses; `package` is Debian's name for it."""

    what: str
    why: str
    package: str
    present: bool
    required: bool


def _program(name: str) -> bool:
    return find_program(name) is not None


def needs() -> list[Need]:
    """Everything, present or not."""
    found = [
        Need(f"python3 module {name}", why, f"python3-{name}", find_spec(name) is not None, True)
        for name, why in libraries().items()
    ]
    found.append(Need("apparmor_parser", "compiling profiles", "apparmor", _program("apparmor_parser"), True))
    host = Host("/")
    kind = kind_of(host)
    why = f"{kind.title} containers"
    found.append(Need(kind.program, why, kind.package, _program(kind.program), kind.found(host)))
    found += [
        Need("qemu-system-x86_64", "the lab", "qemu-system-x86", _program("qemu-system-x86_64"), False),
        Need("qemu-img", "the lab", "qemu-utils", _program("qemu-img"), False),
        Need("mmdebstrap", "the lab", "mmdebstrap", _program("mmdebstrap"), False),
        Need("mke2fs", "the lab", "e2fsprogs", _program("mke2fs"), False),
    ]
    return found


def _kernel() -> tuple[bool, str]:
    try:
        with open("/sys/module/apparmor/parameters/enabled", encoding="ascii") as file:
            on = file.read().strip() == "Y"
    except OSError:
        on = False
    if not on:
        return False, "AppArmor is off in this kernel: boot with apparmor=1 security=apparmor, or try the lab"
    if not os.path.exists("/sys/kernel/security/apparmor/profiles"):
        return False, "securityfs is not mounted: mount -t securityfs securityfs /sys/kernel/security"
    return True, "AppArmor is on"


def _sockets(host: Host) -> str | None:
    """That this kernel refuses unix sockets to profiles compiled for what parser.conf pins.

    Ubuntu's kernels, Proxmox's among them, ask about them; a list without network/af_unix makes the
    parser leave them out, and what is left out is refused (security/apparmor/af_unix.c).
    """
    from phoenix_hypervisor.profiles.features import pinned

    kernel = host.content("/sys/kernel/security/apparmor/features/network")
    if not isinstance(kernel, list) or "af_unix" not in kernel:
        return None
    try:
        named = pinned(host)
    except PhoenixError:
        return None
    if named is None or b"af_unix" in named:
        return None
    return (
        "profiles of others may refuse every unix socket: parser.conf pins a feature list without "
        "network/af_unix, and this kernel asks about it. Docker's docker-default on this host is one. "
        "Phoenix's own profiles pin their own list"
    )


def _no_runtime(programs: tuple[str, ...]) -> str | None:
    """That nothing here runs containers, where that is so."""
    if not programs:
        return None
    from phoenix_hypervisor.cli.notes import words
    from phoenix_hypervisor.plan.codes import Code
    from phoenix_hypervisor.plan.model import Note

    return words(Note(Code.NO_RUNTIME, "this host", {"programs": programs}))[0]


def report(host: Host | None = None, config: str | None = None) -> dict[str, Any]:
    """What is missing, the one line that installs it, and what this machine is."""
    host = Host("/") if host is None else host
    everything = needs()
    required = [n.package for n in everything if n.required and not n.present]
    optional = [n.package for n in everything if not n.required and not n.present]
    kernel_ok, kernel_text = _kernel()
    machine = diagnose(host, config)
    return {
        "needs": [
            {"what": n.what, "why": n.why, "package": n.package, "present": n.present, "required": n.required}
            for n in everything
        ],
        "kernel": {"apparmor": kernel_ok, "text": kernel_text},
        "unix_sockets": _sockets(host),
        "no_runtime": _no_runtime(none_installed(host)),
        "machine": document(machine),
        "said": [list(line) for line in lines(machine)],
        "apt": "apt-get install -y --no-remove " + " ".join(required) if required else None,
        "apt_optional": "apt-get install -y --no-remove " + " ".join(optional) if optional else None,
        "python": ".".join(map(str, sys.version_info[:3])),
    }


def _named(arguments: Sequence[str]) -> str | None:
    """The configuration that the words or the environment name."""
    for number, word in enumerate(arguments):
        if word == "--config":
            return "".join(arguments[number + 1 : number + 2])
        if word.startswith("--config="):
            return word.partition("=")[2]
    return os.environ.get("PHOENIX_CONFIG") or None


def run(arguments: Sequence[str] = ()) -> int:
    """Print the report; 0 where all that is required is there and AppArmor is on, else 1."""
    found = report(config=_named(arguments))
    if "--json" in arguments:
        print(json.dumps({"version": 1, **found}))
    else:
        for need in found["needs"]:
            state = "ok     " if need["present"] else "MISSING" if need["required"] else "absent "
            print(f"{state} {need['what']:<28} {need['why']} ({need['package']})")
        print(f"{'ok     ' if found['kernel']['apparmor'] else 'MISSING'} {found['kernel']['text']}")
        for state, text in found["said"]:
            print(f"{state:<7} {text}")
        for note in filter(None, (found["no_runtime"], found["unix_sockets"])):
            print(f"note    {note}")
        if found["apt"]:
            print(f"\nneeded:   {found['apt']}")
        if found["apt_optional"]:
            print(f"optional: {found['apt_optional']}")
    return 1 if found["apt"] or not found["kernel"]["apparmor"] else 0
