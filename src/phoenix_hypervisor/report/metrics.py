"""The state of a host in the text format of Prometheus.

Owns the names, types and labels of the metrics.  Labels are bounded: a CTID, a profile, a code; never a
path, a command or a name from inside a container.  Pure: verdicts come in, text goes out; must not judge.
Source: prometheus.io/docs/instrumenting/exposition_formats, node_exporter's textfile collector.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from phoenix_hypervisor.plan.model import Finding
from phoenix_hypervisor.plan.verify import ContainerVerdict, ProfileVerdict
from phoenix_hypervisor.values import dataclass

Sample = tuple[Mapping[str, str], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is exposed; the words of `plan.verify` for one look at a host."""

    version: str
    containers: Sequence[ContainerVerdict]
    profiles: Sequence[ProfileVerdict]
    host: Sequence[Finding]
    unmediated: int | None
    """How much AppArmor cannot mediate on this kernel; None: no kernel says."""
    transactions: int
    """The number of the newest one: they are counted from 1 and never reused."""
    last_transaction: float | None
    """When it began, in seconds since 1970; None: there is none."""


def exposition(measured: Measured) -> str:
    """The metrics, each with its help and type, in a stable order."""
    lines: list[str] = []
    for name, kind, meaning, samples in _families(measured):
        found = [f"{name}{_labels(labels)} {value:.15g}" for labels, value in samples]
        if found:
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", *found]
    return "\n".join(lines) + "\n"


def _families(measured: Measured) -> Iterable[tuple[str, str, str, list[Sample]]]:
    containers, profiles = measured.containers, measured.profiles
    yield "phoenix_info", "gauge", "Version of Phoenix.", [({"version": measured.version}, 1)]
    yield (
        "phoenix_container_info",
        "gauge",
        "Each container, with its declared and its assigned profile.",
        [(_container(one), 1) for one in containers],
    )
    yield (
        "phoenix_container_running",
        "gauge",
        "Whether the container runs; missing where that is not known.",
        [({"ctid": one.ctid}, one.running) for one in containers if one.running is not None],
    )
    yield (
        "phoenix_container_confined",
        "gauge",
        "Whether the running container carries an AppArmor profile that refuses something.",
        [
            ({"ctid": one.ctid}, one.confined)
            for one in containers
            if one.running and one.confined is not None
        ],
    )
    yield (
        "phoenix_container_as_declared",
        "gauge",
        "Whether declared, assigned and running profile agree.",
        [({"ctid": one.ctid}, one.as_declared) for one in containers],
    )
    yield "phoenix_findings", "gauge", "What is wrong or worth knowing, by code.", _findings(measured)
    yield (
        "phoenix_profile_loaded",
        "gauge",
        "Whether the kernel has the profile; missing where that is not known.",
        [({"profile": p.name}, p.loaded != "no") for p in profiles if p.loaded != "unknown"],
    )
    yield (
        "phoenix_profile_as_shipped",
        "gauge",
        "Whether the installed profile is its source.",
        [({"profile": one.name}, one.installed == "same") for one in profiles],
    )
    yield (
        "phoenix_profile_containers",
        "gauge",
        "How many containers are assigned the profile.",
        [({"profile": one.name}, len(one.used_by)) for one in profiles],
    )
    if measured.unmediated is not None:
        meaning = "How many kinds of access AppArmor cannot mediate on this kernel."
        yield "phoenix_kernel_unmediated", "gauge", meaning, [({}, measured.unmediated)]
    meaning = "Transactions so far: setup, apply and rollback, also those that were undone."
    yield "phoenix_transactions_total", "counter", meaning, [({}, measured.transactions)]
    if measured.last_transaction is not None:
        meaning = "When the newest transaction began, in seconds since 1970."
        yield (
            "phoenix_last_transaction_timestamp_seconds",
            "gauge",
            meaning,
            [({}, measured.last_transaction)],
        )


def _container(one: ContainerVerdict) -> dict[str, str]:
    return {
        "ctid": one.ctid,
        "declared": one.declared or "",
        "assigned": one.assigned or "",
        "kind": "unprivileged" if one.unprivileged else "privileged",
    }


def _findings(measured: Measured) -> list[Sample]:
    """How often each code is found, of what, and whether that is a fault."""
    found: Counter[tuple[str, str, bool]] = Counter()
    parts: list[tuple[str, Iterable[Finding]]] = [
        ("host", measured.host),
        ("container", (f for one in measured.containers for f in one.findings)),
        ("profile", (f for one in measured.profiles for f in one.findings)),
    ]
    for part, findings in parts:
        for finding in findings:
            found[str(finding.code), part, finding.fault] += 1
    return [
        ({"code": code, "of": part, "fault": str(fault).lower()}, count)
        for (code, part, fault), count in sorted(found.items())
    ] or [({"code": "none", "of": "host", "fault": "false"}, 0)]


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    """A label's value: profiles of others may be called anything."""
    text = value.encode("utf-8", "backslashreplace").decode()
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
