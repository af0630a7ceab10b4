"""The stand-in for Proxmox's cluster file system against the real one, and Phoenix on either.

PHOENIX_PMXCFS names the mount of a real pmxcfs of a node called pve1, with nothing in it that is needed: then
every test here runs on that.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.engine.settings import HostSettings
from phoenix_hypervisor.engine.shared import writing
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.dirlock import held
from phoenix_hypervisor.host.files import TEMPORARY, Directory
from phoenix_hypervisor.host.machine import Host
from support.hosts import LiveHost, snapshot
from support.pmxcfs import MAX_FILE, Pmxcfs

REAL = os.environ.get("PHOENIX_PMXCFS", "")


def _emptied(top: Path) -> None:
    for path in top.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif not path.is_symlink() and not path.name.startswith("."):
            path.unlink()


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of pmxcfs, or of what stands in for it."""
    if REAL:
        _emptied(Path(REAL))
        (Path(REAL) / "phoenix").mkdir()
        return Path(REAL) / "phoenix"
    top = tmp_path / "pve"
    (top / "phoenix").mkdir(parents=True)
    Pmxcfs(str(top), monkeypatch)
    return top / "phoenix"


def file(folder: Path) -> Path:
    path = folder / "a"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(fd, b"x")
    os.close(fd)
    return path


def too_large(folder: Path) -> None:
    fd = os.open(folder / "large", os.O_WRONLY | os.O_CREAT)
    try:
        rest = MAX_FILE + 1
        while rest:
            rest -= os.write(fd, b"x" * min(rest, 65536))
    finally:
        os.close(fd)


def twice(folder: Path) -> str:
    os.mkdir(folder / "d")
    return str(folder / "d")


OPERATIONS: list[tuple[str, Callable[[Path], object], int]] = [
    ("chmod 0600", lambda f: os.chmod(file(f), 0o600), errno.EPERM),
    ("chmod 0644", lambda f: os.chmod(file(f), 0o644), errno.EPERM),
    ("chmod 0640", lambda f: os.chmod(file(f), 0o640), 0),
    ("chown to somebody", lambda f: os.chown(file(f), 12, 34), errno.EPERM),
    ("hard link", lambda f: os.link(file(f), f / "b"), errno.EPERM),
    ("symbolic link", lambda f: os.symlink("a", f / "b"), errno.ENOSYS),
    ("pipe", lambda f: os.mkfifo(f / "b"), errno.ENOSYS),
    ("file without a name", lambda f: os.open(f, os.O_TMPFILE | os.O_RDWR), errno.EOPNOTSUPP),
    ("attribute", lambda f: os.setxattr(file(f), "user.a", b"b"), errno.EOPNOTSUPP),
    ("rename in place", lambda f: os.replace(file(f), f / "b"), 0),
    ("rename from elsewhere", lambda f: os.replace(file(f.parent.parent), f / "b"), errno.EXDEV),
    ("a directory twice", lambda f: os.mkdir(twice(f)), errno.EEXIST),
    ("a file of over 1 MiB", too_large, errno.EFBIG),
]


@pytest.mark.parametrize(
    ("operation", "number"), [one[1:] for one in OPERATIONS], ids=[one[0] for one in OPERATIONS]
)
def test_what_the_file_system_takes(shared: Path, operation: Callable[[Path], object], number: int) -> None:
    try:
        operation(shared)
        found = 0
    except OSError as error:
        found = error.errno or 0
    assert errno.errorcode.get(found) == errno.errorcode.get(number)


def test_a_new_file_has_the_mode_of_all(shared: Path) -> None:
    assert os.stat(file(shared)).st_mode & 0o777 == 0o640


def test_a_file_is_replaced_whole(shared: Path) -> None:
    with Directory(str(shared), str(shared), str(shared)) as directory:
        directory.replace("c.json", b"one", before=None)
        directory.replace("c.json", b"two", before=b"one")
        assert directory.read("c.json") == b"two"
        with pytest.raises(PhoenixError, match="too large"):
            directory.replace("c.json", b"x" * (MAX_FILE + 1), before=b"two")
        assert directory.read("c.json") == b"two" and directory.names() == ["c.json"]
        directory.remove("c.json", before=b"two")


def test_the_clusters_lock_is_held_by_one(shared: Path) -> None:
    lock = str(shared.parent / "priv/lock/phoenix")
    (shared.parent / "priv").mkdir()
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(5):
            with held(lock, what="it", timeout=20):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.005)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [1] and not os.path.lexists(lock)


def test_a_lock_that_another_node_holds_is_waited_for_and_named(shared: Path) -> None:
    lock = str(shared.parent / "priv/lock/phoenix")
    (shared.parent / "priv").mkdir()
    with (
        held(lock, what="the lock"),
        pytest.raises(PhoenixError, match="another node holds the lock") as caught,
        held(lock, what="the lock", timeout=0.3),
    ):
        pass
    assert "two minutes" in str(caught.value.hint)


# Phoenix on it ----------------------------------------------------------------------


@pytest.fixture
def node(live: LiveHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[LiveHost, Pmxcfs | None]]:
    """The node pve1 of a cluster with pve2; its /etc/pve is pmxcfs, or what stands in for it."""
    pve = live.root / "etc/pve"
    if REAL:
        _emptied(Path(REAL))
        shutil.rmtree(pve)
        pve.mkdir()
        subprocess.run(["mount", "--bind", REAL, pve], check=True)
    for place in ("priv", "nodes/pve1/lxc", "nodes/pve1/qemu-server", "nodes/pve2/lxc", "phoenix"):
        (pve / place).mkdir(parents=True, exist_ok=True)
    live.lxc = pve / "nodes/pve1/lxc"
    live.source("lxc-a")
    live.conf("101", "arch: amd64\nhostname: one\nmemory: 512\n")
    (pve / "nodes/pve2/lxc/201.conf").write_text("arch: amd64\nhostname: two\nmemory: 512\n")
    live.declare({"101": "lxc-a", "201": "lxc-a"})
    for path in (live.lxc / "101.conf", pve / "nodes/pve2/lxc/201.conf"):
        path.chmod(0o640)
    try:
        yield live, None if REAL else Pmxcfs(str(pve), monkeypatch)
    finally:
        if REAL:
            subprocess.run(["umount", pve], check=True)


def test_apply_rollback_and_facts(node: tuple[LiveHost, Pmxcfs | None]) -> None:
    live, _ = node
    conf = live.lxc / "101.conf"
    before = conf.read_bytes()
    assert live.apply("--all", "--no-start").code == 0
    assert conf.read_bytes() == before + b"lxc.apparmor.profile: lxc-a\n"
    assert live.phoenix("facts", "--publish").code == 0
    assert live.phoenix("facts", "--publish").code == 0, "it is replaced"
    assert live.phoenix("rollback").code == 0
    assert conf.read_bytes() == before
    names = [name for _, _, files in os.walk(live.root / "etc/pve") for name in files]
    assert not [name for name in names if TEMPORARY.match(name)]


def test_the_configuration_is_written_and_merged(node: tuple[LiveHost, Pmxcfs | None]) -> None:
    live, _ = node
    done = live.phoenix("import", "--all-nodes", config=False)
    assert done.code == 0, done.err
    path = live.root / "etc/pve/phoenix/phoenix_lxc_configs.json"
    assert set(json.loads(path.read_bytes())["lxc_configs"]) == {"101", "201"}
    live.conf("102")
    assert live.phoenix("import", "--merge", config=False).code == 0
    assert set(json.loads(path.read_bytes())["lxc_configs"]) == {"101", "102", "201"}
    assert not (live.root / "etc/pve/priv/lock/phoenix").exists(), "the cluster's lock is given back"


def test_another_nodes_lock_keeps_the_configuration_as_it_is(
    node: tuple[LiveHost, Pmxcfs | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    live, _ = node
    monkeypatch.setattr("phoenix_hypervisor.host.dirlock.TIMEOUT", 0.3)
    (live.root / "etc/pve/priv/lock/phoenix").mkdir(parents=True)
    done = live.phoenix("import", config=False)
    assert done.code == 1 and "another node holds the cluster's lock of Phoenix" in done.err
    assert list((live.root / "etc/pve/phoenix").iterdir()) == []


@pytest.mark.parametrize("words", [("import",), ("facts", "--publish"), ("apply", "--all")], ids=" ".join)
def test_without_quorum_nothing_is_begun(
    node: tuple[LiveHost, Pmxcfs | None], words: tuple[str, ...]
) -> None:
    live, standing = node
    if standing is None:
        return  # one node alone is always quorate
    standing.lose_quorum()
    before = snapshot(live.root, without=["double", "run"])
    done = live.phoenix(*words, "--json", config=words[0] == "apply")
    assert (done.code, [code for code, _ in done.problems]) == (1, ["read-only"])
    assert snapshot(live.root, without=["double", "run"]) == before


def test_quorum_that_is_lost_on_the_way_is_named(
    node: tuple[LiveHost, Pmxcfs | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    live, standing = node
    if standing is None:
        return
    conf = (live.lxc / "101.conf").read_bytes()
    really = os.replace

    def replace(src: object, dst: object, **more: object) -> None:
        if dst == "101.conf":
            standing.lose_quorum()
        really(src, dst, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "replace", replace)
    done = live.apply()
    assert done.code == 1 and "the cluster lost its quorum meanwhile" in done.err
    assert (live.lxc / "101.conf").read_bytes() == conf
    assert "lxc-a" not in live.loaded(), "what was done before is taken back"


def test_two_nodes_that_write_a_shared_file_at_once(
    node: tuple[LiveHost, Pmxcfs | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the lock one node's temporary file would be renamed by the other, and lines be lost."""
    live, _ = node
    folder = live.root / "etc/pve/phoenix"
    really = os.fsync
    gate = threading.Barrier(2)

    def fsync(fd: int) -> None:
        time.sleep(0.05)
        really(fd)

    def work(name: bytes) -> None:
        session = Session(HostSettings(config=str(live.config)), Host(str(live.root), live.runner, live=True))
        for number in range(4):
            gate.wait(20)
            with writing(session, str(folder / "shared")), Directory("x", str(folder), "x") as directory:
                before = directory.read("shared")
                after = (before or b"") + b"%s %d\n" % (name, number)
                directory.replace("shared", after, before=before)

    monkeypatch.setattr(os, "fsync", fsync)
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(work, name) for name in (b"a", b"b")]:
            done.result(60)
    lines = (folder / "shared").read_bytes().splitlines()
    assert sorted(lines) == [b"%s %d" % (name, number) for name in (b"a", b"b") for number in range(4)]
    assert [path.name for path in folder.iterdir()] == ["shared"]


def test_a_lock_that_cannot_be_removed_is_no_failure(tmp_path: Path) -> None:
    """As when quorum is lost meanwhile: what was done counts, and the lock ends by itself."""
    lock = tmp_path / "lock"
    with held(str(lock), what="the lock"):
        (lock / "in-the-way").touch()
    assert lock.is_dir()
