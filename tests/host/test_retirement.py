"""Which deprecated profiles are still there, with all that is said of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from phoenix_hypervisor.plan.facts import Retirement
from phoenix_hypervisor.profiles import records
from phoenix_hypervisor.profiles.parser import Parser
from phoenix_hypervisor.profiles.records import COMPILED_DIR, Manifest, digest
from phoenix_hypervisor.profiles.retirement import find
from phoenix_hypervisor.profiles.sources import Sources
from phoenix_hypervisor.profiles.store import Store
from support.hosts import LiveHost, profile

DEPRECATED = {"lxc-old": "lxc-a"}
DATA = profile("lxc-old")
PATH = "/etc/apparmor.d/lxc-old"
ALONE = Retirement(
    name="lxc-old", successor="lxc-a", path=PATH, data=DATA, loaded=False, keep=None, foreign=True, stat=""
)


@pytest.fixture
def old(live: LiveHost) -> LiveHost:
    """A host with the file of a deprecated profile."""
    file = live.installed / "lxc-old"
    file.write_bytes(DATA)
    file.chmod(0o604)
    return live


def found(
    host: LiveHost, deprecated: Mapping[str, str] = DEPRECATED, manifest: Manifest | None = None
) -> list[Retirement]:
    parser = Parser(host.host, str(host.sources))
    store = Store(host.host, Sources(directory=str(host.sources)), parser)
    assert store.manifest == records.Manifest()
    store.manifest = manifest or store.manifest
    return find(store, deprecated)


def owner(host: LiveHost) -> str:
    info = (host.installed / "lxc-old").stat()
    return f"0604 {info.st_uid} {info.st_gid}"


def test_what_is_neither_installed_nor_loaded_is_not_found(live: LiveHost) -> None:
    assert found(live) == []
    (live.installed / "lxc-older").write_bytes(profile("lxc-older"))
    assert [one.name for one in found(live, {**DEPRECATED, "lxc-older": "lxc-a"})] == ["lxc-older"]


def test_a_file_that_is_not_ours(old: LiveHost) -> None:
    assert found(old) == [replace(ALONE, stat=owner(old))]


def test_a_file_of_ours_with_what_phoenix_knows_of_it(old: LiveHost) -> None:
    compiled = old.root / COMPILED_DIR.lstrip("/") / "lxc-old"
    compiled.parent.mkdir(parents=True)
    compiled.write_bytes(b"compiled")
    manifest = Manifest(files={PATH: [digest(DATA)]}, loaded={"lxc-old": "c1"})
    expected = replace(ALONE, foreign=False, stat=None, compiled=b"compiled", closure="c1")
    assert found(old, manifest=manifest) == [expected]
    other = Manifest(files={PATH: [digest(b"other")]}, loaded={"lxc-a": "c1"})
    assert found(old, manifest=other) == [replace(ALONE, stat=owner(old), compiled=b"compiled")]


def test_one_that_is_loaded_with_the_processes_that_carry_it(old: LiveHost) -> None:
    old.load_by_hand("lxc-old")
    old.process(5000, "/x", "lxc-old (enforce)")
    old.process(5001, "/x", "lxc-a (enforce)")
    carried = replace(ALONE, stat=owner(old), loaded=True, processes=(5000,))
    assert found(old) == [carried]
    (old.installed / "lxc-old").unlink()
    assert found(old) == [replace(carried, path=None, data=None, foreign=False, stat=None)]


def test_each_is_found_in_order(old: LiveHost) -> None:
    for name in ("lxc-c", "lxc-b"):
        (old.installed / name).write_bytes(profile(name))
    names = {"lxc-old": "x", "lxc-gone": "x", "lxc-c": "x", "lxc-b": "x"}
    assert [one.name for one in found(old, names)] == ["lxc-b", "lxc-c", "lxc-old"]


def test_a_file_that_cannot_be_read_is_kept(live: LiveHost) -> None:
    (live.installed / "lxc-old").symlink_to("elsewhere")
    why = "is a symbolic link; Phoenix reads and writes regular files only"
    expected = replace(ALONE, path=None, data=None, foreign=False, stat=None, keep=("unreadable", why))
    assert found(live) == [expected]


@pytest.mark.parametrize("name", ["lxc-container-default", "unconfined"])
def test_a_stock_profile_is_kept(live: LiveHost, name: str) -> None:
    (live.installed / name).write_bytes(profile("x"))
    assert [one.keep for one in found(live, {name: "lxc-a"})] == [("stock", name)]


@pytest.mark.parametrize(
    ("data", "others"),
    [
        (DATA + profile("other", "/etc/hosts r,").split(b"\n", 1)[1], "other"),
        (DATA + b"profile one {\n}\nprofile two {\n}\n", "one, two"),
        (DATA.replace(b"}", b"  profile child {\n  }\n  ^hat {\n  }\n}"), None),
        # These do not compile: the text says what was meant.
        (b"profile lxc-old {\n  no such rule\n}\n", None),
        (b"profile lxc-old {\n  no such rule\n}\nprofile lxc-old//child {\n}\nprofile other {\n}\n", "other"),
        (b'  "other" flags=(attach_disconnected) {\n  no such rule\n}\n\xff {\n', "other, \N{REPLACEMENT CHARACTER}"),
    ],
)  # fmt: skip
def test_a_file_that_defines_more_is_kept(live: LiveHost, data: bytes, others: str | None) -> None:
    (live.installed / "lxc-old").write_bytes(data)
    keep = None if others is None else ("defines", others)
    assert [one.keep for one in found(live)] == [keep]


def lists(host: LiveHost, **files: bytes) -> Path:
    """dpkg's file lists."""
    folder = host.root / "var/lib/dpkg/info"
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name.replace("_", ".", 1)).write_bytes(data)
    return folder


def test_a_file_that_a_package_ships_is_kept(old: LiveHost) -> None:
    other = b"/.\n/etc\n/etc/apparmor.d/lxc-old2\n/x/etc/apparmor.d/lxc-old\n"
    folder = lists(old, a_list=other, b_md5sums=PATH.encode() + b"\n")
    assert [one.keep for one in found(old)] == [None]
    (folder / "c:amd64.list").write_bytes(b"/.\n/etc/apparmor.d/lxc-old\n/usr\n")
    assert [one.keep for one in found(old)] == [("package", "c:amd64")]
    (folder / "c:amd64.list").write_bytes(b"/etc/apparmor.d/lxc-old\n")
    assert [one.keep for one in found(old)] == [("package", "c:amd64")], "the first line counts too"


def test_a_list_that_cannot_be_read_hides_no_other(old: LiveHost) -> None:
    """In whatever order the directory shows them."""
    folder = lists(old, m_list=PATH.encode() + b"\n")
    for name in ("a", "z", "b", "y"):
        (folder / f"{name}.list").symlink_to("m.list")
    assert [one.keep for one in found(old)] == [("package", "m")]
