"""Labels as kernels print them, and what they mean for an assigned profile."""

from __future__ import annotations

import pytest

from phoenix_hypervisor.plan.labels import Component, carries, parse

GENERATED = "lxc-950_</var/lib/lxc>//&:lxc-950_<-var-lib-lxc>:unconfined (enforce)"


def test_a_stack_with_a_namespace() -> None:
    label = parse(GENERATED)
    assert label.mode == "enforce"
    assert label.components == (
        Component("", "lxc-950_</var/lib/lxc>"),
        Component("lxc-950_<-var-lib-lxc>", "unconfined"),
    )


@pytest.mark.parametrize(
    ("text", "confined"),
    [
        ("unconfined", False),
        ("", False),
        ("lxc-a (enforce)", True),
        ("lxc-a (complain)", False),
        ("lxc-a (unconfined)", False),
        ("lxc-a (kill)", True),
        (GENERATED, True),
        (":ns://unconfined", False),
    ],
)
def test_confined(text: str, confined: bool) -> None:
    assert parse(text).confined is confined


@pytest.mark.parametrize(
    ("label", "value", "agrees"),
    [
        ("lxc-a (enforce)", "lxc-a", True),
        ("lxc-a (complain)", "lxc-a", False),
        ("lxc-ab (enforce)", "lxc-a", False),
        ("lxc-a//child (enforce)", "lxc-a", True),
        ("lxc-b//lxc-a (enforce)", "lxc-a", False),
        ("lxc-a//&:lxc-950_<-var-lib-lxc>:unconfined (enforce)", "lxc-a", True),
        ("lxc-a//&:lxc-950_<-var-lib-lxc>:docker-default (enforce)", "lxc-a//&:lxc-950_<-var-lib-lxc>:unconfined", True),
        (":ns:lxc-a (enforce)", "lxc-a", False),
        ("unconfined", "lxc-a", False),
        ("unconfined", "unconfined", True),
        ("lxc-a (enforce)", "unconfined", False),
        (GENERATED, None, True),
        (GENERATED, "generated", True),
        (GENERATED.replace("950", "951"), None, False),
        ("lxc-container-default-cgns (enforce)", None, True),
        ("lxc-nvidia-gpu-base (enforce)", None, False),
        ("unconfined", None, False),
    ],
)  # fmt: skip
def test_carries(label: str, value: str | None, agrees: bool) -> None:
    assert (
        carries(label, value, ("lxc-950_<*", "lxc-container-default", "lxc-container-default-cgns")) is agrees
    )
