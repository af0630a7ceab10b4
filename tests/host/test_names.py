"""Containers named as people name them: by CTID, name, list and range, wherever a CTID is taken."""

from __future__ import annotations

import pytest

from phoenix_hypervisor import Phoenix
from phoenix_hypervisor.engine.requests import ApplyRequest, StatusRequest
from phoenix_hypervisor.errors import UsageError
from support.hosts import DirectoryHost, snapshot


@pytest.fixture
def some(host: DirectoryHost) -> DirectoryHost:
    """103 and 104 are declared, one with a name; 105 is not, and has a host name."""
    host.source("lxc-a")
    host.source("lxc-b", "/etc/shadow r,")
    host.conf("103", "hostname: other\n")
    host.conf("104", "hostname: gitea\n")
    host.conf("105", "hostname: nas\nlxc.apparmor.profile: lxc-b\n")
    host.declare({"103": {"apparmor_profile": "lxc-a", "name": "pihole"}, "104": "lxc-a"})
    return host


def _shown(host: DirectoryHost, *words: str) -> list[str]:
    result = host.phoenix("status", "--json", *words)
    assert result.code == 0, result
    return [container["ctid"] for container in result.document["containers"]]


def test_status_takes_names_lists_and_ranges(some: DirectoryHost) -> None:
    assert _shown(some, "nas,pihole") == ["105", "103"]
    assert _shown(some, "100-104") == ["103", "104"]
    assert _shown(some, "GITEA", "104") == ["104"]
    missing = some.phoenix("status", "pihol")
    assert missing.code == 2 and "did you mean pihole (103)?" in missing.err
    assert some.phoenix("verify", "200-300").code == 2


def test_plan_and_apply_take_them_too(some: DirectoryHost) -> None:
    before = snapshot(some.root)
    plan = some.phoenix("plan", "--json", "pihole")
    assigned = [a["target"] for a in plan.document["actions"] if a["kind"] == "assign"]
    assert (plan.code, assigned, snapshot(some.root)) == (0, ["103"], before)
    assert some.apply("103-104", "--no-start").code == 0
    for ctid in ("103", "104"):
        assert b"lxc.apparmor.profile: lxc-a\n" in (some.lxc / f"{ctid}.conf").read_bytes()
    refused = some.apply("103-105", "--no-start")
    assert refused.code == 1 and "container 105 is not declared" in refused.err
    assert "next: `phoenix import --merge` declares 105; declared: 103, 104" in refused.err
    absent = some.apply("300,105,301", "--no-start")
    assert "container 105,300,301 is not declared" in absent.err and "declares 105; " in absent.err
    nowhere = some.apply("300", "--no-start")
    assert "container 300 is not declared" in nowhere.err and "next: declared: 103, 104" in nowhere.err


def test_the_advice_for_what_is_not_declared_helps(some: DirectoryHost) -> None:
    assert some.phoenix("import", "--merge").code == 0
    assert some.apply("103-105", "--no-start").code == 0


def test_a_ctid_that_nobody_has(some: DirectoryHost) -> None:
    result = some.phoenix("status", "300,301,302,103")
    assert result.code == 1 and "container 300-302 is neither declared nor on this host" in result.err
    assert "next: there are 103, 104, 105" in result.err


def test_a_range_of_undeclared_containers_is_refused_before_anything_is_written(some: DirectoryHost) -> None:
    before = snapshot(some.root)
    for words in (("apply", "nas"), ("apply", "nosuch"), ("apply", "105-110"), ("apply", "300-400")):
        result = some.phoenix(*words)
        assert result.code in (1, 2) and result.err and snapshot(some.root) == before


def test_python_takes_them_too(some: DirectoryHost) -> None:
    phoenix = Phoenix(str(some.root), str(some.config))
    targets = {action.target for action in phoenix.plan(ApplyRequest(ctids=("gitea",))).plan.actions}
    assert "104" in targets and "103" not in targets
    assert [v.ctid for v in phoenix.status(StatusRequest(ctids=("100-104",))).containers] == ["103", "104"]
    with pytest.raises(UsageError):
        phoenix.apply(ApplyRequest(ctids=("gitee",)))


def test_policy_is_asked_by_a_container(some: DirectoryHost) -> None:
    """Its line counts; where there is none, what is declared."""

    def asked(word: str) -> tuple[int, str]:
        result = some.phoenix("policy", "query", word, "file", "/etc/shadow", "--access", "r", "--json")
        return result.code, result.document.get("profile", "")

    assert asked("105") == asked("nas") == (0, "lxc-b")
    assert asked("103") == asked("pihole") == (3, "lxc-a")
    diff = some.phoenix("policy", "diff", "103", "nas", "--json")
    assert diff.code == 3 and diff.document["differences"]
    explained = some.phoenix("policy", "explain", "nas", "file", "/etc/shadow", "--access", "r")
    assert explained.code == 0 and "/etc/shadow r," in explained.out
    assert some.phoenix("policy", "list", "105", "--access", "r", "--under", "/etc").code == 0


@pytest.mark.parametrize(
    ("conf", "words"),
    [
        ("hostname: x\n", "has no profile of its own: Proxmox generates"),
        ("lxc.apparmor.profile: generated\n", "has no profile of its own"),
        ("lxc.apparmor.profile: unconfined\n", "is unconfined: AppArmor refuses it nothing"),
        ("lxc.apparmor.profile: lxc-a//&lxc-b\n", "runs under a stack"),
        (None, "is neither declared nor on this host"),
    ],
)
def test_a_container_without_a_profile_of_its_own(some: DirectoryHost, conf: str | None, words: str) -> None:
    if conf is not None:
        some.conf("106", conf)
    result = some.phoenix("policy", "query", "106", "file", "/x", "--access", "r")
    assert result.code == 2 and words in result.err


def test_a_name_that_several_have_is_refused(some: DirectoryHost) -> None:
    some.conf("106", "hostname: nas\n")
    result = some.phoenix("status", "nas")
    assert result.code == 2 and "containers 105, 106 are all called nas" in result.err
