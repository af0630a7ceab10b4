"""What `features` asks for."""

from __future__ import annotations

import pytest

from phoenix_hypervisor.containers.generated import flag, lost_filesystems


@pytest.mark.parametrize(
    ("features", "kinds"),
    [
        ("", ()),
        ("nesting=1,keyctl=1", ()),
        ("keyctl=1,fuse=1", ("fuse",)),
        ("fuse=true", ("fuse",)),
        ("fuse=0", ()),
        ("mount=nfs;cifs", ("nfs", "cifs")),
        ("mount=nfs cifs,fuse=1", ("fuse", "nfs", "cifs")),
        ("mount=nfs;nfs", ("nfs",)),
    ],
)
def test_the_file_systems_of_features(features: str, kinds: tuple[str, ...]) -> None:
    assert lost_filesystems(features) == kinds


@pytest.mark.parametrize("value", ["1", "on", "yes", "TRUE"])
def test_every_way_to_say_yes_counts(value: str) -> None:
    assert flag(f"keyctl=1, nesting={value}", "nesting")


@pytest.mark.parametrize("features", ["", "nesting=0", "nesting=off", "xnesting=1", "nesting"])
def test_anything_else_is_no(features: str) -> None:
    assert not flag(features, "nesting")
