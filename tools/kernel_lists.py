#!/usr/bin/env python3
"""The feature lists of Proxmox's kernels: Debian 13's own dump, and what Ubuntu's trees export otherwise.

Writes `src/phoenix_hypervisor/data/features/proxmox-*`; a test holds them equal to this table.  No
Proxmox kernel was at hand: the differences were read in the kernels' sources (docs/internals/features.md).
"""

from __future__ import annotations

import re
from pathlib import Path

FEATURES = Path(__file__).resolve().parents[1] / "src/phoenix_hypervisor/data/features"
BASE = "trixie-6.12"
YES = "yes"

UBUNTU: dict[str, str | None] = {
    "caps/extended": YES,
    "dbus/mask": "acquire send receive",
    "domain/interruptible": YES,
    "domain/kill.signal": YES,
    "domain/unconfined_allowed_children": YES,
    "ipc/posix_mqueue": "create read write open delete setattr getattr",
    "namespaces/userns_create": "pciu&",
    "network/af_mask": "=network_v8/af_mask",
    "network/af_unix": YES,
    "network_v8/af_inet": YES,
    "network_v8/tcp-fast-open": None,
    "policy/permstable32_version": "0x000003",
    # Sysctls, which Proxmox leaves off.
    "policy/unconfined_restrictions/io_uring": "0",
    "policy/unconfined_restrictions/userns": "0",
}
"""What Ubuntu's kernels say beyond Debian's (None: do not say).  `=PATH` repeats another file."""

LATER: dict[str, str | None] = {
    "domain/disconnected.ipc": YES,
    "ipc/posix_mqueue": "create read write open delete setattr getattr label",
    "network_v9/af_mask": "=network_v8/af_mask",
    "network_v9/af_unix": YES,
    "policy/metadata_tagging_version": "0x000001",
    "policy/notify/user": "file tags",
    "policy/notify_versions/v3": YES,
    "policy/notify_versions/v5": YES,
    "policy/state32": "0x000001",
}
"""From 6.17."""

LATEST: dict[str, str | None] = {
    "network_v9_skb/af_mask": "inet inet6",
    "network_v9_skb/iface": "receive connect, secmark_postroute",
    "network_v9_skb/localout": "secmark_set",
    "network_v9_skb/postroute": "secmark_send",
    "network_v9_skb/rcv_skb": "secmark_receive",
    "network_v9_skb/relabel": "setcred",
    "policy/compressed_load": YES,
    "policy/diff_encode": YES,
}
"""From 7.0."""

KERNELS = {
    "proxmox-8-6.8": (UBUNTU,),
    "proxmox-9-6.14": (UBUNTU,),
    "proxmox-9-6.17": (UBUNTU, LATER),
    "proxmox-9-7.0": (UBUNTU, LATER, LATEST),
}

_PIECE = re.compile(rb"[{}]|[^{}]+")


def read(data: bytes) -> dict[str, bytes]:
    """The files of a flattened feature tree by their path."""
    found: dict[str, bytes] = {}
    path: list[str] = []
    text = b""
    for piece in _PIECE.findall(data):
        if piece == b"{":
            path.append(text.strip().decode())
            text = b""
        elif piece == b"}":
            if text.strip():
                found["/".join(path)] = text.strip()
            path.pop()
            text = b""
        else:
            text = piece
    return found


def flatten(files: dict[str, bytes], under: str = "") -> bytes:
    """One flat file, entries sorted at each level as libapparmor sorts them."""
    out = bytearray()
    for name in sorted({path[len(under) :].split("/")[0] for path in files if path.startswith(under)}):
        content = files.get(under + name)
        inner = flatten(files, f"{under}{name}/") if content is None else content + b"\n"
        out += name.encode() + b" {" + inner + b"}\n"
    return bytes(out)


def lists() -> dict[str, bytes]:
    """Every packed list of a Proxmox kernel, by its name."""
    base = read((FEATURES / BASE).read_bytes())
    found = {}
    for name, tables in KERNELS.items():
        files = dict(base)
        for table in tables:
            for path, value in table.items():
                if value is None:
                    files.pop(path)
                else:
                    files[path] = base[value[1:]] if value.startswith("=") else value.encode()
        found[name] = flatten(files)
    return found


if __name__ == "__main__":
    for name, data in lists().items():
        (FEATURES / name).write_bytes(data)
        print(f"{FEATURES / name}: {len(data)} bytes")
