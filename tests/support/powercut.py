"""Cutting the power while Phoenix applies, in the lab, and judging what comes up again.

Owns the machine whose disk is kept (ext4 with a journal, `noauto_da_alloc`), the cut, and the
invariants.  QEMU is killed: what the guest's kernel had not written is lost, and so is what it
wrote and did not flush into clusters that are new in this boot's overlay (their place is known
to QEMU alone until a flush).  The next boot continues from exactly what was left.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from phoenix_hypervisor.host.process import ProcessRunner
from phoenix_hypervisor.lab import accel, qemu, tools
from phoenix_hypervisor.lab.build import ensure_image
from phoenix_hypervisor.lab.cache import Cache, locked
from phoenix_hypervisor.lab.guest_containers import make_container
from phoenix_hypervisor.lab.guestlink import PHOENIX_HOME, Guest
from phoenix_hypervisor.lab.recipe import release_named
from phoenix_hypervisor.lab.snapshot import BOOT_LIMIT
from phoenix_hypervisor.lab.wire import Wire

GUEST = Path(__file__).parents[1] / "lab" / "guest" / "cut.py"
SOURCES = f"{PHOENIX_HOME}/etc/apparmor"
CONFIG = f"{PHOENIX_HOME}/etc/phoenix_lxc_configs.json"
WATCHED = "/etc/apparmor.d /var/lib/lxc /usr/local/phoenix_hypervisor/etc /var/lib/foreign"
FOREIGN = {
    "/etc/apparmor.d/lxc-foreign": "profile lxc-foreign { file, }\n",
    "/etc/apparmor.d/abstractions/site": "  /srv/** r,\n",
    "/var/lib/foreign/notes": "somebody else's\n" * 400,
}
SNAPSHOT = f"""
import base64, json, os, stat
found = {{}}
for top in {WATCHED.split()!r}:
    for folder, folders, files in os.walk(top):
        folders[:] = [f for f in folders if f != "rootfs"]
        for name in files:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            if stat.S_ISREG(info.st_mode):
                found[path] = [stat.S_IMODE(info.st_mode), base64.b64encode(open(path, "rb").read()).decode()]
print(json.dumps(found))
"""
World = dict[str, tuple[int, bytes]]


@dataclass
class Report:
    """What was cut, and what was broken."""

    cuts: list[str] = field(default_factory=list)
    recovered: int = 0
    announced: int = 0
    violations: list[str] = field(default_factory=list)

    def __iadd__(self, other: Report) -> Report:
        self.cuts += other.cuts
        self.recovered += other.recovered
        self.announced += other.announced
        self.violations += other.violations
        return self


class KeptMachine:
    """A lab whose disk outlives it: each boot writes an overlay on what the last one left."""

    def __init__(self, release: str, folder: Path, cache: Cache | None = None) -> None:
        self._cache = cache or Cache()
        self._folder = folder
        self._boots = 0
        self._stack = contextlib.ExitStack()
        self._image = ensure_image(self._cache, release_named(release))
        self._stack.enter_context(locked(self._image.use_lock, shared=True, timeout=10, what="the image"))
        self._accel = accel.choose(self._cache, self._image)
        self._machine: qemu.Machine | None = None
        self._disk = folder / "disk-0.raw"
        _run("cp", "--sparse=always", str(self._image.disk), str(self._disk))
        # In the superblock, so that it holds from the first mount on.
        journal = ("-O", "has_journal", "-J", "size=16", "-E", "mount_opts=noauto_da_alloc")
        _run("tune2fs", *journal, str(self._disk))

    def boot(self) -> Guest:
        self._boots += 1
        overlay = self._folder / f"disk-{self._boots}.qcow2"
        form = "raw" if self._boots == 1 else "qcow2"
        _run(*("qemu-img", "create", "-q", "-f", "qcow2", "-F", form, "-b", str(self._disk), str(overlay)))
        self._disk = overlay
        self._machine = qemu.start(
            self._image,
            accel=self._accel,
            disk=overlay,
            disk_format="qcow2",
            throwaway=False,
            cache="writeback",
        )
        assert self._machine.agent is not None
        wire = Wire(self._machine.agent)
        wire.sync(BOOT_LIMIT)
        return Guest(wire)

    def cut(self) -> None:
        """SIGKILL for QEMU: nothing is flushed."""
        if self._machine is not None:
            self._machine.close()
        self._machine = None

    def close(self) -> None:
        self.cut()
        self._stack.close()


@contextlib.contextmanager
def kept_machine(release: str, folder: Path) -> Iterator[KeptMachine]:
    made = KeptMachine(release, folder)
    try:
        yield made
    finally:
        made.close()


def _run(*argv: str) -> None:
    done = ProcessRunner().run([tools.find(argv[0]) or argv[0], *argv[1:]], timeout=120)
    assert done.ok, (argv, done.words())


def prepare(guest: Guest) -> None:
    """Phoenix, containers, what is not ours, and a first apply; all of it on the disk."""
    guest.install_phoenix()
    guest.run(
        f"rm -rf {PHOENIX_HOME}/etc/policy_tests {SOURCES}/lxc-* {SOURCES}/if-parser-accepts/lxc-* /etc/apparmor.d/lxc-*-old",
        check=True,
    )
    for path, text in FOREIGN.items():
        guest.put(path, text)
    for ctid in (951, 952, 953, 954, 955):
        # Nobody declares the last.
        make_container(guest, ctid, profile="lxc-container-default-cgns" if ctid == 955 else None)
    guest.put("/root/cut.py", GUEST.read_bytes())
    declare(guest, 0)
    guest.run(["phoenix", "apply", "--all"], timeout=300, check=True)
    guest.run(["phoenix", "verify"], check=True)


def declare(guest: Guest, turn: int) -> None:
    """Every turn changes sources, an include, lines, and what is deprecated; then it is on the disk."""
    this, other = (("a", "b"), ("b", "a"))[turn % 2]
    body = (
        "include <tunables/global>\nprofile {name} flags=(attach_disconnected) {{\n  file,\n  capability,\n"
    )
    body += "  network,\n  signal,\n  ptrace,\n  unix,\n  mount,\n  include <abstractions/phoenix/cut>\n"
    body += f"  deny /turn-{turn} r,\n}}}}\n"
    for name in ("lxc-p-one", "lxc-p-two", f"lxc-p-{this}"):
        guest.put(f"{SOURCES}/{name}", body.format(name=name))
    guest.put(f"{SOURCES}/abstractions/phoenix/cut", f"  deny /include-{turn} w,\n")
    guest.run(f"rm -f {SOURCES}/lxc-p-{other}", check=True)
    lines = ("lxc-p-two", "unconfined", f"lxc-p-{this}")
    shift = turn % 3
    wanted = (*lines[shift:], *lines[:shift])
    entries: dict[str, object] = {"951": {"apparmor_profile": "lxc-p-one"}}
    for ctid, name in zip(("952", "953", "954"), wanted, strict=True):
        entries[ctid] = {"apparmor_profile": name, "start": False}
    deprecated = {f"lxc-p-{other}": f"lxc-p-{this}"}
    guest.put(CONFIG, json.dumps({"lxc_configs": entries, "deprecated_profiles": deprecated}))
    guest.run(["sync"], check=True)


def world(guest: Guest) -> World:
    """Mode and bytes of every watched file."""
    said = guest.run(["python3", "-I", "-c", SNAPSHOT], check=True).stdout
    return {path: (mode, base64.b64decode(text)) for path, (mode, text) in json.loads(said).items()}


def apply_until(guest: Guest, number: int, how: str, fsyncs: str = "all") -> dict[str, object]:
    """`apply --all`, stopped on entering call `number`; 0: to its end."""
    argv = ["python3", "-I", "/root/cut.py", str(number), how, fsyncs, "apply", "--all"]
    done = guest.run(argv, timeout=300, check=True)
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def cut_and_recover(
    kept: KeptMachine, guest: Guest, turn: int, number: int, how: str, report: Report, fsyncs: str = "all"
) -> Guest:
    """One cut: the next turn is declared, its apply stopped at call `number` or ended, the power gone."""
    declare(guest, turn)
    old = world(guest)
    stopped = apply_until(guest, number, how, fsyncs)
    if not stopped["stopped"]:
        old = world(guest)  # What it said to have done must be there afterwards.
    kept.cut()
    what = f"call {number} ({stopped.get('call', 'end')} {stopped.get('path', '')}, {how})"
    report.cuts.append(what)
    guest = kept.boot()
    broken = _recover(guest, old, report)
    report.violations += [f"{what}: {text}" for text in broken]
    report.recovered += not broken
    return guest


def _recover(guest: Guest, old: World, report: Report) -> list[str]:
    broken = []
    mounted = guest.run("grep ' / ext4' /proc/mounts").stdout
    if "noauto_da_alloc" not in guest.run("dmesg; cat /proc/fs/ext4/vda/options").stdout + mounted:
        broken.append(f"the disk is not mounted as it should be: {mounted}")
    left = world(guest)
    journal = guest.run("tail -n 1 $(ls /var/lib/phoenix/journal/*.jsonl | tail -n 1)").stdout
    unfinished = '"end"' not in journal
    looked = guest.run(["phoenix", "verify", "--json"], timeout=240)
    if not looked.stdout:
        return [f"verify: exit {looked.rc}, and no answer: {looked.stderr[-400:]}"]
    told = json.loads(looked.stdout)
    codes = [finding["code"] for finding in told.get("host", {"findings": ()})["findings"]]
    if "host" not in told:
        broken.append(f"verify cannot tell: {str(told)[:300]}")
    if unfinished and "unfinished-transaction" not in codes:
        broken.append(f"verify says nothing of the unfinished transaction: {codes}")
    first = guest.run(["phoenix", "apply", "--all"], timeout=300)
    if first.rc != 0:
        return [*broken, f"apply: exit {first.rc}: {first.stderr[-400:]}"]
    if unfinished and "was interrupted" not in first.stdout + first.stderr:
        broken.append("the recovery is not announced")
    report.announced += unfinished
    checked = guest.run(["phoenix", "verify"], timeout=240)
    if checked.rc != 0:
        broken.append(f"verify: exit {checked.rc}: {checked.stdout[-400:]}")
    new = world(guest)
    for path in sorted({*old, *new, *left}):
        if path.endswith(".phoenix-tmp"):
            continue
        if left.get(path) not in (old.get(path), new.get(path)):
            broken.append(f"{path} is neither the old nor the new file: {_shown(left.get(path))}")
    for path, text in FOREIGN.items():
        if new.get(path) != (0o644, text.encode()):
            broken.append(f"{path}, which is not ours, is {_shown(new.get(path))}")
    others = "/etc /usr/local/phoenix_hypervisor /var/lib/phoenix /var/lib/lxc/95?/config /var/lib/lxc/95?"
    found = guest.run(f"find {others} -name '*.phoenix-tmp' -not -path '*/rootfs/*'").stdout.split()
    broken += [f"left over: {path}" for path in found]
    second = guest.run(["phoenix", "apply", "--all"], timeout=240)
    if " changed=0 " not in second.stdout:
        broken.append(f"a second apply changes something: {second.stdout[-300:]}{second.stderr[-200:]}")
    return broken


def _shown(entry: tuple[int, bytes] | None) -> str:
    return "missing" if entry is None else f"mode {entry[0]:o}, {len(entry[1])} bytes, {entry[1][:40]!r}"


def spread(last: int, points: int) -> list[int]:
    """`points` numbers from 1 to `last`, both included."""
    return [1 + round(i * (last - 1) / max(1, points - 1)) for i in range(points)]


def counted(guest: Guest) -> int:
    """The calls of one whole apply; the guest is prepared and at turn 1 afterwards."""
    prepare(guest)
    declare(guest, 1)
    return int(str(apply_until(guest, 0, "keep")["count"]))


def series(
    release: str, folder: Path, points: int, say: Callable[[str], None], fsyncs: str = "all"
) -> Report:
    """Count one whole apply, then cut `points` others, spread over it; ends at the first violation."""
    report = Report()
    with kept_machine(release, folder) as kept:
        guest = kept.boot()
        last = counted(guest)
        say(f"{release}: an apply changes the disk with {last} calls")
        # One beyond the last: the run has ended and said so.
        for turn, number in enumerate(spread(last + 1, points), 2):
            how = ("commit", "keep")[turn % 2]
            guest = cut_and_recover(kept, guest, turn, number, how, report, fsyncs)
            say(f"{release}: {report.cuts[-1]}: {len(report.violations)} violations")
            if report.violations:
                break
    return report
