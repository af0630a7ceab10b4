"""What `features` asks for."""

from __future__ import annotations

import pytest

from phoenix_hypervisor.containers.generated import flag, mounts


@pytest.mark.parametrize(
    ("features", "kinds"),
    [
        ("", ()),
        ("nesting=1,keyctl=1", ()),
        ("keyctl=1,fuse=1", ()),
        ("mount=nfs;cifs", ("nfs", "cifs")),
        ("mount=nfs cifs,fuse=1", ("nfs", "cifs")),
        ("mount=nfs;nfs", ("nfs",)),
    ],
)
def test_the_file_systems_of_features(features: str, kinds: tuple[str, ...]) -> None:
    assert mounts(features) == kinds


@pytest.mark.parametrize("value", ["1", "on", "yes", "TRUE", "true"])
def test_every_way_to_say_yes_counts(value: str) -> None:
    assert flag(f"keyctl=1, nesting={value}", "nesting")


@pytest.mark.parametrize("features", ["", "nesting=0", "nesting=off", "xnesting=1", "nesting"])
def test_anything_else_is_no(features: str) -> None:
    assert not flag(features, "nesting")
