"""The lab's pure parts: apt sources, archives, kernel log, caches. Nothing boots here."""

from __future__ import annotations

import lzma
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from phoenix_hypervisor.cli.lab import RELEASES as OFFERED
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.lab import apt, recipe
from phoenix_hypervisor.lab.build import die_with_parent, installed, run_bounded
from phoenix_hypervisor.lab.cache import Cache, is_locked, locked
from phoenix_hypervisor.lab.guest_containers import container_config
from phoenix_hypervisor.lab.guestlink import phoenix_tar
from phoenix_hypervisor.lab.initrd import RootTar, modules, newc
from phoenix_hypervisor.lab.kernel_dump import flatten
from phoenix_hypervisor.lab.logged import denials, parse_kmsg


def sources(tmp_path: Path, **files: str) -> str:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    for name, text in files.items():
        path = tmp_path / "sources.list" if name == "main" else parts / name.replace("_", ".")
        path.write_text(text)
    return apt.debian_mirror(tmp_path)


def test_mirror_of_a_deb822_file(tmp_path: Path) -> None:
    text = """\
# comment
Types: deb
URIs: https://mirror.example/debian-security
Suites: trixie-security
Components: main

Types: deb deb-src
# comment inside
URIs: https://mirror.example/debian/
Suites: trixie
 trixie-updates
Components: main contrib
"""
    assert sources(tmp_path, debian_sources=text) == "https://mirror.example/debian"


def test_mirror_of_one_line_files(tmp_path: Path) -> None:
    main = (
        "deb-src http://a.example/debian trixie main\n"
        "# deb http://b.example/debian trixie main\n"
        "deb [signed-by=/x y=z] http://c.example/debian bookworm main # here\n"
    )
    assert sources(tmp_path, main=main) == "http://c.example/debian"


@pytest.mark.parametrize(
    "text",
    [
        "Types: deb\nEnabled: no\nURIs: http://a.example/debian\nSuites: trixie\nComponents: main\n",
        "Types: deb\nURIs: http://a.example/ubuntu\nSuites: noble\nComponents: main\n",
        "Types: deb-src\nURIs: http://a.example/debian\nSuites: trixie\nComponents: main\n",
        "",
    ],
)
def test_a_machine_that_names_no_archive_is_told_what_to_do(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PhoenixError, match="no Debian archive in this machine"):
        sources(tmp_path, debian_sources=text)
    monkeypatch.setenv("PHOENIX_LAB_MIRROR", "http://b.example/debian/")
    assert apt.debian_mirror(tmp_path) == "http://b.example/debian"


def test_features_are_flattened_as_the_parser_does() -> None:
    files = [("b/mask", b"read write\n"), ("a", b"yes\n"), ("b/c/d", b"0x1")]
    assert flatten(files) == b"a {yes\n}\nb {c {d {0x1\n}\n}\nmask {read write\n}\n}\n"
    with pytest.raises(ValueError):
        flatten([("a", b""), ("a/b", b"")])


def test_kernel_log_to_denials() -> None:
    log = (
        b'4,7,1500000,-;audit: type=1400 audit(1.2:3): apparmor="DENIED" operation="open" '
        b'class="file" profile="lxc-a" name="/proc/x" pid=5 comm="sh" '
        b'requested_mask="wc" denied_mask="wc" fsuid=0 ouid=0\n'
        b'4,8,1500000,-;audit: apparmor="DENIED" operation="mount" profile="lxc-a" '
        b"name=2F612062 comm=73682078\n"
        b'4,9,1500000,-;audit: apparmor="STATUS" operation="profile_load" name="lxc-a"\n'
        b"6,10,1500000,-;unrelated\n"
    )
    records = list(parse_kmsg(log))
    assert [r.sequence for r in records] == [7, 8, 9, 10] and records[0].seconds == 1.5
    first, second = denials(records)
    assert (first.operation, first.profile, first.name, first.requested) == ("open", "lxc-a", "/proc/x", "wc")
    assert second.name == "/a b" and second.fields["comm"] == "sh x"
    assert len(denials(records, verdicts=["STATUS"])) == 1


def test_initrd_archive_reads_back() -> None:
    archive = newc([("bin", 0o040755, b""), ("bin/x", 0o100755, b"odd"), ("y", 0o100644, b"")])
    assert len(archive) % 4 == 0
    if shutil.which("cpio") is None:
        pytest.skip("cpio is not installed")
    done = subprocess.run(
        ["cpio", "-it", "--quiet"], input=archive, check=False, capture_output=True, timeout=30
    )
    assert done.stdout.split() == [b"bin", b"bin/x", b"y"], done.stderr


def test_modules_that_a_kernel_no_longer_has_are_left_out() -> None:
    import io
    import tarfile

    base = "usr/lib/modules/7.2-x"
    files = {
        f"{base}/modules.dep": b"kernel/fs/ext4.ko.xz: kernel/lib/jbd2.ko.xz\nkernel/lib/jbd2.ko.xz:\n",
        f"{base}/modules.builtin": b"kernel/drivers/virtio_pci.ko\n",
        f"{base}/kernel/fs/ext4.ko.xz": lzma.compress(b"ext4"),
        f"{base}/kernel/lib/jbd2.ko.xz": lzma.compress(b"jbd2"),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(f"./{path}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as tar:
        root = RootTar(tar)
        wanted = ("virtio_pci", "crc32c_generic", "ext4")
        assert modules(root, "7.2-x", wanted, recipe.PASSING_MODULES) == [
            ("jbd2", b"jbd2"),
            ("ext4", b"ext4"),
        ]
        with pytest.raises(PhoenixError, match="no module crc32c_generic"):
            modules(root, "7.2-x", wanted)


def test_installed_reads_a_dpkg_status() -> None:
    text = (
        "Package: a\nStatus: install ok installed\nVersion: 1:2-3\nDescription: x\n more: y\n\n"
        "Package: b\nStatus: deinstall ok config-files\nVersion: 1\n"
    )
    assert installed(text) == {"a": "1:2-3"}


def test_recipe_hash_names_what_decides() -> None:
    hashes = {recipe.recipe_hash(release) for release in recipe.RELEASES.values()}
    assert len(hashes) == len(recipe.RELEASES)
    assert tuple(recipe.RELEASES) == OFFERED
    assert recipe.image_key("x", {"a": "1"}) != recipe.image_key("x", {"a": "2"})


def test_config_of_the_four_settings() -> None:
    bare = container_config("950", layer="bare", privileged=True, profile="lxc-a")
    assert "lxc.apparmor.profile = lxc-a\n" in bare and "include" not in bare and "idmap" not in bare
    stock = container_config("950", layer="stock", privileged=False, profile=None)
    assert "common.conf" in stock and "userns.conf" in stock and "idmap = u 0 100000" in stock
    assert "apparmor" not in stock


def test_phoenix_goes_into_the_guest_without_caches() -> None:
    import io
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(phoenix_tar())) as tar:
        names = tar.getnames()
    assert "src/phoenix_hypervisor/errors.py" in names
    assert not any("__pycache__" in name for name in names)


def test_workdir_of_the_dead_is_removed_and_of_the_living_kept(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    dead = cache.work / "dead"
    dead.mkdir(parents=True)
    (dead / "lock").touch()
    with cache.workdir("mine") as mine:
        assert not dead.exists()
        assert is_locked(mine / "lock")
        with cache.workdir("other"):
            assert mine.exists()
    assert list(cache.work.iterdir()) == []


def test_publish_appears_whole_and_the_first_wins(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for content in ("first", "second"):
        with cache.workdir("w") as work:
            made = work / "image"
            made.mkdir()
            (made / "f").write_text(content)
            cache.publish(made, cache.images / "trixie-1")
    assert (cache.images / "trixie-1" / "f").read_text() == "first"
    cache.point("trixie-r", cache.images / "trixie-1")
    assert cache.pointed("trixie-r") == cache.images / "trixie-1"
    assert cache.pointed("trixie-q") is None


def test_prune_spares_what_is_in_use(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for name in ("trixie-old", "trixie-used", "trixie-new", "bookworm-old"):
        (cache.images / name).mkdir(parents=True)
        cache.point(name, cache.images / name)
    with locked(cache.images / "trixie-used" / "use.lock", shared=True):
        cache.prune("trixie", cache.images / "trixie-new")
    assert sorted(p.name for p in cache.images.iterdir()) == ["bookworm-old", "trixie-new", "trixie-used"]
    assert not (cache.current / "trixie-old").is_symlink()


def test_a_taken_lock_is_a_bounded_wait(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "l"),
        pytest.raises(PhoenixError, match="in use"),
        locked(tmp_path / "l", timeout=0.2),
    ):
        pass


def test_run_bounded_ends_a_tree(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(PhoenixError, match="did not finish"):
        run_bounded(["sh", "-c", "sleep 600 & sleep 600"], limit=0.5)
    assert time.monotonic() - started < 100


def test_run_bounded_says_what_failed() -> None:
    with pytest.raises(PhoenixError, match=r"sh failed \(exit 3\)(?s:.*)broken"):
        run_bounded(["sh", "-c", "echo broken >&2; exit 3"], limit=10)


def test_run_bounded_says_what_failed_while_an_orphan_keeps_the_output_open() -> None:
    """As mmdebstrap's helpers do where user namespaces are off."""
    script = "sleep 60 & echo unshare: Operation not permitted >&2; exit 1"
    with pytest.raises(PhoenixError, match=r"exit 1\)(?s:.*)unshare: Operation not permitted"):
        run_bounded(["sh", "-c", script], limit=30)


def test_child_dies_with_its_parent() -> None:
    source = Path(__file__).resolve().parents[2] / "src"
    script = (
        "import os, subprocess, sys; from phoenix_hypervisor.lab.build import die_with_parent;"
        "p = subprocess.Popen(die_with_parent(['sleep', '77']), start_new_session=True);"
        "print(p.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(source)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.3)
        parent.kill()
        parent.wait(10)
    end = time.monotonic() + 60
    while _lives(child) and time.monotonic() < end:
        time.sleep(0.02)
    assert not _lives(child)


def _lives(pid: int) -> bool:
    """Whether a process runs; a dead one stays listed where PID 1 does not reap."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_child_of_another_parent_does_not_start() -> None:
    argv = die_with_parent(["true"])
    done = subprocess.run(["sh", "-c", '"$@"; exit $?', "x", *argv], check=False, timeout=30)
    assert done.returncode == 111
