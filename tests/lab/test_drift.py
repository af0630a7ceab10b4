"""Each drift that needs a kernel, made on a real one, and the code that `verify --json` has for it.

`old-label`, `stray-process` and `complain` with real containers are in test_phoenix.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from phoenix_hypervisor.lab import qemu
from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.lab.guestlink import Guest
from phoenix_hypervisor.lab.snapshot import BOOT_LIMIT
from phoenix_hypervisor.lab.wire import Wire
from support.lab_host import SMALL, SOURCES, box, declare, phoenix, source, verify

NAME = "lxc-t-drift"
FILE = f"/etc/apparmor.d/{NAME}"


@pytest.fixture
def drifting(ready: Lab) -> Iterator[Lab]:
    """One profile with a child, set up and as declared."""
    source(ready, NAME, "  deny /one r,\n  profile child { file, }\n")
    _settles(ready)
    yield ready
    ready.run(f"rm -f {SOURCES}/{NAME}; rm -rf /var/cache/apparmor/*/{NAME}")


def _found(lab: Lab) -> list[str]:
    code, codes = verify(lab)
    assert code == 3, codes
    return codes[NAME]


def _settles(lab: Lab) -> None:
    assert phoenix(lab, "setup").ok
    code, codes = verify(lab)
    assert (code, codes[NAME]) == (0, []), codes


def test_policy_that_is_not_the_compiled_source(drifting: Lab) -> None:
    ours = drifting.get(FILE).decode()
    for old, new in (("/one", "/two"), ("{ file, }", "{ file, network, }")):
        drifting.put("/tmp/other", ours.replace(old, new))
        drifting.run(["apparmor_parser", "-r", "/tmp/other"], check=True)
        assert _found(drifting) == ["policy-differs"], "of the profile, then of its child alone"
    drifting.run(["apparmor_parser", "-r", "-C", FILE], check=True)
    assert "complain" in _found(drifting)
    drifting.run(["apparmor_parser", "-R", FILE], check=True)
    assert _found(drifting) == ["not-loaded"]
    _settles(drifting)


def test_what_the_boot_skips_or_loads_in_complain_mode(drifting: Lab) -> None:
    """What the parser does with such links, and that Phoenix says so."""
    for folder, code, loaded in (
        ("disable", "disabled", None),
        ("force-complain", "force-complain", "complain"),
    ):
        link = f"/etc/apparmor.d/{folder}/{NAME}"
        drifting.run(f"mkdir -p /etc/apparmor.d/{folder}; ln -s ../{NAME} {link}", check=True)
        drifting.run(f"printf 'profile {NAME} {{}}' | apparmor_parser -R")
        drifting.run(["apparmor_parser", "-r", FILE])
        assert drifting.profiles().get(NAME) == loaded
        assert code in _found(drifting)
        done = phoenix(drifting, "setup")
        assert done.rc == 1 and link in done.stderr
        drifting.run(["rm", link], check=True)
    _settles(drifting)


def test_a_stale_cache_is_what_the_next_boot_would_load(drifting: Lab) -> None:
    """The file comes back with its old time, as from a backup; the parser's cache is newer."""
    ours = drifting.get(FILE).decode()
    drifting.put(FILE, ours.replace("/one", "/two"))
    drifting.run(["apparmor_parser", "-r", "-W", FILE], check=True)
    cached = drifting.run(f"ls /var/cache/apparmor/*/{NAME}", check=True).stdout.strip()
    drifting.put(FILE, ours)
    drifting.run(["touch", "-d", "2020-01-01", FILE], check=True)
    found = _found(drifting)
    assert "stale-cache" in found and "policy-differs" in found
    # The parser does take it: the file says /one, the kernel gets /two.
    drifting.run(["apparmor_parser", "-r", "-W", FILE], check=True)
    assert "policy-differs" in _found(drifting)
    _settles(drifting)
    assert not drifting.run(["test", "-e", cached]).ok
    # What the parser caches of the file as it is now is not stale.
    drifting.run(["apparmor_parser", "-r", "-W", FILE], check=True)
    code, codes = verify(drifting)
    assert (code, codes[NAME]) == (0, []), codes


def test_apparmor_off(lab: Lab, labs: Callable[[str], Lab]) -> None:
    """A boot with apparmor=0: nothing is confined, whatever files and lines say."""
    image = lab.image
    assert image is not None
    booted = qemu.start(image, accel=lab.accel, disk=image.disk, disk_format="raw", append="apparmor=0")
    try:
        assert booted.agent is not None
        wire = Wire(booted.agent)
        wire.sync(BOOT_LIMIT)
        guest = Guest(wire)
        guest.install_phoenix()
        assert guest.get("/sys/module/apparmor/parameters/enabled").strip() == b"N"
        guest.run(
            f"rm -rf {SOURCES}/lxc-* {SOURCES}/if-parser-accepts/lxc-* {SOURCES}/../policy_tests", check=True
        )
        guest.put(f"{SOURCES}/{NAME}", SMALL.format(name=NAME, rules=""))
        box(guest, 977)
        declare(guest, {"977": NAME})
        done = phoenix(guest, "apply", "--all")
        assert done.rc == 1 and "AppArmor is off in this kernel" in done.stderr
        done = phoenix(guest, "apply", "--all", "--no-start")
        assert done.ok, done.stderr
        code, codes = verify(guest)
        assert code == 3 and codes["host"] == ["apparmor-off"], codes
    finally:
        booted.close()
