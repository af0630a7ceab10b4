"""Each verdict, whole: its code, its target, its data, and whether it is a fault."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from phoenix_hypervisor.plan.actions import NESTING_KEY, SECCOMP_KEY, LineChange
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.declared import ContainerSpec
from phoenix_hypervisor.plan.model import (
    AtWork,
    ConfFault,
    ContainerState,
    Details,
    Elsewhere,
    FileState,
    Finding,
    NextStart,
    Note,
    Ownership,
    ProcessLabel,
    ProfileState,
)
from phoenix_hypervisor.plan.verify import (
    ContainerVerdict,
    ProfileVerdict,
    judge_cache,
    judge_companion,
    judge_container,
    judge_host,
    judge_profiles,
    judge_started,
    judge_switch,
    judge_unfinished,
)
from support.one_container import SPEC
from support.one_container import STATE as AS_DECLARED

STATE = replace(AS_DECLARED, unprivileged=True)
EDITED = replace(STATE, after=b"x", assigned="lxc-b")
NEXT = NextStart("/c", "lxc-b")
GONE = replace(STATE, data=None, after=None, assigned=None)


def running(*labels: str, state: ContainerState = STATE) -> ContainerState:
    """The container with processes 7, 8, ... under these labels; the first is its init."""
    processes = tuple(ProcessLabel(pid, label) for pid, label in enumerate(labels, 7))
    return replace(state, running=True, init=processes[0], processes=processes)


def found(
    state: ContainerState, spec: ContainerSpec = SPEC, *, live: bool = False, node: str | None = None
) -> tuple[Finding, ...]:
    return judge_container(spec, state, live=live, node=node).findings


def finding(code: Code, data: dict[str, Any] | None = None, *, fault: bool = True) -> tuple[Finding, ...]:
    """One finding about container 950."""
    return (Finding(code, "container 950", data or {}, fault=fault),)


# The host ---------------------------------------------------------------------------


def test_an_unfinished_transaction_is_a_fault_unless_phoenix_is_at_work() -> None:
    data = {"transaction": 3, "time": "now", "command": "apply"}
    assert judge_unfinished(3, "now", "apply", False) == Finding(Code.UNFINISHED, "host", data)
    assert judge_unfinished(3, "now", "apply", True) == Finding(Code.UNDER_WAY, "host", data, fault=False)


def test_apparmor_must_be_on_where_a_system_runs() -> None:
    assert judge_host(True, True) == judge_host(False, False) == judge_host(False, True) == []
    assert judge_host(True, False) == [Finding(Code.APPARMOR_OFF, "host")]


def test_a_host_without_a_runtime_says_what_to_do() -> None:
    assert judge_host(True, True, ("a", "b")) == [Finding(Code.NO_RUNTIME, "host", {"programs": ("a", "b")})]


# Containers -------------------------------------------------------------------------


def test_the_verdict_on_a_running_container() -> None:
    state = running("lxc-a (enforce)", "lxc-a (enforce)")
    assert judge_container(SPEC, state, live=True) == ContainerVerdict(
        ctid="950",
        name="a",
        declared="lxc-a",
        wanted="lxc-a",
        assigned="lxc-a",
        exists=True,
        running=True,
        label="lxc-a (enforce)",
        pid=7,
        confined=True,
        findings=(),
        notes=(),
        unprivileged=True,
        path="/etc/pve/lxc/950.conf",
        processes=2,
    )


def test_what_is_only_shown_is_passed_on() -> None:
    """A declared name comes before the container's own."""
    lock = AtWork("Proxmox", "backup", "x")
    state = replace(STATE, features="nesting=1", lock=lock, is_template=True)
    details = Details(hostname="own", gpu_nodes=("/dev/kfd",), snapshots=(("s", None),))
    verdict = judge_container(None, state, details, live=False)
    assert (verdict.name, verdict.features, verdict.lock) == ("own", "nesting=1", lock)
    assert (verdict.is_template, verdict.details) == (True, details)
    assert judge_container(SPEC, state, details, live=False).name == "a"
    assert judge_container(replace(SPEC, name=""), state, details, live=False).name == "own"


def test_the_verdict_on_a_container_that_is_not_declared() -> None:
    """Nothing is expected of it but that it is confined."""
    state = replace(EDITED, wanted=None, next_start=NEXT, warnings=(_warning(),), unprivileged=False)
    assert judge_container(None, state, live=True) == ContainerVerdict(
        ctid="950",
        name="",
        declared=None,
        wanted=None,
        assigned="lxc-b",
        exists=True,
        running=False,
        label="",
        pid=None,
        confined=None,
        findings=(),
        notes=(Note(Code.NOT_DECLARED, "container 950"),),
        path="/etc/pve/lxc/950.conf",
    )


def _warning() -> Note:
    return Note(Code.NOT_DECLARED, "somebody else")


def test_warnings_become_notes() -> None:
    assert judge_container(SPEC, replace(STATE, warnings=(_warning(),)), live=True).notes == (_warning(),)


def test_a_verdict_on_what_is_missing() -> None:
    verdict = judge_container(SPEC, GONE, live=True)
    assert (verdict.exists, verdict.as_declared, verdict.confined) == (False, False, None)
    assert verdict.findings == finding(Code.MISSING, {"ctid": "950"})


@pytest.mark.parametrize(
    ("elsewhere", "expected"),
    [
        (
            Elsewhere("VM", "b", False),
            finding(Code.IS_VM, {"kind": "VM", "node": "b"}),
        ),
        (
            Elsewhere("container", "b", True),
            finding(Code.ON_ANOTHER_NODE, {"kind": "container", "node": "b"}, fault=False),
        ),
    ],
)
def test_an_id_that_is_used_elsewhere(elsewhere: Elsewhere, expected: tuple[Finding, ...]) -> None:
    assert found(replace(GONE, elsewhere=elsewhere), live=True) == expected


def test_a_container_that_another_node_creates_is_no_fault_here() -> None:
    spec = replace(SPEC, node="pve2")
    expected = finding(Code.MADE_ELSEWHERE, {"node": "pve2", "here": "pve1"}, fault=False)
    assert found(GONE, spec, node="pve1") == expected
    assert found(GONE, spec, node="pve2") == finding(Code.MISSING, {"ctid": "950"})


def test_a_configuration_that_cannot_be_read_is_said_before_all_else() -> None:
    data = {"path": "/c", "reason": "header", "why": "bad header", "next": "mend it"}
    assert found(replace(GONE, fault=ConfFault(**data))) == finding(Code.CONF_UNUSABLE, data)


def test_a_line_that_is_not_as_declared() -> None:
    data = {"assigned": "lxc-b", "declared": "lxc-a"}
    assert found(EDITED) == finding(Code.NOT_ASSIGNED, data)
    assert found(replace(EDITED, was_written=True)) == finding(Code.CONF_EDITED, data)
    # Either alone is enough: another value, or other bytes.
    assert found(replace(STATE, assigned="lxc-b")) == finding(Code.NOT_ASSIGNED, data)
    several = replace(STATE, after=b"x")
    assert found(several) == finding(Code.NOT_ASSIGNED, {**data, "assigned": "lxc-a"})


def test_a_line_that_stands_in_a_snapshot_only() -> None:
    data = {"assigned": "lxc-b", "declared": "lxc-a", "sections": ("snap",)}
    assert found(replace(EDITED, sections=("snap",))) == finding(Code.LINE_IN_SNAPSHOT, data)
    counts = replace(EDITED, sections=("snap",), assigned="lxc-a")
    assert found(counts) == finding(Code.NOT_ASSIGNED, {"assigned": "lxc-a", "declared": "lxc-a"})


def test_a_line_beside_the_profile_that_is_missing() -> None:
    lines = (
        LineChange(key=NESTING_KEY, value="1", old=None),
        LineChange(key=SECCOMP_KEY, value="/x", old=None),
    )
    state = replace(EDITED, assigned="lxc-a", lines=lines)
    assert found(state) == finding(Code.LINE_BESIDE, {"keys": (NESTING_KEY, SECCOMP_KEY)})
    # Where the profile line itself is wrong, that is what is said.
    for other in (replace(state, several=True), replace(state, assigned="lxc-b")):
        data = {"assigned": other.assigned, "declared": "lxc-a"}
        assert found(other) == finding(Code.NOT_ASSIGNED, data)


def test_a_stopped_container_is_a_fault_where_it_is_declared_to_run() -> None:
    data = {"ctid": "950", "by": None, "reason": None, "command": None}
    assert found(STATE, live=True) == finding(Code.NOT_RUNNING, data)
    assert found(STATE) == found(STATE, replace(SPEC, start=False), live=True) == ()
    assert found(replace(STATE, is_template=True), live=True) == ()
    assert found(replace(STATE, running=None), live=True) == ()


def test_everything_that_is_wrong_with_a_container_is_said() -> None:
    state = replace(EDITED, next_start=NEXT)
    codes = [one.code for one in found(state, live=True)]
    assert codes == [Code.NOT_ASSIGNED, Code.NOT_RUNNING, Code.PENDING_RAW]
    codes = [one.code for one in found(running("unconfined", state=state))]
    assert codes == [Code.NOT_ASSIGNED, Code.OLD_LABEL, Code.PENDING_RAW]


def test_a_stopped_container_is_no_fault_while_the_runtime_works_on_it() -> None:
    state = replace(STATE, lock=AtWork("Proxmox", "backup", "pct unlock"))
    data = {"ctid": "950", "by": "Proxmox", "reason": "backup", "command": "pct unlock"}
    assert found(state, live=True) == finding(Code.NOT_RUNNING, data, fault=False)


def test_what_was_just_started_is_judged_by_its_labels_alone() -> None:
    assert judge_started(running("lxc-a (enforce)", state=EDITED)) == []
    assert [one.code for one in judge_started(running("unconfined"))] == [Code.OLD_LABEL]
    assert [one.code for one in judge_started(STATE)] == [Code.NOT_RUNNING]


def test_lines_that_the_next_start_replaces() -> None:
    assert found(replace(STATE, next_start=NEXT)) == finding(
        Code.PENDING_RAW, {"path": "/c", "profile": "lxc-b"}
    )


def test_a_label_that_cannot_be_read() -> None:
    verdict = judge_container(SPEC, running(""), live=True)
    assert verdict.findings == finding(Code.LABEL_UNKNOWN, {"pid": 7})
    assert (verdict.label, verdict.pid, verdict.confined) == ("", 7, None)
    assert found(running("", state=replace(STATE, wanted="unconfined", assigned="unconfined"))) == ()


def test_labels_of_what_does_not_run_say_nothing() -> None:
    assert found(replace(running("lxc-b (enforce)"), running=None)) == ()
    assert found(replace(running("lxc-b (enforce)"), init=None)) == ()
    stopped = judge_container(SPEC, replace(running("lxc-b (enforce)"), running=False), live=False)
    assert stopped.confined is None and stopped.findings == ()


def test_a_label_from_before_the_last_start() -> None:
    data = {"ctid": "950", "pid": 7, "label": "lxc-b (enforce)"}
    assert found(running("lxc-b (enforce)")) == finding(Code.OLD_LABEL, data)
    verdict = judge_container(SPEC, running("unconfined"), live=True)
    assert verdict.confined is False
    assert verdict.findings == finding(Code.OLD_LABEL, {**data, "label": "unconfined"})


def test_a_profile_in_complain_mode_refuses_nothing() -> None:
    data = {"pid": 7, "label": "lxc-a (complain)"}
    assert found(running("lxc-a (complain)")) == finding(Code.COMPLAIN, data)


def test_processes_that_escaped_the_profile() -> None:
    """At most three are named; those whose label is not known do not count."""
    labels = ["lxc-a (enforce)", "unconfined", "", "lxc-b (enforce)", "unconfined", "unconfined"]
    state = running(*labels)
    strays = ((8, "unconfined"), (10, "lxc-b (enforce)"), (11, "unconfined"))
    data = {"ctid": "950", "count": 4, "processes": strays}
    assert found(state) == finding(Code.STRAY_PROCESS, data)
    verdict = judge_container(SPEC, state, live=True)
    assert verdict.confined is False
    assert judge_container(SPEC, running("lxc-a (enforce)", ""), live=True).confined is True


def test_a_container_without_a_line_runs_under_the_runtimes_own_profile() -> None:
    own = replace(STATE, wanted=None, assigned=None, own_profiles=("lxc-950_*",))
    assert found(running("lxc-950_</var/lib/lxc> (enforce)", "lxc-950_x (enforce)", state=own)) == ()
    data = {"ctid": "950", "pid": 7, "label": "lxc-a (enforce)"}
    assert found(running("lxc-a (enforce)", state=own)) == finding(Code.OLD_LABEL, data)
    stray = {"ctid": "950", "count": 1, "processes": ((8, "lxc-b (enforce)"),)}
    assert found(running("lxc-950_x (enforce)", "lxc-b (enforce)", state=own)) == finding(
        Code.STRAY_PROCESS, stray
    )


# Files and profiles -----------------------------------------------------------------


def test_a_cache_entry_is_a_fault_where_the_next_boot_takes_it() -> None:
    assert judge_cache("lxc-a", "/c", True) == Finding(Code.STALE_CACHE, "/c", {"newer": True})
    assert judge_cache("lxc-a", "/c", False) == Finding(Code.STALE_CACHE, "/c", {"newer": False}, fault=False)


def test_a_profile_that_is_switched_off() -> None:
    for folder, code in (("disable", Code.DISABLED), ("force-complain", Code.FORCE_COMPLAIN)):
        path = f"/etc/apparmor.d/{folder}/lxc-a"
        assert judge_switch("lxc-a", path) == Finding(code, path, {"name": "lxc-a"})


COMPANION = FileState(
    path="/var/lib/phoenix/seccomp/privileged",
    source="/usr/share/lxc/config/common.seccomp",
    wanted=b"1",
    installed=b"1",
    ownership=Ownership.OURS,
    recorded=True,
)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (None, []),
        (COMPANION, []),
        (replace(COMPANION, installed=None), [Finding(Code.SECCOMP_MISSING, COMPANION.path)]),
        (
            replace(COMPANION, fault="no"),
            [Finding(Code.SECCOMP_RULES, COMPANION.source, {"why": "no"})],
        ),
        (
            replace(COMPANION, installed=b"2", fault="no"),
            [Finding(Code.SECCOMP_RULES, COMPANION.source, {"why": "no"})],
        ),
        (
            replace(COMPANION, installed=b"2", ownership=Ownership.FOREIGN),
            [Finding(Code.FILE_EDITED, COMPANION.path, {"path": COMPANION.path, "name": COMPANION.path})],
        ),
        (
            replace(COMPANION, installed=b"2"),
            [Finding(Code.FILE_DIFFERS, COMPANION.path, {"paths": (COMPANION.path,)})],
        ),
    ],
)
def test_the_seccomp_companion(state: FileState | None, expected: list[Finding]) -> None:
    assert judge_companion(state) == expected


FILE = FileState(
    path="/etc/apparmor.d/lxc-a",
    source="src/lxc-a",
    wanted=b"new",
    installed=b"new",
    ownership=Ownership.OURS,
    recorded=True,
    profile="lxc-a",
)
INCLUDE = replace(FILE, path="/etc/apparmor.d/tunables/t", source="src/tunables/t", profile=None)
PROFILE = ProfileState(
    name="lxc-a",
    source="src/lxc-a",
    closure="c1",
    loaded_closure="c1",
    mode="enforce",
    kernel_known=True,
    includes=(FILE.path, INCLUDE.path),
)


def verdict(
    profile: ProfileState = PROFILE, file: FileState = FILE, include: FileState = INCLUDE
) -> ProfileVerdict:
    (found,) = judge_profiles([file, include], [profile], {})
    return found


def about(code: Code, data: dict[str, Any] | None = None) -> tuple[Finding, ...]:
    """One finding about profile lxc-a."""
    return (Finding(code, "profile lxc-a", data or {}),)


def test_the_verdict_on_a_profile() -> None:
    boot = {"lxc-a": [judge_cache("lxc-a", "/c", True)]}
    (one,) = judge_profiles([FILE, INCLUDE], [PROFILE], {"lxc-a": ["101"]}, boot)
    assert one == ProfileVerdict(
        name="lxc-a",
        source="src/lxc-a",
        installed="same",
        loaded="enforce",
        used_by=("101",),
        findings=(judge_cache("lxc-a", "/c", True),),
    )
    other = verdict()
    assert (other.used_by, other.findings) == ((), ())
    (elsewhere,) = judge_profiles([FILE, INCLUDE], [PROFILE], {}, {"lxc-b": [judge_cache("b", "/c", True)]})
    assert elsewhere.findings == ()


def test_a_profile_whose_files_differ() -> None:
    one = verdict(file=replace(FILE, installed=None, ownership=Ownership.ABSENT))
    assert (one.installed, one.findings) == ("missing", about(Code.NOT_INSTALLED))
    one = verdict(include=replace(INCLUDE, installed=b"old"))
    assert (one.installed, one.findings) == ("differs", about(Code.FILE_DIFFERS, {"paths": (INCLUDE.path,)}))
    one = verdict(include=replace(INCLUDE, installed=None, ownership=Ownership.FOREIGN))
    assert one.findings == about(Code.FILE_DIFFERS, {"paths": (INCLUDE.path,)}), "missing, not edited"


def test_where_no_profile_is_needed_none_is_missing() -> None:
    gone, absent = replace(FILE, installed=None), replace(PROFILE, mode=None)
    (one,) = judge_profiles([gone, INCLUDE], [absent], {}, needed=False)
    assert [f.code for f in one.findings if not f.fault] == [Code.NOT_INSTALLED, Code.NOT_LOADED]
    (one,) = judge_profiles([FILE, INCLUDE], [replace(PROFILE, mode="complain")], {}, needed=False)
    assert one.findings[0].fault


def test_files_that_others_have_edited_are_named_each() -> None:
    include = replace(INCLUDE, installed=b"theirs", ownership=Ownership.FOREIGN)
    one = verdict(include=include, file=replace(FILE, installed=b"old"))
    assert one.installed == "differs"
    assert one.findings == (
        *about(Code.FILE_EDITED, {"path": INCLUDE.path, "name": "tunables/t"}),
        *about(Code.FILE_DIFFERS, {"paths": (FILE.path,)}),
    )
    one = verdict(file=replace(FILE, installed=b"theirs", ownership=Ownership.FOREIGN))
    assert one.findings == about(Code.FILE_EDITED, {"path": FILE.path, "name": "lxc-a"})


@pytest.mark.parametrize(
    ("profile", "loaded", "findings"),
    [
        (replace(PROFILE, kernel_known=False, mode=None), "unknown", ()),
        (replace(PROFILE, mode=None), "no", about(Code.NOT_LOADED)),
        (replace(PROFILE, mode="complain"), "complain", about(Code.COMPLAIN, {"pid": None, "label": None})),
        (replace(PROFILE, mode="unconfined"), "unconfined", about(Code.NOT_ENFORCED, {"mode": "unconfined"})),
        (replace(PROFILE, mode="kill"), "kill", ()),
        (replace(PROFILE, loaded_closure="c0"), "enforce", about(Code.STALE_POLICY)),
        (replace(PROFILE, differs="lxc-a//child"), "enforce", about(Code.POLICY_DIFFERS, {"part": "lxc-a//child"})),
    ],
)  # fmt: skip
def test_what_the_kernel_has(profile: ProfileState, loaded: str, findings: tuple[Finding, ...]) -> None:
    one = verdict(profile)
    assert (one.loaded, one.findings) == (loaded, findings)
