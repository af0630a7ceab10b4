"""Starts a container, has its side perform operations one by one, and judges each on the host.

Reads one JSON order from standard input, prints one JSON answer.  Must not know operations.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from typing import Any

from efficacy.outside.judges import Judges
from efficacy.outside.link import PROGRAM, Inside
from efficacy.outside.lists import for_others, hosts_files
from efficacy.outside.system import SECRET, STATE, read, restore, sh, value_of
from efficacy.outside.targets import Targets
from efficacy.syscalls import libc

LIMIT = 12
"""Seconds for one operation."""
SWEEP_LIMIT = 420


class Run:
    """One container's operations."""

    def __init__(self, targets: Targets, inside: Inside) -> None:
        self.targets, self.inside = targets, inside
        self.judges = Judges(targets)

    def attempt(self, row: dict[str, Any], env: dict[str, Any]) -> dict[str, Any]:
        """judge(), with what went wrong on this side as `broken`."""
        try:
            return self.judge(row, dict(env))
        except Exception as failure:
            return {"name": row["name"], "done": False, "broken": True, "error": f"host: {failure!r}"[:300]}

    def judge(self, row: dict[str, Any], env: dict[str, Any]) -> dict[str, Any]:
        """One operation, judged."""
        self._prepare(row, env)
        watch, check = row["watch"], row["check"]
        before = value_of(watch) if watch else None
        answer = self.inside.ask({"name": row["name"], "do": row["do"], "env": env, "limit": LIMIT})
        done = bool(answer["ok"])
        error = answer.get("error", "")
        if watch:
            after = value_of(watch)
            done = before is not None and after != before
            if done:
                restore(watch, before or "")
        elif check:
            try:
                done = self.judges.reached(check)
            except OSError as failure:
                done, error = False, f"{error}; judge: {failure}"
        elif row["secret"]:
            done = SECRET in answer.get("result", "")
        if row["dangerous"]:
            self.judges.put_back(check)
        victim = self.targets.victim
        if row["needs"] == "victim" and victim.there() and (victim.state() in "Tt" or check):
            victim.end()
        said = {"name": row["name"], "done": done}
        if error and not done:
            said["error"] = error
        if answer.get("broken"):
            said["broken"] = True
        return said

    def _prepare(self, row: dict[str, Any], env: dict[str, Any]) -> None:
        if row["needs"] == "victim":
            victim = self.targets.victim
            if not victim.there():
                victim.start(self.targets.init)
            env["victim"], env["victim_host"] = victim.inner(), victim.pid
            env["address"] = int(read(f"{STATE}/victim.address"))
        elif row["needs"] == "module":
            sh("modprobe", "dummy", check=False)
        self.judges.before(row["check"])

    def sweep(self) -> dict[str, Any]:
        """Every writable file of the host's /proc and /sys, opened under every name (inside/sweep.py)."""
        unprivileged = read(f"/proc/{self.targets.init}/uid_map").split()[1] != "0"
        files = hosts_files(unprivileged=unprivileged)
        moved = for_others(files) if unprivileged else files
        env = {"files": files, "moved": moved, "seconds": SWEEP_LIMIT - 60}
        do = "result = sweep(env['files'], env['moved'], env['seconds'])"
        order = {"name": "sweep", "do": do, "env": env, "limit": SWEEP_LIMIT}
        answer = self.inside.ask(order)
        if not answer["ok"]:
            return {"failed": answer.get("error", "")}
        found: dict[str, Any] = json.loads(answer["result"])
        return found


def make_private(pid: int) -> None:
    """All mounts of a container's init; not by its own mount(8), which is set-user-ID for another user."""
    space = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
    worker = os.fork()
    if worker == 0:
        failed = libc.setns(space, 0x20000) or libc.mount(None, b"/", None, (1 << 18) | 16384, None)
        os._exit(1 if failed else 0)
    os.close(space)
    if os.waitpid(worker, 0)[1]:
        raise RuntimeError("the container's mounts could not be made private")


def start(name: str) -> str:
    """Start the container; what LXC said where it does not start, else nothing."""
    done = subprocess.run(
        ["lxc-start", "-n", name, "-d", "-l", "INFO", "-o", f"/tmp/lxc-{name}.log"],
        capture_output=True, timeout=90, check=False,
    )  # fmt: skip
    if not done.returncode:
        return ""
    log = sh("grep", "-E", " (ERROR|WARN) ", f"/tmp/lxc-{name}.log", check=False)
    return done.stderr.decode("latin-1") + log[-1500:]


def main() -> None:
    order = json.load(sys.stdin)
    name = order["container"]
    targets = Targets(name)
    answer: dict[str, Any] = {"results": []}
    shutil.copy("/run/phoenix-efficacy/inside.pyz", targets.rootfs + PROGRAM)
    os.chmod(targets.rootfs + PROGRAM, 0o644)
    started = time.monotonic()
    # A container that runs is asked as it is, and goes on.
    runs = bool(order.get("runs"))
    failed = "" if runs else start(name)
    if failed:
        print(json.dumps({"failed": failed}))
        return
    targets.init = int(sh("lxc-info", "-n", name, "-pH").strip())
    answer["start_seconds"] = round(time.monotonic() - started, 2)
    answer["label"] = read(f"/proc/{targets.init}/attr/current").strip("\0\n")
    # Otherwise what one operation mounts would reach the next.
    make_private(targets.init)
    targets.make_key()
    targets.make_map()
    inside = Inside(name)
    run = Run(targets, inside)
    env = targets.environment(order["upper"])
    begun = time.monotonic()
    for row in order["rows"]:
        if time.monotonic() - begun > order["limit"]:
            answer["cut"] = row["name"]
            break
        said = run.attempt(row, env)
        if said.get("broken"):
            # Not an answer about the profile: a start that took too long, say.  Once more.
            said = run.attempt(row, env)
        answer["results"].append(said)
    answer["seconds"] = round(time.monotonic() - begun, 1)
    if order["sweep"]:
        answer["sweep"] = run.sweep()
        answer["sweep_seconds"] = round(time.monotonic() - begun - answer["seconds"], 1)
    answer["attached"] = inside.starts
    attach = ["lxc-attach", "-n", name, "--clear-env", "--", "/bin/true"]
    answer["attach"] = subprocess.run(attach, capture_output=True, timeout=30, check=False).returncode == 0
    inside.end()
    targets.victim.end()
    targets.end_fuse()
    if runs:
        print(json.dumps(answer))
        return
    stopped = time.monotonic()
    subprocess.run(["lxc-stop", "-n", name, "-k"], capture_output=True, timeout=60, check=False)
    answer["killed"] = not os.path.exists(f"/proc/{targets.init}")
    answer["stop_seconds"] = round(time.monotonic() - stopped, 2)
    print(json.dumps(answer))
