"""Failing a run at each call that changes the machine's state, and judging what is left.

Owns the injector: the `os` functions through which all of Phoenix writes, counted, and one
of them failed or killed in a forked child; the scenarios; the invariants.  That no call
goes past the injector is shown by comparing its list with what strace sees.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from phoenix_hypervisor.cli.main import main
from phoenix_hypervisor.host.process import DEFAULT_TIMEOUT, Completed, ProcessRunner
from support.hosts import TOP, DirectoryHost, contents, profile, snapshot, temporary_files

ERRNOS = ("ENOSPC", "EIO", "EACCES", "EROFS", "EFBIG")
KILL = "SIGKILL"
CALLS = ("open", "write", "fsync", "replace", "rename", "unlink", "mkdir", "fchmod", "fchown", "ftruncate",
         "setxattr", "removexattr")  # fmt: skip
SYSCALLS = "openat,write,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,fchmod,fchown,ftruncate,pwrite64,writev,rmdir,link,linkat,symlink,symlinkat,chmod,fchmodat,chown,fchownat,truncate,setxattr,lsetxattr,fsetxattr,removexattr,lremovexattr,fremovexattr"
MANIFEST = "var/lib/phoenix/manifest.json"
_WRITES = os.O_CREAT | os.O_WRONLY | os.O_RDWR | os.O_TRUNC


@dataclass(frozen=True)
class Event:
    """One call that changes something: its kind, and the real path that it works on."""

    kind: str
    path: str
    data: bytes = b""


class Injector:
    """Inside the `with`, every such call is listed, and call number `target` (from 1) fails."""

    def __init__(self, target: int = 0, fault: str = "", skip_fsync: int = 0) -> None:
        self.events: list[Event] = []
        self._target, self._fault, self._skip = target, fault, skip_fsync
        self._real: dict[str, Callable[..., Any]] = {}

    def __enter__(self) -> Injector:
        for name in CALLS:
            self._real[name] = getattr(os, name)
            setattr(os, name, self._wrapped(name))
        return self

    def __exit__(self, *_: object) -> None:
        for name, function in self._real.items():
            setattr(os, name, function)

    def _wrapped(self, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def call(*args: Any, **kwargs: Any) -> Any:
            event = self._event(name, args, kwargs)
            if event is None:
                return real(*args, **kwargs)
            if event.kind == "fsync" and self._skip:
                self._skip -= 1
                if not self._skip:
                    return None
            self.events.append(event)
            if len(self.events) == self._target:
                if self._fault == KILL:
                    os.kill(os.getpid(), signal.SIGKILL)
                number = getattr(errno, self._fault)
                raise OSError(number, os.strerror(number))
            return real(*args, **kwargs)

        return call

    @staticmethod
    def _event(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Event | None:
        if name == "open" and not (args[1] & _WRITES):
            return None
        if name in ("write", "fsync", "fchmod", "fchown", "ftruncate", "setxattr", "removexattr"):
            path = os.readlink(f"/proc/self/fd/{args[0]}")
            if not path.startswith("/") or path.startswith("/dev/"):
                return None
            return Event(name, path, bytes(args[1]) if name == "write" else b"")
        first = os.fspath(args[1] if name in ("replace", "rename") else args[0])
        folder = kwargs.get("dst_dir_fd", kwargs.get("dir_fd"))
        if folder is not None:
            first = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), first)
        if first.startswith("/dev/"):
            return None
        return Event({"replace": "rename"}.get(name, name), first)


class RememberingRunner(ProcessRunner):
    """The real parser, asked once: what it said of the same sources is said again."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[object, Completed] = {}

    def run(
        self, argv: Sequence[str], *, input: bytes | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> Completed:
        key = (tuple(argv), input)
        if key not in self.known:
            self.known[key] = super().run(argv, input=input, timeout=timeout)
        return self.known[key]


@dataclass
class Scenario:
    """A command on a host that always stands at the same place."""

    name: str
    words: tuple[str, ...]
    place: Path
    base: Path
    old: dict[str, bytes] = field(default_factory=dict)
    new: dict[str, bytes] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    runner: RememberingRunner = field(default_factory=RememberingRunner)

    @property
    def root(self) -> Path:
        return self.place / "root"

    def argv(self, words: Sequence[str]) -> list[str]:
        config = self.place / "config/phoenix_lxc_configs.json"
        return ["--root", str(self.root), "--config", str(config), *words]

    def restore(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.base, self.place, symlinks=True)

    def run(self, injector: Injector | None = None, words: Sequence[str] | None = None) -> tuple[int, str]:
        """In this process: exit code and what it said."""
        said = io.StringIO()
        with (
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
            self._remembered(),
            injector if injector is not None else contextlib.nullcontext(),
        ):
            code = main(self.argv(self.words if words is None else words))
        return code, said.getvalue()

    @contextlib.contextmanager
    def _remembered(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("phoenix_hypervisor.host.process.ProcessRunner", lambda: self.runner)
            yield

    def forked(self, injector: Injector) -> tuple[int, str]:
        """In a child that may be killed: its exit code (negative: a signal) and what it said."""
        out = self.place.with_suffix(".said")
        pid = os.fork()
        if not pid:
            code = 99
            try:
                code, said = self.run(injector)
                out.write_text(f"{said}")
            except BaseException as error:
                out.write_text(f"Traceback: {error!r}")
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        said = out.read_text() if out.exists() else ""
        out.unlink(missing_ok=True)
        return os.waitstatus_to_exitcode(status), said

    def learn(self) -> None:
        """The old state, the new one, and the calls in between."""
        self.restore()
        self.old = settled(self.root)
        injector = Injector()
        code, said = self.run(injector)
        assert code == 0, said
        self.events, self.new = injector.events, settled(self.root)
        assert self.old != self.new
        self.again()

    def again(self) -> tuple[int, str]:
        return self.run()


def settled(root: Path) -> dict[str, bytes]:
    """All files but locks and journals; the manifest by its meaning."""
    skipped = ("run/", "var/lib/phoenix/journal/", "var/lib/phoenix/replaced/")
    found = {k: v for k, v in contents(root).items() if not k.startswith(skipped)}
    if MANIFEST in found:
        found[MANIFEST] = json.dumps(json.loads(found[MANIFEST]), sort_keys=True).encode()
    return found


# Scenarios ------------------------------------------------------------------------------

CTIDS = ("101", "102", "103")


def _first(folder: Path) -> DirectoryHost:
    host = DirectoryHost(folder)
    shutil.rmtree(host.installed / "tunables")
    (host.installed / "tunables").mkdir()
    (host.installed / "tunables/global").write_bytes(b"")
    host.source("abstractions/phoenix/x", data=b"  network,\n")
    for name in ("lxc-a", "lxc-b"):
        host.source(name, "include <abstractions/phoenix/x>")
    for ctid in CTIDS:
        host.conf(ctid, f"#c\nmemory: {ctid}\n\n[snap]\nlxc.apparmor.profile: lxc-snap\n")
    with contextlib.suppress(OSError):
        os.setxattr(host.lxc / "101.conf", "user.of", b"theirs")
    host.declare(dict(zip(CTIDS, ("lxc-a", "lxc-b", "lxc-a"), strict=True)))
    (host.installed / "lxc-b").write_bytes(profile("lxc-b", "/srv/theirs r,"))
    cache = host.root / "var/cache/apparmor/abc.0"
    cache.mkdir(parents=True)
    (cache / "lxc-b").write_bytes(b"old")
    (cache / "theirs").write_bytes(b"theirs")
    return host


def _changed(folder: Path) -> DirectoryHost:
    host = _first(folder)
    assert host.phoenix("setup", "--adopt", "lxc-b").code == 0
    assert host.apply().code == 0
    host.source("abstractions/phoenix/x", data=b"  network inet,\n")
    host.source("lxc-c")
    (host.installed / "lxc-old").write_bytes(profile("lxc-old"))
    host.declare(
        dict(zip(CTIDS, ("lxc-b", "lxc-c", "unconfined"), strict=True)),
        deprecated_profiles={"lxc-old": "lxc-a"},
    )
    for left in (
        "etc/apparmor.d/.lxc-c",
        "etc/pve/nodes/pve1/lxc/.101.conf",
        "var/lib/phoenix/.manifest.json",
    ):
        (host.root / f"{left}.phoenix-tmp").write_bytes(b"half")
    return host


def _applied(folder: Path) -> DirectoryHost:
    host = _changed(folder)
    assert host.apply().code == 0
    return host


def scenarios(folder: Path) -> list[Scenario]:
    """setup, apply and rollback, each with everything that they can change in files."""
    found = []
    for name, make, words in (
        ("setup", _first, ("setup", "--adopt", "lxc-b")),
        ("apply", _changed, ("apply", "--all", "--no-start")),
        ("rollback", _applied, ("rollback", "3")),
    ):
        base = folder / f"{name}-base"
        make(base)
        scenario = Scenario(name, words, folder / name, base)
        scenario.learn()
        found.append(scenario)
    return found


# Judging --------------------------------------------------------------------------------


def judge(scenario: Scenario, what: str, code: int, said: str) -> list[str]:
    """Every way in which the state after a fault breaks a promise."""
    broken: list[str] = []
    old, new, root = scenario.old, scenario.new, scenario.root
    now = settled(root)
    left = set(temporary_files(root))
    before = {k for k in old if k.endswith(".phoenix-tmp")}
    if "internal error" in said or "Traceback" in said or code not in (0, 1, -signal.SIGKILL):
        broken.append(f"ended with {code}: {said[-300:]}")
    for path in {*old, *new, *now} - {MANIFEST} - left - before:
        if now.get(path) not in (old.get(path), new.get(path)):
            broken.append(f"{path} is neither old nor new")
    # What is swept, and the cache of a profile that changes, does not come back.
    swept = {k for k in {*old, *now} if k in before or re.match(r"var/cache/apparmor/.*/lxc-", k)}

    def kept(state: dict[str, bytes]) -> dict[str, bytes]:
        return {k: v for k, v in state.items() if k not in swept}

    if code == 0 and kept(now) != kept(new):
        broken.append("it ended with 0 and not everything is new")
    if code == 1:
        if kept(now) not in (kept(old), kept(new)):
            broken.append(f"it ended with 1 and some files are old and some new: {said[-300:]}")
        if left - before:
            broken.append(f"it left {sorted(left - before)}")
    done, words = scenario.again()
    if settled(root) != new:
        broken.append(f"the next run ({done}) did not converge: {words[-300:]}")
    if scenario.name != "rollback" and done != 0:
        broken.append(f"the next run ended with {done}: {words[-300:]}")
    # A rollback leaves it to the next setup to sweep what an earlier run left.
    if set(temporary_files(root)) - (before if scenario.name == "rollback" else set()):
        broken.append(f"temporary files stay: {temporary_files(root)}")
    state = snapshot(root)
    done, words = scenario.again()
    if scenario.name == "rollback":
        if done != 1 or "is rolled back by" not in words:
            broken.append(f"a second rollback ended with {done}: {words[-300:]}")
    elif done != 0 or "changed=0" not in words:
        broken.append(f"the second run ended with {done}: {words[-300:]}")
    if snapshot(root) != state:
        broken.append("the second run wrote something")
    return [f"{what}: {one}" for one in broken]


def inject(scenario: Scenario, number: int, fault: str) -> list[str]:
    """One fault, and what it broke."""
    scenario.restore()
    code, said = scenario.forked(Injector(number, fault))
    event = scenario.events[number - 1]
    what = f"{scenario.name}: {fault} at call {number}, {event.kind} {event.path}"
    if fault == KILL and code != -signal.SIGKILL:
        return [f"{what}: was not killed ({code}): {said[-200:]}"]
    return judge(scenario, what, code, said)


def jobs(scenario: Scenario) -> list[tuple[int, str]]:
    return [(n, f) for n in range(1, len(scenario.events) + 1) for f in (*ERRNOS, KILL)]


# The order of calls ---------------------------------------------------------------------


def order_faults(events: Sequence[Event], root: Path) -> list[str]:
    """Where the order write, fsync, rename, fsync of the folder, or journal before step, is broken."""
    broken: list[str] = []
    dirty: set[str] = set()
    unsynced: str | None = None
    header, synced, begin, announced = "", False, False, False
    places = tuple(f"{root}/{place}" for place in ("etc/apparmor.d", "etc/pve", "var/cache"))
    for event, after in zip(events, [*events[1:], None], strict=True):
        path, (folder, name) = event.path, os.path.split(event.path)
        journal = "/journal/" in path
        begins = journal and event.data.startswith(b'{"begin"')
        # A leftover that makes way for a new one; others are swept, which is a step.
        makes_way = after is not None and (after.kind, after.path) == ("open", path)
        temporary = name.endswith(".phoenix-tmp") and (event.kind != "unlink" or makes_way)
        follows = event.kind in ("rename", "unlink", "write") and not temporary
        if unsynced is not None and follows and (path != header or begins):
            broken.append(f"{event.kind} {path} before fsync of {unsynced}")
            unsynced = None
        if event.kind == "open" and journal and path not in dirty:
            header, unsynced = path, folder
        elif event.kind == "write":
            if begins and not synced:
                broken.append(f"a step is announced before fsync of {header}")
            if journal and begin and not announced:
                broken.append("a step was announced and that never synced")
            dirty.add(path)
            begin, announced = (begins, False) if journal else (begin, announced)
        elif event.kind == "fsync":
            dirty.discard(path)
            synced = synced or path == header
            announced = announced or (journal and begin)
            unsynced = None if path == unsynced else unsynced
        elif event.kind == "rename":
            if os.path.join(folder, f".{name}.phoenix-tmp") in dirty:
                broken.append(f"rename to {path} before fsync of its bytes")
            unsynced = folder
        elif event.kind == "unlink" and not temporary:
            unsynced = folder
        if event.kind in ("rename", "unlink") and path.startswith(places) and not temporary and not announced:
            broken.append(f"{event.kind} {path} before the journal's begin is on disk")
    if unsynced is not None:
        broken.append(f"the end before fsync of {unsynced}")
    return broken + [f"the end before fsync of {path}" for path in dirty if path.endswith(".jsonl")]


_LINE = re.compile(r"^(\w+)\((.*)\)\s+= (-?\d+)")
_FD = re.compile(r"^(\d+|AT_FDCWD)<([^>]*)>")


def traced(scenario: Scenario, trace: Path) -> list[Event]:
    """The same calls as strace sees them, of a process of its own."""
    scenario.restore()
    environment = {**os.environ, "PYTHONPATH": str(TOP / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = ["strace", "-y", "-s", "16", "-o", str(trace), "-e", f"trace={SYSCALLS}", sys.executable, "-m"]
    argv += ["phoenix_hypervisor", *scenario.argv(scenario.words)]
    done = subprocess.run(argv, check=False, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = []
    for line in trace.read_text().splitlines():
        match = _LINE.match(line)
        event = _seen(match[1], match[2]) if match is not None else None
        if event is not None and event.path.startswith(str(scenario.place)):
            found.append(event)
    return found


def _seen(call: str, arguments: str) -> Event | None:
    parts = arguments.split(", ")
    kind = {
        "openat": "open",
        "renameat": "rename",
        "renameat2": "rename",
        "unlinkat": "unlink",
        "mkdirat": "mkdir",
        "fsetxattr": "setxattr",
        "fremovexattr": "removexattr",
    }
    if call == "openat" and not re.search(r"O_CREAT|O_WRONLY|O_RDWR|O_TRUNC", arguments):
        return None
    if call.startswith("rename") and call != "rename":
        parts = parts[2:]
    first = _FD.match(parts[0])
    path = first[2] if first is not None else parts[-1 if call == "rename" else 0].strip('"')
    if call in ("openat", "renameat", "renameat2", "unlinkat", "mkdirat"):
        path = os.path.join(path, parts[1].strip('"'))
    data = parts[1].strip('"').replace('\\"', '"').encode() if call == "write" else b""
    return Event(kind.get(call, call), os.path.normpath(path), data)


def shape(events: Sequence[Event], place: Path) -> list[tuple[str, str]]:
    """What both lists must agree on."""
    return [
        (e.kind, os.path.relpath(e.path.removesuffix(" (deleted)"), place))
        for e in events
        if e.path.startswith(str(place))
    ]


def tally(events: Sequence[Event]) -> Counter[str]:
    return Counter(event.kind for event in events)
