"""Phoenix in the lab's guest: running it, declaring, and what `verify` says."""

from __future__ import annotations

import json

from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.lab.guest_containers import Container, make_container
from phoenix_hypervisor.lab.guestlink import Guest, Result

HOME = "/usr/local/phoenix_hypervisor"
CONFIG = f"{HOME}/etc/phoenix_lxc_configs.json"
SOURCES = f"{HOME}/etc/apparmor"
SHIPPED = ("lxc-gpu-docker-storage", "lxc-nesting-v1", "lxc-nvidia-gpu-base", "lxc-nvidia-gpu-docker")
SMALL = "profile {name} flags=(attach_disconnected) {{\n  file,\n  capability,\n  network,\n  signal,\n  ptrace,\n  unix,\n{rules}}}\n"


def phoenix(lab: Guest, *words: str, timeout: float = 240) -> Result:
    return lab.run(["phoenix", *words], timeout=timeout)


def until(lab: Guest, condition: str, what: str, seconds: int = 180) -> None:
    """Wait until a shell condition holds in the guest; fails after so many seconds, and says what did not come."""
    now = "$(cut -d. -f1 /proc/uptime)"
    script = (
        f"end=$(({now} + {seconds})); until {condition}; do [ {now} -lt $end ] || exit 1; sleep 0.1; done"
    )
    assert lab.run(script, timeout=seconds + 60).ok, what


def declare(lab: Guest, profiles: dict[str, str], **top: object) -> None:
    entries = {ctid: {"name": f"c{ctid}", "apparmor_profile": p} for ctid, p in profiles.items()}
    lab.put(CONFIG, json.dumps({"lxc_configs": entries, **top}))


def source(lab: Guest, name: str, rules: str = "") -> None:
    lab.put(f"{SOURCES}/{name}", SMALL.format(name=name, rules=rules))


def verify(lab: Guest, *words: str) -> tuple[int, dict[str, list[str]]]:
    """The exit code, and the codes of what is found, by container and profile."""
    result = phoenix(lab, "verify", "--json", *words)
    document = json.loads(result.stdout)
    codes = {c["ctid"]: [f["code"] for f in c["findings"]] for c in document["containers"]}
    codes["host"] = [f["code"] for f in document["host"]["findings"]]
    codes.update({p["name"]: [f["code"] for f in p["findings"]] for p in document["profiles"]})
    return result.rc, codes


def make_ready(lab: Lab) -> Lab:
    """A guest with the shipped profiles loaded by Phoenix and nothing declared."""
    lab.install_phoenix()
    lab.run(f"cd {SOURCES} && rm -f lxc-t-* && mkdir -p /var/lib/lxc", check=True)
    declare(lab, {})
    done = phoenix(lab, "setup")
    assert done.ok, done.stderr
    return lab


def box(lab: Guest, ctid: int, **how: object) -> Container:
    container = make_container(lab, ctid, **how)  # type: ignore[arg-type]
    assert container.state() in ("STOPPED", "")
    return container
