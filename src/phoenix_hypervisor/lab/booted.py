"""A lab of one's own: `with Lab() as lab: lab.run("aa-status")`.

Owns the life of one machine from image to end, inside the calling process.  When that process
dies, the kernel ends the machine.  Start it in a thread that lives as long as the lab does.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.lab import accel as acceleration
from phoenix_hypervisor.lab import snapshot
from phoenix_hypervisor.lab.build import Image, Progress, ensure_image, silent
from phoenix_hypervisor.lab.cache import Cache, locked
from phoenix_hypervisor.lab.guestlink import Guest
from phoenix_hypervisor.lab.qemu import DEFAULT_MEMORY, Machine
from phoenix_hypervisor.lab.recipe import DEFAULT_RELEASE, release_named
from phoenix_hypervisor.lab.wire import GuestGone, Wire


class Lab(Guest):
    """A real AppArmor kernel with real LXC, until the `with` block ends.

    `release` is a name of `recipe.RELEASES`; `snapshot=False` boots instead of continuing the saved
    machine; `memory` is the guest's, in MiB; `accel` forces `kvm` or `tcg`; `phoenix` brings
    phoenix itself into the guest; `more_disks` are raw images that it sees as /dev/vdb and so on, and
    `ssh_port` is the port of this machine's 127.0.0.1 that is the guest's port 22 (it boots then).
    Everything that the guest writes is lost at the end.
    """

    wire: Wire

    def __init__(
        self,
        release: str = DEFAULT_RELEASE,
        *,
        snapshot: bool = True,
        memory: int = DEFAULT_MEMORY,
        accel: str | None = None,
        phoenix: bool = False,
        cache: Cache | None = None,
        progress: Progress = silent,
        more_disks: Sequence[Path] = (),
        ssh_port: int | None = None,
    ) -> None:
        self._since = -1
        self.release = release_named(release)
        self.cache = cache or Cache()
        self._snapshot = snapshot and not more_disks and ssh_port is None
        self._ssh_port = ssh_port
        self._more_disks = tuple(more_disks)
        self._memory = memory
        self._accel = accel
        self._phoenix = phoenix
        self._progress = progress
        self._stack = contextlib.ExitStack()
        self._machine: Machine | None = None
        self.image: Image | None = None
        self.accel = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, *, listen: socket.socket | None = None) -> None:
        """Start the machine and agree with its agent; what is missing is built first.

        With `listen` the agent stays reachable through that listening socket and only there.
        """
        try:
            self._machine = self._begin(listen)
            if listen is None:
                assert self._machine.agent is not None
                self._greet(self._machine.agent)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the machine at once."""
        self._stack.close()
        self._machine = None

    @property
    def machine(self) -> Machine:
        """The running QEMU; PhoenixError where there is none."""
        if self._machine is None:
            raise PhoenixError("the lab is not running")
        return self._machine

    def console(self) -> str:
        """The guest's serial console so far: what the kernel said when it died is here."""
        return self.machine.console()

    def _greet(self, agent: socket.socket) -> None:
        self.wire = Wire(agent)
        try:
            self.wire.sync(snapshot.RESUME_LIMIT if self._snapshot else snapshot.BOOT_LIMIT)
            if self._phoenix:
                self.install_phoenix()
            self.mark()
        except GuestGone as error:
            tail = "\n".join(self.machine.console().splitlines()[-15:])
            raise GuestGone(f"{error.message}\n{tail}".rstrip()) from None

    def _begin(self, listen: socket.socket | None) -> Machine:
        image = self._take_image()
        self.image = image
        for disk in self._more_disks:
            lock = disk.parent / "use.lock"
            self._stack.enter_context(locked(lock, shared=True, timeout=10, what="the further disk"))
        self.accel = self._accel or acceleration.choose(self.cache, image, progress=self._progress)
        if not self._snapshot:
            machine = snapshot.cold_boot(
                image,
                accel=self.accel,
                memory=self._memory,
                listen=listen,
                more_disks=self._more_disks,
                ssh_port=self._ssh_port,
            )
        else:
            machine = self._resume(image, listen)
        self._stack.callback(machine.close)
        return machine

    def _take_image(self) -> Image:
        """The image, held so that nobody prunes it while it is used."""
        for _ in range(3):
            image = ensure_image(self.cache, self.release, progress=self._progress)
            self._stack.enter_context(locked(image.use_lock, shared=True, timeout=10, what="the image"))
            if image.disk.exists():
                return image
            self._stack.close()
        raise PhoenixError("the lab's image was removed while it was in use", where=str(self.cache.images))

    def _resume(self, image: Image, listen: socket.socket | None) -> Machine:
        accel, memory = self.accel, self._memory
        saved = snapshot.ensure_saved(self.cache, image, accel=accel, memory=memory, progress=self._progress)
        try:
            return snapshot.resume(image, saved, accel=accel, memory=memory, listen=listen)
        except PhoenixError as error:
            self._progress(f"the saved machine cannot be resumed ({error.message}); booting instead")
            # A state that this QEMU does not take is worth one more first boot, not a failure.
            snapshot.discard(saved)
        saved = snapshot.ensure_saved(self.cache, image, accel=accel, memory=memory, progress=self._progress)
        return snapshot.resume(image, saved, accel=accel, memory=memory, listen=listen)
