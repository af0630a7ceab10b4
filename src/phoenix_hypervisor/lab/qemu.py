"""One QEMU process.

Owns its command line, its file descriptors and its end: QEMU is killed by the kernel when the
process that started it ends, however that ends, and it leaves no file behind (disk writes go to an
unlinked temporary file, sockets are inherited pairs, the console is an anonymous file).
Must not know what runs inside.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.lab import tools
from phoenix_hypervisor.lab.build import Image, die_with_parent
from phoenix_hypervisor.lab.qmp import Qmp

if TYPE_CHECKING:
    import subprocess

DEFAULT_MEMORY = 1024
"""MiB of guest memory; a snapshot is tied to it."""

MACHINE = "q35"
KERNEL_LINE = "console=ttyS0 quiet loglevel=3 panic=-1 oops=panic log_buf_len=8M tsc=reliable"
"""A guest that panics ends its QEMU (`-no-reboot`), so that nobody waits for it."""

CPU = {
    # QEMU 7.2 miscompiles cmpxchg16b: with it the 6.12 kernel panics in __kmalloc.
    "tcg": "qemu64,-cx16,+rdrand",
    "kvm": "host",
}


class Machine:
    """A started QEMU; `close` ends it at once."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        qmp: Qmp,
        agent: socket.socket | None,
        console_fd: int,
    ) -> None:
        self._process = process
        self.qmp = qmp
        self.agent = agent
        self._console_fd = console_fd

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def console(self) -> str:
        """What the guest wrote to its serial console so far."""
        if self._console_fd < 0:
            return ""
        size = os.fstat(self._console_fd).st_size
        return os.pread(self._console_fd, size, 0).decode("utf-8", "replace")

    def wait(self, timeout: float) -> bool:
        """Whether QEMU ended within `timeout` seconds."""
        import subprocess

        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """End QEMU; there is nothing in it worth keeping."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        self.qmp.close()
        if self.agent is not None:
            self.agent.close()
        if self._console_fd >= 0:
            os.close(self._console_fd)
        self._console_fd = -1


def start(
    image: Image,
    *,
    accel: str,
    disk: Path,
    disk_format: str,
    throwaway: bool = True,
    cache: str = "unsafe",
    memory: int = DEFAULT_MEMORY,
    state: Path | None = None,
    append: str = "",
    listen: socket.socket | None = None,
    more_disks: Sequence[Path] = (),
    ssh_port: int | None = None,
) -> Machine:
    """Start QEMU on `disk`; with `state`, continue the machine that was saved there.

    `more_disks` are raw images, /dev/vdb and so on in the guest; a saved machine has none.  With
    `ssh_port` it has a network card too, on which nothing goes out, and that port of this machine's
    127.0.0.1 is the guest's port 22 at 10.0.2.15.

    `throwaway` sends the guest's writes to a temporary file without a name.  `cache` is QEMU's
    word: `unsafe` ignores the guest's flushes, which `writeback` carries out.  `listen` is a
    listening socket for the agent's port; without it the agent is at `Machine.agent`.
    Raises PhoenixError where QEMU ends at once or does not answer.
    """
    import subprocess

    tools.require(build=False)
    with contextlib.ExitStack() as child_fds:
        ours, theirs = socket.socketpair()
        child_fds.callback(theirs.close)
        passed = [theirs.fileno()]
        agent: socket.socket | None = None
        if listen is None:
            agent, far = socket.socketpair()
            child_fds.callback(far.close)
            passed.append(far.fileno())
            agent_chardev = f"socket,id=agent,fd={far.fileno()}"
        else:
            passed.append(listen.fileno())
            agent_chardev = f"socket,id=agent,fd={listen.fileno()},server=on,wait=off"
        console = os.memfd_create("console", os.MFD_CLOEXEC)
        passed.append(console)
        snapshot = "on" if throwaway else "off"
        argv = [
            tools.path_of("qemu-system-x86_64"),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-machine", MACHINE, "-accel", accel, "-cpu", CPU[accel], "-smp", "1", "-m", str(memory)),
            *("-chardev", f"socket,id=qmp,fd={theirs.fileno()}", "-mon", "chardev=qmp,mode=control"),
            *("-chardev", f"file,id=console,path=/proc/self/fd/{console}", "-serial", "chardev:console"),
            *("-device", "virtio-serial-pci", "-chardev", agent_chardev),
            *("-device", "virtserialport,chardev=agent,name=phoenix.agent"),
            *(
                "-drive",
                f"if=none,id=root,format={disk_format},cache={cache},snapshot={snapshot},"
                f"file={str(disk).replace(',', ',,')}",
            ),
            *("-device", "virtio-blk-pci,drive=root"),
            *_more_disks(more_disks),
            *_network(ssh_port),
            *("-kernel", str(image.vmlinuz), "-initrd", str(image.initrd)),
            *("-append", f"{KERNEL_LINE} {append}".strip()),
        ]
        if state is not None:
            fd = os.open(state, os.O_RDONLY | os.O_CLOEXEC)
            child_fds.callback(os.close, fd)
            passed.append(fd)
            argv += ["-incoming", f"fd:{fd}"]
        process = subprocess.Popen(
            die_with_parent(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=console,
            pass_fds=passed,
            start_new_session=True,
        )
    machine = Machine(process, Qmp(ours), agent, console)
    try:
        machine.qmp.negotiate()
    except PhoenixError as error:
        said = machine.console().strip()
        machine.close()
        raise PhoenixError(f"QEMU did not start: {said or error.message}") from None
    except BaseException:
        machine.close()
        raise
    return machine


def _network(port: int | None) -> Iterator[str]:
    if port is not None:
        yield from ("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:22")
        yield from ("-device", "virtio-net-pci,netdev=net,romfile=")


def _more_disks(disks: Sequence[Path]) -> Iterator[str]:
    for number, disk in enumerate(disks):
        file = str(disk).replace(",", ",,")
        yield "-drive"
        yield f"if=none,id=more{number},format=raw,cache=unsafe,snapshot=on,file={file}"
        yield "-device"
        yield f"virtio-blk-pci,drive=more{number}"
