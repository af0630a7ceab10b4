"""The kernel's AppArmor feature tree as one file that apparmor_parser reads.

Owns the flattened form (`name {value\\n}` blocks, nested as the directories are) that
`--kernel-features FILE` takes.  Must not read a machine: whoever holds the tree (the lab's
guest, a test) passes its files in.
"""

from __future__ import annotations

from collections.abc import Iterable

FEATURES_DIRECTORY = "/sys/kernel/security/apparmor/features"
"""Where a running kernel shows them."""


def flatten(files: Iterable[tuple[str, bytes]]) -> bytes:
    """One flat file of `files`: pairs of a path below the tree (`file/mask`) and its content.

    Entries are sorted at each level as libapparmor sorts them, so that the parser's name for the
    set (its cache directory) is the same as for the kernel itself.  Raises ValueError where a name
    is a file and a directory at once.
    """
    tree: dict[str, object] = {}
    for path, content in files:
        *parents, name = [part for part in path.split("/") if part not in ("", ".")]
        node = tree
        for parent in parents:
            below = node.setdefault(parent, {})
            if not isinstance(below, dict):
                raise ValueError(f"{path}: {parent} is a file")
            node = below
        if isinstance(node.get(name), dict):
            raise ValueError(f"{path}: is a directory")
        node[name] = content
    return _block(tree)


def _block(tree: dict[str, object]) -> bytes:
    out = bytearray()
    for name, below in sorted(tree.items()):
        out += name.encode() + b" {"
        if isinstance(below, dict):
            out += _block(below)
        else:
            assert isinstance(below, bytes)
            out += below.rstrip(b"\n") + b"\n"
        out += b"}\n"
    return bytes(out)
