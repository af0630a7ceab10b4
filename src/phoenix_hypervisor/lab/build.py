"""Making an image: packages, root disk, kernel, initrd.

Owns the build and its guarantee: an image directory appears whole or not at all, and everything
that the build started ends with it.  Must not boot anything (`snapshot` does) and installs nothing
on this machine.
"""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.process import ProcessRunner
from phoenix_hypervisor.lab import apt, recipe, tools
from phoenix_hypervisor.lab.cache import Cache, locked
from phoenix_hypervisor.lab.initrd import RootTar, build_initrd, kernel_release
from phoenix_hypervisor.lab.recipe import Release

PACKAGES_LIMIT = 900.0
"""Seconds for downloading and unpacking the packages; a slow mirror takes minutes."""
DISK_LIMIT = 300.0
STEPS = ("I: running apt-get", "I: downloading", "I: extracting", "I: installing", "I: creating")
"""What mmdebstrap says that is worth showing."""

Progress = Callable[[str], None]


def silent(_: str) -> None:
    """Progress that nobody looks at."""


@dataclass(frozen=True, slots=True)
class Image:
    """A finished image."""

    path: Path
    release: str
    key: str
    kernel: str
    packages: dict[str, str]

    @property
    def disk(self) -> Path:
        return self.path / "root.ext4"

    @property
    def vmlinuz(self) -> Path:
        return self.path / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.path / "initrd"

    @property
    def use_lock(self) -> Path:
        return self.path / "use.lock"

    @classmethod
    def load(cls, path: Path) -> Image:
        """The image in `path`; PhoenixError where its manifest does not read."""
        try:
            manifest = json.loads((path / "manifest.json").read_bytes())
            return cls(path, manifest["release"], manifest["key"], manifest["kernel"], manifest["packages"])
        except (OSError, ValueError, KeyError) as error:
            raise PhoenixError(
                f"not a lab image: {error}", where=str(path), hint="phoenix lab build --fresh"
            ) from None


def cached_image(cache: Cache, release: Release) -> Image | None:
    """The image that this recipe last gave, without looking at the network."""
    path = cache.pointed(f"{release.name}-{recipe.recipe_hash(release)}")
    return Image.load(path) if path is not None else None


def ensure_image(
    cache: Cache, release: Release, *, fresh: bool = False, progress: Progress = silent
) -> Image:
    """The image of this recipe, built where there is none.

    `fresh` builds again to take newer packages; with the same versions the old image stays.  Two
    processes that want the same image build it once.
    """
    found = None if fresh else cached_image(cache, release)
    if found is not None:
        return found
    tools.require(build=True)
    lock = cache.root / f"build-{release.name}.lock"
    with locked(lock, timeout=PACKAGES_LIMIT + DISK_LIMIT, what=f"the build of {release.name}"):
        found = None if fresh else cached_image(cache, release)
        if found is not None:
            return found
        with cache.workdir(f"build-{release.name}") as work:
            try:
                return _build(cache, release, work, progress)
            except PhoenixError as error:
                if not release.moving or error.hint is not None:
                    raise
                settled = ", ".join(one.name for one in recipe.RELEASES.values() if not one.moving)
                raise PhoenixError(
                    error.message,
                    where=error.where,
                    hint=f"Debian {release.name} is not released yet, and on some days its packages do "
                    f"not install; released: {settled}",
                ) from None


def _build(cache: Cache, release: Release, work: Path, progress: Progress) -> Image:
    started = time.monotonic()
    root_tar = work / "root.tar"
    made = work / "image"
    made.mkdir()
    _packages(release, work, root_tar, progress)
    progress("making the kernel's initrd")
    with tarfile.open(root_tar) as tar:
        root = RootTar(tar)
        kernel = kernel_release(root)
        packages = installed(root.read("var/lib/dpkg/status").decode("utf-8", "replace"))
        (made / "vmlinuz").write_bytes(root.read(f"boot/vmlinuz-{kernel}"))
        init = recipe.guest_file("initrd-init")
        drivers = build_initrd(root, init, kernel, recipe.ROOT_MODULES, recipe.PASSING_MODULES)
        (made / "initrd").write_bytes(drivers)
    progress("making the root disk")
    make_disk(work, root_tar, made / "root.ext4")
    recipe_hash = recipe.recipe_hash(release)
    key = recipe.image_key(recipe_hash, packages)
    manifest = {
        "version": 1,
        "release": release.name,
        "recipe": recipe_hash,
        "key": key,
        "kernel": kernel,
        "packages": packages,
        "seconds": round(time.monotonic() - started, 1),
    }
    (made / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    final = cache.images / f"{release.name}-{key}"
    cache.publish(made, final)
    cache.point(f"{release.name}-{recipe_hash}", final)
    cache.prune(release.name, final)
    return Image.load(final)


def installed(status: str) -> dict[str, str]:
    """Package -> version of every installed package in a dpkg status file."""
    found: dict[str, str] = {}
    for stanza in status.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in stanza.splitlines() if ": " in line and not line.startswith(" ")
        )
        if fields.get("Status", "").endswith(" installed"):
            found[fields["Package"]] = fields["Version"]
    return found


def _packages(release: Release, work: Path, root_tar: Path, progress: Progress) -> None:
    """The guest's packages and its own files, stock profiles compiled."""
    features = work / "features"
    features.write_bytes(recipe.packaged_features(release))
    profiles = " ".join(f"/etc/apparmor.d/{name}" for name in recipe.STOCK_PROFILES)
    warm = f"apparmor_parser --kernel-features /features -Q -W -L /var/cache/apparmor {profiles}"
    hooks = (f"upload {features} /features", f'chroot "$1" {warm}', 'rm -f "$1/features"')
    files = recipe.image_files(release)
    bootstrap(release.name, recipe.packages(), work, root_tar, files=files, hooks=hooks, progress=progress)


def bootstrap(
    suite: str,
    packages: Sequence[str],
    work: Path,
    root_tar: Path,
    *,
    files: Mapping[str, tuple[int, bytes]],
    hooks: Sequence[str] = (),
    progress: Progress = silent,
) -> None:
    """Run mmdebstrap into `root_tar`: the suite's packages, then `files`, then mmdebstrap's `hooks`.

    The archive, its proxy and its checks are those of this machine's apt.  PhoenixError where it fails.
    """
    extra = work / "extra.tar"
    with tarfile.open(extra, "w") as tar:
        for path, (mode, content) in files.items():
            member = tarfile.TarInfo(path)
            member.mode, member.size = mode, len(content)
            tar.addfile(member, io.BytesIO(content))
    tmp = work / "tmp"
    tmp.mkdir(mode=0o1777)
    tmp.chmod(0o1777)
    mirror = apt.debian_mirror()
    argv = [
        tools.path_of("mmdebstrap"),
        "--variant=essential",
        "--components=main",
        "--format=tar",
        "--mode=root",
    ]
    argv += [f"--include={','.join(packages)}"]
    argv += [f"--dpkgopt={option}" for option in recipe.DPKG_OPTIONS]
    argv += [f"--aptopt={option}" for option in _apt_options()]
    if (keyring := apt.debian_keyring()) is not None:
        argv += [f"--keyring={keyring}"]
    argv += [f"--customize-hook=tar-in {extra} /"]
    argv += [f"--customize-hook={hook}" for hook in hooks]
    argv += ['--customize-hook=rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"']
    argv += [suite, os.fspath(root_tar), mirror]
    progress(f"fetching Debian {suite}'s packages from {mirror}")
    run_bounded(argv, limit=PACKAGES_LIMIT, progress=progress, env={"TMPDIR": os.fspath(tmp)})


def _apt_options() -> list[str]:
    """The machine's own proxy, certificate and date-check settings, for mmdebstrap's apt."""
    program = tools.find("apt-config")
    if program is None:
        return []
    done = ProcessRunner().run([program, "dump"], timeout=30)
    wanted = ("acquire::http::proxy", "acquire::https::", "acquire::check-")
    options = []
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        name, _, value = line.partition(" ")
        if name.lower().startswith(wanted) and value not in ('"";', ""):
            options.append(f"{name} {value}")
    return options


def make_disk(work: Path, root_tar: Path, disk: Path) -> None:
    """An ext4 file system of the root's content; the kernel itself stays outside.

    Newer kernel packages (7.x) have it among the modules too, as hard links to /boot.
    """
    root = work / "root"
    root.mkdir()
    with disk.open("wb") as file:
        file.truncate(recipe.ROOT_DISK_BYTES)
    modules = "./usr/lib/modules/*"
    linked = " ".join(f'--exclude="{modules}/{name}"' for name in ("vmlinuz", "config", "System.map"))
    script = (
        'tar -C "$1" --no-wildcards-match-slash --exclude="./dev/*" --exclude="./boot/*" '
        f'{linked} --numeric-owner -xpf "$2" && '
        "exec mke2fs -q -F -t ext4 -L phoenix-lab -O ^has_journal "
        '-E lazy_itable_init=1,root_owner=0:0 -d "$1" "$3"'
    )
    argv = ["sh", "-c", script, "disk", os.fspath(root), os.fspath(root_tar), os.fspath(disk)]
    run_bounded(argv, limit=DISK_LIMIT)


def die_with_parent(argv: Sequence[str], *, tree: bool = False) -> list[str]:
    """`argv` wrapped so that it is killed when this process ends, however it ends.

    The shell closes the gap before the wrapper took effect.  With `tree` its children go too, by
    way of a process namespace of their own; without root it is root there, with the caller's range
    of users (/etc/subuid).  The kernel watches the thread that starts it: that thread must live as
    long as the process.
    """
    wrapped = [tools.path_of("setpriv"), "--pdeathsig", "KILL", "--", "sh", "-c"]
    wrapped += ['[ "$PPID" = "$0" ] || exit 111; exec "$@"', str(os.getpid())]
    if tree:
        wrapped += [tools.path_of("unshare"), "--pid", "--fork", "--kill-child=KILL"]
        # Mounts of their own too, or what is killed leaves its mounts behind.
        wrapped += ["--mount-proc"] if _root_is_a_mount() else []
        wrapped += ["--"] if os.geteuid() == 0 else ["--map-root-user", "--map-auto", "--"]
    return [*wrapped, *argv]


def _root_is_a_mount() -> bool:
    """False in a plain chroot: unshare(1) cannot make the mounts there private, and fails."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    return any(line.split()[4] == "/" for line in lines)


def run_bounded(
    argv: Sequence[str],
    *,
    limit: float,
    progress: Progress = silent,
    env: dict[str, str] | None = None,
) -> None:
    """Run `argv` for at most `limit` seconds, its standard error as progress.

    PhoenixError with the last lines of what it said where it fails.
    """
    import subprocess

    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    process = subprocess.Popen(
        die_with_parent(argv, tree=True),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C.UTF-8", "PATH": path, **(env or {})},
        start_new_session=True,
    )
    expired = threading.Event()

    def stop() -> None:
        expired.set()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(limit, stop)
    timer.daemon = True
    timer.start()
    said: list[str] = []
    try:
        assert process.stderr is not None
        for raw in process.stderr:
            line = raw.decode("utf-8", "replace").rstrip()
            said.append(line)
            if line.startswith(STEPS):
                progress(line.removeprefix("I: ").removesuffix("..."))
        process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    finally:
        timer.cancel()
        assert process.stderr is not None
        process.stderr.close()
    name = Path(argv[0]).name
    if expired.is_set():
        raise PhoenixError(f"{name} did not finish within {limit:.0f} s and was ended")
    if process.returncode != 0:
        tail = "\n    ".join(said[-8:])
        raise PhoenixError(f"{name} failed (exit {process.returncode}):\n    {tail}")
