"""`make fleet-bench`: many nodes of many containers each, as directories, through the collection's own code.

Every node is imported, planned, applied, planned again and verified by what the Ansible modules run, without
ssh.  Then one cluster that shows all of them is looked at as a whole.  Prints a table beside what pmxcfs
takes, and writes bench/fleet.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

TOP = Path(__file__).resolve().parents[1]
WORK = TOP / "bench/work/fleet"
PHOENIX = str(TOP / "bin/phoenix")
SOURCES = TOP / "bench/work/fleet/sources"
BETWEEN = 4
"""After every so many nodes the first one is asked again."""
ALONE = 20
"""Runs with nothing to do of one node, before those of all."""
CONFIG = "etc/pve/phoenix/phoenix_lxc_configs.json"

MAX_FILE, MAX_TOTAL, MAX_FILES = 1024 * 1024, 128 * 1024 * 1024, 256 * 1024
"""What pmxcfs takes: bytes of a file, bytes of all, files (pve-cluster 9.1.6, memdb.h)."""

PROFILE = (
    "include <tunables/global>\nprofile {name} flags=(attach_disconnected) {{\n  file,\n  network,\n}}\n"
)
CONF = """arch: amd64
cores: 4
features: nesting=1
hostname: ct{ctid}
memory: 2048
net0: name=eth0,bridge=vmbr0,ip=dhcp,type=veth
ostype: debian
rootfs: local-zfs:subvol-{ctid}-disk-0,size=16G
swap: 512
unprivileged: 1
"""


@dataclass
class Phase:
    """What one verb cost, node by node."""

    name: str
    cpu: list[float] = field(default_factory=list)
    """Seconds."""
    memory: float = 0
    """MiB; the most of any run."""
    wall: float = 0
    """Seconds, for all nodes."""


@dataclass
class Row:
    """One line of the table; `met` is None where there is no budget."""

    what: str
    measured: str
    budget: str = ""
    met: bool | None = None


def module_code() -> ModuleType:
    """The collection's own code, as its modules use it."""
    path = TOP / "ansible/plugins/module_utils/command.py"
    spec = importlib.util.spec_from_file_location("phoenix_command", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Runner:
    """Runs `phoenix` and remembers what that cost."""

    def __init__(self) -> None:
        self.cpu = self.memory = 0.0

    def __call__(self, argv: Sequence[str]) -> tuple[int, str, str]:
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            assert process.stdout is not None
            out = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        self.cpu += usage.ru_utime + usage.ru_stime
        self.memory = max(self.memory, usage.ru_maxrss / 1024)
        return process.returncode, out.decode("utf-8", "surrogateescape"), ""


def linked(source: Path, target: Path) -> None:
    """A copy of a folder by hard links: Phoenix replaces files, and never writes into one."""
    shutil.copytree(source, target, copy_function=os.link, symlinks=True)


def prepare() -> None:
    """What all nodes have in common."""
    shutil.rmtree(WORK, ignore_errors=True)
    etc = SOURCES / "etc"
    etc.mkdir(parents=True)
    for name in ("tunables", "abi"):
        shutil.copytree(f"/etc/apparmor.d/{name}", etc / f"apparmor.d/{name}", symlinks=True)
    (etc / "apparmor").mkdir()
    shutil.copy("/etc/apparmor/parser.conf", etc / "apparmor/parser.conf")
    shutil.copytree("/usr/share/apparmor-features", SOURCES / "usr/share/apparmor-features")
    own = SOURCES / "usr/local/phoenix_hypervisor/etc/apparmor"
    own.mkdir(parents=True)
    for name in ("lxc-one", "lxc-two"):
        (own / name).write_text(PROFILE.format(name=name))


def node_name(number: int) -> str:
    return f"n{number:04}"


def ctids(number: int, count: int) -> list[str]:
    """In a cluster each id is one container's."""
    return [str(100_000 + number * 1000 + index) for index in range(count)]


def build(number: int, count: int) -> Path:
    """One node, with containers that have no profile line."""
    host = WORK / "nodes" / node_name(number)
    linked(SOURCES, host)
    lxc = host / f"etc/pve/nodes/{node_name(number)}/lxc"
    lxc.mkdir(parents=True)
    (host / "etc/pve/lxc").symlink_to(f"nodes/{node_name(number)}/lxc")
    (host / "etc/pve/local").symlink_to(f"nodes/{node_name(number)}")
    for ctid in ctids(number, count):
        (lxc / f"{ctid}.conf").write_text(CONF.format(ctid=ctid))
    return host


def assigned(number: int, host: Path) -> None:
    """What an operator does after the import: nine of ten containers get a profile."""
    path = host / CONFIG
    document = json.loads(path.read_bytes())
    for index, entry in enumerate(document["lxc_configs"].values()):
        if index % 10:
            entry["apparmor_profile"] = ("lxc-one", "lxc-two")[index % 2]
        entry["node"] = node_name(number)
    path.write_text(json.dumps(document, indent=1))


def measured(
    phase: Phase, nodes: int, work: Callable[[int, Runner], None], side_by_side: int
) -> Iterator[None]:
    """Run `work` for every node, and note what it cost."""

    def one(number: int) -> Runner:
        runner = Runner()
        work(number, runner)
        return runner

    begin = time.perf_counter()
    with ThreadPoolExecutor(side_by_side) as pool:
        for runner in pool.map(one, range(nodes)):
            phase.cpu.append(runner.cpu)
            phase.memory = max(phase.memory, runner.memory)
            yield
    phase.wall = time.perf_counter() - begin


def rows_of(phase: Phase, rows: list[Row]) -> None:
    """A phase in lines: what a node costs, and whether the last cost what the first did."""
    part = max(1, len(phase.cpu) // 10)
    first, last = (statistics.median(some) for some in (phase.cpu[:part], phase.cpu[-part:]))
    rows.append(
        Row(
            f"{phase.name}, {len(phase.cpu)} nodes",
            f"{phase.wall:.0f} s; {statistics.median(phase.cpu):.2f} s CPU a node; {phase.memory:.0f} MiB",
        )
    )
    rows.append(
        Row(f"{phase.name}, last tenth of the nodes against the first", f"{last / first:.2f}x", "1.25x",
            last <= 1.25 * first)
    )  # fmt: skip


def nodes_of(code: ModuleType, nodes: int, count: int, side_by_side: int, rows: list[Row]) -> None:
    """The nodes one by one, by each verb of the collection."""
    hosts = {number: WORK / "nodes" / node_name(number) for number in range(nodes)}

    def params(number: int) -> dict[str, Any]:
        given = dict.fromkeys(code.COMMON | code.SIGNED) | {"executable": PHOENIX, "root": str(hosts[number])}
        more = {"containers": [], "start": False, "restart": False, "skip_refused": False, "strict": True}
        return {**given, **more, "output": None, "all_nodes": False}

    def imported(number: int, run: Runner) -> None:
        build(number, count)
        result = code.import_(run, params(number), False)
        assert result["changed"] and len(result["containers"]) == count, result
        assigned(number, hosts[number])

    def planned(number: int, run: Runner) -> None:
        result = code.apply(run, params(number), True)
        assert len(result["changes"]) == count - count // 10 + 2, len(result["changes"])

    def applied(number: int, run: Runner) -> None:
        assert code.apply(run, params(number), False)["changed"]

    def again(number: int, run: Runner) -> None:
        assert not code.apply(run, params(number), False)["changed"]

    def verified(number: int, run: Runner) -> None:
        assert code.verify(run, params(number), True)["as_declared"]

    ones: list[float] = []
    """CPU of the first node's runs with nothing to do, between those of all: what else runs is in both."""

    def again_and_one(number: int, run: Runner) -> None:
        again(number, run)
        if number % BETWEEN == 0:
            first = Runner()
            again(0, first)
            ones.append(first.cpu)

    verbs = {
        "import": imported,
        "plan": planned,
        "apply": applied,
        "apply, no-op": again_and_one,
        "verify": verified,
    }
    phases = {}
    alone: list[float] = []
    """Seconds of the first node's runs with nothing to do, nothing beside them."""
    for name, work in verbs.items():
        if name == "apply, no-op":
            for _ in range(ALONE):
                begin = time.perf_counter()
                again(0, Runner())
                alone.append(time.perf_counter() - begin)
        phases[name] = Phase(f"{name}, {count} containers each")
        for done, _ in enumerate(measured(phases[name], nodes, work, side_by_side), 1):
            if sys.stderr.isatty() and done % 10 == 0:
                print(f"\r{name}: {done} of {nodes}   ", end="", file=sys.stderr, flush=True)
        rows_of(phases[name], rows)
    # The first node's runs in between are in the phase's time, and no part of what is compared.
    wall, one = phases["apply, no-op"].wall * nodes / (nodes + len(ones)), statistics.fmean(alone)
    rows.append(
        Row(
            f"no-op of {nodes} nodes against that of one, elapsed",
            f"{wall / one:.0f}x ({wall:.1f} s, {one:.3f} s)",
            f"{nodes}x",
            wall <= nodes * one,
        )
    )
    total, single = sum(phases["apply, no-op"].cpu), statistics.fmean(ones)
    rows.append(
        Row(
            f"no-op of {nodes} nodes against that of one, CPU",
            f"{total / single:.0f}x",
            f"{nodes}x",
            # One run's CPU time differs by some percent from the next one's.
            total <= 1.05 * nodes * single,
        )
    )


def cluster(nodes: int) -> Path:
    """One cluster that shows the containers of all nodes, and a configuration that declares them."""
    host = WORK / f"cluster-{nodes}"
    shutil.rmtree(host, ignore_errors=True)
    linked(SOURCES, host)
    entries: dict[str, Any] = {}
    for number in range(nodes):
        name = node_name(number)
        linked(WORK / "nodes" / name / f"etc/pve/nodes/{name}/lxc", host / f"etc/pve/nodes/{name}/lxc")
        entries |= json.loads((WORK / "nodes" / name / CONFIG).read_bytes())["lxc_configs"]
    (host / "etc/pve/lxc").symlink_to(f"nodes/{node_name(0)}/lxc")
    (host / "etc/pve/local").symlink_to(f"nodes/{node_name(0)}")
    (host / CONFIG).parent.mkdir(parents=True)
    (host / CONFIG).write_text(json.dumps({"lxc_configs": entries}, indent=1))
    return host


def whole(nodes: int, count: int, rows: list[Row]) -> None:
    """What is seen of all at once, of a fifth of the nodes and of all."""
    costs: dict[int, tuple[float, float]] = {}
    for size in (max(1, nodes // 5), nodes):
        host, run = cluster(size), Runner()
        begin = time.perf_counter()
        status, out, _ = run([PHOENIX, "--root", str(host), "status", "--all-nodes", "--json"])
        wall = time.perf_counter() - begin
        document = json.loads(out)
        seen = [one for node in document["nodes"] for one in node["containers"]]
        assert status == 0 and len(seen) == (size - 1) * count, (status, len(seen))
        assert all(one["line_as_declared"] for one in seen)
        costs[size] = (run.cpu, run.memory)
        rows.append(
            Row(
                f"status --all-nodes, {size * count:,} containers",
                f"{wall:.1f} s; {run.memory:.0f} MiB; {len(out) / 2**20:.1f} MiB of JSON",
            )
        )
    few, many = min(costs), max(costs)
    growth, factor = costs[many][0] / costs[few][0], many / few
    rows.append(
        Row(f"CPU at {factor:.0f} times as many nodes", f"{growth:.1f}x", f"{1.2 * factor:.1f}x",
            growth <= 1.2 * factor)
    )  # fmt: skip
    rows.append(
        Row(f"memory at {many * count:,} containers", f"{costs[many][1]:.0f} MiB", "2048 MiB",
            costs[many][1] < 2048)
    )  # fmt: skip
    limits(WORK / f"cluster-{nodes}", nodes, count, rows)


def limits(host: Path, nodes: int, count: int, rows: list[Row]) -> None:
    """What of it pmxcfs takes."""
    config = (host / CONFIG).stat().st_size
    confs = [path.stat().st_size for path in (host / "etc/pve/nodes").glob("*/lxc/*.conf")]
    each = config / max(1, nodes * count)
    rows.append(
        Row(
            "one configuration for all of them",
            f"{config / 2**20:.1f} MiB, {each:.0f} bytes a container",
            f"pmxcfs: 1 MiB, {MAX_FILE / each:,.0f} containers",
        )
    )
    rows.append(
        Row(
            "files in /etc/pve",
            f"{len(confs) + nodes + 1:,}",
            f"pmxcfs: {MAX_FILES:,}",
        )
    )
    total = sum(confs) + config
    rows.append(Row("bytes in /etc/pve", f"{total / 2**20:.0f} MiB", f"pmxcfs: {MAX_TOTAL / 2**20:.0f} MiB"))


def main() -> int:
    """Measure; exit 1 where a budget is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--containers", type=int, default=200, help="of each node, at most 1,000")
    parser.add_argument("--side-by-side", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    rows: list[Row] = []
    prepare()
    nodes_of(module_code(), given.nodes, given.containers, given.side_by_side, rows)
    whole(given.nodes, given.containers, rows)
    width = max(len(row.what) for row in rows)
    for row in rows:
        verdict = {True: "met", False: "MISSED", None: ""}[row.met]
        print(f"{row.what:<{width}}  {row.measured:<48}  {row.budget:<30} {verdict}".rstrip())
    result = {"version": 1, "cores": os.cpu_count(), "rows": [asdict(row) for row in rows]}
    (TOP / "bench/fleet.json").write_text(json.dumps(result, indent=1) + "\n")
    shutil.rmtree(WORK, ignore_errors=True)
    return 1 if any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
