"""What the lab needs on this machine, and the apt line that brings it.

Owns the list of tools.  Must not install anything and must run on a bare Python.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

from phoenix_hypervisor.errors import PhoenixError

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Tool:
    """A program, the Debian package that has it, and what the lab does with it."""

    program: str
    package: str
    use: str


RUN = (
    Tool("qemu-system-x86_64", "qemu-system-x86", "runs the guest"),
    Tool("qemu-img", "qemu-utils", "makes its disk overlay"),
    Tool("setpriv", "util-linux", "ends QEMU with phoenix"),
)
BUILD = (
    Tool("mmdebstrap", "mmdebstrap", "unpacks the guest's packages"),
    Tool("mke2fs", "e2fsprogs", "makes its disk"),
    Tool("tar", "tar", "unpacks its root"),
    Tool("unshare", "util-linux", "ends the build with phoenix"),
)
BUILD_UNPRIVILEGED = (Tool("newuidmap", "uidmap", "gives the build a range of users"),)


def find(program: str) -> str | None:
    """Where `program` is; sbin counts also for a user whose PATH lacks it."""
    return shutil.which(program) or shutil.which(program, path=_PATH)


def missing_tools(*, build: bool = True) -> tuple[Tool, ...]:
    """Tools that this machine lacks, for running a lab and, with `build`, for making its image."""
    wanted = RUN + (BUILD if build else ())
    if build and os.geteuid() != 0:
        wanted += BUILD_UNPRIVILEGED
    return tuple(tool for tool in wanted if find(tool.program) is None)


def apt_line(tools: tuple[Tool, ...]) -> str:
    """The command that installs `tools`."""
    sudo = "" if os.geteuid() == 0 else "sudo "
    packages = " ".join(sorted({tool.package for tool in tools}))
    return f"{sudo}apt-get install --no-remove --no-install-recommends {packages}"


def require(*, build: bool) -> None:
    """PhoenixError naming what is missing and how to get it."""
    missing = missing_tools(build=build)
    if missing:
        names = ", ".join(tool.program for tool in missing)
        raise PhoenixError(f"the lab needs {names}, not installed here", hint=apt_line(missing))


def path_of(program: str) -> str:
    """The full path of a tool; PhoenixError where it is missing."""
    found = find(program)
    if found is None:
        known = [tool for tool in RUN + BUILD + BUILD_UNPRIVILEGED if tool.program == program]
        raise PhoenixError(f"{program} is not installed", hint=apt_line(tuple(known)))
    return found
