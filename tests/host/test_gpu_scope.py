"""`scope_gpus`: variants of profiles that refuse other containers' GPUs by name, and the proof of all pairs."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

import pytest

from phoenix_hypervisor.profiles.scoped import Scope, but, with_scoped
from phoenix_hypervisor.profiles.sources import Sources
from support import gpus
from support.hosts import DirectoryHost, LiveHost, told

BASE = ("file,", "capability,", "network,", "signal,", "unix,")


def entry(assignment: str, **more: Any) -> dict[str, Any]:
    return {
        "apparmor_profile": "lxc-a",
        "start": False,
        "gpu_assignment": assignment,
        "scope_gpus": True,
        **more,
    }


@pytest.fixture
def four(host: DirectoryHost) -> DirectoryHost:
    host.source("lxc-a", *BASE)
    gpus.nvidia(host.root, 4)
    for ctid in ("101", "102", "103"):
        host.conf(ctid, gpus.conf(unprivileged=ctid != "103"))
    return host


def opens(host: DirectoryHost, profile: str, path: str) -> bool:
    done = host.phoenix("policy", "query", profile, "file", path, "--access", "rw")
    assert done.code in (0, 3), done.err
    return done.code == 0


@pytest.mark.parametrize("numbers", [(), (0,), (1, 3), (7, 10), (12, 120), (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)])
def test_patterns_are_for_every_number_but_these(numbers: tuple[int, ...]) -> None:
    patterns = [re.compile(pattern) for pattern in but(numbers)]
    for length in (1, 2, 3):
        for digits in product("0123456789", repeat=length):
            word = "".join(digits)
            hits = sum(1 for pattern in patterns if pattern.fullmatch(word))
            assert hits == (word not in {str(number) for number in numbers}), word


def test_apply_assigns_a_variant_and_says_why(four: DirectoryHost) -> None:
    four.declare({"101": entry("0"), "102": entry("1,2"), "103": "lxc-a"})
    plan = four.phoenix("plan")
    assert "assign lxc-a-gpus-0; the variant that refuses other GPUs' nodes" in plan.out
    assert four.apply().code == 0
    lines = {ctid: (four.lxc / f"{ctid}.conf").read_text().splitlines()[-1] for ctid in ("101", "102", "103")}
    assert lines == {
        "101": "lxc.apparmor.profile: lxc-a-gpus-0",
        "102": "lxc.apparmor.profile: lxc-a-gpus-1.2",
        "103": "lxc.apparmor.profile: lxc-a",
    }
    assert four.apply().recap["changed"] == 0
    shown = four.phoenix("status", "101").out
    assert "lxc-a-gpus-0 is its variant that refuses other GPUs' nodes" in " ".join(shown.split())
    assert b"profile lxc-a-gpus-0 " in (four.installed / "lxc-a-gpus-0").read_bytes()


def test_a_variant_refuses_the_others_under_any_directory_and_the_base_stays(four: DirectoryHost) -> None:
    four.declare({"101": entry("0"), "102": entry("1,2"), "103": "lxc-a"})
    assert four.apply().code == 0
    for number, folder in product(range(12), ("/dev", "/hostdev", "")):
        path = f"{folder}/nvidia{number}"
        assert opens(four, "lxc-a-gpus-0", path) is (number == 0), path
        assert opens(four, "lxc-a-gpus-1.2", path) is (number in (1, 2)), path
        assert opens(four, "lxc-a", path)
    for shared in ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-modeset", "/dev/null", "/etc/nvidia0x"):
        assert opens(four, "lxc-a-gpus-0", shared)


def test_check_proves_every_pair_and_names_what_only_the_cgroup_holds(four: DirectoryHost) -> None:
    four.declare({"101": entry("0"), "102": entry("1,2"), "103": entry("3", unprivileged=False)})
    done = four.phoenix("check", "--quick")
    assert done.code == 0, done.err
    assert "6 pairs of containers: no policy opens the other's nodes" in done.out
    assert "container 103" in done.out and "only the device cgroup" in done.out


def test_check_fails_where_a_rule_reaches_a_foreign_gpu(
    four: DirectoryHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    four.declare({"101": entry("0"), "102": entry("1")})
    assert four.phoenix("check", "--quick").code == 0
    rules = Scope.rules
    monkeypatch.setattr(
        Scope, "rules", lambda self: rules(self).replace("nvidia[123456789]", "nvidia[23456789]")
    )
    done = four.phoenix("check", "--quick", "--json")
    assert done.code == 1
    assert done.problems == [("gpu-reached", "/lxc_configs/101")]
    assert "/dev/nvidia1, which is assigned to container 102" in done.err


def test_gpu_shows_the_profile_as_a_wall(four: DirectoryHost) -> None:
    bind = [f"lxc.mount.entry: /dev/nvidia{n} dev/nvidia{n} none bind,create=file" for n in (0, 1)]
    four.conf("101", gpus.conf(*bind, unprivileged=True))
    four.declare({"101": entry("0")})
    assert four.apply().code == 0
    cells = four.phoenix("gpu", "--json").document["containers"]["101"]["gpus"]
    assert [(c["can_open"], c["walls"]) for c in cells[:2]] == [(True, []), (False, ["profile"])]
    assert four.phoenix("verify").code == 0, "the second node is there, and no fault: it does not open"


def test_slices_and_other_vendors(host: DirectoryHost) -> None:
    host.source("lxc-a", *BASE)
    gpus.nvidia(host.root, 2, slices=(0,))
    gpus.drm(host.root, 1, "0x1002", "0000:c1:00.0")
    host.conf("101", gpus.conf(unprivileged=True))
    host.declare({"101": entry("0/1/0")})
    assert host.apply().code == 0
    name = "lxc-a-gpus-0.c14.c15"
    for path, open_ in {
        "/dev/nvidia0": True, "/dev/nvidia1": False, "/dev/nvidia-caps/nvidia-cap14": True,
        "/dev/nvidia-caps/nvidia-cap18": False, "/dev/nvidia-caps/nvidia-cap1": False, "/dev/dri/renderD129": False,
    }.items():  # fmt: skip
        assert opens(host, name, path) is open_, path


def test_all_needs_no_variant_and_a_foreign_profile_has_none(four: DirectoryHost) -> None:
    four.declare({"101": entry("all"), "102": {**entry("0"), "apparmor_profile": "generated"}})
    plan = four.phoenix("plan", "--json").document
    assert [one for one in told(plan["warnings"]) if one[0] == "gpu-not-scoped"] == [
        ("gpu-not-scoped", "container 101"),
        ("gpu-not-scoped", "container 102"),
    ]
    assert not [a for a in plan["actions"] if "-gpus-" in a["target"]]


def test_a_source_of_another_form_gets_no_variant() -> None:
    odd = Sources(directory="/x", profiles={"lxc-a": b"profile lxc-a { }\n", "lxc-b": b"# none\n"})
    assert dict(with_scoped(odd, [("lxc-a", Scope()), ("lxc-b", Scope())]).made_of) == {}


def test_variants_are_loaded_and_carried(live: LiveHost) -> None:
    live.source("lxc-a", *BASE)
    gpus.nvidia(live.root, 2)
    live.conf("101", gpus.conf("dev0: /dev/nvidia1,mode=0666", unprivileged=True))
    live.declare({"101": {**entry("1"), "start": True}})
    assert live.apply("--all").code == 0
    assert live.labels()["101"] == "lxc-a-gpus-1 (enforce)" and live.loaded()["lxc-a-gpus-1"] == "enforce"
    assert live.phoenix("verify").code == 0


def test_a_shipped_profile_and_its_unprivileged_variant(host: DirectoryHost) -> None:
    """Both forms of the sources, by this parser: the rules are behind nothing that outranks them."""
    import shutil

    from support.hosts import TOP

    shutil.copytree(TOP / "etc/apparmor", host.sources, dirs_exist_ok=True)
    gpus.nvidia(host.root, 2)
    host.conf("101", gpus.conf(unprivileged=True))
    host.conf("102", gpus.conf())
    one = {**entry("0"), "apparmor_profile": "lxc-nvidia-gpu-base"}
    host.declare({"101": one, "102": {**one, "unprivileged": False}})
    assert host.apply().code == 0
    for name in ("lxc-nvidia-gpu-base-unprivileged-gpus-0", "lxc-nvidia-gpu-base-gpus-0"):
        assert opens(host, name, "/dev/nvidia0") and not opens(host, name, "/dev/nvidia1")
