"""Bad words in every place: an exit code and a message, never a traceback or a half-done run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.hosts import TOP, DirectoryHost, LiveHost, Result, contents, snapshot

NETWORK = {"name": "eth0", "bridge": "vmbr0", "ip": "10.0.0.5/24"}


@pytest.fixture
def one(host: DirectoryHost) -> DirectoryHost:
    host.source("lxc-a")
    host.conf("101")
    host.declare({"101": "lxc-a"})
    return host


def _clean(result: Result, *codes: int) -> None:
    assert result.code in codes, result
    assert "internal error" not in result.err and "Traceback" not in result.err, result
    assert result.code in (0, 3) or result.err, result


# Options and arguments ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("apply",), "name containers, or use --all"),
        (("apply", "--all", "101"), "name containers, or use --all"),
        (("apply", "abc"), "is not a CTID"),
        (("apply", "99"), "is not a CTID"),
        (("apply", "0101"), "is not a CTID"),
        (("apply", "1000000000"), "is not a CTID"),
        (("apply", "９５０"), "is not a CTID"),
        (("apply", "101\n"), "is not a CTID"),
        (("apply", "-5"), ""),
        (("apply", "../101"), "is not a CTID"),
        (("plan", "x"), "is not a CTID"),
        (("status", "x"), "is not a CTID"),
        (("verify", ""), "is not a CTID"),
        (("apply", "--force"), ""),
        (("aply",), "Did you mean 'apply'?"),
        ((), ""),
        (("--runtime", "docker", "plan"), "'docker'"),
        (("--root", "/nonexistent", "plan"), "--root is not a directory"),
        (("--root", "", "plan"), "--root is not a directory"),
        (("--root", "/etc/passwd", "plan"), "--root is not a directory"),
        (("--config", "/nonexistent", "plan"), "--config is not a file"),
        (("--config", "/dev/stdin", "plan"), "--config is not a file"),
        (("--features", "/nonexistent", "check"), "--features is neither a file nor a packed list"),
        (("--features", "/etc/passwd", "check"), "--features is not a feature file"),
        (("setup", "--adopt", "../../etc/shadow"), "no profile source"),
        (("setup", "--adopt", ""), "no profile source"),
    ],
)
def test_usage(one: DirectoryHost, words: tuple[str, ...], text: str) -> None:
    before = snapshot(one.root)
    result = one.phoenix(*words)
    _clean(result, 2)
    assert text in result.err
    assert snapshot(one.root) == before


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("apply", "555"), "container 555 is not declared"),
        (("status", "555"), "neither declared nor on this host"),
        (("--parser", "/tmp", "check"), "cannot run /tmp"),
        (("--parser", "", "check"), "cannot run"),
        (("--parser", "/bin/true", "check"), "does not say its version"),
        (("--parser", "/nonexistent", "check"), "is not installed"),
    ],
)
def test_failures(one: DirectoryHost, words: tuple[str, ...], text: str) -> None:
    result = one.phoenix(*words)
    _clean(result, 1)
    assert text in result.err


# Fields of the configuration ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("pointer", "fields"),
    [
        ("template", {"template": "--force"}),
        ("template", {"template": "a\nb"}),
        ("template", {"template": "\ud800"}),
        ("name", {"name": "a\n"}),
        ("name", {"name": "a_b"}),
        ("name", {"name": "-a"}),
        ("network_config/ip", {"network_config": {**NETWORK, "ip": "10.0.0.256/24"}}),
        ("network_config/gw", {"network_config": {**NETWORK, "gw": "10.0.300.1"}}),
        ("network_config/gw", {"network_config": {**NETWORK, "gw": ""}}),
        ("network_config/bridge", {"network_config": {**NETWORK, "bridge": "a,firewall=0"}}),
        ("memory_mb", {"memory_mb": True}),
        ("memory_mb", {"memory_mb": 512.5}),
        ("features", {"features": "nesting=1, keyctl=1"}),
        ("features", {"features": ["nesting=1,keyctl=1"]}),
        ("gpu_assignment", {"gpu_assignment": "0,"}),
        ("apparmor_profile", {"apparmor_profile": "lxc-a\n"}),
        ("apparmor_profile", {"apparmor_profile": "../lxc-a"}),
        ("apparmor_profile", {"apparmor_profile": ""}),
        ("mac_address", {"mac_address": "01:00:00:00:00:00"}),
        ("storage_pool", {"storage_pool": "a:8,x"}),
    ],
)
def test_fields(one: DirectoryHost, pointer: str, fields: dict[str, Any]) -> None:
    one.declare({"101": {"apparmor_profile": "lxc-a", **fields}})
    result = one.phoenix("check")
    _clean(result, 1)
    assert f"/lxc_configs/101/{pointer} (line " in result.err


def test_a_chat_template_of_several_lines_is_not_our_business(one: DirectoryHost) -> None:
    one.declare({"101": {"apparmor_profile": "lxc-a", "vllm_chat_template": "a\nb\t\u0000"}})
    _clean(one.phoenix("check"), 0)


def test_whole_numbers_that_are_written_as_fractions(live: LiveHost) -> None:
    live.source("lxc-a")
    fields = {"name": "x", "apparmor_profile": "lxc-a", "template": "l:vztmpl/x", "storage_pool": "local"}
    live.declare({"950": {**fields, "memory_mb": 512.0, "cores": 2.0, "storage_size_gb": 8.0}})
    with live.recorded() as argvs:
        assert live.apply().code == 0
    create = next(argv for argv in argvs if argv[:2] == ("pct", "create"))
    words = dict(zip(create[4::2], create[5::2], strict=True))
    assert (words["--memory"], words["--cores"], words["--rootfs"]) == ("512", "2", "local:8")


@pytest.mark.parametrize("name", ["..", ".", "lxc-z\n", "a b", "", "a/b"])
def test_names_of_deprecated_profiles(one: DirectoryHost, name: str) -> None:
    one.declare({"101": "lxc-a"}, deprecated_profiles={name: "lxc-a"})
    _clean(one.phoenix("check"), 1)


DOCUMENTS: dict[str, bytes] = {
    "empty": b"",
    "null": b"null",
    "list": b"[]",
    "cut off": b'{"lxc_configs":',
    "NaN": b'{"lxc_configs":{"101":{"memory_mb":NaN}}}',
    "infinite": b'{"lxc_configs":{"101":{"memory_mb":1e999}}}',
    "deep": b"[" * 100_000,
    "many digits": b'{"lxc_configs":{"101":{"memory_mb":' + b"9" * 5000 + b"}}}",
    "UTF-16": '{"lxc_configs":{}}'.encode("utf-16"),
    "latin-1": b'{"lxc_configs":{"101":{"name":"\xe9"}}}',
    "NUL": b'{"lxc_configs":{}}\0',
    "the same container twice": b'{"lxc_configs":{"101":{},"101":{}}}',
    "no containers": b"{}",
    "containers are a list": b'{"lxc_configs":[]}',
    "a container is null": b'{"lxc_configs":{"101":null}}',
    "odd CTIDs": b'{"lxc_configs":{"99":{},"0101":{},"a":{},"":{},"1000000000":{},"101\\n":{},"\\ud800":{}}}',
}


@pytest.mark.parametrize("which", DOCUMENTS)
def test_documents(one: DirectoryHost, which: str) -> None:
    one.config.write_bytes(DOCUMENTS[which])
    before = snapshot(one.root)
    for words in (("check",), ("apply", "--all"), ("status",), ("--json", "plan")):
        result = one.phoenix(*words)
        _clean(result, 1)
        assert str(one.config) in result.err
    assert result.document["error"]["problems"]
    assert snapshot(one.root) == before


def test_a_schema_that_allows_everything_is_no_traceback(one: DirectoryHost) -> None:
    schema = {"definitions": {"container": {"properties": {"apparmor_profile": {"default": "lxc-a"}}}}}
    (one.etc / "phoenix_lxc_configs.schema.json").write_text(json.dumps(schema))
    _clean(one.phoenix("check"), 0)
    samples: tuple[dict[str, object], ...] = (
        {"gpu_assignment": 3},
        {"network_config": {}},
        {"memory_mb": "x"},
        {"features": 5},
    )
    for fields in samples:
        one.declare({"101": {"apparmor_profile": "lxc-a", **fields}})
        _clean(one.phoenix("check"), 1)
    one.declare({"x": {}})
    _clean(one.phoenix("check"), 1)


@pytest.mark.parametrize("text", [b"{", b"[]", b"\xff", b'{"definitions": {}}'])
def test_a_schema_that_is_none(one: DirectoryHost, text: bytes) -> None:
    (one.etc / "phoenix_lxc_configs.schema.json").write_bytes(text)
    result = one.phoenix("check")
    _clean(result, 1)
    assert "restore the shipped schema file" in result.err


# Things of the wrong kind on the host ------------------------------------------------------


def _file(path: str, data: bytes = b"x") -> Callable[[Path], None]:
    def put(root: Path) -> None:
        target = root / path
        if target.is_symlink():
            target.unlink()
        elif target.is_dir():
            target.rename(target.with_name("away"))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    return put


def _folder(path: str) -> Callable[[Path], None]:
    return lambda root: (root / path).mkdir(parents=True)


def _link(path: str, to: str) -> Callable[[Path], None]:
    def put(root: Path) -> None:
        _file(path)(root)
        (root / path).unlink()
        (root / path).symlink_to(to)

    return put


WRONG: dict[str, Callable[[Path], None]] = {
    "run is a file": _file("run"),
    "run/phoenix is a file": _file("run/phoenix"),
    "the lock is a folder": _folder("run/phoenix/lock"),
    "the lock is a link": _link("run/phoenix/lock", "/etc/created"),
    "a lock of Proxmox is a folder": _folder("run/lock/lxc/pve-config-101.lock"),
    "var is a file": _file("var"),
    "the records are a file": _file("var/lib/phoenix"),
    "the manifest is a folder": _folder("var/lib/phoenix/manifest.json"),
    "the manifest is a link": _link("var/lib/phoenix/manifest.json", "/m"),
    "apparmor.d is a file": _file("etc/apparmor.d"),
    "apparmor.d is a loop": _link("etc/apparmor.d", "apparmor.d"),
    "a profile is a folder": _folder("etc/apparmor.d/lxc-a"),
    "a temporary file is a folder": _folder("etc/apparmor.d/.lxc-a.phoenix-tmp"),
    "features are missing": _file("etc/apparmor/parser.conf", b"policy-features=/nowhere\n"),
    "features are something else": _file("usr/share/apparmor-features/features", b"junk"),
    "features are empty": _file("usr/share/apparmor-features/features", b""),
    "pve/lxc is a file": _file("etc/pve/lxc"),
    "pve/lxc is a loop": _link("etc/pve/lxc", "lxc"),
    "the cache is a file": _file("var/cache/apparmor"),
    "the cache holds a folder": _folder("var/cache/apparmor/abc.0/lxc-a"),
}


@pytest.mark.parametrize("which", WRONG)
def test_wrong_kinds(one: DirectoryHost, which: str) -> None:
    WRONG[which](one.root)
    kept = {
        k: v for k, v in contents(one.root).items() if not k.startswith(("run/", "var/lib/phoenix/journal/"))
    }
    result = one.apply()
    _clean(result, 1)
    for words in (("plan",), ("status",), ("verify",)):
        _clean(one.phoenix(*words), 0, 1, 3)
    now = {
        k: v for k, v in contents(one.root).items() if not k.startswith(("run/", "var/lib/phoenix/journal/"))
    }
    assert now == kept, "files are not as before"


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("etc/pve/.vmlist", b"{"),
        ("etc/pve/.vmlist", b'{"ids": {"101": 3}}'),
        ("etc/pve/nodes/pve1/lxc/0.conf", b"x"),
        ("etc/pve/nodes/pve1/lxc/100000000000000000000.conf", b"x"),
        ("proc/1/cgroup", b"\xff\xff"),
        ("proc/7/cgroup", b"0::/lxc.payload.../x\n"),
        ("sys/kernel/security/apparmor/profiles", b"\xff\nx (y)\n(\n"),
        ("var/lib/dpkg/info", b""),
    ],
)
def test_junk_that_does_not_concern_us(one: DirectoryHost, path: str, data: bytes) -> None:
    _file(path, data)(one.root)
    _clean(one.apply(), 0)
    for words in (("plan",), ("status",), ("verify",)):
        _clean(one.phoenix(*words), 0, 3)


@pytest.mark.parametrize("json_words", [(), ("--json",)])
def test_output_that_cannot_be_written(one: DirectoryHost, json_words: tuple[str, ...]) -> None:
    """All was applied: nobody may be told of a fault of Phoenix, or of nothing at all."""
    environment = {**os.environ, "PYTHONPATH": str(TOP / "src")}
    argv = [sys.executable, "-m", "phoenix_hypervisor", "--root", str(one.root), "--config", str(one.config)]
    for number, where in enumerate(("full", "closed"), 1):
        one.source("lxc-a", f"/srv/{number} r,")
        if where == "full":
            out = os.open("/dev/full", os.O_WRONLY)
        else:
            reader, out = os.pipe()
            os.close(reader)
        try:
            words = [*argv, *json_words, "apply", "--all", "--no-start"]
            done = subprocess.run(
                words, check=False, stdout=out, stderr=subprocess.PIPE, env=environment, timeout=60
            )
        finally:
            os.close(out)
        said = done.stderr.decode()
        assert done.returncode == 1 and "the output could not be written" in said, said
        assert "internal error" not in said and "Exception ignored" not in said and "Traceback" not in said
        assert (one.root / f"var/lib/phoenix/journal/{number:08d}.jsonl").read_text().endswith('Z"}\n')
    one.config.write_text("{")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*argv, *json_words, "check"], check=False, stdout=full, stderr=subprocess.PIPE, env=environment
        )
    assert done.returncode == 1 and b"internal" not in done.stderr and b"Traceback" not in done.stderr


def test_what_others_wrote_reaches_the_terminal_harmless(one: DirectoryHost) -> None:
    """A real process: its standard output refuses what UTF-8 cannot say."""
    one.conf("101", b"lxc.apparmor.profile: caf\xe9\x1b[2J\n")
    one.conf("102", b"lxc.apparmor.profile: caf\xe9\x1b[2J\n")
    _file("proc/7/cgroup", b"0::/lxc/101/ns\n")(one.root)
    _file("proc/7/attr/apparmor/current", b"\xff\x1b[2J (enforce)\n")(one.root)
    environment = {**os.environ, "PYTHONPATH": str(TOP / "src"), "LC_ALL": "C.UTF-8", "PYTHONUTF8": "0"}
    argv = [sys.executable, "-m", "phoenix_hypervisor", "--root", str(one.root), "--config", str(one.config)]
    for words, code in (
        (["status"], 0),
        (["status", "--json"], 0),
        (["verify"], 3),
        (["plan"], 0),
        (["plan", "--json"], 0),
        (["apply", "--all", "--no-start"], 0),
    ):
        done = subprocess.run([*argv, *words], check=False, capture_output=True, env=environment, timeout=60)
        assert done.returncode == code, (words, done)
        assert b"\x1b" not in done.stdout + done.stderr, words
        if "--json" in words:
            assert json.loads(done.stdout)["version"] == 1
    one.config.write_text('{"lxc_configs": {}, "\\u001b[2J": 1}')
    assert "\x1b" not in one.phoenix("check").err
