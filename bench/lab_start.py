"""How long a lab takes to its first answer: from the saved machine, from the image, from nothing.

Prints wall and CPU seconds (this process and QEMU); asserts nothing.  `--nothing` builds the image
in an empty cache, which downloads packages.

    PYTHONPATH=src python bench/lab_start.py [--release bookworm] [--nothing]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.lab.cache import Cache

ROUNDS = 5
VERDICT = "cat /proc/self/attr/current; aa-exec -p lxc-container-default-cgns -- cat /proc/sysrq-trigger"


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def once(release: str, *, snapshot: bool, cache: Cache) -> tuple[float, float, float]:
    """Seconds to the agent's first answer, to a verdict of AppArmor, and of CPU."""
    before, started = time.process_time(), time.monotonic()
    with Lab(release, snapshot=snapshot, cache=cache) as lab:
        lab.run(["true"], check=True)
        first = time.monotonic() - started
        done = lab.run(VERDICT)
        if "Permission denied" not in done.stderr:
            raise SystemExit(f"no verdict: {done}")
        verdict = time.monotonic() - started
        used = time.process_time() - before + cpu(lab.machine.pid)
    return first, verdict, used


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--release", default="trixie")
    parser.add_argument("--nothing", action="store_true")
    words = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    if words.nothing:
        with tempfile.TemporaryDirectory() as empty:
            times = os.times()
            first, verdict, _ = once(words.release, snapshot=True, cache=Cache(Path(empty)))
            now = os.times()
            used = sum(now[:4]) - sum(times[:4])
            print(f"nothing   first answer {first:6.2f} s  verdict {verdict:6.2f} s  CPU {used:6.2f} s")
    cache = Cache()
    once(words.release, snapshot=True, cache=cache)
    for name, snapshot in (("image", False), ("snapshot", True)):
        rounds = [once(words.release, snapshot=snapshot, cache=cache) for _ in range(ROUNDS)]
        first, verdict, used = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"{name:<9} first answer {first:6.2f} s  verdict {verdict:6.2f} s  CPU {used:6.2f} s (median)")


if __name__ == "__main__":
    main()
