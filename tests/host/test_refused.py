"""One odd container blocks itself only: the others are planned, shown, and applied where asked to."""

from __future__ import annotations

import json

import pytest

from phoenix_hypervisor import Phoenix
from phoenix_hypervisor.engine.requests import ApplyRequest
from phoenix_hypervisor.engine.results import Refused
from support.hosts import CREATION, LiveHost, Result, snapshot, told

ODD = [
    ("locked", "container 101"),
    ("conf-unusable", "container 102"),
    ("conf-unusable", "container 103"),
    ("is-vm", "container 104"),
    ("pending-raw", "container 105"),
    ("start-without-file", "container 106"),
]
FINE = tuple(str(ctid) for ctid in range(110, 132))
MADE = {**CREATION, "gpu_assignment": "none"}


@pytest.fixture
def many(live: LiveHost) -> LiveHost:
    """Containers that are odd in every way, and 22 that are not."""
    live.source("lxc-a")
    live.conf("101", "memory: 512\nlock: backup\n")
    live.conf("102", "memory: 512\n[1x]\nmemory: 1\n")
    (live.lxc / "103.conf").mkdir()
    (live.lxc.parent / "qemu-server/104.conf").write_text("name: vm\n")
    live.conf("105", "memory: 512\n\n[pve:pending]\nlxc.apparmor.profile: unconfined\n")
    live.conf("106", "memory: 512\nlxc.seccomp.profile: /gone\n")
    for ctid in FINE:
        live.conf(ctid)
    live.declare(dict.fromkeys((*(f"10{n}" for n in range(1, 7)), *FINE), "lxc-a"))
    return live


def touched(result: Result) -> set[str]:
    """The containers that the actions of a `--json` run are about."""
    return {a["target"] for a in result.document["actions"] if a["kind"] in ("assign", "start", "create")}


def test_a_plan_shows_the_others_and_says_what_is_refused(many: LiveHost) -> None:
    before = snapshot(many.folder, without=("root/double",))
    result = many.phoenix("plan", "--json")
    assert result.code == 1
    assert touched(result) == set(FINE) and told(result.document["refusals"]) == ODD
    # Said to people too, also where they asked for silence.
    for words in (("plan",), ("plan", "--quiet"), ("apply", "--all", "--dry-run")):
        result = many.phoenix(*words)
        assert result.code == 1
        assert "apply would change nothing, because this is refused" in result.err
        for _, target in ODD:
            assert f"  {target}: " in result.err
        assert "next: --skip-refused leaves these containers out" in result.err
        assert ("~ container 110: " in result.out) is ("--quiet" not in words)
    assert many.phoenix("plan").out.endswith("46 to change, 6 refused\n")
    result = many.phoenix("plan", "--skip-refused", "--json")
    assert (result.code, touched(result)) == (3, set(FINE))
    assert "apply leaves out what is refused" in result.err and "next: --skip-refused" not in result.err
    assert many.phoenix("apply", "--all", "--dry-run", "--skip-refused").code == 3
    assert snapshot(many.folder, without=("root/double",)) == before


def test_apply_refuses_before_the_first_write(many: LiveHost) -> None:
    before = snapshot(many.folder, without=("root/double",))
    with many.recorded() as argvs:
        result = many.phoenix("apply", "--all", "--json")
    assert result.code == 1 and result.problems == ODD
    assert "--skip-refused" in result.document["error"]["hint"]
    assert snapshot(many.folder, without=("root/double",)) == before
    assert not [argv for argv in argvs if argv[0] == "pct" or "--stdout" in argv]


def test_skip_refused_goes_on_with_the_others(many: LiveHost) -> None:
    before = {path.name: path.read_bytes() for path in many.lxc.iterdir() if path.is_file()}
    result = many.phoenix("apply", "--all", "--skip-refused")
    assert result.code == 3
    for _, target in ODD:
        assert f"  {target}: " in result.err
    assert "apply has left out what is refused" in result.err
    assert result.recap["failed"] == 0 and result.recap["refused"] == len(ODD)
    assert set(many.labels()) == set(FINE)
    for name in ("101.conf", "102.conf", "105.conf", "106.conf"):
        assert (many.lxc / name).read_bytes() == before[name]
    # Nothing is left to do but what is refused; that stays an answer of no.
    again = many.phoenix("apply", "--all", "--skip-refused", "--json")
    assert (again.code, again.document["changed"]) == (3, 0)
    assert told(again.document["refusals"]) == ODD
    assert many.phoenix("apply", *FINE).code == 0
    # What was done is one transaction, as ever.
    (one,) = many.phoenix("history", "--json").document["transactions"]
    assert one["state"] == "committed"


def test_where_all_that_was_asked_for_is_refused_no_rest_is_promised(many: LiveHost) -> None:
    result = many.phoenix("apply", "101")
    assert result.code == 1 and "--skip-refused" not in result.err
    assert many.phoenix("apply", "101", "--skip-refused").code == 3


def test_a_creation_that_would_fail_leaves_the_others_alone(live: LiveHost) -> None:
    live.source("lxc-a")
    live.declare({"950": {**MADE, "storage_pool": "", "name": "a"}, "951": {**MADE, "name": "b"}})
    document = json.loads(live.config.read_text())
    for entry in document["lxc_configs"].values():
        del entry["network_config"], entry["mac_address"]
    del document["lxc_configs"]["950"]["storage_pool"]
    live.config.write_text(json.dumps(document))
    result = live.phoenix("plan", "--json")
    assert result.code == 1 and told(result.document["refusals"]) == [("key-needed", "/lxc_configs/950")]
    assert touched(result) == {"951"}
    assert live.phoenix("apply", "--all", "--skip-refused").code == 3
    assert live.labels() == {"951": "lxc-a (enforce)"}


@pytest.mark.parametrize(
    "words", [("plan",), ("plan", "--skip-refused"), ("apply", "--all", "--skip-refused")]
)
def test_what_is_the_hosts_or_a_profiles_stops_everything(many: LiveHost, words: tuple[str, ...]) -> None:
    (many.installed / "lxc-a").write_text("profile lxc-a {}\n")
    before = snapshot(many.folder, without=("root/double",))
    result = many.phoenix(*words, "--json")
    assert result.code == 1 and result.problems == [("file-foreign", "/etc/apparmor.d/lxc-a"), *ODD]
    assert "--skip-refused" not in result.err
    (many.installed / "lxc-a").unlink()
    many.lose_quorum()
    result = many.phoenix(*words, "--json")
    assert result.code == 1 and ("read-only", "container 110") in result.problems
    many.installed.joinpath("lxc-a").write_text("profile lxc-a {}\n")
    assert {k: v.content for k, v in before.items() if "apparmor.d" in k and v.content} == {
        k: v.content
        for k, v in snapshot(many.folder, without=("root/double",)).items()
        if "apparmor.d" in k and v.content
    }


def test_a_container_that_is_locked_meanwhile_is_left_out_too(
    many: LiveHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan is made anew under the lock."""
    from phoenix_hypervisor.engine.session import Session

    real = Session.again

    def again(self: Session) -> Session:
        many.conf("110", "memory: 512\nlock: snapshot\n")
        return real(self)

    monkeypatch.setattr(Session, "again", again)
    result = many.phoenix("apply", "--all", "--skip-refused", "--json")
    assert result.code == 3 and ("locked", "container 110") in told(result.document["refusals"])
    assert set(many.labels()) == set(FINE) - {"110"}


def test_status_shows_all_and_gives_no_advice_in_vain(many: LiveHost) -> None:
    result = many.phoenix("status", "--json")
    found = {c["ctid"]: c["findings"] for c in result.document["containers"]}
    assert set(found) >= {*(f"10{n}" for n in range(1, 7)), *FINE}
    for ctid, code in (("101", "locked"), ("105", "pending-raw"), ("106", "start-without-file")):
        (line,) = (f for f in found[ctid] if f["code"] == "not-assigned")
        assert line["blocked_by"] == [code]
        assert line["hint"].startswith("not now: ") and "phoenix apply" not in line["hint"]
    assert "`pct unlock 101`" in str(found["101"])
    advice = [f["hint"] for ctid in FINE for f in found[ctid] if f["code"] == "not-assigned"]
    assert advice == [f"phoenix apply {ctid}" for ctid in FINE]
    # What is advised is done, and what is not is refused.
    for ctid in ("101", "102", "103", "104", "105", "106"):
        assert f"phoenix apply {ctid}" not in result.out
        assert many.phoenix("apply", ctid).code == 1
    assert many.phoenix("apply", "110").code == 0


def test_the_library_says_the_same(many: LiveHost) -> None:
    phoenix = Phoenix(config=str(many.config), host=many.host)
    planned = phoenix.plan()
    assert [(note.code, note.target) for note in planned.refusals] == ODD
    assert {a.target for a in planned.plan.actions if a.kind == "assign"} == set(FINE)
    with pytest.raises(Refused) as refused:
        phoenix.apply(ApplyRequest())
    assert refused.value.skippable and refused.value.notes == planned.refusals
    applied = phoenix.apply(ApplyRequest(skip_refused=True))
    assert applied.refusals == planned.refusals and set(many.labels()) == set(FINE)
