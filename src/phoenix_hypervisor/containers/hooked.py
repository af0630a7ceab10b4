"""Which containers name a script that is run before they start.

Owns reading that of configurations, on this host and, where other nodes see the same file, on theirs.  Must
not write: a container names a hook because its operator says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from phoenix_hypervisor.containers import conf as codec
from phoenix_hypervisor.containers.runtime import Clustered, HookPlace, Runtime
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """One container that names a hook."""

    name: str
    value: str
    """What it names."""
    node: str | None = None
    """The other node that it is on; None: this host."""
    only_kept: bool = False
    """A snapshot, or pending changes, would bring it back; it does not count now."""


def naming(runtime: Runtime, place: HookPlace) -> list[Named]:
    """Every container that names a hook by the key of `place`, in its own settings or in a section below.

    Configurations that cannot be read are left out.
    """
    found: list[Named] = []
    for name, node, data in _configurations(runtime, everywhere=place.shared):
        now, kept = _values(data, runtime.dialect, place.key)
        found += [Named(name=name, value=value, node=node) for value in now]
        found += [Named(name=name, value=v, node=node, only_kept=True) for v in kept if v not in now]
    return found


def _configurations(runtime: Runtime, *, everywhere: bool) -> Iterator[tuple[str, str | None, bytes]]:
    for name in runtime.names():
        try:
            data = runtime.read_conf(name)
        except PhoenixError:
            continue
        if data is not None:
            yield name, None, data
    if everywhere and isinstance(runtime, Clustered):
        for one in runtime.on_other_nodes():
            if one.data is not None:
                yield one.name, one.node, one.data


def _values(data: bytes, dialect: codec.Dialect, key: str) -> tuple[list[str], list[str]]:
    """What counts now, and what stands in sections below; the arguments behind a script are left out."""
    if key.encode() not in data:
        return [], []
    conf = codec.parse(data, dialect)
    values = [_script(codec.unquoted(value)) for value in codec.values_of(conf, key.encode())]
    if dialect is codec.Dialect.LXC:
        # Each line adds one, and an empty one takes all before it away (lxc.container.conf(5)).
        last = max((index for index, value in enumerate(values) if not value), default=-1)
        return values[last + 1 :], []
    line = rb"(?m)^" + re.escape(key.encode()) + rb":[ \t]*([^\n]+?)[ \t\r]*$"
    below = [_script(value.decode("utf-8", "replace")) for value in re.findall(line, data[conf.head :])]
    return values[-1:], sorted(set(below))


def _script(value: str) -> str:
    return value.split()[0] if value.split() else ""
