"""What parser.conf and a profile pin: counted as the parser counts it, and a useless pin is one message."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from phoenix_hypervisor.host.process import find_program
from phoenix_hypervisor.policy.profile import Class
from phoenix_hypervisor.policy.reader import read_policy
from phoenix_hypervisor.profiles.features import packed
from support.hosts import TOP, DirectoryHost

ETC = TOP / "etc"
DUMP = Path(packed("debian-13") or "").read_bytes()


def without(name: str) -> bytes:
    """The feature list without one class."""
    start = DUMP.index(f"\n{name} {{".encode()) + 1
    return DUMP[:start] + DUMP[DUMP.index(b"\n}\n}\n", start) + 5 :]


@pytest.fixture
def shipped(host: DirectoryHost) -> DirectoryHost:
    """A host with the shipped sources and policy tests."""
    for name in ("apparmor", "policy_tests"):
        shutil.copytree(ETC / name, host.etc / name, dirs_exist_ok=True)
    host.declare({})
    return host


def conf(host: DirectoryHost, text: str) -> None:
    (host.root / "etc/apparmor/parser.conf").write_text(text)


CONFS = [
    "features-file=/f/nomount\n",
    "features-file /f/nomount\n",
    "policy-features=/f/nosignal\nfeatures-file=/f/nomount\n",
    "features-file=/f/nomount\npolicy-features=/f/nosignal\n",
    "\tpolicy-features= /f/nomount\nkernel-features=/f/nosignal\n",
    "# features-file=/f/nomount\npolicy-features=/f/nosignal\n",
    "policy-features=/f/nosignal\npolicy-features=/f/all\n",
]


@pytest.mark.parametrize("text", CONFS)
def test_parser_conf_counts_as_the_parser_counts_it(host: DirectoryHost, tmp_path: Path, text: str) -> None:
    """One policy as the parser makes it from parser.conf itself, one as Phoenix does below --root."""
    source = host.source("lxc-a", "file,", "mount,", "signal,")
    host.declare({})
    for place in (tmp_path, host.root / "f"):
        place.mkdir(exist_ok=True)
        for name, data in (("nomount", without("mount")), ("nosignal", without("signal")), ("all", DUMP)):
            (place / name).write_bytes(data)
    conf(host, text)
    real = tmp_path / "parser.conf"
    real.write_text(text.replace("/f/", f"{tmp_path}/"))
    argv = [find_program("apparmor_parser") or "", "--config-file", str(real), "-QSK"]
    if "kernel-features" not in text.replace("# ", "#") and "\nfeatures-file" not in f"\n{text}":
        argv += ["--kernel-features", packed("debian-12" if _is_old() else "debian-13") or ""]
    done = subprocess.run([*argv, str(source)], capture_output=True, check=True, timeout=60)
    blob = tmp_path / "blob"
    assert host.phoenix("policy", "compile", "lxc-a", "-o", str(blob)).code == 0
    assert blob.read_bytes() == done.stdout
    profile = read_policy(done.stdout).profiles[0]
    assert not (profile.start(Class.MOUNT) and profile.start(Class.SIGNAL)) or "/f/all" in text


def _is_old() -> bool:
    argv = [find_program("apparmor_parser") or "", "--version"]
    return b" 3." in subprocess.run(argv, capture_output=True, check=True).stdout


@pytest.mark.parametrize("text", ["jobs=2\n", "", "features-file=/usr/share/apparmor-features/features\n"])
def test_whatever_parser_conf_pins_the_shipped_profiles_mean_the_same(
    shipped: DirectoryHost, text: str
) -> None:
    conf(shipped, text)
    done = shipped.phoenix("check")
    assert (done.code, done.err) == (0, "")
    assert "proxmox-9-7.0" in done.out


def test_a_feature_file_that_is_not_there_is_one_message(shipped: DirectoryHost) -> None:
    conf(shipped, "features-file=/nowhere\n")
    done = shipped.phoenix("check")
    assert (done.code, len(done.err.splitlines())) == (1, 2)
    assert "parser.conf" in done.err and "/nowhere" in done.err


def test_what_a_root_must_hold(shipped: DirectoryHost, tmp_path: Path) -> None:
    """As docs/guide/install.md says it: no more is needed."""
    shipped.root = tmp_path / "bare"
    (shipped.root / "etc/pve/lxc").mkdir(parents=True)
    shutil.copytree(shipped.installed / "tunables", shipped.root / "etc/apparmor.d/tunables")
    for ctid in json.loads(shipped.config.read_text())["lxc_configs"]:
        (shipped.root / f"etc/pve/lxc/{ctid}.conf").write_text("arch: amd64\n")
    assert shipped.apply().code == 0
    assert shipped.phoenix("verify").code == 0


def test_a_root_without_tunables_is_one_message(shipped: DirectoryHost) -> None:
    shutil.rmtree(shipped.installed / "tunables")
    done = shipped.phoenix("check")
    assert (done.code, len(done.err.splitlines())) == (1, 2) and "/etc/apparmor.d/tunables" in done.err


def test_an_empty_root_is_one_message(shipped: DirectoryHost, tmp_path: Path) -> None:
    shipped.root = tmp_path / "empty"
    shipped.root.mkdir()
    for command in ("check", "setup", "plan"):
        done = shipped.phoenix(command)
        assert (done.code, len(done.err.splitlines())) == (1, 2), command
        assert "/etc/apparmor.d" in done.err
        assert list(shipped.root.iterdir()) == []


@pytest.mark.parametrize("command", ["check", "setup"])
def test_profiles_without_a_pin_where_parser_conf_has_none_are_one_message(
    shipped: DirectoryHost, command: str
) -> None:
    conf(shipped, "jobs=2\n")
    for path in shipped.sources.glob("lxc-*"):
        path.write_text(path.read_text().replace("abi <abi/phoenix>,", "", 1))
    done = shipped.phoenix(command)
    told = [line for line in done.err.splitlines() if "is compiled without" in line]
    assert (done.code, len(told), len(done.err.splitlines())) == (1, 1, 2)
    assert all(path.name in told[0] for path in shipped.sources.glob("lxc-*"))
    assert "network" in told[0] and "abi <abi/phoenix>," in told[0]


def test_an_abi_that_names_nothing_is_one_message(shipped: DirectoryHost) -> None:
    (shipped.sources / "abi/phoenix").write_text("query {label {data {yes\n}\n}\n}\n")
    done = shipped.phoenix("check")
    assert (done.code, len(done.err.splitlines())) == (1, 2)
    assert "is compiled without" in done.err


def test_an_abi_without_unix_sockets_is_one_message_and_only_for_the_kernels_that_ask(
    shipped: DirectoryHost,
) -> None:
    path = shipped.sources / "abi/phoenix"
    path.write_bytes(path.read_bytes().replace(b"network {af_unix {yes\n}\n}\n", b""))
    done = shipped.phoenix("check")
    told = [line for line in done.err.splitlines() if "network/af_unix" in line]
    assert (done.code, len(told), len(done.err.splitlines())) == (1, 1, 2)
    assert "for proxmox-8-6.8, proxmox-9-6.14, proxmox-9-6.17, proxmox-9-7.0:" in told[0]
    assert shipped.phoenix("--features", "debian-13", "check").code == 0
    refused = shipped.phoenix("--features", "proxmox-9", "setup")
    assert refused.code == 1 and "network/af_unix" in refused.err
    assert not list(shipped.installed.glob("lxc-*"))


def test_a_missing_abi_file_is_named(shipped: DirectoryHost) -> None:
    (shipped.sources / "abi/phoenix").unlink()
    done = shipped.phoenix("check")
    assert done.code == 1 and "abi/phoenix" in done.err


def test_a_name_that_is_neither_file_nor_packed_is_told_what_there_is(shipped: DirectoryHost) -> None:
    done = shipped.phoenix("--features", "proxmox-7", "check")
    assert done.code == 2 and "proxmox-9-6.17" in done.err
