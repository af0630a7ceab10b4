"""What both kinds of configuration have in common where they are described.

Owns the result's form and the reading of numbers and sizes.  Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from phoenix_hypervisor.containers.wishes import fixed_node
from phoenix_hypervisor.values import dataclass


@dataclass(frozen=True, slots=True)
class Described:
    """What stands in one configuration."""

    values: Mapping[str, object]
    """By key of ours."""
    left: tuple[str, ...]
    """The runtime's own keys that stand there and that creating the container again would not bring."""


def integer(text: str) -> int | None:
    """A plain number of up to nine digits."""
    return int(text) if re.fullmatch(r"0|[1-9][0-9]{0,8}", text) else None


def comes_with_gpus(rule: str) -> bool:
    """Whether a rule of the device cgroup may be for NVIDIA's nodes, of which only 195 is a fixed number."""
    return rule.startswith("c ") and fixed_node(rule) in (None, "/dev/nvidia0")


_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def size(text: str, unit: int) -> int | None:
    """`16G`, `8192M`, ... in whole `unit`s of bytes; None where it is none, or does not come out even."""
    match = re.fullmatch(r"([1-9][0-9]{0,15})([KMGT]?)", text)
    if match is None:
        return None
    whole, rest = divmod(int(match[1]) * _UNITS[match[2]], unit)
    return None if rest or not whole else whole


def gib(text: str) -> int | None:
    """A size in whole GiB."""
    return size(text, _UNITS["G"])


def mib(text: str) -> int | None:
    """A size in whole MiB; 0 is none."""
    return 0 if text == "0" else size(text, _UNITS["M"])
