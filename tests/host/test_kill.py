"""SIGKILL at each rename, write, unlink and fsync of an apply on five containers.

strace ends Phoenix on entering the nth call of a kind, so the call does not happen; the run
before the first call and the run after the last are the old and the new state themselves.
Every file is then the old one or the new one, the next run converges, and nothing is left.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.hosts import TOP, DirectoryHost, contents, profile, snapshot, temporary_files

KINDS = {
    "rename": "rename,renameat,renameat2",
    "unlink": "unlink,unlinkat",
    "write": "write,pwrite64,writev",
    "fsync": "fsync,fdatasync",
}
CTIDS = ("101", "102", "103", "104", "105")
MANIFEST = "var/lib/phoenix/manifest.json"


def _host(folder: Path) -> DirectoryHost:
    """The DirectoryHost that already stands in `folder`."""
    host = DirectoryHost.__new__(DirectoryHost)
    host.folder, host.root, host.etc = folder, folder / "root", folder / "config"
    host.config, host.sources = host.etc / "phoenix_lxc_configs.json", host.etc / "apparmor"
    host.installed, host.lxc = host.root / "etc/apparmor.d", host.root / "etc/pve/nodes/pve1/lxc"
    return host


def _declare(host: DirectoryHost, names: list[str]) -> None:
    host.declare(dict(zip(CTIDS, names, strict=True)), deprecated_profiles={"lxc-old": "lxc-a"})


def _changed(folder: Path) -> DirectoryHost:
    """Applied once; then sources, an include and the declaration change, and a profile is retired."""
    host = DirectoryHost(folder)
    for name in ("lxc-a", "lxc-b", "lxc-c", "lxc-d"):
        host.source(name, "include <abstractions/phoenix/x>")
    host.source("abstractions/phoenix/x", data=b"  network,\n")
    for ctid in CTIDS:
        host.conf(ctid, f"#c\nmemory: {ctid}\n\n[snap]\nlxc.apparmor.profile: lxc-snap\n")
    _declare(host, ["lxc-a", "lxc-b", "lxc-c", "lxc-d", "lxc-a"])
    assert host.apply().code == 0
    host.source("abstractions/phoenix/x", data=b"  network inet,\n")
    host.source("lxc-c", "/etc/passwd r,")
    host.source("lxc-e")
    (host.installed / "lxc-old").write_bytes(profile("lxc-old"))
    _declare(host, ["lxc-b", "lxc-c", "unconfined", "lxc-e", "generated"])
    # What an earlier killed run may have left: each costs an unlink.
    (host.installed / ".lxc-c.phoenix-tmp").write_bytes(b"half")
    (host.lxc / ".101.conf.phoenix-tmp").write_bytes(b"half")
    (host.root / "var/lib/phoenix/.manifest.json.phoenix-tmp").write_bytes(b"half")
    return host


def _first(folder: Path) -> DirectoryHost:
    """Nothing is installed yet."""
    host = DirectoryHost(folder)
    for name in ("lxc-a", "lxc-b"):
        host.source(name, "include <abstractions/phoenix/x>")
    host.source("abstractions/phoenix/x", data=b"  network,\n")
    for ctid in CTIDS:
        host.conf(ctid, "lxc.apparmor.profile: unconfined\n")
    _declare(host, ["lxc-a", "lxc-b", "lxc-a", "lxc-b", "lxc-a"])
    return host


def _apply(host: DirectoryHost, *strace: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(TOP / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [
        sys.executable,
        "-m",
        "phoenix_hypervisor",
        "--root",
        str(host.root),
        "--config",
        str(host.config),
    ]
    argv += ["apply", "--all", "--no-start"]
    return subprocess.run(
        [*strace, *argv], check=False, env=environment, capture_output=True, text=True, timeout=60
    )


def _copy(base: DirectoryHost, to: Path) -> DirectoryHost:
    shutil.copytree(base.folder, to, symlinks=True)
    return _host(to)


def _calls(host: DirectoryHost, trace: Path) -> Counter[str]:
    """How often each kind is called; strace without -f looks at Phoenix, not at the parser it runs."""
    done = _apply(host, "strace", "-o", str(trace), "-e", "trace=" + ",".join(KINDS.values()))
    assert done.returncode == 0, done.stderr
    found: Counter[str] = Counter()
    for call in re.findall(r"^(\w+)\(", trace.read_text(), re.M):
        found[next(kind for kind, names in KINDS.items() if call in names.split(","))] += 1
    return found


def _settled(host: DirectoryHost) -> dict[str, bytes]:
    found = {
        k: v for k, v in contents(host.root).items() if not k.startswith(("run/", "var/lib/phoenix/journal/"))
    }
    if MANIFEST in found:
        found[MANIFEST] = json.dumps(json.loads(found[MANIFEST]), sort_keys=True).encode()
    return found


def _judge(host: DirectoryHost, old: dict[str, bytes], new: dict[str, bytes], what: str) -> None:
    now = _settled(host)
    for path in {*old, *new, *now} - {MANIFEST}:
        if os.path.basename(path).endswith(".phoenix-tmp"):
            continue
        assert now.get(path) in (old.get(path), new.get(path)), f"{what}: {path} is neither old nor new"
    result = host.apply()
    assert result.code == 0, f"{what}: the next run failed: {result.err}"
    assert _settled(host) == new, f"{what}: the next run did not converge"
    assert temporary_files(host.root) == [], what
    settled = snapshot(host.root)
    second = host.apply()
    assert second.recap["changed"] == 0, f"{what}: {second.out}"
    assert snapshot(host.root) == settled, what


def _kill(base: DirectoryHost, folder: Path, kind: str, nth: int) -> tuple[str, DirectoryHost, int]:
    host = _copy(base, folder / f"{kind}-{nth}")
    inject = f"inject={KINDS[kind]}:signal=KILL:when={nth}"
    done = _apply(host, "strace", "-o", "/dev/null", "-e", f"trace={KINDS[kind]}", "-e", inject)
    return f"kill at {kind} {nth}", host, done.returncode


@pytest.fixture
def strace() -> Iterator[None]:
    if shutil.which("strace") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("strace is not installed")
    yield


@pytest.mark.slow
@pytest.mark.usefixtures("strace")
@pytest.mark.parametrize(
    ("make", "kinds", "least"),
    [
        (
            _changed,
            ("rename", "unlink", "write", "fsync"),
            {"rename": 11, "unlink": 4, "write": 20, "fsync": 22},
        ),
        (_first, ("rename", "write"), {"rename": 9, "write": 9}),
    ],
    ids=["changed", "first"],
)
def test_sigkill_at_each_call(
    tmp_path: Path,
    make: type[DirectoryHost],
    kinds: tuple[str, ...],
    least: dict[str, int],
    tell: Callable[[str], None],
) -> None:
    base = make(tmp_path / "base")
    old = _settled(base)
    reference = _copy(base, tmp_path / "reference")
    calls = _calls(reference, tmp_path / "trace")
    new = _settled(reference)
    assert old != new
    for kind in kinds:
        assert calls[kind] >= least[kind], f"only {calls[kind]} calls of {kind}: what is being tested?"
    jobs = [(kind, nth) for kind in kinds for nth in range(1, calls[kind] + 1)]
    kills: Counter[str] = Counter()
    with ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
        for what, host, code in pool.map(lambda job: _kill(base, tmp_path, *job), jobs):
            assert code == -9, f"{what}: ended with {code}, so nothing was killed there"
            kills[what.split()[2]] += 1
            _judge(host, old, new, what)
            shutil.rmtree(host.folder)
    tell(f"apply killed {sum(kills.values())} times: {dict(kills)}")
    assert kills == {kind: calls[kind] for kind in kinds}


@pytest.mark.slow
@pytest.mark.usefixtures("strace")
def test_an_error_at_each_call(tmp_path: Path, tell: Callable[[str], None]) -> None:
    """The nth rename, unlink or fsync fails: afterwards all files are as before, or all are new."""
    base = _changed(tmp_path / "base")
    for path in temporary_files(base.root):
        (base.root / path).unlink()
    old = _settled(base)
    reference = _copy(base, tmp_path / "reference")
    calls = _calls(reference, tmp_path / "trace")
    new = _settled(reference)
    jobs = [(kind, nth) for kind in ("rename", "unlink", "fsync") for nth in range(1, calls[kind] + 1)]

    def fail(job: tuple[str, int]) -> tuple[str, DirectoryHost, subprocess.CompletedProcess[str]]:
        kind, nth = job
        host = _copy(base, tmp_path / f"{kind}-{nth}")
        inject = f"inject={KINDS[kind]}:error=EIO:when={nth}"
        return f"EIO at {kind} {nth}", host, _apply(host, "strace", "-o", "/dev/null", "-e", inject)

    outcomes: Counter[str] = Counter()
    with ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
        for what, host, done in pool.map(fail, jobs):
            now = {k: v for k, v in _settled(host).items() if not k.startswith("var/lib/phoenix/replaced")}
            is_new = now == {k: v for k, v in new.items() if not k.startswith("var/lib/phoenix/replaced")}
            outcomes["new" if is_new else "old"] += 1
            if done.returncode == 0:
                assert is_new, f"{what}: ended with 0: {done}"
            else:
                assert done.returncode == 1, f"{what}: {done}"
                assert "internal error" not in done.stderr, what
                assert is_new or now == old, f"{what}: some files are old and some new: {done.stderr}"
                assert temporary_files(host.root) == [], what
            _judge(host, old, new, what)
            shutil.rmtree(host.folder)
    tell(f"calls of apply failed {sum(outcomes.values())} times: {dict(outcomes)}")
    assert outcomes["old"] >= 15
