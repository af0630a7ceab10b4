"""What a node tells others of itself: the facts bundle.

Owns its form as JSON, both ways, and its version.  Pure: values in, documents out; must not gather
(`engine.bundling` does) nor judge (`plan.migration` does).
"""

from __future__ import annotations

import calendar
import json
import time
from collections.abc import Mapping

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.values import TYPE_CHECKING, dataclass, field

if TYPE_CHECKING:
    from typing import Any

KIND = "phoenix-facts"
VERSION = 1
"""Grows when a reader of the one before would misread it."""
MAX_BUNDLE = 1024 * 1024
"""Bytes; pmxcfs takes no larger file (MEMDB_MAX_FILE_SIZE)."""
_TIME = "%Y-%m-%dT%H:%M:%SZ"

Number = tuple[str, int, int]
"""Kind (`c` or `b`), major and minor number of a device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedThere:
    """A profile that the node's kernel has."""

    mode: str
    """The kernel's; `unknown` where no kernel says: a directory that holds a host's files."""
    kernel: str | None = None
    """ALGORITHM:DIGEST over the kernel's own hashes of it and its children; None: not shown."""
    compiled: str | None = None
    """SHA-256 of the compiled copy that Phoenix loaded; None: not ours, or not what the kernel has."""
    source: str | None = None
    """Hash of its source and all that it includes, as Phoenix loaded it; None likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What the node's kernel mediates."""

    hash: str
    """SHA-256 over every feature that it exports."""
    same_as: tuple[str, ...]
    """The packed kernels (`--features NAME`) that have just those."""
    mediated: tuple[str, ...]
    """By the codes of `plan.mediation`."""
    unmediated: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuThere:
    """One GPU of the node."""

    number: int
    vendor: str
    model: str | None
    uuid: str | None
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """One node, as it was when the bundle was gathered."""

    node: str
    gathered: float
    """Seconds since 1970."""
    phoenix: str
    """Its version."""
    parser: str | None
    """apparmor_parser's version; None: there is none."""
    release: str
    """`uname -r`; empty for a directory that holds a host's files."""
    apparmor: bool | None
    """Whether AppArmor is on; None: not known."""
    features: Features | None
    """None: no kernel says."""
    runtime: str
    packages: Mapping[str, str] = field(default_factory=dict)
    """Version by Debian package, of what runs containers."""
    profiles: Mapping[str, LoadedThere] = field(default_factory=dict)
    gpus: tuple[GpuThere, ...] = ()
    devices: Mapping[str, Number] = field(default_factory=dict)
    """Every device node of a GPU, by path."""
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 by path of files that configurations may name: the seccomp companion."""


def document(one: Bundle) -> dict[str, Any]:
    """The bundle as `phoenix facts --json` prints it, without the object's own `version`."""
    features = one.features
    return {
        "kind": KIND,
        "node": one.node,
        "gathered": time.strftime(_TIME, time.gmtime(one.gathered)),
        "phoenix": one.phoenix,
        "parser": one.parser,
        "kernel": {
            "release": one.release,
            "apparmor": one.apparmor,
            "features": None
            if features is None
            else {
                "hash": features.hash,
                "same_as": list(features.same_as),
                "mediated": list(features.mediated),
                "unmediated": list(features.unmediated),
            },
        },
        "runtime": {"name": one.runtime, "packages": dict(one.packages)},
        "profiles": {
            name: {"mode": p.mode, "kernel": p.kernel, "compiled": p.compiled, "source": p.source}
            for name, p in one.profiles.items()
        },
        "gpus": [
            {
                "number": gpu.number,
                "vendor": gpu.vendor,
                "model": gpu.model,
                "uuid": gpu.uuid,
                "nodes": list(gpu.nodes),
            }
            for gpu in one.gpus
        ],
        "devices": {path: list(number) for path, number in one.devices.items()},
        "files": dict(one.files),
    }


def text(one: Bundle) -> bytes:
    """The bundle as it is kept in a file."""
    return json.dumps({"version": VERSION, **document(one)}, indent=1, sort_keys=True).encode() + b"\n"


def read(data: bytes, where: str) -> Bundle:
    """The bundle in a file; raises PhoenixError for what is none, and for one of a later version."""
    hint = "gather it anew on that node: phoenix facts --json"
    if len(data) > MAX_BUNDLE:
        raise PhoenixError(f"is over {MAX_BUNDLE} bytes", where=where, hint=hint)
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise PhoenixError("is not JSON, so it is not a facts bundle", where=where, hint=hint) from error
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise PhoenixError("is not a facts bundle", where=where, hint=hint)
    if found.get("version") != VERSION:
        message = f"is a facts bundle of version {found.get('version')!r:.20}; this Phoenix reads {VERSION}"
        raise PhoenixError(message, where=where, hint="use the same Phoenix on both nodes")
    try:
        return _read(found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PhoenixError(f"is a damaged facts bundle: {error!r:.80}", where=where, hint=hint) from error


def _read(found: Mapping[str, Any]) -> Bundle:
    kernel, runtime, features = found["kernel"], found["runtime"], found["kernel"]["features"]
    return Bundle(
        node=_text(found["node"]),
        gathered=float(calendar.timegm(time.strptime(_text(found["gathered"]), _TIME))),
        phoenix=_text(found["phoenix"]),
        parser=_perhaps(found["parser"]),
        release=_text(kernel["release"]),
        apparmor=None if kernel["apparmor"] is None else _of(bool, kernel["apparmor"]),
        features=None
        if features is None
        else Features(
            hash=_text(features["hash"]),
            same_as=tuple(map(_text, _of(list, features["same_as"]))),
            mediated=tuple(map(_text, _of(list, features["mediated"]))),
            unmediated=tuple(map(_text, _of(list, features["unmediated"]))),
        ),
        runtime=_text(runtime["name"]),
        packages={_text(name): _text(one) for name, one in _of(dict, runtime["packages"]).items()},
        profiles={
            _text(name): LoadedThere(
                mode=_text(one["mode"]),
                kernel=_perhaps(one["kernel"]),
                compiled=_perhaps(one["compiled"]),
                source=_perhaps(one["source"]),
            )
            for name, one in _of(dict, found["profiles"]).items()
        },
        gpus=tuple(
            GpuThere(
                number=_of(int, one["number"]),
                vendor=_text(one["vendor"]),
                model=_perhaps(one["model"]),
                uuid=_perhaps(one["uuid"]),
                nodes=tuple(map(_text, _of(list, one["nodes"]))),
            )
            for one in _of(list, found["gpus"])
        ),
        devices={
            _text(path): (_text(kind), _of(int, major), _of(int, minor))
            for path, (kind, major, minor) in _of(dict, found["devices"]).items()
        },
        files={_text(path): _text(one) for path, one in _of(dict, found["files"]).items()},
    )


def _of(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r:.40} is not of type {kind.__name__}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is not a text")
    return value


def _perhaps(value: object) -> str | None:
    return None if value is None else _text(value)
