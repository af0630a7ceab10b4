"""What people read of a container's risks under a profile.

Owns the words of those codes, and what is asked for in words; `cli.notes` has all others.  Must not decide
anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from phoenix_hypervisor.cli.phrases import Entry, Words, quoted
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.model import Note
from phoenix_hypervisor.plan.roles import Coded

_ASKED = {
    "fuse": "FUSE",
    "mknod": "making device nodes",
    "services": "systemd's sandboxes of services",
    "docker": "Docker",
    "lxc": "LXC in LXC",
    "proc:rw": "the host's settings in /proc/sys",
    "sys:rw": "the host's settings in /sys",
}
FEW = 4
"""Nodes that one line names."""


def asked_words(whats: Iterable[str]) -> str:
    """What is asked for, in words: `mounts of nfs, cifs; Docker; /dev/net/tun`."""
    kinds = {"mount": list[str](), "device": list[str]()}
    uses = []
    for what in whats:
        kind, _, name = what.partition(" ")
        if kind in kinds and name:
            kinds[kind].append(name)
        else:
            uses.append(_ASKED[what])
    mounts, nodes = kinds.values()
    more = [f"{len(nodes) - FEW} nodes more"] if len(nodes) > FEW else []
    listed = [*uses, *nodes[:FEW], *more]
    return "; ".join([f"mounts of {', '.join(mounts)}"] * bool(mounts) + listed)


def _features_lost(note: Note) -> Words:
    what = asked_words(one["what"] for one in note.data["asked"])
    lines = ", ".join(f"`{line}`" for line in dict.fromkeys(one["line"] for one in note.data["asked"]))
    profile = note.data["profile"]
    if not note.data["known"]:
        return quoted(f"asks for {what} ({lines}); whether {profile} allows it is not known here"), None
    question = note.data["asked"][0]["question"]
    text = f"asks for {what} ({lines}), and {profile} refuses it: that will fail"
    return quoted(text), quoted(f"`phoenix policy query {profile} {question}`")


def _raw_rules(note: Note) -> Words:
    rules = " ".join(note.data["rules"])
    text = f"its lxc.apparmor.raw lines do not count under {note.data['profile']}: {rules}"
    return quoted(text), quoted(f"what it needs goes into /etc/apparmor.d/local/{note.data['profile']}")


def _all_devices(note: Note) -> Words:
    text = "`{line}` opens every device of the host to a privileged container"
    if note.data["mknod"]:
        text += ", and {profile} lets it make the nodes: the host's disks are open to it"
    return text, "name the devices that it needs, with devN or their numbers"


def _snapshots(note: Note) -> Words:
    held = ", ".join(f"{name} ({profile or 'no line'})" for name, profile in note.data["snapshots"])
    return quoted(f"a rollback to these snapshots brings back another profile line: {held}"), (
        "after such a rollback: phoenix apply {it}"
    )


RISKS: Mapping[Coded, Entry] = {
    Code.FEATURES_LOST: _features_lost,
    Code.MADE_FOR_UNPRIVILEGED: (
        "is privileged, and {profile} is made for unprivileged containers: here it lets procfs be mounted "
        "anywhere, and the host's settings be written there",
        "docs/guide/profiles.md says which profile to take",
    ),
    Code.SANDBOXES_LOST: (
        "is privileged, and {profile} refuses the mounts that systemd makes for services with a sandbox: "
        "logind, networkd, resolved, most databases and web servers will not start",
        "make it unprivileged, or use a host with AppArmor 4.1 or newer; what refuses: "
        "`phoenix policy query {profile} {question}`",
    ),
    Code.RAW_RULES_INERT: _raw_rules,
    Code.ALL_DEVICES: _all_devices,
    Code.SNAPSHOT_DIFFERS: _snapshots,
    Code.BECOMES_CONFINED: (
        "its line `unconfined` goes: from its next start on it is confined by what its runtime generates",
        '"unconfined_means": "explicit-line" keeps the line',
    ),
}
