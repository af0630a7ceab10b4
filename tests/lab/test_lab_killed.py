"""Phoenix killed in the middle: nothing keeps running, nothing is locked, no image is corrupt."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from phoenix_hypervisor.lab import detached, snapshot
from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.lab.build import Image, _root_is_a_mount, cached_image, ensure_image
from phoenix_hypervisor.lab.cache import Cache
from phoenix_hypervisor.lab.qemu import DEFAULT_MEMORY
from phoenix_hypervisor.lab.recipe import RELEASES

RELEASE = "trixie"
SOURCE = Path(__file__).resolve().parents[2] / "src"
COMMAND = (
    "import sys; from phoenix_hypervisor.cli.lab import lab; "
    "lab(prog_name='phoenix lab', standalone_mode=True)"
)


def phoenix_lab(cache: Cache, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "PHOENIX_LAB_CACHE": str(cache.root)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def answer(cache: Cache, *words: str, timeout: float = 120) -> str:
    process = phoenix_lab(cache, *words)
    try:
        out, _ = process.communicate(timeout=timeout)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, out.decode()
    return out.decode()


def users_of(cache: Cache) -> dict[int, str]:
    """Processes that name the cache in their command line, environment aside."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if str(cache.root) in line:
            found[int(entry.name)] = line
    return found


def none_left(cache: Cache, within: float = 60.0) -> None:
    end = time.monotonic() + within
    while users_of(cache) and time.monotonic() < end:
        time.sleep(0.05)
    assert users_of(cache) == {}
    if _root_is_a_mount():
        assert str(cache.root) not in Path("/proc/self/mounts").read_text(), "a mount was left behind"


def wait_for(condition: Callable[[], object], process: subprocess.Popen[bytes], limit: float) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < end, "the moment to kill never came"
        time.sleep(0.01)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert process.stdout is not None
    process.stdout.close()


def sound(image: Image) -> None:
    """Both file systems and the saved disks are consistent, and none was written after publishing."""
    done = subprocess.run(["e2fsck", "-fn", image.disk], check=False, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stdout.decode()
    for disk in image.path.glob("saved-*/disk.qcow2"):
        subprocess.run(["qemu-img", "check", "-q", disk], check=True, timeout=60)


@pytest.fixture(scope="module")
def original(lab_tools: None) -> Image:
    return ensure_image(Cache(), RELEASES[RELEASE])


def cache_like(original: Image, root: Path) -> Cache:
    """A cache of its own that holds the image, but no saved machine."""
    mine = Cache(root)
    copy = mine.images / original.path.name
    copy.mkdir(parents=True)
    for name in ("root.ext4", "vmlinuz", "initrd", "manifest.json"):
        try:
            os.link(original.path / name, copy / name)
        except OSError:
            shutil.copy(original.path / name, copy / name)
    pointer = next(p for p in Cache().current.glob(f"{RELEASE}-*") if p.resolve() == original.path)
    mine.point(pointer.name, copy)
    return mine


def clear(cache: Cache) -> None:
    for pid in users_of(cache):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def cache(original: Image, tmp_path: Path) -> Iterator[Cache]:
    """A cache of its own, for a test that boots the first time."""
    mine = cache_like(original, tmp_path / "cache")
    yield mine
    clear(mine)


@pytest.fixture(scope="module")
def saved_once(original: Image, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    mine = cache_like(original, tmp_path_factory.mktemp("saved") / "cache")
    image = cached_image(mine, RELEASES[RELEASE])
    assert image is not None
    snapshot.ensure_saved(mine, image, accel="tcg", memory=DEFAULT_MEMORY)
    return mine


@pytest.fixture
def saved(saved_once: Cache) -> Iterator[Cache]:
    """A cache with a saved machine; the tests share it, and each leaves nothing running."""
    yield saved_once
    clear(saved_once)


@pytest.fixture(autouse=True)
def emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOENIX_LAB_ACCEL", "tcg")


def qemu(cache: Cache) -> list[int]:
    return [pid for pid, line in users_of(cache).items() if "qemu-system" in line.split(" ")[0]]


def test_killed_in_its_first_boot(cache: Cache) -> None:
    image = cached_image(cache, RELEASES[RELEASE])
    assert image is not None
    for delay in (0.0, 1.5):
        process = phoenix_lab(cache, "build")
        wait_for(lambda: qemu(cache), process, 120)
        time.sleep(delay)
        kill(process)
        none_left(cache)
        assert list(image.path.glob("saved-*")) == []
    assert answer(cache, "run", "--", "uname", "-s").endswith("Linux\n")
    assert [p.name for p in cache.work.iterdir()] == []
    sound(image)


def test_killed_while_its_command_runs(saved: Cache) -> None:
    process = phoenix_lab(saved, "run", "--", "sleep", "500")
    wait_for(lambda: qemu(saved), process, 120)
    time.sleep(1.0)
    kill(process)
    none_left(saved)
    assert answer(saved, "run", "--", "uname", "-s").endswith("Linux\n")
    image = cached_image(saved, RELEASES[RELEASE])
    assert image is not None
    sound(image)


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3])
def test_killed_while_a_detached_lab_comes_up(saved: Cache, delay: float) -> None:
    process = phoenix_lab(saved, "boot", "--no-snapshot")
    wait_for(lambda: qemu(saved), process, 120)
    time.sleep(delay)
    kill(process)
    none_left(saved)
    answer(saved, "boot")
    assert len(qemu(saved)) == 1
    assert answer(saved, "run", "--", "uname", "-s") == "Linux\n"
    answer(saved, "stop")
    none_left(saved)
    assert list(saved.run.iterdir()) == []


def test_killed_client_of_a_detached_lab(saved: Cache) -> None:
    answer(saved, "boot")
    sleeping = "for n in $(seq 100); do grep -q '^sleep$' /proc/[0-9]*/comm || break; sleep 0.1; done"
    told = f"ls /tmp/began 2> /dev/null; {sleeping}; grep -l '^sleep$' /proc/[0-9]*/comm || echo none"
    said = ""
    for delay in (2.0, 10.0, 60.0):
        # Nothing tells from outside that the command has begun; where it had not, the kill came too early.
        process = phoenix_lab(saved, "run", "--", "sh", "-c", "touch /tmp/began; sleep 900")
        time.sleep(delay)
        assert process.poll() is None
        kill(process)
        started = time.monotonic()
        said = answer(saved, "run", "--", "sh", "-c", told)
        assert said.endswith("none\n") and time.monotonic() - started < 200
        if "began" in said:
            break
    assert said == "/tmp/began\nnone\n"
    answer(saved, "stop")
    none_left(saved)


def test_killed_keeper_takes_its_machine_with_it(saved: Cache) -> None:
    answer(saved, "boot")
    found = detached.running(saved, "default")
    assert found is not None
    os.kill(found.keeper, signal.SIGKILL)
    none_left(saved)
    assert detached.running(saved, "default") is None
    answer(saved, "boot")
    answer(saved, "stop")
    none_left(saved)


def test_two_labs_side_by_side(saved: Cache) -> None:
    with Lab(RELEASE, cache=saved) as one, Lab(RELEASE, cache=saved) as two:
        one.run("echo one > /root/who; mkdir /sys/fs/cgroup/one", check=True)
        two.run("echo two > /root/who", check=True)
        assert (one.get("/root/who"), two.get("/root/who")) == (b"one\n", b"two\n")
        assert not two.run(["test", "-e", "/sys/fs/cgroup/one"]).ok
    with Lab(RELEASE, cache=saved) as three:
        assert not three.run(["test", "-e", "/root/who"]).ok
    none_left(saved)


def test_two_detached_labs_by_name(saved: Cache) -> None:
    answer(saved, "boot", "--name", "a")
    answer(saved, "boot", "--name", "b")
    answer(saved, "run", "--name", "a", "--", "touch", "/root/a")
    assert answer(saved, "run", "--name", "b", "--", "ls", "/root") == ""
    answer(saved, "stop", "--name", "a")
    answer(saved, "stop", "--name", "b")
    none_left(saved)


def test_a_panic_ends_the_wait(saved: Cache) -> None:
    from phoenix_hypervisor.lab.wire import GuestGone

    with Lab(RELEASE, cache=saved) as lab:
        started = time.monotonic()
        with pytest.raises(GuestGone):
            lab.run("echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger; sleep 600", timeout=700)
        assert time.monotonic() - started < 200
        assert "Kernel panic" in lab.console()


@pytest.mark.slow
def test_killed_while_building(lab_tools: None, tmp_path: Path) -> None:
    mine = Cache(tmp_path / "cache")
    moments = [
        lambda: any("apt-get" in line or "dpkg" in line for line in users_of(mine).values()),
        lambda: any("mke2fs" in line.split(" ")[0] for line in users_of(mine).values()),
    ]
    for moment in moments:
        process = phoenix_lab(mine, "build", "--no-snapshot")
        wait_for(moment, process, 900)
        kill(process)
        none_left(mine)
        assert not mine.images.exists()
        assert cached_image(mine, RELEASES[RELEASE]) is None
    answer(mine, "build", timeout=600)
    assert list(mine.work.iterdir()) == []
    image = cached_image(mine, RELEASES[RELEASE])
    assert image is not None
    sound(image)
    assert answer(mine, "run", "--", "uname", "-s").endswith("Linux\n")
