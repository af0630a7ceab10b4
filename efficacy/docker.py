"""`python -m efficacy.docker`: real Docker and podman in real containers under our profiles; writes docs/docker.json.

Owns the operations, the combinations they are run in and the table.  A row that fails makes it end with 1.
Must not know rules: which profile allows what is decided by etc/apparmor and by what happens here.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from efficacy.labside import install_companion, install_profiles, lab_answers, say
from efficacy.places import COMPANION, KINDS, TOP
from efficacy.places import Place as Setting
from efficacy.rows import DOCKER, NESTING, STORAGE

PROFILES = (DOCKER, STORAGE, NESTING)
DISKS = ("docker-trixie", "docker-forky")
MASKED = ("docker.service", "docker.socket", "podman.service", "podman.socket", "podman-auto-update.timer")
"""Docker is started by the first row, so that it is timed by itself."""
MODULES = "overlay bridge veth br_netfilter nf_tables nft_compat nft_chain_nat xt_MASQUERADE xt_addrtype xt_conntrack"
LIMIT = 240
"""Seconds for one row, on a busy machine that emulates."""
BOOT = 180
"""Seconds until the container's systemd has a bus and its jobs are done."""

STARTED = """
systemctl unmask --runtime docker.service docker.socket
rm -f /etc/systemd/system/docker.service /etc/systemd/system/docker.socket
systemctl daemon-reload && systemctl start docker
"""
IMPORT = """
rm -rf /root/image && mkdir -p /root/image/bin /root/image/etc /root/image/tmp && cd /root/image
cp /bin/busybox bin/
for a in sh ls cat echo sleep touch head wget httpd mount; do ln -sf busybox bin/$a; done
echo root:x:0:0::/:/bin/sh > etc/passwd
tar c . | docker import - bb
"""
BUILD = """
rm -rf /root/build && mkdir -p /root/build && cd /root/build
printf 'FROM bb\\nRUN echo built > /tmp/f\\nCOPY Dockerfile /tmp/D\\nRUN cat /tmp/f\\n' > Dockerfile
DOCKER_BUILDKIT=0 docker build -t built . && docker run --rm RUNTIME built cat /tmp/f | grep -x built
"""
PODMAN_BUILD = """
rm -rf /root/build && mkdir -p /root/build && cd /root/build
printf 'FROM localhost/pb\\nRUN echo built > /tmp/f\\nRUN cat /tmp/f\\n' > Dockerfile
podman --runtime NAMED build --network none -t built . && podman --runtime NAMED run --rm --network none built cat /tmp/f | grep -x built
"""
NETWORK = """
trap 'docker rm -f web; docker network rm n1' EXIT
docker network create n1
docker run -d --name web RUNTIME --network n1 bb sh -c 'echo hi > /tmp/index.html; exec httpd -f -p 80 -h /tmp'
for i in 1 2 3 4 5; do docker exec web ls /tmp/index.html && break; sleep 1; done
docker run --rm RUNTIME --network n1 bb wget -T 20 -qO- http://web/index.html | grep -x hi
"""
PUBLISH = """
trap 'docker rm -f pub' EXIT
docker run -d --name pub RUNTIME -p 8080:80 bb sh -c 'echo hi > /tmp/index.html; exec httpd -f -p 80 -h /tmp'
for i in 1 2 3 4 5; do busybox wget -T 20 -qO- http://127.0.0.1:8080/index.html | grep -x hi && exit 0; sleep 1; done
exit 1
"""


@dataclass(frozen=True, slots=True)
class Operation:
    """A shell script run as root in the container; RUNTIME stands for `--runtime NAME`.

    It succeeded where it ends with 0, or, with `says`, where it says that.
    """

    name: str
    do: str
    says: str = ""
    setup: bool = False
    """Whether later rows need it: it is always run."""
    not_crun: str = ""
    """Why crun cannot do it under these profiles; told, and not tried, with crun."""


OPERATIONS = (
    Operation("dockerd starts", STARTED, setup=True),
    Operation("docker import", IMPORT, setup=True),
    Operation("docker run", "docker run --rm RUNTIME bb echo hello", "hello"),
    Operation(
        "ip_unprivileged_port_start",
        "docker run --rm RUNTIME bb cat /proc/sys/net/ipv4/ip_unprivileged_port_start | grep -x 0",
    ),
    Operation(
        "--device /dev/nvidia0",
        "docker run --rm RUNTIME --device /dev/nvidia0 bb sh -c 'cat /dev/nvidia0' 2>&1",
        "No such device",
    ),
    Operation(
        "-v, --memory, --pids-limit",
        "docker run --rm RUNTIME -v vol:/data -v /srv:/srv:ro --memory 64m --pids-limit 50 bb "
        "sh -c 'touch /data/a && ! touch /srv/x'",
    ),
    Operation(
        "--read-only --tmpfs",
        "docker run --rm RUNTIME --read-only --tmpfs /tmp bb sh -c 'touch /tmp/b && ! touch /x'",
        not_crun="crun mounts tmpfs with MS_REC, which no rule can name together with a type",
    ),
    Operation("docker build", BUILD),
    Operation("two containers on a bridge", NETWORK),
    Operation("--publish", PUBLISH),
    Operation("--privileged", "docker run --rm RUNTIME --privileged bb echo hello", "hello"),
    Operation("podman import", "cd /root/image && tar c . | podman import -q - pb", setup=True),
    Operation("podman run", "podman --runtime NAMED run --rm --network none pb echo hello", "hello"),
    Operation("podman run with a network", "podman --runtime NAMED run --rm pb echo hello", "hello"),
    Operation(
        "podman run --device /dev/nvidia0",
        "podman --runtime NAMED run --rm --network none --device /dev/nvidia0 pb sh -c 'cat /dev/nvidia0' 2>&1",
        "No such device",
    ),
    Operation("podman build", PODMAN_BUILD),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the operations are run."""

    disk: str
    kind: str
    profile: str
    runtime: str = "runc"
    only: tuple[str, ...] = ()
    """Operations by name; all where empty."""


SHORT = ("docker run", "--device /dev/nvidia0", "docker build", "two containers on a bridge", "podman run")


def places() -> Iterator[Place]:
    """What the promise is measured in: everything under the Docker profile, the four of `SHORT` elsewhere."""
    for disk in DISKS:
        for kind in KINDS:
            yield Place(disk, kind, DOCKER)
            yield Place(disk, kind, DOCKER, "crun")
    for profile in (STORAGE, NESTING):
        for kind in KINDS:
            yield Place("docker-trixie", kind, profile, only=SHORT)


def main() -> int:
    """0 where every row succeeded, 1 where one did not."""
    parser = argparse.ArgumentParser(prog="efficacy.docker", description=__doc__)
    parser.add_argument("--release", default="trixie", choices=("trixie", "bookworm"))
    parser.add_argument("--disk", action="append", choices=DISKS)
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--profile", action="append", choices=PROFILES)
    parser.add_argument("--runtime", action="append", choices=("runc", "crun"))
    parser.add_argument("--operation", action="append", help="Only operations whose name contains this.")
    parser.add_argument(
        "--no-seccomp", action="store_true", help="Privileged containers without Phoenix's companion."
    )
    parser.add_argument("--output", type=Path, default=TOP / "docs" / "docker.json")
    given = parser.parse_args()
    chosen = [
        one
        for one in places()
        if (not given.disk or one.disk in given.disk)
        and (not given.kind or one.kind in given.kind)
        and (not given.profile or one.profile in given.profile)
        and (not given.runtime or one.runtime in given.runtime)
    ]
    rows = list(measure(given.release, chosen, given.operation or (), given.output, not given.no_seccomp))
    sys.stdout.write(table(rows))
    failed = sum(row["verdict"] == "failed" for row in rows)
    print(f"asked={len(rows)} failed={failed}")
    return 1 if failed or not rows else 0


def measure(
    release: str, chosen: list[Place], words: tuple[str, ...], output: Path, seccomp: bool
) -> Iterator[dict[str, Any]]:
    """Every operation in every chosen place; each place's rows are saved as soon as they are there."""
    from phoenix_hypervisor.lab.booted import Lab
    from phoenix_hypervisor.lab.cache import Cache
    from phoenix_hypervisor.lab.rootdisk import ensure_root_disk

    used = [name for name in DISKS if any(place.disk == name for place in chosen)]
    made = {name: ensure_root_disk(Cache(), name, progress=say) for name in used}
    devices = {name: f"/dev/vd{letter}" for name, letter in zip(used, "bcd", strict=False)}
    say(f"{release}: starting the lab")
    with Lab(release, memory=1536, more_disks=[one.disk for one in made.values()], progress=say) as lab:
        install_profiles(lab)
        install_companion(lab, None)
        lab.run(["modprobe", "-a", *MODULES.split()], check=True)
        assert lab.image is not None
        for number, place in enumerate(chosen, start=800):
            versions = {
                n: made[place.disk].packages[n] for n in ("docker.io", "podman", "runc", "crun", "systemd")
            }
            rows = [
                {"release": release, "kernel": lab.image.kernel, **_facts(place), "versions": versions, **row}
                for row in _place(lab, number, place, devices[place.disk], words, seccomp)
            ]
            keep(rows, output)
            yield from rows
            if not lab_answers(lab):
                raise SystemExit("the lab died\n" + "\n".join(lab.console().splitlines()[-20:]))


def _facts(place: Place) -> dict[str, str]:
    return {"disk": place.disk, "kind": place.kind, "profile": place.profile, "runtime": place.runtime}


def _place(
    lab: Any, number: int, place: Place, device: str, words: tuple[str, ...], seccomp: bool
) -> Iterator[dict[str, Any]]:
    from phoenix_hypervisor.lab.guest_containers import make_container

    setting = Setting(place.kind, "stock", place.profile)
    extra = "lxc.apparmor.allow_nesting = 1\n"
    if seccomp and setting.privileged and place.profile != NESTING:
        extra += f"lxc.seccomp.profile = {COMPANION}\n"
    box = make_container(
        lab, number, layer="stock", privileged=setting.privileged, rootfs="debian", nvidia=True, extra=extra,
        profile=setting.assigned, disk=device, data=("docker", "containerd", "containers"), masked=MASKED,
    )  # fmt: skip
    try:
        started = box.start()
        if not started.ok:
            yield {"operation": "lxc-start", "verdict": "failed", "said": started.stderr[-600:]}
            return
        # Not until everything is up: a unit that the profile refuses is tried again and again.
        box.attach(
            f"i=0; while [ $i -lt {BOOT - 20} ] && ! systemctl is-active -q basic.target; "
            "do sleep 1; i=$((i+1)); done",
            timeout=BOOT,
        )
        for operation in OPERATIONS:
            wanted = not place.only or operation.name in place.only
            wanted = wanted and (not words or any(word in operation.name for word in words))
            if operation.setup or wanted:
                yield _row(lab, box, operation, place.runtime)
    finally:
        box.remove()


def _row(lab: Any, box: Any, operation: Operation, runtime: str) -> dict[str, Any]:
    if runtime == "crun" and operation.not_crun:
        return {"operation": operation.name, "verdict": "not with crun", "said": operation.not_crun}
    lab.mark()
    script = operation.do.replace("NAMED", runtime).replace(
        "RUNTIME", f"--runtime {runtime}" if runtime != "runc" else ""
    )
    started = time.monotonic()
    result = box.attach(f"set -o pipefail 2>/dev/null\n{script}", timeout=LIMIT)
    worked = operation.says in result.stdout if operation.says else result.ok
    row: dict[str, Any] = {
        "operation": operation.name,
        "verdict": "works" if worked and not result.timed_out else "failed",
        "seconds_emulated": round(time.monotonic() - started, 1),
    }
    if row["verdict"] == "failed":
        row["said"] = (result.stderr or result.stdout)[-600:]
        row["denied"] = sorted({str(one)[-300:] for one in lab.denials()})[:10]
    say(f"{box.name} {runtime} {operation.name}: {row['verdict']} {row.get('said', '')[-300:]}")
    return row


KEY = ("release", "disk", "kind", "profile", "runtime", "operation")


def keep(rows: list[dict[str, Any]], output: Path) -> None:
    """Save rows; they replace what is on file of the same combination and operation."""
    old = json.loads(output.read_text())["rows"] if output.exists() else []
    found = {tuple(row[k] for k in KEY): row for row in [*old, *rows]}
    document = {"version": 1, "taken": time.strftime("%Y-%m-%d", time.gmtime()), "rows": list(found.values())}
    part = output.with_suffix(".part")
    part.write_text(json.dumps(document, indent=1) + "\n")
    part.replace(output)


def table(rows: list[dict[str, Any]]) -> str:
    """One line a row, and below a failed one what was said and denied."""
    lines = []
    for row in rows:
        version = row["versions"][row["runtime"]].split("+")[0].split("-")[0]
        lines.append(
            f"{row['release']:8} {row['runtime']:4} {version:7} {row['profile']:22} {row['kind']:12} "
            f"{row['operation']:28} {row['verdict']}"
        )
        lines += [
            f"    {line}" for line in (row.get("said", "").strip().splitlines() + row.get("denied", []))
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
