"""Hosts that are directories.

`DirectoryHost` is what `--root` works on: its own /etc/apparmor.d, /etc/pve and a
configuration with small profile sources beside it; the real apparmor_parser compiles them.
`LiveHost` is such a directory taken for the running system, with the doubles of tests/doubles
in the place of `pct`, `lxc-*` and the loading half of apparmor_parser.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phoenix_hypervisor.cli.main import main
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.host.process import DEFAULT_TIMEOUT, Completed, ProcessRunner, ReplacingRunner, Runner

TOP = Path(__file__).parents[2]
DOUBLES = TOP / "tests" / "doubles"
SECURITYFS = "sys/kernel/security/apparmor"

PROFILE = "include <tunables/global>\nprofile {name} flags=(attach_disconnected) {{\n{rules}}}\n"

CREATION: dict[str, Any] = {
    "name": "gpu-one",
    "apparmor_profile": "lxc-a",
    "memory_mb": 2048,
    "swap_mb": 0,
    "cores": 2,
    "template": "local:vztmpl/ubuntu.tar.zst",
    "storage_pool": "local-zfs",
    "storage_size_gb": 16,
    "network_config": {"name": "eth0", "bridge": "vmbr0", "ip": "10.0.0.5/24", "gw": "10.0.0.1"},
    "mac_address": "52:54:00:67:89:50",
    "features": ["nesting=1", "keyctl=1"],
    "gpu_assignment": "0",
    "unprivileged": False,
}
"""A declared container with every field that its creation takes."""


def profile(name: str, *rules: str) -> bytes:
    """A small source that compiles in milliseconds."""
    lines = "".join(f"  {rule}\n" for rule in rules or ("/etc/hosts r,",))
    return PROFILE.format(name=name, rules=lines).encode()


@dataclass(frozen=True, slots=True)
class Result:
    """What a run of the command line left: exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one object of a `--json` run."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    @property
    def problems(self) -> list[tuple[str, str]]:
        """Of a failed `--json` run: each code, and what it is about."""
        return told(self.document["error"]["problems"])

    @property
    def recap(self) -> dict[str, int]:
        """The last line, `ok=1 changed=0 ...`."""
        words = self.out.strip().splitlines()[-1].split()
        return {key: int(value) for key, _, value in (word.partition("=") for word in words)}


def told(notes: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Notes of a `--json` run by code, and what they are about."""
    return [(note["code"], note["target"] if "target" in note else note["pointer"]) for note in notes]


@dataclass(frozen=True, slots=True)
class Entry:
    """All that can betray a write."""

    mode: int
    inode: int
    mtime: int
    content: bytes


def snapshot(top: Path, *, without: Sequence[str] = ()) -> dict[str, Entry]:
    """Every file, link and directory below `top`, directories' times included."""
    found: dict[str, Entry] = {}
    for folder, folders, files in os.walk(top):
        folders[:] = [f for f in folders if os.path.relpath(os.path.join(folder, f), top) not in without]
        for name in [".", *folders, *files]:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            content = b""
            if stat.S_ISLNK(info.st_mode):
                content = os.readlink(path).encode()
            elif stat.S_ISREG(info.st_mode):
                content = Path(path).read_bytes()
            key = os.path.normpath(os.path.relpath(path, top))
            found[key] = Entry(info.st_mode, info.st_ino, info.st_mtime_ns, content)
    return found


def contents(top: Path) -> dict[str, bytes]:
    """The bytes of every regular file below `top`."""
    return {k: e.content for k, e in snapshot(top).items() if stat.S_ISREG(e.mode)}


def temporary_files(top: Path) -> list[str]:
    """Anything that looks like a leftover of an unfinished write."""
    marks = (".tmp", "phoenix-tmp", ".new", "~")
    return [name for name in snapshot(top) if any(m in os.path.basename(name) for m in marks)]


class DirectoryHost:
    """A Proxmox host in a directory, with one node `pve1`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.etc = folder / "config"
        self.config = self.etc / "phoenix_lxc_configs.json"
        self.sources = self.etc / "apparmor"
        self.sources.mkdir(parents=True)
        self.installed = self.root / "etc/apparmor.d"
        self.lxc = self.root / "etc/pve/nodes/pve1/lxc"
        self.installed.mkdir(parents=True)
        shutil.copytree("/etc/apparmor.d/tunables", self.installed / "tunables")
        for name in ("abi", "abstractions", "local"):
            (self.installed / name).mkdir()
        (self.root / "etc/apparmor").mkdir()
        shutil.copy("/etc/apparmor/parser.conf", self.root / "etc/apparmor/parser.conf")
        shutil.copytree("/usr/share/apparmor-features", self.root / "usr/share/apparmor-features")
        self.lxc.mkdir(parents=True)
        pve = self.root / "etc/pve"
        (pve / "nodes/pve1/qemu-server").mkdir()
        (pve / "local").symlink_to("nodes/pve1")
        (pve / "lxc").symlink_to("nodes/pve1/lxc")
        (pve / "qemu-server").symlink_to("nodes/pve1/qemu-server")

    # What stands there ------------------------------------------------------------

    def source(self, name: str, *rules: str, data: bytes | None = None) -> Path:
        """A profile source; an include where `name` holds a slash."""
        path = self.sources / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(profile(name, *rules) if data is None else data)
        return path

    def conf(self, ctid: str, data: bytes | str = "arch: amd64\nmemory: 512\n") -> Path:
        path = self.lxc / f"{ctid}.conf"
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    def declare(self, containers: Mapping[str, Any], **top: Any) -> None:
        """Write the configuration: a profile name, or all fields, by CTID."""
        entries = {
            ctid: {"apparmor_profile": entry} if isinstance(entry, str) else entry
            for ctid, entry in containers.items()
        }
        self.config.write_text(json.dumps({**top, "lxc_configs": entries}, indent=2))

    def vmlist(self, **ids: tuple[str, str]) -> None:
        """/etc/pve/.vmlist: `_100=("qemu", "pve2")`."""
        listed = {
            k.lstrip("_"): {"node": node, "type": kind, "version": 1} for k, (kind, node) in ids.items()
        }
        (self.root / "etc/pve/.vmlist").write_text(json.dumps({"version": 5, "ids": listed}))

    def lose_quorum(self) -> None:
        """pmxcfs shows /etc/pve/local without its write bit; a link cannot, so a directory stands in."""
        local = self.root / "etc/pve/local"
        local.unlink()
        local.mkdir(mode=0o555)

    # Running ----------------------------------------------------------------------

    def phoenix(self, *arguments: str, config: bool = True) -> Result:
        """The command line, in this process, on this host."""
        words = ["--root", str(self.root), *(["--config", str(self.config)] if config else []), *arguments]
        return run(words)

    def apply(self, *arguments: str) -> Result:
        return self.phoenix("apply", *(arguments or ("--all", "--no-start")))


def run(words: Sequence[str], host: Host | None = None) -> Result:
    """The command line in this process, on `host` where one is given."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(words), host=host)
    return Result(code, out.getvalue(), err.getvalue())


class RecordingRunner:
    """Passes everything on and remembers what was run."""

    def __init__(self, inner: Runner) -> None:
        self._inner = inner
        self.argvs: list[tuple[str, ...]] = []

    def find(self, program: str) -> str | None:
        return self._inner.find(program)

    def run(
        self, argv: Sequence[str], *, input: bytes | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> Completed:
        self.argvs.append(tuple(argv))
        return self._inner.run(argv, input=input, timeout=timeout)


class LiveHost(DirectoryHost):
    """A directory taken for `/`: a kernel with AppArmor, and processes that can be started."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        kernel = self.root / SECURITYFS
        (kernel / "features").mkdir(parents=True)
        (self.root / "double").mkdir()
        self.profiles = kernel / "profiles"
        self.profiles.write_text("lxc-container-default-cgns (enforce)\n/usr/bin/man (enforce)\n")
        self.process(1, "/init.scope", "unconfined", nspid="1")
        environment = {
            **os.environ,
            "PHOENIX_DOUBLE_ROOT": str(self.root),
            "PHOENIX_DOUBLE_LOCK_TIMEOUT": "0.3",
        }
        doubles = {n: [str(DOUBLES / n)] for n in ("pct", "apparmor_parser", "journalctl")}
        for name in ("lxc-create", "lxc-start", "lxc-stop"):
            doubles[name] = [str(DOUBLES / "lxc"), name]
        self.runner = RecordingRunner(ReplacingRunner(ProcessRunner(environment), doubles))
        self.host = Host(str(self.root), self.runner, live=True)

    def phoenix(self, *arguments: str, config: bool = True) -> Result:
        words = [*(["--config", str(self.config)] if config else []), *arguments]
        return run(words, self.host)

    def apply(self, *arguments: str) -> Result:
        return self.phoenix("apply", *(arguments or ("--all",)))

    def pct(self, *words: str) -> Completed:
        """The double of pct, called by hand."""
        return self.host.runner.run(["pct", *words])

    # The kernel and its processes ---------------------------------------------------

    def loaded(self) -> dict[str, str]:
        """Mode by profile name."""
        found = {}
        for line in self.profiles.read_text().splitlines():
            name, _, mode = line.rpartition(" (")
            found[name] = mode.rstrip(")")
        return found

    def load_by_hand(self, name: str, mode: str = "enforce") -> None:
        self.profiles.write_text(self.profiles.read_text() + f"{name} ({mode})\n")

    def load_file(self, name: str) -> None:
        """Load what an installed file compiles to, as an administrator would."""
        path = str(self.installed / name)
        argv = ["apparmor_parser", "--skip-kernel-load", "--skip-cache", "--stdout", path]
        blob = self.root / "double/blob"
        blob.write_bytes(self.host.runner.run(argv).stdout)
        assert self.host.runner.run(["apparmor_parser", "--binary", "--replace", str(blob)]).ok

    def policy(self) -> dict[str, bytes]:
        """The blob that the kernel double holds, by profile name."""
        folder = self.root / "double/kernel"
        found = {} if not folder.is_dir() else {p.name: p.read_bytes() for p in folder.iterdir()}
        return {name: blob for name, blob in found.items() if name in self.loaded()}

    def process(self, pid: int, cgroup: str, label: str, *, nspid: str | None = None) -> Path:
        """A process as /proc shows it to the host."""
        base = self.root / "proc" / str(pid)
        (base / "attr/apparmor").mkdir(parents=True)
        (base / "cgroup").write_text(f"0::{cgroup}\n")
        (base / "status").write_text(f"Name:\tx\nNSpid:\t{nspid or pid}\n")
        current = base / "attr/apparmor/current"
        current.write_text(f"{label}\n")
        return current

    def labels(self) -> dict[str, str]:
        """Label of the init by CTID."""
        found = {}
        for folder in (self.root / "proc").iterdir():
            if not folder.name.isdigit():
                continue
            parts = (folder / "cgroup").read_text().split("/")
            if "lxc" in parts:
                found[parts[parts.index("lxc") + 1]] = (folder / "attr/apparmor/current").read_text().strip()
        return found

    # What was called, and what shall fail ------------------------------------------

    def fail(self, **calls: int | list[object]) -> None:
        """`parser_replace=2`: the second such call from now on fails."""
        folder = self.root / "double"
        (folder / "calls").unlink(missing_ok=True)
        (folder / "fail").write_text(json.dumps({k.replace("_", " "): v for k, v in calls.items()}))

    def no_more_failures(self) -> None:
        (self.root / "double/fail").unlink(missing_ok=True)

    @contextlib.contextmanager
    def recorded(self) -> Iterator[list[tuple[str, ...]]]:
        """The argument vectors that are run inside."""
        self.runner.argvs.clear()
        yield self.runner.argvs


def world(live: LiveHost) -> tuple[dict[str, bytes], dict[str, bytes], dict[str, str], dict[str, bytes]]:
    """Everything that a failure must leave as it was; locks may be left, they are empty."""
    return contents(live.installed), contents(live.lxc), live.loaded(), live.policy()
