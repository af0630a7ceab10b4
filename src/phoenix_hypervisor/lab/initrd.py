"""The guest's initrd: busybox, the root disk's driver, and a script of a dozen lines.

Owns the newc archive and the choice of modules.  Must not touch the file system: members of the
guest's root come from an open tar.  Boot time is mostly initrd size, so nothing else goes in.
"""

from __future__ import annotations

import lzma
import tarfile
from collections.abc import Collection, Iterable

from phoenix_hypervisor.errors import PhoenixError


class RootTar:
    """Members of the guest's root by their plain path, whether /lib is a directory or a link."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._members = {member.name.removeprefix("./"): member for member in tar.getmembers()}

    def read(self, path: str) -> bytes:
        """Content of a regular file; PhoenixError where there is none."""
        for name in (path, f"usr/{path}"):
            member = self._members.get(name)
            if member is not None and (member.isfile() or member.islnk()):
                file = self._tar.extractfile(member)
                if file is not None:
                    return file.read()
        raise PhoenixError(f"the guest's packages have no /{path}")

    def names(self, prefix: str) -> list[str]:
        """Paths that begin with `prefix`, without a merged /usr."""
        plain = (
            name.removeprefix("usr/") if name.startswith("usr/lib/modules") else name
            for name in self._members
        )
        return sorted(name for name in plain if name.startswith(prefix))


def kernel_release(root: RootTar) -> str:
    """`uname -r` of the one kernel in the guest's root."""
    kernels = [name for name in root.names("boot/vmlinuz-") if "/" not in name.removeprefix("boot/")]
    if len(kernels) != 1:
        raise PhoenixError(f"expected one kernel in the guest's packages, found {len(kernels)}")
    return kernels[0].removeprefix("boot/vmlinuz-")


def modules(
    root: RootTar, release: str, wanted: Iterable[str], passing: Collection[str] = ()
) -> list[tuple[str, bytes]]:
    """The wanted modules and what they need, in loading order, uncompressed; built-in ones left out.

    Those of `passing` are left out where the kernel has none; PhoenixError for any other.
    """
    base = f"lib/modules/{release}"
    depends: dict[str, list[str]] = {}
    for line in root.read(f"{base}/modules.dep").decode().splitlines():
        path, _, needs = line.partition(":")
        depends[path] = needs.split()
    builtin = {_name(line) for line in root.read(f"{base}/modules.builtin").decode().splitlines()}
    paths = {_name(path): path for path in depends}
    order: list[str] = []
    for name in wanted:
        if name in builtin:
            continue
        if name not in paths and name in passing:
            continue
        if name not in paths:
            raise PhoenixError(f"kernel {release} has no module {name}")
        for path in [*reversed(depends[paths[name]]), paths[name]]:
            if path not in order:
                order.append(path)
    return [(_name(path), _uncompressed(path, root.read(f"{base}/{path}"))) for path in order]


def build_initrd(
    root: RootTar, init: bytes, release: str, wanted: Iterable[str], passing: Collection[str] = ()
) -> bytes:
    """The whole archive, uncompressed: at two megabytes unpacking would cost more than reading."""
    entries: list[tuple[str, int, bytes]] = [
        (name, 0o040755, b"") for name in ("bin", "dev", "modules", "proc", "root")
    ]
    entries.append(("init", 0o100755, init))
    entries.append(("bin/busybox", 0o100755, root.read("bin/busybox")))
    for number, (name, content) in enumerate(modules(root, release, wanted, passing)):
        entries.append((f"modules/{number:02}-{name}.ko", 0o100644, content))
    return newc(entries)


def newc(entries: Iterable[tuple[str, int, bytes]]) -> bytes:
    """A cpio archive of (path, mode with type bits, content)."""
    out = bytearray()
    for number, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], start=1):
        path = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + path
        out += bytes(-len(out) % 4)
        out += content
        out += bytes(-len(out) % 4)
    return bytes(out)


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1].partition(".ko")[0].replace("-", "_")


def _uncompressed(path: str, content: bytes) -> bytes:
    if path.endswith(".xz"):
        return lzma.decompress(content)
    if path.endswith(".ko"):
        return content
    raise PhoenixError(f"{path}: compressed in a way that the lab cannot read")
