"""The engine against the kernel: `.access` for every state, and real system calls.

Prints how much was compared; one disagreement fails.
"""

from __future__ import annotations

import errno
import gzip
import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.policy.constants import CAPABILITIES
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.profile import Profile
from phoenix_hypervisor.policy.queries import CapabilityQuery, MountQuery, RawQuery, parse_query
from support.lab_access import compile_and_load, disagreements, kernel_answers, questions
from support.lab_host import until

GUEST = Path(__file__).parent / "guest"
HOME = "/usr/local/phoenix_hypervisor"
SHIPPED = ("lxc-gpu-docker-storage", "lxc-nesting-v1", "lxc-nvidia-gpu-base", "lxc-nvidia-gpu-docker")
FULL = os.environ.get("PHOENIX_PROOF") == "full"
MUTATIONS = 14 if FULL else 4
"""For each state; the full proof (docs/internals/policy-engine.md) asks for more."""
PATHS = 420 if FULL else 120
KERNELS = {"trixie": (6, 12), "bookworm": (6, 1), "forky": (7, 2), "sid": (7, 2)}


@pytest.fixture(scope="module")
def profiles() -> dict[str, list[Profile]]:
    return {}


def compiled(lab: Lab, cache: dict[str, list[Profile]]) -> list[Profile]:
    """Shipped and stock profiles as the guest's own parser compiles them, loaded there too."""
    key = lab.release.name
    if key not in cache:
        lab.install_phoenix()
        setup = lab.run(["phoenix", "setup"], timeout=240)
        assert setup.ok, setup.stderr
        cache[key] = compile_and_load(
            lab, (*(f"/etc/apparmor.d/{name}" for name in SHIPPED), "/etc/apparmor.d/lxc-containers")
        )
    return cache[key]


def test_access_answers(lab: Lab, profiles: dict[str, list[Profile]], tell: Callable[[str], None]) -> None:
    chance = random.Random(7)
    kernel = KERNELS[lab.release.name]
    compared = 0
    wrong: list[str] = []
    golden: dict[str, list[list[object]]] = {}
    for profile in compiled(lab, profiles):
        asked = list(questions(profile, chance, MUTATIONS))
        for uid in (0, 1000):
            answers = kernel_answers(lab, profile, asked, uid)
            wrong += disagreements(profile, asked, uid, answers, kernel)
            compared += len(asked)
            if os.environ.get("PHOENIX_GOLDEN"):
                golden.setdefault(profile.label, []).extend(
                    [number, string.hex(), uid, *answer]
                    for (number, string), answer in list(zip(asked, answers, strict=True))[::40]
                )
    if golden:
        _write_golden(lab, golden)
    tell(f"{lab.release.name}: {compared} answers of .access compared, {len(wrong)} differ")
    assert not wrong, "\n".join(wrong[:20])
    assert compared > (100_000 if FULL else 20_000)


def _write_golden(lab: Lab, golden: dict[str, list[list[object]]]) -> None:
    """What `make unit` checks without a kernel (PHOENIX_GOLDEN=1): the base profile and one stock profile."""
    kept = {}
    for name, path in (
        ("lxc-nvidia-gpu-base", "lxc-nvidia-gpu-base"),
        ("lxc-container-default", "lxc-containers"),
    ):
        lab.run(f"apparmor_parser -QKS /etc/apparmor.d/{path} > /tmp/blob", check=True, timeout=120)
        kept[name] = {"blob": lab.get("/tmp/blob").hex(), "answers": golden[name]}
    data = json.dumps({"kernel": KERNELS[lab.release.name], "profiles": kept}).encode()
    target = Path(__file__).parents[1] / "data/policy" / f"kernel-{lab.release.name}.json.gz"
    target.write_bytes(gzip.compress(data, 9, mtime=0))


def operations(lab: Lab) -> list[tuple[list[object], dict[str, object]]]:
    """Operations, each with the question that predicts it."""
    lab.run(
        "mkdir -p /t/a /t/b /mnt/x /var/lib/docker/x /var/lib/lxc/y /run/docker/netns; echo x > /t/file",
        check=True,
    )
    found = lab.run(
        "find /proc/sys /proc/irq /proc/bus /proc/fs /proc/asound /sys/kernel /sys/fs /sys/module/apparmor /sys/power"
        " /sys/firmware /sys/class /sys/devices/system/cpu /etc /usr/sbin -maxdepth 3 -type f"
        " ! -name '*pipe*' ! -name 'trace*' ! -name 'ns_*' ! -name wakeup_count 2>/dev/null | sort",
        timeout=120,
    ).stdout.splitlines()
    chance = random.Random(3)
    paths = chance.sample(found, min(len(found), PATHS))
    paths += [
        "/proc/sysrq-trigger",
        "/proc/kcore",
        "/proc/kallsyms",
        "/proc/self/status",
        "/dev/null",
        "/t/file",
    ]
    some: list[tuple[list[object], dict[str, object]]] = []
    for path in paths:
        for flags, access in ((os.O_RDONLY, "r"), (os.O_WRONLY, "w"), (os.O_RDWR, "rw")):
            some.append((["open", path, flags], {"kind": "file", "path": path, "access": access}))
    kinds = [
        ("proc", "proc"),
        ("sysfs", "sysfs"),
        ("tmpfs", "tmpfs"),
        ("none", "mqueue"),
        ("none", "cgroup2"),
    ]
    targets = [
        "/t/a",
        "/mnt/x",
        "/var/lib/docker/x",
        "/var/lib/lxc/y",
        "/proc/sys",
        "/sys/kernel",
        "/run/docker/netns",
        "/",
    ]
    for target in targets:
        place = target.rstrip("/") + "/"
        for source, fstype in kinds:
            for flags in (0, 1, 2 | 4 | 8, 1 | 2 | 4 | 8):
                query = {"kind": "mount", "source": source, "target": place, "fstype": fstype, "flags": flags}
                some.append((["mount", source, target, fstype, flags], query))
        for source in ("/proc", "/sys", "/etc", "/t/b", "/dev", "/"):
            for flags in (4096, 4096 | 16384, 4096 | 1):
                from_ = source.rstrip("/") + "/"
                query = {"kind": "mount", "source": from_, "target": place, "flags": flags}
                some.append((["mount", source, target, None, flags], query))
        for flags in (1 << 18, 1 << 19, 1 << 20, (1 << 18) | 16384, (1 << 19) | 16384):
            some.append(
                (["mount", "none", target, None, flags], {"kind": "mount", "target": place, "flags": flags})
            )
        for flags in (32 | 1, 32 | 4096 | 1, 32 | 4096 | 1 | 2, 32):
            some.append(
                (["mount", "none", target, None, flags], {"kind": "mount", "target": place, "flags": flags})
            )
    for target in ("/proc/", "/sys/", "/dev/"):
        some.append((["umount", target], {"kind": "umount", "target": target}))
    for family, name in ((1, "unix"), (2, "inet"), (10, "inet6"), (16, "netlink"), (17, "packet")):
        for kind, word in ((1, "stream"), (2, "dgram"), (3, "raw"), (5, "seqpacket")):
            some.append((["socket", family, kind], {"kind": "network", "family": name, "type": word}))
    for name in ("sys_chroot", "setuid", "setgid", "sys_admin", "chown", "mknod"):
        some.append((["capability", name], {"kind": "capability", "name": name}))
    for target in ("unconfined", "lxc-container-default", *SHIPPED):
        some.append((["change_profile", target], {"kind": "change_profile", "target": target}))
    return some


def peer(lab: Lab) -> int:
    lab.run("rm -f /tmp/peer; sh -c 'echo $$ > /tmp/peer; exec sleep 3000' >/dev/null 2>&1 &", check=True)
    until(lab, 'grep -qax "sleep.3000." /proc/$(cat /tmp/peer)/cmdline', "no peer")
    return int(lab.get("/tmp/peer"))


def test_real_operations(lab: Lab, profiles: dict[str, list[Profile]], tell: Callable[[str], None]) -> None:
    found = compiled(lab, profiles)
    some = operations(lab)
    pid = peer(lab)
    for number, word in ((18, "cont"), (28, "winch"), (17, "chld")):
        some.append(
            (
                ["kill", pid, number],
                {"kind": "signal", "signal": word, "access": "send", "peer": "unconfined"},
            )
        )
    some.append((["ptrace", pid], {"kind": "ptrace", "access": "trace", "peer": "unconfined"}))
    lab.put("/tmp/operations.py", (GUEST / "operations.py").read_bytes())

    def run(profile: str | None) -> list[int]:
        order = {"profile": profile, "operations": [operation for operation, _ in some]}
        done = lab.run(
            ["python3", "-I", "-S", "/tmp/operations.py"],
            input=json.dumps(order).encode(),
            timeout=400,
            check=True,
        )
        return list(json.loads(done.stdout))

    free = run(None)
    compared = denied = 0
    wrong: list[str] = []
    for profile in found:
        judge = Evaluator(profile)
        for (operation, question), plain, confined in zip(some, free, run(profile.label), strict=True):
            if plain in (errno.EACCES, errno.EPERM, errno.ENODEV, errno.ENOENT, errno.EINVAL, 255):
                continue  # It fails without any profile too, so it says nothing.
            query = parse_query(question)
            assert not isinstance(query, RawQuery)
            answer = judge.ask(query)
            lacking = [
                n for n in answer.needs if not judge.ask(CapabilityQuery(CAPABILITIES.index(n))).allowed
            ]
            if isinstance(query, MountQuery) and lacking:
                continue
            refused = confined in (errno.EACCES, errno.EPERM)
            if confined == errno.EPERM and question["kind"] == "file":
                continue  # A capability that this very file asks for.
            compared += 1
            denied += refused
            if refused is answer.allowed:
                wrong.append(f"{profile.label}: {operation}: errno {confined}, predicted {answer}")
    tell(f"{lab.release.name}: {compared} real operations compared, {denied} refused, {len(wrong)} differ")
    lab.run(f"kill -9 {pid}")
    assert not wrong, "\n".join(wrong[:30])
    assert compared > (5000 if FULL else 1500)
