"""A runtime that Phoenix does not know is registered, and every command works through it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from phoenix_hypervisor.containers.runtimes import registry
from phoenix_hypervisor.host.process import ReplacingRunner
from support.hosts import DOUBLES, LiveHost, contents
from support.jars import JARS

SETTINGS = b"litres = 3\n"


@pytest.fixture
def jars(live: LiveHost) -> Iterator[LiveHost]:
    """A host with two jars and no Proxmox."""
    shutil.rmtree(live.root / "etc/pve")
    live.host.runner = ReplacingRunner(live.runner, {"jar": [str(DOUBLES / "jar")]})
    live.source("lxc-a")
    for ctid in ("101", "102"):
        place = live.root / "srv/jars" / ctid
        place.mkdir(parents=True)
        (place / "settings").write_bytes(SETTINGS)
    live.declare({"101": "lxc-a", "102": {"apparmor_profile": "lxc-a", "start": False}})
    registry.register(JARS)
    try:
        yield live
    finally:
        registry.unregister(JARS.name)


def settings(live: LiveHost, ctid: str) -> bytes:
    return (live.root / "srv/jars" / ctid / "settings").read_bytes()


def test_it_is_found_before_the_others(jars: LiveHost) -> None:
    assert registry.names() == ("jars", "proxmox", "lxc")
    assert registry.kind_of(jars.host) is JARS


def test_plan_apply_status_rollback(jars: LiveHost) -> None:
    before = contents(jars.root / "srv")
    plan = jars.phoenix("plan", "--detailed-exitcode")
    assert plan.code == 3 and "container 101: assign lxc-a" in plan.out
    assert contents(jars.root / "srv") == before

    result = jars.apply()
    assert (result.code, result.err) == (0, "")
    for ctid in ("101", "102"):
        assert settings(jars, ctid) == SETTINGS + b"lxc.apparmor.profile = lxc-a\n"
    status = jars.phoenix("status", "--json").document
    assert [(c["ctid"], c["label"], c["confined"], c["as_declared"]) for c in status["containers"]] == [
        ("101", "lxc-a (enforce)", True, True),
        ("102", None, None, True),
    ]
    assert jars.phoenix("verify").code == 0
    again = jars.apply()
    assert again.code == 0 and again.recap["changed"] == 0

    assert jars.phoenix("rollback").code == 1, "101 runs under the profile that would go"
    jars.host.runner.run(["jar", "shut", "101"])
    result = jars.phoenix("rollback")
    assert result.code == 0, result
    assert contents(jars.root / "srv") == before
    assert jars.phoenix("verify").code == 3


def test_its_own_profile_confines_what_has_no_line(jars: LiveHost) -> None:
    jars.declare({"101": {"apparmor_profile": "unconfined", "start": False}})
    jars.process(77, "/jar/101", "jar-lid (enforce)", nspid="77 1")
    assert jars.phoenix("setup").code == 0 and jars.phoenix("verify").code == 0
    jars.declare({"101": {"apparmor_profile": "lxc-a", "start": False}})
    assert "old-label" in jars.phoenix("verify").out


def test_a_restart_and_a_creation(jars: LiveHost) -> None:
    jars.host.runner.run(["jar", "open", "101"])
    fields = {"name": "plums", "apparmor_profile": "lxc-a", "memory_mb": 2048}
    jars.declare({"101": "lxc-a", "103": fields, "104": {"name": "x", "node": "cellar"}})
    (jars.sources / "lxc-nvidia-gpu-base").write_bytes(
        (jars.sources / "lxc-a").read_bytes().replace(b"lxc-a", b"lxc-nvidia-gpu-base")
    )
    result = jars.apply("--all", "--restart")
    assert (result.code, result.err) == (0, "")
    assert settings(jars, "103") == b"litres = 2048\nlxc.apparmor.profile = lxc-a\n"
    assert "is created by node cellar; this is node kitchen" in result.out
    labels = {c["ctid"]: c["label"] for c in jars.phoenix("status", "--json").document["containers"]}
    assert (labels["101"], labels["103"]) == ("lxc-a (enforce)", "lxc-a (enforce)")


def test_its_own_words_say_why_something_is_refused(jars: LiveHost) -> None:
    (jars.root / "srv/jars/SEALED").touch()
    result = jars.apply()
    assert result.code == 1
    assert "the shelf is sealed" in result.err and "see `jar unseal`" in result.err
    jars.declare({"999": {"apparmor_profile": "lxc-a", "name": "x"}})
    result = jars.apply("999")
    assert result.code == 1 and "is a jar on node cellar" in result.err
    jars.declare({"103": {"apparmor_profile": "lxc-a"}})
    (jars.root / "srv/jars/SEALED").unlink()
    assert "name is needed to create the container" in jars.apply().err


def test_a_transaction_is_undone_by_the_runtime_that_made_it(jars: LiveHost) -> None:
    assert jars.apply("--all", "--no-start").code == 0
    (jars.root / "var/lib/lxc").mkdir(parents=True)
    assert jars.phoenix("--runtime", "lxc", "rollback").code == 0
    assert settings(jars, "101") == SETTINGS


def test_a_runtime_that_is_not_registered_is_named(jars: LiveHost) -> None:
    assert jars.apply("--all", "--no-start").code == 0
    registry.unregister(JARS.name)
    try:
        result = jars.phoenix("rollback")
        assert result.code == 1 and "runtime 'jars' is not known" in result.err
        assert jars.phoenix("--runtime", "jars", "status").code == 2
    finally:
        registry.register(JARS)
    assert jars.phoenix("--runtime", "jars", "status").code == 0
