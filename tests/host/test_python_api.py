"""Phoenix as a library: what docs/python-api.md shows, and what it promises."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from phoenix_hypervisor import Phoenix
from phoenix_hypervisor.engine import policy_requests, requests
from phoenix_hypervisor.engine.policy_requests import (
    CompileRequest,
    DenialRequest,
    DiffRequest,
    ExplainRequest,
    Given,
    LintRequest,
    ListRequest,
    PolicyTestRequest,
    QueryRequest,
)
from phoenix_hypervisor.engine.requests import ApplyRequest, RollbackRequest, SetupRequest, StatusRequest
from phoenix_hypervisor.engine.results import RollbackRefused, Stage
from phoenix_hypervisor.errors import PhoenixError, UsageError
from phoenix_hypervisor.policy.queries import EachAccess, Query, RawQuery, parse_query
from support.hosts import TOP, DirectoryHost, LiveHost, profile, snapshot
from support.killed import killed

if TYPE_CHECKING:
    from phoenix_hypervisor.engine.results import Event

DOCUMENT = TOP / "docs/python-api.md"
EXAMPLES = dict(re.findall(r"<!-- run: (\S+) -->\n```python\n(.*?)```", DOCUMENT.read_text(), re.S))


@pytest.fixture
def one(host: DirectoryHost) -> DirectoryHost:
    host.source("lxc-a")
    host.conf("101")
    host.declare({"101": "lxc-a"})
    return host


@pytest.fixture
def phoenix(one: DirectoryHost) -> Phoenix:
    return Phoenix(str(one.root), str(one.config))


def _run(name: str, host: DirectoryHost) -> list[str]:
    """An example of the document, as a program of its own."""
    script = host.folder / name
    script.write_text(EXAMPLES[name])
    done = subprocess.run(
        [sys.executable, str(script), str(host.root), str(host.config)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"PYTHONPATH": str(TOP / "src"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


# The document -------------------------------------------------------------------------------


def test_the_script_plans_applies_and_rolls_back(one: DirectoryHost) -> None:
    assert len(EXAMPLES["script.py"].strip().splitlines()) <= 20
    assert _run("script.py", one) == [
        "planned: [('install', 'lxc-a'), ('assign', '101')]",
        "done: install lxc-a",
        "done: assign 101",
        "as declared: True",
        "rolled back: 1 with 2 actions",
        "to plan again: 2",
    ]
    assert one.phoenix("history", "--json").document["transactions"][1]["command"] == ["nightly-run"]


def test_the_other_examples_run(one: DirectoryHost) -> None:
    assert _run("errors.py", one) == ["container 999 is not declared | declared: 101"]
    written = "write,append,create,delete,setattr,chmod,chown"
    assert _run("policy.py", one) == [
        "True rule",
        f"file {written} file /etc/hosts --access {written}",
        "('/etc/hosts',)",
        "1",
    ]
    watched = _run("watch.py", one)
    assert watched[0].startswith("101 not-assigned {")
    assert watched[-1] == "0 of 1 containers run confined"
    assert set(EXAMPLES) == {"script.py", "errors.py", "refused.py", "policy.py", "watch.py"}


def test_what_is_refused_can_be_left_out(one: DirectoryHost) -> None:
    one.conf("102", "memory: 512\nlock: backup\n")
    one.declare({"101": "lxc-a", "102": "lxc-a"})
    assert _run("refused.py", one) == [
        "refused: [('container 102', 'locked')]",
        "nothing was changed, skippable: True",
        "left out: 1",
    ]


def test_every_method_is_in_the_document() -> None:
    text = DOCUMENT.read_text()
    for name in vars(Phoenix):
        if not name.startswith("_") and not name.startswith("known_"):
            assert f"| `{name}(" in text, name


# What it promises ---------------------------------------------------------------------------


def test_the_import_loads_nothing_else() -> None:
    script = "import sys; import phoenix_hypervisor; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(TOP / "src")},
    )
    ours = {name for name in done.stdout.split() if name.startswith("phoenix_hypervisor")}
    assert ours == {"phoenix_hypervisor", "phoenix_hypervisor.engine", "phoenix_hypervisor.engine.phoenix",
                    "phoenix_hypervisor.errors", "phoenix_hypervisor.values"}  # fmt: skip


def test_a_program_never_loads_click_or_rich(one: DirectoryHost) -> None:
    script = EXAMPLES["script.py"] + EXAMPLES["watch.py"].split("import sys\n", 1)[1]
    script += "\nassert not {'click', 'rich'} & set(sys.modules)\n"
    path = one.folder / "program.py"
    path.write_text(script)
    subprocess.run(
        [sys.executable, str(path), str(one.root), str(one.config)],
        check=True,
        capture_output=True,
        env={"PYTHONPATH": str(TOP / "src"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )


def test_requests_are_frozen_and_take_their_fields_by_name() -> None:
    kinds: list[Any] = [
        kind
        for module in (requests, policy_requests)
        for kind in vars(module).values()
        if dataclasses.is_dataclass(kind)
    ]
    assert len(kinds) > 10
    for kind in kinds:
        fields = dataclasses.fields(kind)
        assert kind.__dataclass_params__.frozen, kind
        assert len(fields) <= 2 or all(field.kw_only for field in fields), kind


def _question(**fields: object) -> Query | RawQuery:
    return parse_query(fields)


USERNS = _question(kind="userns")
READS: list[Callable[[Phoenix], object]] = [
    lambda p: p.check(),
    lambda p: p.plan(),
    lambda p: p.plan(SetupRequest()),
    lambda p: p.plan(ApplyRequest(ctids=("101",))),
    lambda p: p.plan(RollbackRequest()),
    lambda p: p.status(),
    lambda p: p.verify(StatusRequest(ctids=("101",))),
    lambda p: p.gpu(),
    lambda p: p.history(),
    lambda p: p.recover(),
    lambda p: p.query(QueryRequest(question=USERNS, profile="lxc-a")),
    lambda p: p.query(QueryRequest(question=EachAccess(b"/etc/hosts"), profile="lxc-a")),
    lambda p: p.denial(DenialRequest(line='apparmor="DENIED" operation="userns_create" profile="lxc-a"')),
    lambda p: p.find_profile("lxc-a"),
    lambda p: list(p.batch([b'{"kind": "userns", "profile": "lxc-a"}', b"junk"])),
    lambda p: p.list(ListRequest(profile="lxc-a")),
    lambda p: p.diff(DiffRequest(a="shipped:lxc-a", b="installed:lxc-a")),
    lambda p: p.explain(ExplainRequest(question=USERNS, profile="lxc-a")),
    lambda p: p.lint(LintRequest(quick=True)),
    lambda p: p.test(PolicyTestRequest()),
    lambda p: p.compile(CompileRequest(source="lxc-a")),
    lambda p: (p.known_containers(), p.known_profiles(), p.known_transactions()),
]


@pytest.mark.parametrize("number", range(len(READS)))
def test_what_only_looks_writes_and_prints_nothing(
    one: DirectoryHost, phoenix: Phoenix, number: int, capfd: pytest.CaptureFixture[str]
) -> None:
    phoenix.setup()
    before = snapshot(one.folder)
    READS[number](phoenix)
    assert snapshot(one.folder) == before
    assert capfd.readouterr() == ("", "")


def test_results_cannot_be_changed(phoenix: Phoenix) -> None:
    phoenix.apply(ApplyRequest(start=False))
    found = [
        phoenix.plan(),
        phoenix.status(),
        phoenix.history(),
        phoenix.check(),
        phoenix.apply(ApplyRequest()),
    ]
    for result in found:
        name = dataclasses.fields(result)[0].name  # type: ignore[arg-type]
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(result, name, None)


def test_progress_tells_each_action_and_first_what_was_recovered(live: LiveHost) -> None:
    live.source("lxc-a")
    live.conf("101")
    live.declare({"101": "lxc-a"})
    with killed("end", 0):
        live.apply("101", "--no-start")
    events: list[Event] = []
    phoenix = Phoenix(config=str(live.config), host=live.host)
    applied = phoenix.apply(ApplyRequest(ctids=("101",), start=False), events.append)
    assert applied.recovered is events[0]
    assert tuple(events[1:]) == applied.plan.actions
    assert phoenix.recover() is None


def test_steps_of_a_long_look_are_told(phoenix: Phoenix) -> None:
    steps: list[Stage] = []
    phoenix.check(steps.append)
    phoenix.lint(LintRequest(quick=True), steps.append)
    phoenix.test(progress=steps.append)
    kernels = len(steps) - 2
    assert [(step.done, step.total) for step in steps[:kernels]] == [(n, kernels) for n in range(kernels)]
    assert [(step.done, step.total) for step in steps[kernels:]] == [(0, 1)] * 2


def test_one_object_sees_the_host_as_it_is_now(one: DirectoryHost, phoenix: Phoenix) -> None:
    phoenix.apply(ApplyRequest(start=False))
    assert phoenix.status().as_declared
    one.conf("101")
    assert [finding.code for _, finding in phoenix.verify()] == ["conf-edited"]


def test_a_refused_rollback_carries_the_three_states(one: DirectoryHost, phoenix: Phoenix) -> None:
    phoenix.setup()
    path = one.installed / "lxc-a"
    path.write_bytes(path.read_bytes() + b"# mine\n")
    for undo in (phoenix.rollback, phoenix.plan):
        with pytest.raises(RollbackRefused) as refused:
            undo(RollbackRequest())
        conflict = refused.value.conflicts[0]
        assert refused.value.transaction == 1
        assert (conflict.then, conflict.becomes) == (profile("lxc-a"), None)
        assert conflict.now == path.read_bytes()


@pytest.mark.parametrize(
    ("ask", "kind"),
    [
        (lambda p: p.apply(ApplyRequest(ctids=())), UsageError),
        (lambda p: p.apply(ApplyRequest(ctids=("999",))), PhoenixError),
        (lambda p: p.setup(SetupRequest(adopt=frozenset({"lxc-none"}))), UsageError),
        (lambda p: p.rollback(RollbackRequest(transaction=7)), PhoenixError),
        (lambda p: p.rollback(), PhoenixError),
        (lambda p: p.status(StatusRequest(ctids=("999",))), PhoenixError),
        (lambda p: p.query(QueryRequest(question=USERNS)), UsageError),
        (lambda p: p.list(ListRequest(profile="lxc-none")), UsageError),
        (lambda p: p.diff(DiffRequest(a="lxc-a", b=Given("x", b"nonsense"))), PhoenixError),
        (lambda p: p.compile(CompileRequest(source="lxc-a", output="/no/such/place")), UsageError),
    ],
)
def test_what_makes_no_sense_is_an_error_of_phoenix(
    one: DirectoryHost, phoenix: Phoenix, ask: Callable[[Phoenix], object], kind: type[PhoenixError]
) -> None:
    before = snapshot(one.root)
    with pytest.raises(kind):
        ask(phoenix)
    assert snapshot(one.root) == before


def test_building_one_reads_nothing(tmp_path: Path) -> None:
    nowhere = Phoenix(str(tmp_path / "none"), str(tmp_path / "no.json"))
    with pytest.raises(UsageError, match="is not a directory"):
        nowhere.status()
