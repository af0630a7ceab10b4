"""Doing to containers what a plan says.

Owns the performers for create, assign, start and restart: each does one action and
returns it as it was done.  Must not decide whether: the plan did.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import assert_never

from phoenix_hypervisor.containers import conf as codec
from phoenix_hypervisor.containers.runtime import Runtime
from phoenix_hypervisor.errors import CodedError, LeftAlone, PhoenixError
from phoenix_hypervisor.host.files import ChangedMeanwhile
from phoenix_hypervisor.host.kernel import Process, init_of
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.host.process import Completed, shortened
from phoenix_hypervisor.plan.actions import (
    MANAGED_KEYS,
    Action,
    AssignLines,
    ContainerAction,
    CreateContainer,
    RestartContainer,
    StartContainer,
    TrialTimer,
)
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.declared import Desired
from phoenix_hypervisor.plan.model import ContainerState, Finding, Note, ProcessLabel, cause_data, container
from phoenix_hypervisor.plan.verify import judge_started
from phoenix_hypervisor.values import replace

CREATE_TIMEOUT = 1800.0
START_TIMEOUT = 180.0
SETTLE_TIMEOUT = 60.0
CONFIRM_TIMEOUT = 10.0
"""Seconds until a started container must run under its profile."""
HA_TIMEOUT = 180.0
"""The same where HA starts it: its managers look every 10 s, and one that was idle takes a lock first."""
_SPECIAL = frozenset({"unconfined", "generated", "unchanged"})


class ContainerSteps:
    """Performers over one runtime."""

    def __init__(
        self, host: Host, runtime: Runtime, desired: Desired, tell: Callable[[Note], None] | None = None
    ) -> None:
        """`tell` is told what is waited for."""
        self._tell = tell
        self._host = host
        self._runtime = runtime
        self._desired = desired
        self._unsettled: frozenset[str] | None = None

    def perform(self, action: ContainerAction) -> ContainerAction:
        """Do one action; returns it as it was done.  Raises PhoenixError."""
        match action:
            case CreateContainer():
                return self.create(action)
            case AssignLines():
                return self.assign(action)
            case StartContainer() | RestartContainer():
                return self.start(action)
            case TrialTimer():
                return self.timer(action)
            case _:
                assert_never(action)

    def create(self, action: CreateContainer) -> CreateContainer:
        """A created container is never removed again: it may hold data from its first second."""
        spec = self._desired.containers[action.target]
        file = self._runtime.create_file(spec)
        if file is not None:
            path, data = file
            parent, name = path.rsplit("/", 1)
            directory = self._host.directory(parent, create=True, mode=0o700)
            assert directory is not None
            with directory:
                directory.replace(name, data, before=directory.read(name), mode=0o600)
        self._run(action.processes[0], f"container {action.target}", CREATE_TIMEOUT)
        return action

    def assign(self, action: AssignLines) -> AssignLines:
        """Edit the configuration under the runtime's lock, from what it holds at that moment."""
        ctid, path = action.target, action.path
        if action.takes_back and self._is_back(action):
            return action
        self._wait_until_settled(ctid)
        with self._runtime.lock(ctid):
            read_only = self._runtime.read_only()
            if read_only is not None:
                raise CodedError(Code.READ_ONLY, path, cause_data(read_only))
            current = self._runtime.read_conf(ctid)
            if current is None:
                raise PhoenixError("has no configuration", where=f"container {ctid}")
            conf = codec.parse(current, self._runtime.dialect)
            after = action.after
            if action.before is None or after is None:
                wanted = {line.key: line.value for line in action.lines}
                after = codec.with_lines(current, wanted, self._runtime.dialect)
            elif current != action.before and not action.takes_back:
                after = self._anew(action, action.before, conf)
            elif current != action.before:
                # pct has rewritten it meanwhile (a start does): put back the lines alone.
                keys = [line.key for line in action.lines]
                now = codec.counting(conf, keys)
                if any(now[line.key] not in (line.old, line.value) for line in action.lines):
                    raise ChangedMeanwhile(path)
                after = codec.lines_put_back(current, after, keys, self._runtime.dialect)
            if conf.lock is not None and not action.takes_back:
                raise CodedError(Code.LOCKED, path, cause_data(self._runtime.locked(ctid, conf.lock)))
            if after != current:
                self._runtime.replace_conf(ctid, after, before=current)
        return replace(action, before=current, after=after)

    def _anew(self, action: AssignLines, planned_from: bytes, now: codec.Conf) -> bytes:
        """The same edit of what the file holds now: `pct set` and others change it at any time.

        Raises ChangedMeanwhile where what the plan was decided from is not as it was: our own lines, the
        container's kind, its features.
        """
        then = codec.parse(planned_from, self._runtime.dialect)
        kinds = [(conf.unprivileged, conf.features, conf.is_template) for conf in (then, now)]
        wanted = {line.key: line.value for line in action.lines}
        ours = [codec.counting(conf, [*MANAGED_KEYS, *wanted]) for conf in (then, now)]
        if kinds[0] != kinds[1] or ours[1] not in (ours[0], {**ours[0], **wanted}):
            raise ChangedMeanwhile(action.path)
        return codec.with_lines(now.data, wanted, self._runtime.dialect)

    def _is_back(self, action: AssignLines) -> bool:
        """Whether there is nothing to take back: decided without the lock, which may be held."""
        current = self._runtime.read_conf(action.target)
        if current is None:
            self._runtime.require()
            raise LeftAlone(Code.CONTAINER_GONE, container(action.target))
        if action.after is not None:
            return current == action.after
        conf = codec.parse(current, self._runtime.dialect)
        now = codec.counting(conf, [line.key for line in action.lines])
        return all(now[line.key] == line.value for line in action.lines)

    def start(self, action: StartContainer | RestartContainer) -> StartContainer | RestartContainer:
        """Start, or stop cleanly and start again: the profile takes effect with the start."""
        self._require_loaded(action)
        self._wait_until_settled(action.target)
        self._require_line(action)
        said = b""
        for argv in action.processes:
            said = self._run(argv, f"container {action.target}", START_TIMEOUT).stdout
        manager = self._runtime.manager(action.target)
        if isinstance(action, StartContainer) and manager is not None and self._tell is not None:
            words = said.decode("utf-8", "replace").strip().splitlines()
            data = {"by": manager.by, "service": manager.service, "seconds": round(HA_TIMEOUT)}
            data["said"] = words[0] if words else manager.service
            self._tell(Note(Code.WAITING_FOR_HA, container(action.target), data))
        return action

    def timer(self, action: TrialTimer) -> TrialTimer:
        """Stop the timer of an earlier trial, where there is one; begin the new one."""
        *others, last = action.processes
        for argv in others:
            self._host.runner.run(argv, timeout=START_TIMEOUT)
        done = self._host.runner.run(last, timeout=START_TIMEOUT)
        if action.until is not None and not done.ok:
            text = f"`{' '.join(last[:3])}` ended with {done.returncode}: {_said(done)}"
            raise PhoenixError(text, where=f"container {action.target}")
        return action

    def unconfirmed(self, actions: Iterable[Action]) -> tuple[Finding, ...]:
        """What started containers are not, after all: `pct start` succeeds too where HA is only asked to.

        Waits for them: CONFIRM_TIMEOUT at most, HA_TIMEOUT for those that HA starts.  No failure of the
        step: nothing is taken back.
        """
        left = [a for a in actions if isinstance(a, StartContainer | RestartContainer)]
        begin = time.monotonic()
        while left:
            running = self._runtime.processes()
            if running is None:
                break
            waited = time.monotonic() - begin
            found = {
                a.target: judge_started(self._started(a, running.get(a.target, [])), waited) for a in left
            }
            left = [a for a in left if found[a.target]]
            if left and all(waited > self._patience(a) for a in left):
                return tuple(finding for one in found.values() for finding in one)
            if left:
                time.sleep(0.2 if waited < CONFIRM_TIMEOUT else 1.0)
        return ()

    def left_behind(self, action: Action) -> Note | None:
        """What a failed step has left of its container, looked up; None where that cannot be told."""
        ctid = action.target
        if isinstance(action, CreateContainer):
            data = self._runtime.read_conf(ctid)
            if data is None:
                return Note(Code.NOT_CREATED, container(ctid))
            lock = codec.parse(data, self._runtime.dialect).lock
            command = None if lock is None else self._runtime.locked(ctid, lock).command
            return Note(Code.CREATED_IN_PART, container(ctid), {"command": command})
        if isinstance(action, StartContainer | RestartContainer):
            return now(self._runtime, ctid)
        return None

    def _patience(self, action: StartContainer | RestartContainer) -> float:
        """Seconds until it must run as it was started."""
        # HA may start also what was only restarted. One that it has moved to another node never runs here.
        managed = self._runtime.manager(action.target) is not None
        here = managed and self._runtime.read_conf(action.target) is not None
        return HA_TIMEOUT if here else CONFIRM_TIMEOUT

    def _started(
        self, action: StartContainer | RestartContainer, processes: Sequence[Process]
    ) -> ContainerState:
        """As much of a container's state as tells whether it runs as it was started."""
        init = init_of(processes)
        return ContainerState(
            ctid=action.target,
            wanted=action.profile,
            own_profiles=self._runtime.own_profiles(action.target),
            manager=self._runtime.manager(action.target) if isinstance(action, StartContainer) else None,
            running=bool(processes),
            init=None if init is None else ProcessLabel(init.pid, init.label),
            processes=tuple(ProcessLabel(p.pid, p.label) for p in processes),
        )

    def _wait_until_settled(self, ctid: str) -> None:
        """Let a stop end: where a container ends by itself, Proxmox's hook still writes the configuration.

        It takes no lock (lxc-pve-poststop-hook of pve-container 5.3 and 6.1), and only `pct stop` waits for
        it (6.1.10); LXC's monitor lives until it has ended.
        """
        if self._unsettled is None:
            self._unsettled = self._runtime.unsettled()
        end = time.monotonic() + SETTLE_TIMEOUT
        while ctid in self._unsettled:
            if time.monotonic() > end:
                raise PhoenixError(
                    f"has been starting or stopping for {SETTLE_TIMEOUT:.0f} s",
                    where=f"container {ctid}",
                    hint="wait for that, then run it again",
                )
            time.sleep(0.1)
            self._unsettled = self._runtime.unsettled()

    def _require_line(self, action: StartContainer | RestartContainer) -> None:
        # Whoever wrote the file since the assignment has perhaps written an old line.
        data = self._runtime.read_conf(action.target)
        if data is None:
            return
        assigned = codec.parse(data, self._runtime.dialect).next_assigned
        if assigned != action.profile:
            raise PhoenixError(
                f"its profile line is {assigned or 'gone'} again: the configuration was changed meanwhile",
                where=f"container {action.target}",
                hint="run it again",
            )

    def _require_loaded(self, action: StartContainer | RestartContainer) -> None:
        # LXC's own message is `Failed to write AppArmor profile`, in a log file only.
        value = action.profile
        if value is None or value in _SPECIAL:
            return
        loaded = self._host.kernel.loaded_profiles()
        missing = [
            n for n in value.split("//&") if not n.startswith(":") and loaded is not None and n not in loaded
        ]
        if missing:
            raise PhoenixError(
                f"profile {missing[0]} is not loaded in the kernel, so LXC could not start it",
                where=f"container {action.target}",
                hint="`phoenix setup` loads the shipped profiles; others need `apparmor_parser -r FILE`",
            )

    def _run(self, argv: tuple[str, ...], where: str, timeout: float) -> Completed:
        begin = time.monotonic()
        done = self._host.runner.run(argv, timeout=timeout)
        if not done.ok:
            spent = time.monotonic() - begin
            raise PhoenixError(
                f"`{' '.join(argv[:3])}` ended with {done.returncode} after {spent:.1f} s: {_said(done)}",
                where=where,
            )
        return done


def now(runtime: Runtime, ctid: str) -> Note | None:
    """Whether a container runs now, and under which label; None where that cannot be told."""
    running = runtime.processes()
    if running is None:
        return None
    init = init_of(running.get(ctid, []))
    if init is None:
        return Note(Code.NOW_STOPPED, container(ctid)) if ctid not in running else None
    return Note(Code.NOW_RUNNING, container(ctid), {"pid": init.pid, "label": init.label})


def _said(done: Completed) -> str:
    """The end of what a program said: `pct` prints its worker's words, LXC's among them, on standard output.

    Source: PVE::RESTEnvironment::fork_worker.
    """
    return shortened(b"\n".join((done.stdout.strip(), done.stderr.strip())))
