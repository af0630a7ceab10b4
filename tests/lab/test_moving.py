"""What Debian makes next: a few questions to the releases in the making.

Their packages change from day to day.  Where one cannot be built or booted today, its tests say so and
skip (the Makefile allows that); the settled releases stay the gate.  Where it runs, a wrong answer fails.
`PHOENIX_LAB_RELEASES=forky` runs all other lab tests on one of them.
"""

from __future__ import annotations

import errno
import json
import os
import random
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.process import ProcessRunner
from phoenix_hypervisor.host.zstd import decompress
from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.lab.recipe import RELEASES, packaged_features
from phoenix_hypervisor.plan.mediation import read_dump
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.packed import is_packed, plain
from phoenix_hypervisor.policy.queries import RawQuery, parse_query
from phoenix_hypervisor.policy.reader import profile_names, read_policy
from phoenix_hypervisor.policy.sockets import asks
from support.lab_access import compile_and_load, disagreements, kernel_answers, questions
from support.lab_host import SHIPPED, box, declare, make_ready, phoenix, verify

GUEST = Path(__file__).parent / "guest"
MOVING = [name for name, release in RELEASES.items() if release.moving]
ASKED = MOVING if os.environ.get("PHOENIX_MOVING") else MOVING[-1:]
"""`make test` asks the newest, which has the next generation of the parser; `make moving-test` asks all."""
SAMPLE = 1500
"""Questions to each profile as each of two users."""
BASE = "lxc-nvidia-gpu-base"
CORE_PATTERN = "/proc/sys/kernel/core_pattern"
ODD = """\
profile lxc-t-odd flags=(attach_disconnected.path=/dis) {
  /x/** r,
  owner /home/** rw,
  deny owner /home/*/no r,
  audit /z w,
  network inet stream,
  network netlink raw,
  unix (create, bind, listen) type=stream addr=@foo*,
  unix (connect, send, receive) type=dgram peer=(addr=@bar, label=other),
  unix (getattr, setopt) type=seqpacket,
  signal send set=(hup) peer=other,
  ptrace read peer=other,
  mount fstype=tmpfs options=(rw, nosuid) none -> /mnt/**,
  userns,
  io_uring,
  dbus send bus=system,
  mqueue (create, read) type=posix /q,
  capability sys_admin,
  change_profile /a -> b,
}
profile lxc-t-odd-fileless {
  network inet stream,
  signal,
  dbus,
}
"""


@pytest.fixture(scope="session")
def not_to_be_had() -> dict[str, str]:
    """Why a release cannot be had in this run, so that it is tried once."""
    return {}


@pytest.fixture(params=ASKED)
def lab(request: pytest.FixtureRequest, labs: Callable[[str], Lab], not_to_be_had: dict[str, str]) -> Lab:
    """A running lab of a release in the making; skips where there is none today."""
    name = str(request.param)
    if name not in not_to_be_had:
        try:
            found = labs(name)
        except PhoenixError as error:
            not_to_be_had[name] = "\n".join(error.message.splitlines()[:4])
        else:
            found.mark()
            return found
    pytest.skip(f"{name} cannot be built or does not boot today: {not_to_be_had[name]}")


@pytest.fixture(scope="session")
def made_ready() -> set[str]:
    """The releases with our profiles in them: once is enough, and the emulated compiler is slow."""
    return set()


@pytest.fixture
def ready(lab: Lab, made_ready: set[str]) -> Lab:
    """The same with the shipped profiles loaded by Phoenix."""
    if lab.release.name not in made_ready:
        make_ready(lab)
        made_ready.add(lab.release.name)
    return lab


def kernel_of(lab: Lab) -> tuple[int, int]:
    major, minor = lab.run(["uname", "-r"], check=True).stdout.split(".")[:2]
    return int(major), int(minor)


def test_it_is_the_next_generation(lab: Lab, tell: Callable[[str], None]) -> None:
    assert lab.image is not None
    packages = lab.image.packages
    versions = {name: packages[name] for name in ("apparmor", "lxc", "systemd", "python3")}
    words = ", ".join(f"{name} {version}" for name, version in versions.items())
    tell(f"{lab.release.name}: Linux {lab.image.kernel}, {words}")
    assert kernel_of(lab) >= (7, 0)
    assert lab.get("/sys/module/apparmor/parameters/enabled").strip() == b"Y"
    assert lab.profiles()["lxc-container-default-cgns"] == "enforce"
    if lab.features() != packaged_features(lab.release):
        tell(f"{lab.release.name}: its kernel's features are no longer those of {lab.release.features}")


def test_a_container_runs_under_base(ready: Lab) -> None:
    assert all(ready.profiles()[name] == "enforce" for name in SHIPPED)
    assert "changed=0" in phoenix(ready, "setup").stdout
    boxes = [
        box(ready, 990, layer="stock", privileged=True, rootfs="debian"),
        box(ready, 991, layer="bare", privileged=True),
        box(ready, 992, layer="stock", privileged=False),
    ]
    try:
        declare(ready, {container.name: BASE for container in boxes})
        done = phoenix(ready, "apply", "--all")
        assert done.ok, done.stdout + done.stderr
        labels = [container.label() for container in boxes]
        assert labels == [f"{BASE} (enforce)", f"{BASE} (enforce)", f"{BASE}-unprivileged (enforce)"]
        code, codes = verify(ready)
        assert code == 0, codes
        script = (GUEST / "sockets.py").read_text()
        said = boxes[0].attach(["python3", "-I", "-S", "-c", script])
        assert said.ok, said.stderr
        steps = json.loads(said.stdout)
        assert len(steps) > 30 and not any(steps.values()), {k: v for k, v in steps.items() if v}
        # In the bare layer nothing but AppArmor stands before it.
        before = ready.run(["cat", CORE_PATTERN], check=True).stdout
        escaped = boxes[1].attach(f"echo '|/tmp/x' > {CORE_PATTERN}")
        assert not escaped.ok and "ermission denied" in escaped.stderr, escaped
        assert ready.run(["cat", CORE_PATTERN]).stdout == before
        for container in boxes:
            assert container.stop(kill=True).ok
    finally:
        for container in boxes:
            container.remove()


def test_answers_are_the_kernels(ready: Lab, tell: Callable[[str], None]) -> None:
    ready.put("/etc/apparmor.d/lxc-t-odd", ODD)
    # With the ABI of the distribution's pin, and of AppArmor 4: classes 15, 14 and 4 for unix sockets.
    ready.put("/etc/apparmor.d/lxc-t-odd4", "abi <abi/4.0>,\n" + ODD.replace("lxc-t-odd", "lxc-t-odd4"))
    names = (BASE, "lxc-containers", "lxc-t-odd", "lxc-t-odd4")
    profiles = compile_and_load(ready, [f"/etc/apparmor.d/{name}" for name in names])
    chance, kernel = random.Random(11), kernel_of(ready)
    compared, wrong = 0, list[str]()
    for profile in profiles:
        every = list(questions(profile, chance, 1))
        asked = chance.sample(every, min(SAMPLE, len(every)))
        for uid in (0, 1000):
            answers = kernel_answers(ready, profile, asked, uid)
            wrong += disagreements(profile, asked, uid, answers, kernel)
            compared += len(asked)
    ready.run(
        "apparmor_parser -R /etc/apparmor.d/lxc-t-odd /etc/apparmor.d/lxc-t-odd4; rm -f /etc/apparmor.d/lxc-t-odd*"
    )
    tell(f"{ready.release.name}: {compared} answers of .access compared, {len(wrong)} differ")
    assert not wrong, "\n".join(wrong[:20])
    assert compared > 5_000


def unix_uses() -> Iterator[tuple[list[str | None], dict[str, object]]]:
    """Uses of unix sockets, each with the question that predicts it."""
    for kind in ("stream", "dgram", "seqpacket"):
        about: dict[str, object] = {"kind": "network", "family": "unix", "type": kind, "peer": "unconfined"}
        yield ["create", kind, None, None], about
        for own in (None, "foo-a", "zzz"):
            mine = about if own is None else {**about, "address": f"@{own}"}
            hows = [
                "setopt",
                "getopt",
                *(["bind"] if own else []),
                *(["listen"] if own and kind != "dgram" else []),
            ]
            for how in hows:
                yield [how, kind, own, None], {**mine, "access": how}
            for peer in ("bar", "qqq"):
                theirs = {**mine, "peer_address": f"@{peer}"}
                if kind == "dgram":
                    yield ["send", kind, own, peer], {**theirs, "access": "send"}
                else:
                    # unix_connect_perm asks for all three at once.
                    yield ["connect", kind, own, peer], {**theirs, "access": "connect,send,receive"}


def test_unix_sockets_are_as_predicted(ready: Lab, tell: Callable[[str], None]) -> None:
    """Real sockets: on sid the policy is of class 15, on forky of classes 14 and 4."""
    ready.put("/etc/apparmor.d/lxc-t-odd", ODD)
    ready.put("/etc/apparmor.d/lxc-t-odd4", "abi <abi/4.0>,\n" + ODD.replace("lxc-t-odd", "lxc-t-odd4"))
    profiles = compile_and_load(
        ready, [f"/etc/apparmor.d/{name}" for name in (BASE, "lxc-t-odd", "lxc-t-odd4")]
    )
    ready.put("/tmp/unixes.py", (GUEST / "unixes.py").read_bytes())
    uses = list(unix_uses())

    def run(profile: str | None) -> list[int]:
        order = {"profile": profile, "uses": [one for one, _ in uses]}
        argv = ["python3", "-I", "-S", "/tmp/unixes.py"]
        done = ready.run(argv, input=json.dumps(order).encode(), timeout=240, check=True)
        return list(json.loads(done.stdout))

    assert not any(run(None))
    how = asks(read_dump(ready.features()))
    refused, classes, wrong = 0, set[int](), list[str]()
    for profile in profiles:
        judge = Evaluator(profile, how)
        classes |= {number for number in (4, 14, 15) if profile.start(number)}
        for (one, question), code in zip(uses, run(profile.label), strict=True):
            query = parse_query(question)
            assert not isinstance(query, RawQuery)
            answer = judge.ask(query)
            assert code in (0, errno.EACCES, errno.EPERM), (profile.label, one, code)
            refused += code != 0
            if answer.allowed is (code != 0):
                wrong.append(f"{profile.label}: {one}: errno {code}, predicted {answer}")
    tell(
        f"{ready.release.name}: {len(uses) * len(profiles)} uses of unix sockets, {refused} refused, {len(wrong)} differ"
    )
    assert not wrong, "\n".join(wrong)
    assert refused and (15 in classes) is (ready.release.name == "sid"), classes


def test_compressed_policy_is_read(ready: Lab, tell: Callable[[str], None]) -> None:
    """What its parser makes for a kernel that takes compressed policy, as some derived from Ubuntu's do."""
    features = re.sub(rb"(?m)^policy \{", b"policy {compressed_load {yes\n}\n", ready.features())
    ready.put("/tmp/features", features)
    compile_ = "apparmor_parser --kernel-features /tmp/features -QKS /etc/apparmor.d/%s > /tmp/packed"
    packed = {}
    for name in (BASE, "lxc-containers"):
        ready.run(compile_ % name, check=True, timeout=120)
        packed[name] = ready.get("/tmp/packed")
    version = ready.run(["apparmor_parser", "--version"]).stdout
    compresses = "version 4" not in version
    for name, blob in packed.items():
        assert is_packed(blob) is compresses
        content = plain(blob, partial(decompress, ProcessRunner()))
        assert len(read_policy(content).profiles) == len(profile_names(content)) == (1 if name == BASE else 4)
    if not compresses:
        return
    # Told not to, the same parser gives just that, and Phoenix in the guest asks it so.
    ready.run(compile_.replace("-QKS", "-QKS --zstd-compress-level=none") % BASE, check=True, timeout=120)
    assert ready.get("/tmp/packed") == plain(packed[BASE], partial(decompress, ProcessRunner()))
    ready.put("/tmp/packed", packed["lxc-containers"])
    words = ("--policy", "/tmp/packed", "lxc-container-default", "file", "/proc/kcore", "--access", "r")
    asked = phoenix(ready, "policy", "query", *words)
    assert asked.rc == 3 and asked.stdout.startswith("denied"), asked
    compiled = phoenix(ready, "--features", "/tmp/features", "policy", "query", BASE, *words[3:])
    assert compiled.rc == 3 and compiled.stdout.startswith("denied"), compiled
    tell(f"{ready.release.name}: {BASE} compressed {len(packed[BASE])} bytes")
