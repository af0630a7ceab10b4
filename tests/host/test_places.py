"""Where the configuration is found, what belongs to it, and what works without one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from phoenix_hypervisor import Phoenix
from phoenix_hypervisor.engine.places import FOLDERS, NoConfiguration, default_place
from phoenix_hypervisor.host.machine import Host
from support.hosts import TOP, DirectoryHost, Result

CLUSTER, OWN, HOME = FOLDERS
NAME = "phoenix_lxc_configs.json"


@pytest.fixture
def bare(host: DirectoryHost) -> DirectoryHost:
    """Two containers, and no configuration in any place; sources where `make install` puts them."""
    host.conf("101", "hostname: web\n")
    host.conf("102", "hostname: db\nlxc.apparmor.profile: unconfined\n")
    host.source("lxc-a")
    (host.root / HOME[1:]).mkdir(parents=True)
    shutil.move(host.sources, host.root / HOME[1:] / "apparmor")
    return host


def _put(host: DirectoryHost, folder: str, *ctids: str) -> Path:
    place = host.root / folder[1:]
    place.mkdir(parents=True, exist_ok=True)
    entries = {ctid: {"apparmor_profile": "lxc-a"} for ctid in ctids}
    (place / NAME).write_text(json.dumps({"lxc_configs": entries}))
    return place / NAME


def _declared(result: Result) -> list[str]:
    return [one["ctid"] for one in result.document["containers"] if one["declared"] is not None]


def test_every_place_is_looked_at(bare: DirectoryHost) -> None:
    for folder in FOLDERS:
        path = _put(bare, folder, "101")
        status = bare.phoenix("status", "--json", config=False)
        assert (status.code, _declared(status)) == (0, ["101"])
        assert status.document["configuration"] == str(path)
        path.unlink()


def test_a_configuration_in_etc_pve_needs_nothing_beside_it(bare: DirectoryHost) -> None:
    _put(bare, CLUSTER, "101")
    assert bare.phoenix("apply", "--all", "--no-start", config=False).code == 0
    assert (bare.lxc / "101.conf").read_text().endswith("lxc.apparmor.profile: lxc-a\n")
    assert (bare.installed / "lxc-a").is_file()
    path = _put(bare, CLUSTER)
    path.unlink()
    assert "apply" in bare.phoenix("history", config=False).out
    assert bare.phoenix("rollback", config=False).code == 0, "undoing needs none either"
    _put(bare, CLUSTER)
    assert not (bare.installed / "lxc-a").exists()
    query = bare.phoenix("policy", "query", "lxc-a", "file", "/etc/hosts", "--access", "r", config=False)
    assert query.code == 0


def test_sources_beside_it_come_first_and_alone(bare: DirectoryHost) -> None:
    place = _put(bare, OWN).parent
    shutil.copytree(bare.root / HOME[1:] / "apparmor", place / "apparmor")
    (place / "apparmor/lxc-a").rename(place / "apparmor/lxc-b")
    (place / "apparmor/lxc-b").write_text((place / "apparmor/lxc-b").read_text().replace("lxc-a", "lxc-b"))
    names = [p["name"] for p in bare.phoenix("status", "--json", config=False).document["profiles"]]
    assert names == ["lxc-b"]


def test_two_without_a_choice_are_an_error_that_names_both(
    bare: DirectoryHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = _put(bare, CLUSTER, "101"), _put(bare, HOME, "102")
    for words in (("plan",), ("status",), ("apply", "--all"), ("verify",)):
        result = bare.phoenix(*words, config=False)
        assert result.code == 1 and str(first) in result.err and str(second) in result.err
        assert "--config FILE or PHOENIX_CONFIG" in result.err
    for path, ctid in ((first, "101"), (second, "102")):
        monkeypatch.setenv("PHOENIX_CONFIG", str(path))
        assert _declared(bare.phoenix("status", "--json", config=False)) == [ctid]
    chosen = bare.phoenix("--config", str(first), "status", "--json", config=False)
    assert _declared(chosen) == ["101"], "--config comes before the environment"


def test_one_file_under_two_names_is_one(bare: DirectoryHost) -> None:
    path = _put(bare, OWN, "101")
    (bare.root / HOME[1:] / NAME).symlink_to(f"{OWN}/{NAME}")
    assert path.is_file()
    assert _declared(bare.phoenix("status", "--json", config=False)) == ["101"]


def test_a_variable_that_names_no_file(bare: DirectoryHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOENIX_CONFIG", "/no/such.json")
    result = bare.phoenix("plan", config=False)
    assert result.code == 2 and "/no/such.json: PHOENIX_CONFIG is not a file" in result.err


@pytest.mark.parametrize("words", [("plan",), ("apply", "101"), ("setup",), ("verify",), ("check",)])
def test_what_needs_one_says_how_to_make_one(bare: DirectoryHost, words: tuple[str, ...]) -> None:
    result = bare.phoenix(*words, config=False)
    assert result.code == 1 and "there is no configuration" in result.err
    assert "`phoenix import`" in result.err and str(bare.root) + CLUSTER in result.err
    error = bare.phoenix(*words, "--json", config=False).document["error"]
    assert error["code"] == "configuration-missing" and "`phoenix import`" in error["hint"]


def test_another_error_has_another_code_or_none(bare: DirectoryHost) -> None:
    error = bare.phoenix("status", "nobody", "--json", config=False).document["error"]
    assert error["code"] is None


def test_what_can_do_without_one_does(bare: DirectoryHost) -> None:
    status = bare.phoenix("status", config=False)
    assert status.code == 0 and "no configuration: no container is declared" in status.out
    assert "container 102 db: undeclared-unconfined: " in status.out
    assert [one["name"] for one in bare.phoenix("status", "--json", config=False).document["containers"]] == [
        "web",
        "db",
    ]
    assert bare.phoenix("status", "web", config=False).code == 0
    assert bare.phoenix("history", config=False).code == 0
    for words in (
        ("query", "lxc-a", "file", "/etc/hosts", "--access", "r"),
        ("explain", "lxc-a", "file", "/etc/hosts", "--access", "r"),
        ("list", "lxc-a", "--access", "r", "--under", "/etc"),
    ):
        assert bare.phoenix("policy", *words, config=False).code == 0, words
    assert "sources=1" in bare.phoenix("policy", "lint", "--quick", config=False).out
    stopped = bare.phoenix("policy", "query", "102", "file", "/etc/hosts", "--access", "r", config=False)
    assert stopped.code == 2 and "is unconfined" in stopped.err


def test_python_is_told_apart(bare: DirectoryHost) -> None:
    phoenix = Phoenix(str(bare.root))
    assert phoenix.status().configuration is None and len(phoenix.status().containers) == 2
    with pytest.raises(NoConfiguration):
        phoenix.verify()
    with pytest.raises(NoConfiguration):
        phoenix.plan()


def test_a_new_configuration_goes_where_a_cluster_shares_it(bare: DirectoryHost, tmp_path: Path) -> None:
    assert default_place(Host(str(bare.root))) == f"{CLUSTER}/{NAME}"
    assert default_place(Host(str(tmp_path))) == f"{OWN}/{NAME}"


def test_an_installation_finds_its_own(tmp_path: Path, bare: DirectoryHost) -> None:
    """Its sources stand in for what a configuration without any beside it asks of."""
    assert (TOP / "etc/apparmor/lxc-nvidia-gpu-base").is_file()
    shutil.rmtree(bare.root / HOME[1:])
    config = _put(bare, OWN)
    config.write_text(json.dumps({"lxc_configs": {"101": {"apparmor_profile": "lxc-nvidia-gpu-base"}}}))
    names = {p["name"] for p in bare.phoenix("status", "--json", config=False).document["profiles"]}
    assert "lxc-nvidia-gpu-base" in names
