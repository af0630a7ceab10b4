"""Parameters of the kernel's modules.

Owns reading and writing one below /sys/module.  Must not know what it means.
"""

from __future__ import annotations

import os

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.files import hint_for
from phoenix_hypervisor.host.machine import Host


def read_parameter(host: Host, path: str) -> str | None:
    """Its value; None where this kernel has none of that name, or nobody may look."""
    data = host.content(path)
    return data.decode("utf-8", "replace").strip() if isinstance(data, bytes) else None


def write_parameter(host: Host, path: str, value: str) -> None:
    """Set it.  Raises PhoenixError."""
    try:
        # The file is the kernel's: it is neither made nor replaced.
        fd = os.open(host.root.locate(path), os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise PhoenixError(
            f"cannot be set to {value}: {error.strerror}", where=path, hint=hint_for(error)
        ) from error
