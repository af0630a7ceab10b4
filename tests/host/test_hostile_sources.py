"""Sources, configurations and directories that others control.

Each input: exit 1 or 2, words that name the cause, nothing changed, no traceback.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from support.hosts import DirectoryHost, profile, snapshot

Make = Callable[[DirectoryHost], object]


def _source(name: str, data: bytes) -> Make:
    return lambda host: host.source(name, data=data)


def _rules(*rules: str) -> Make:
    return lambda host: host.source("lxc-z", *rules)


def _link(name: str, target: str) -> Make:
    def make(host: DirectoryHost) -> None:
        path = host.sources / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    return make


def _mode(where: Callable[[DirectoryHost], Path], mode: int) -> Make:
    def make(host: DirectoryHost) -> None:
        path = where(host)
        if not path.exists():
            path.mkdir(parents=True)
        path.chmod(mode)

    return make


def _fifo(name: str) -> Make:
    def make(host: DirectoryHost) -> None:
        (host.sources / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(host.sources / name)

    return make


def _socket(host: DirectoryHost) -> None:
    here = os.getcwd()
    os.chdir(host.sources)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("lxc-z")
    finally:
        os.chdir(here)


def _device(host: DirectoryHost) -> None:
    try:
        os.mknod(host.sources / "lxc-z", 0o20644, os.makedev(1, 5))
    except OSError:
        pytest.skip("device nodes cannot be made here")


def _sparse(name: str, size: int) -> Make:
    def make(host: DirectoryHost) -> None:
        path = host.sources / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.truncate(path, size)

    return make


def _deep(host: DirectoryHost) -> None:
    folder = host.sources / "abstractions"
    for _ in range(12):
        folder = folder / "a"
    folder.mkdir(parents=True)
    (folder / "x").touch()


def _json(text: str) -> Make:
    return lambda host: host.config.write_text(text)


def _journal(text: bytes, mode: int = 0o700) -> Make:
    def make(host: DirectoryHost) -> None:
        folder = host.root / "var/lib/phoenix/journal"
        folder.mkdir(parents=True)
        folder.chmod(mode)
        (folder / "00000001.jsonl").write_bytes(text)

    return make


def _entry(**action: object) -> bytes:
    base: dict[str, object] = {"kind": "install", "target": "x", "summary": "", "path": "/etc/apparmor.d/x", "before": None,
            "after": "eA==", "processes": [], "value": None, "old_value": None}  # fmt: skip
    header = {"version": 1, "id": 1, "time": "t", "user": "u", "command": [], "runtime": "lxc", "undoes": None,
              "manifest": None, "actions": [{**base, **action}]}  # fmt: skip
    return json.dumps(header).encode() + b'\n{"begin":0}\n'


LOOP = b"include <abstractions/phoenix/b>\n"
CONTAINER = '{"lxc_configs":{"101":{"apparmor_profile":"lxc-a"%s}}}'

INPUTS: dict[str, tuple[Make, str]] = {
    # Kinds of files
    "a link to a secret": (_link("lxc-z", "/etc/shadow"), "symbolic link"),
    "a link to a neighbour": (_link("lxc-z", "lxc-a"), "symbolic link"),
    "a link to itself": (_link("lxc-z", "lxc-z"), "symbolic link"),
    "a link that hangs": (_link("lxc-z", "/nonexistent"), "symbolic link"),
    "an include that is a link": (_link("abstractions/phoenix/x", "/etc/shadow"), "symbolic link"),
    "a folder of includes that is a link": (_link("abstractions", "/etc"), "symbolic link"),
    "a folder in it that is a link": (_link("abstractions/phoenix", "/etc"), "symbolic link"),
    "a folder in it that loops": (_link("abstractions/phoenix", "."), "symbolic link"),
    "a fifo": (_fifo("lxc-z"), "not a regular file"),
    "an include that is a fifo": (_fifo("abstractions/x"), "not a regular file"),
    "a socket": (_socket, "lxc-z"),
    "a device": (_device, "not a regular file"),
    "a huge file": (_sparse("lxc-z", 3 << 30), "is over 1048576 bytes"),
    "a huge include": (_sparse("abstractions/x", 3 << 30), "is over 1048576 bytes"),
    "folders without end": (_deep, "nested too deep"),
    # Names
    "names that collide by case": (lambda h: h.source("lxc-A"), "only by case"),
    "includes that collide by case": (
        lambda h: (h.source("abstractions/X", data=b""), h.source("abstractions/x", data=b"")), "only by case"),
    "a letter of another alphabet": (lambda h: h.source("lxc-а", data=profile("lxc-a")), "must be lxc-NAME"),
    "a letter in two ways": (lambda h: h.source("lxc-e\u0301", data=profile("lxc-a")), "must be lxc-NAME"),
    "a full-width letter": (lambda h: h.source("ｌxc-a", data=profile("lxc-a")), "must be lxc-NAME"),
    "a name that runs backwards": (lambda h: h.source("lxc-\u202ea", data=profile("lxc-a")), "must be lxc-NAME"),
    "a name with a newline": (lambda h: h.source("lxc-a\nb", data=profile("lxc-a")), "must be lxc-NAME"),
    "a name with an escape": (lambda h: h.source("lxc-\x1b[2J", data=profile("lxc-a")), "must be lxc-NAME"),
    "a name that is an option": (lambda h: h.source("--remove", data=profile("lxc-a")), "must be lxc-NAME"),
    "an include named as an option": (lambda h: h.source("abstractions/-x", data=b""), "cannot be used in an include line"),
    "a name that the boot passes over": (_source("lxc-z.dpkg-old", profile("lxc-z.dpkg-old")), "skips"),
    "another such name": (_source("lxc-z.orig", profile("lxc-z.orig")), "skips"),
    "an include that the parser passes over": (_source("abstractions/x.rej", b""), "skips"),
    "an include of another alphabet": (lambda h: h.source("abstractions/а", data=b""), "cannot be used in an include line"),
    "a stock profile's name": (
        lambda h: h.source("lxc-container-default", data=profile("x")), "stock profile"),
    # Content
    "NUL": (_source("lxc-z", profile("lxc-z") + b"\0"), "NUL"),
    "NUL in an include": (_source("abstractions/x", b"\0"), "NUL"),
    "binary": (_source("lxc-z", bytes(range(1, 256)) * 9), "lxc-z"),
    "an include of an absolute path": (_rules('include "/etc/shadow"'), "is outside"),
    "an include behind a brace": (
        _source("lxc-z", b'profile lxc-z { include "/etc/shadow"\n}\n'), "is outside"),
    "an include behind a rule": (_rules('/x r,include "/etc/shadow"'), "is outside"),
    "an include behind a rule and a blank": (_rules('/x r, #include "/etc/shadow"'), "is outside"),
    "an include behind a name of two lines": (_rules('"/x\n # y" r, include "/etc/shadow"'), "is outside"),
    "an include with an escape": (_rules('include "/etc/apparmor.d/\\x2e\\x2e/shadow"'), "is outside"),
    "an include of the working directory": (_rules('include "./shadow"'), "is outside"),
    "an include without quotes": (_rules("include /etc/shadow"), "is outside"),
    "an ABI elsewhere": (_source("lxc-z", b'abi "/etc/shadow",\n' + profile("lxc-z")), "is outside"),
    "an ABI that climbs": (
        _source("lxc-z", b"abi <abi/../../shadow>,\n" + profile("lxc-z")), "is outside"),
    "an include that climbs": (_rules("include <../../../etc/shadow>"), "is outside"),
    "an include that climbs from inside": (
        _rules("include <abstractions/../../../etc/shadow>"), "is outside"),
    "the same as #include": (_rules("#include <../../etc/shadow>"), "is outside"),
    "the same if exists": (_rules("include if exists <../../etc/shadow>"), "is outside"),
    "the same in an include": (
        _source("abstractions/x", b'include "/etc/passwd"\n'), "is outside"),
    "an include loop": (
        lambda h: (h.source("abstractions/phoenix/b", data=b"#include <abstractions/phoenix/c>\n"),
                   h.source("abstractions/phoenix/c", data=LOOP),
                   h.source("lxc-z", "include <abstractions/phoenix/b>")), "include each other"),
    "a profile that includes itself": (_rules("include <lxc-z>"), "lxc-z"),
    "an attachment": (_source("lxc-z", b"profile lxc-z /usr/bin/** {\n}\n"), "names programs to attach to"),
    "unconfined mode": (
        _source("lxc-z", b"profile lxc-z flags=(unconfined) {\n}\n"), "lxc-z"),
    "an include that the host's profiles pull in": (
        _source("abstractions/base.d/x", b"file,\n"), "profiles of the host may include"),
    "a tunable that they pull in": (
        _source("tunables/home.d/x", b"@{HOMEDIRS}+=/\n"), "profiles of the host may include"),
    "a second profile": (_source("lxc-z", profile("lxc-z") + profile("lxc-y")[26:]), "also defines lxc-y"),
    "redefines lxc-container-default": (
        _source("lxc-z", profile("lxc-z") + b"profile lxc-container-default {\n}\n"),
        "also defines lxc-container-default"),
    "redefines unconfined": (
        _source("lxc-z", profile("lxc-z") + b"profile unconfined {\n}\n"), "unconfined"),
    "only redefines unconfined": (_source("lxc-z", b"profile unconfined {\n}\n"), "unconfined"),
    "a hat of somebody else's": (
        _source("lxc-z", profile("lxc-z") + b"profile lxc-container-default//x {\n}\n"), "lxc-container-default"),
    "another namespace": (_source("lxc-z", b"profile :ns:lxc-z {\n}\n"), "lxc-z"),
    "a namespace beside it": (_source("lxc-z", profile("lxc-z") + b"profile :other:lxc-y {\n}\n"), "lxc-y"),
    "a name from a variable": (
        _source("lxc-z", profile("lxc-z") + b"@{N}=lxc-y\nprofile @{N} {\n}\n"), "lxc-z"),
    "twice the same": (_source("lxc-z", profile("lxc-z") + b"profile lxc-z {\n}\n"), "lxc-z"),
    # Directories that everybody can write
    "sources for everybody": (_mode(lambda h: h.sources, 0o777), "can be written by everybody"),
    "sticky sources for everybody": (_mode(lambda h: h.sources, 0o1777), "can be written by everybody"),
    "includes for everybody": (_mode(lambda h: h.sources / "abstractions", 0o777), "can be written by everybody"),
    "a source for everybody": (_mode(lambda h: h.sources / "lxc-a", 0o666), "can be written by everybody"),
    "the configuration for everybody": (_mode(lambda h: h.config, 0o666), "can be written by everybody"),
    "apparmor.d for everybody": (_mode(lambda h: h.installed, 0o777), "can be written by everybody"),
    "the records for everybody": (
        _mode(lambda h: h.root / "var/lib/phoenix", 0o777), "can be written by everybody"),
    "the compiled copies for everybody": (
        _mode(lambda h: h.root / "var/lib/phoenix/compiled", 0o1777), "can be written by everybody"),
    "a journal for everybody": (_journal(_entry(), 0o777), "can be written by everybody"),
    # Journals
    "a journal that writes elsewhere": (_journal(_entry(path="/etc/passwd")), "is not a place where Phoenix installs"),
    "a journal that climbs": (_journal(_entry(path="/etc/apparmor.d/../shadow")), "is not a place where Phoenix installs"),
    "a journal that assigns elsewhere": (
        _journal(_entry(kind="assign", target="../x")), "is not a container"),
    "a journal that loads elsewhere": (
        _journal(_entry(kind="load", target="../../x")), "is not a profile of ours"),
    "a journal of another kind": (_journal(_entry(kind="format-disk")), "cannot be read"),
    "a journal without base64": (_journal(_entry(after="%%%")), "cannot be read"),
    # JSON
    "deep JSON": (_json("[" * 200_000), "phoenix_lxc_configs.json"),
    "deep objects": (_json('{"a":' * 50_000), "phoenix_lxc_configs.json"),
    "a giant number": (_json(CONTAINER % (',"memory_mb":' + "9" * 10_000)), "phoenix_lxc_configs.json"),
    "a giant exponent": (_json(CONTAINER % ',"memory_mb":1e400'), "phoenix_lxc_configs.json"),
    "a negative zero": (_json(CONTAINER % ',"cores":-0'), "cores"),
    "a path for a profile": (_json('{"lxc_configs":{"101":{"apparmor_profile":"../../x"}}}'), "apparmor_profile"),
    "a newline in a profile": (
        _json('{"lxc_configs":{"101":{"apparmor_profile":"lxc-a\\nlxc.hook: x"}}}'), "apparmor_profile"),
    "a NUL in a profile": (
        _json('{"lxc_configs":{"101":{"apparmor_profile":"lxc-a\\u0000"}}}'), "apparmor_profile"),
    "a CTID that climbs": (_json('{"lxc_configs":{"../101":{}}}'), "../101"),
    "CTIDs that look alike": (_json('{"lxc_configs":{"１０１":{}}}'), "lxc_configs"),
    "the same key twice": (_json('{"lxc_configs":{},"lxc_configs":{}}'), "lxc_configs"),
    "a mark at the start and junk": (_json("\ufeff{"), "phoenix_lxc_configs.json"),
    "a retired profile that climbs": (
        _json('{"lxc_configs":{},"deprecated_profiles":{"../../shadow":"lxc-a"}}'), "deprecated_profiles"),
    "a retired stock profile of the host": (
        _json('{"lxc_configs":{},"deprecated_profiles":{"/usr/bin/man":"lxc-a"}}'), "deprecated_profiles"),
}  # fmt: skip


@pytest.mark.parametrize("which", INPUTS)
def test_hostile_inputs(host: DirectoryHost, which: str) -> None:
    host.source("lxc-a")
    host.conf("101")
    host.declare({"101": "lxc-a"})
    (host.root / "etc/shadow").write_text("secret\n")
    make, words = INPUTS[which]
    (host.root / "run").mkdir()
    make(host)
    before = snapshot(host.folder, without=("root/run",))
    for command in (("setup",), ("apply", "--all"), ("rollback",)):
        result = host.phoenix(*command)
        assert result.code in (1, 2), (command, result)
        assert "Traceback" not in result.err and "internal error" not in result.err, result
        assert "root:" not in result.err and "secret" not in result.err, "it shows what it must not read"
        if command != ("rollback",):
            assert words in result.err, (command, result.err)
    assert snapshot(host.folder, without=("root/run",)) == before, "something was changed"


def test_there_are_enough_of_them() -> None:
    assert len(INPUTS) >= 40


def test_a_world_writable_folder_is_accepted_again_when_closed(host: DirectoryHost) -> None:
    host.source("lxc-a")
    host.declare({})
    host.installed.chmod(0o777)
    assert host.phoenix("setup").code == 1
    host.installed.chmod(0o755)
    assert host.phoenix("setup").code == 0


@pytest.mark.parametrize(
    "name",
    ["README.md", "README", "notes.md", "lxc-a~", "#lxc-a#", ".lxc-a.swp", "abstractions/phoenix/x~"],
)
def test_documents_and_what_editors_leave_are_passed_over(host: DirectoryHost, name: str) -> None:
    host.source("lxc-a", "include <abstractions/phoenix/x>")
    host.source("abstractions/phoenix/x", data=b"  network inet,\n")
    host.source(name, data=b"no profile at all\n")
    host.conf("101")
    host.declare({"101": "lxc-a"})
    assert host.apply().code == 0
    assert host.phoenix("verify").code == 0
    assert not (host.installed / name).exists()


@pytest.mark.parametrize("name", ["nvidia", "lxc-a b", "LXC-a", "lxc_a"])
def test_a_name_that_is_no_profiles_says_what_one_looks_like(host: DirectoryHost, name: str) -> None:
    """It is meant as a profile: passing it over would leave a container without it."""
    host.source("lxc-a")
    host.source(name, data=profile("lxc-a"))
    host.declare({})
    result = host.phoenix("check", "--json")
    assert result.code == 1 and result.problems == [("source-name", str(host.sources / name))]
    assert "must be lxc-NAME" in result.err
