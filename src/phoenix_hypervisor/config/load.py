"""From the operator's JSON to `Desired`.

Owns what the schema cannot say: profiles that exist, deprecated ones, and the forms a value may
take; what it cannot say of interfaces and mount points is `config.devices`'.  Pure: bytes and names come in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from phoenix_hypervisor.config.devices import device_problems
from phoenix_hypervisor.config.document import CONTROL, Positions, escape, parse
from phoenix_hypervisor.config.schema import Schema, packaged_schema
from phoenix_hypervisor.errors import Problem, ProblemsError
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.declared import ContainerSpec, Desired, Key, Undeclared, is_ctid
from phoenix_hypervisor.plan.fault_codes import Fault
from phoenix_hypervisor.values import TYPE_CHECKING, replace

if TYPE_CHECKING:
    from typing import Any

SPECIAL = ("unconfined", "generated")
"""Profile names that stand for something else than a file of ours."""

UNUSED = ("vllm_", "note")
"""Beginnings of keys that become nothing: their text may have lines."""

# Control characters are escaped in JSON, or two bytes of UTF-8, so most documents need no walk.
_MAYBE_CONTROL = rb"\\(?:[bfnrt]|u00[0189]|u007|u[dD][89a-fA-F])|\x7f|\xc2[\x80-\x9f]"
_BEGINS_CONTROL = (b"\\", b"\x7f", b"\xc2")


def load_config(
    data: bytes,
    schema: Schema,
    *,
    where: str,
    shipped: Iterable[str],
    installed: Callable[[], Iterable[str]] = lambda: (),
) -> Desired:
    """Read and judge a whole configuration.

    `shipped` are the names of profile sources; `installed` is asked only when a profile is
    not among them.  Raises ProblemsError with every fault, its JSON pointer and its line.
    """
    document, problems = parse(data, where)
    if problems or not schema.is_valid(document):
        problems += schema.problems(document)
    ours = schema
    if not schema.is_packaged():
        # A schema beside the configuration comes with it, so what becomes a path or a word of
        # a command line is held against ours as well.
        ours = Schema(packaged_schema(), "the packaged schema")
        used = ours.used(document)
        if not ours.is_valid(used):
            problems += ours.problems(used)
        problems += _default_problems(ours, schema)
    containers = document.get("lxc_configs")
    entries = containers if isinstance(containers, dict) else {}
    deprecated = _deprecated(document)
    shipped_names = frozenset(shipped)
    defaults = {**ours.defaults, **schema.defaults}
    profile = str(defaults["apparmor_profile"])
    unknown: set[str] = set()
    problems += _profile_problems(entries, profile, shipped_names, installed, deprecated, unknown)
    problems += _retired_and_shipped(deprecated, shipped_names)
    problems += _missing_successors(deprecated, shipped_names, installed)
    problems += device_problems(entries)
    if any(byte in data for byte in _BEGINS_CONTROL) and re.search(_MAYBE_CONTROL, data):
        problems += _form_problems(entries)
    problems += [
        Problem("is not a valid profile name", f"/deprecated_profiles/{escape(name)}", code=Fault.WRONG_FORM)
        for name in deprecated
        if re.search(CONTROL, name) or name in (".", "..")
    ]
    if problems:
        raise ProblemsError("the configuration has faults", _placed(data, problems), where=where)
    try:
        keys = ours.rows()
        specs = {
            c: _container(
                c, {**defaults, **entries[c]}, keys, c in unknown, gpus_named="gpu_assignment" in entries[c]
            )
            for c in sorted(entries, key=int)
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        text = f"{schema.where} allows what cannot be used: {error}"
        fault = Problem(text, "/lxc_configs", code=Fault.SCHEMA_UNUSABLE)
        raise ProblemsError("the configuration has faults", [fault], where=where) from error
    return Desired(
        containers=specs,
        deprecated=deprecated,
        explicit_unconfined=document.get("unconfined_means") == "explicit-line",
        reload_service=document.get("reload") == "service",
        shipped=shipped_names,
        undeclared=Undeclared(document.get("undeclared", Undeclared.NOTE)),
    )


def _default_problems(ours: Schema, schema: Schema) -> list[Problem]:
    """Defaults of a schema beside the configuration that cannot be used."""
    used = ours.used({"lxc_configs": {"100": schema.defaults}})
    if ours.is_valid(used):
        return []
    return [
        Problem(
            f"default of {p.pointer.rpartition('/')[2]} in {schema.where}: {p.message}",
            "/lxc_configs",
            hint=p.hint,
            code=Fault.SCHEMA_UNUSABLE,
        )
        for p in ours.problems(used)
    ]


def _placed(data: bytes, problems: list[Problem]) -> list[Problem]:
    positions = Positions(data.decode("utf-8-sig"))
    placed = [replace(p, line=p.line or positions.line(p.pointer)) for p in problems]
    return sorted(set(placed), key=lambda p: (p.line or 0, p.pointer, p.message))


def _deprecated(document: dict[str, Any]) -> dict[str, str]:
    value = document.get("deprecated_profiles")
    if not isinstance(value, dict):
        return {}
    return {k: v for k, v in value.items() if isinstance(k, str) and isinstance(v, str)}


def _profile_problems(
    entries: dict[str, Any],
    default: str,
    shipped: frozenset[str],
    installed: Callable[[], Iterable[str]],
    deprecated: dict[str, str],
    unknown: set[str],
) -> list[Problem]:
    """`unknown` collects the containers that may have a profile that nobody here knows."""
    problems: list[Problem] = []
    known: frozenset[str] | None = None
    for ctid, entry in entries.items():
        if not isinstance(entry, dict):
            continue
        profile = entry.get("apparmor_profile", default)
        if not isinstance(profile, str):
            continue
        if profile in deprecated:
            problems.append(
                Problem(
                    f"profile {profile} is deprecated",
                    _pointer(ctid, "apparmor_profile"),
                    hint=f"use {deprecated[profile]}",
                    code=Fault.PROFILE_DEPRECATED,
                )
            )
            continue
        if profile in shipped or profile in SPECIAL:
            continue
        if known is None:
            known = frozenset(installed())
        if profile in known:
            continue
        if entry.get("lines") == "keep":
            # Its line was there before: it may stand, and is written nowhere else.
            unknown.add(ctid)
            continue
        import difflib

        near = difflib.get_close_matches(profile, [*shipped, *SPECIAL, *known], 1)
        hint = f"did you mean {near[0]}?" if near else "shipped: " + ", ".join(sorted(shipped) or ["none"])
        problems.append(
            Problem(
                f"profile {profile!r} does not exist: it is neither shipped nor installed",
                _pointer(ctid, "apparmor_profile"),
                hint=hint,
                code=Code.PROFILE_UNKNOWN,
            )
        )
    return problems


def _retired_and_shipped(deprecated: dict[str, str], shipped: frozenset[str]) -> list[Problem]:
    problems = []
    for name, successor in deprecated.items():
        pointer = f"/deprecated_profiles/{escape(name)}"
        if name in shipped:
            problems.append(
                Problem(
                    f"{name} is deprecated and still shipped",
                    pointer,
                    hint="remove its source file",
                    code=Fault.DEPRECATED_SHIPPED,
                )
            )
        if successor in deprecated:
            problems.append(
                Problem(
                    f"the successor {successor} is deprecated too",
                    pointer,
                    hint=deprecated[successor],
                    code=Fault.SUCCESSOR_UNUSABLE,
                )
            )
    return problems


def _missing_successors(
    deprecated: dict[str, str], shipped: frozenset[str], installed: Callable[[], Iterable[str]]
) -> list[Problem]:
    """What the hint of a deprecated name sends to must be there."""
    absent = {s for s in deprecated.values() if s not in deprecated and s not in shipped and s not in SPECIAL}
    absent -= set(installed()) if absent else set()
    return [
        Problem(
            f"the successor {successor} is neither shipped nor installed",
            f"/deprecated_profiles/{escape(name)}",
            hint="shipped: " + ", ".join(sorted(shipped) or ["none"]),
            code=Fault.SUCCESSOR_UNUSABLE,
        )
        for name, successor in deprecated.items()
        if successor in absent
    ]


def _pointer(ctid: str, place: str) -> str:
    return f"/lxc_configs/{escape(ctid)}/{place}"


def _form_problems(entries: dict[str, Any]) -> list[Problem]:
    """Control characters, which `$` in a pattern lets through at the end."""
    problems = []
    for ctid, entry in entries.items():
        base = f"/lxc_configs/{escape(ctid)}"
        if not is_ctid(ctid) and re.search(CONTROL, ctid):
            problems.append(
                Problem("a CTID contains a control character", base, code=Fault.CONTROL_CHARACTER)
            )
        used = entry.items() if isinstance(entry, dict) else ()
        pending = [(f"{base}/{escape(k)}", v) for k, v in used if not k.startswith(UNUSED)]
        while pending:
            pointer, value = pending.pop()
            if isinstance(value, dict):
                pending += [(f"{pointer}/{escape(k)}", v) for k, v in value.items()]
            elif isinstance(value, list):
                pending += [(f"{pointer}/{i}", v) for i, v in enumerate(value)]
            elif isinstance(value, str) and re.search(CONTROL, value):
                problems.append(
                    Problem("contains a control character", pointer, code=Fault.CONTROL_CHARACTER)
                )
    return problems


def _container(
    ctid: str, values: dict[str, Any], keys: tuple[Key, ...], unknown: bool, *, gpus_named: bool
) -> ContainerSpec:
    """`values` is what was declared over the defaults; JSON Schema takes 512.0 for an integer."""
    gpus = values["gpu_assignment"]
    features = values.get("features") or ""
    return ContainerSpec(
        ctid=ctid,
        name=values.get("name", ""),
        profile=values["apparmor_profile"],
        start=values["start"],
        unprivileged=values["unprivileged"],
        seccomp=values["seccomp"] is not False,
        unknown=unknown,
        node=values.get("node"),
        template=values.get("template", ""),
        storage_pool=values.get("storage_pool", ""),
        storage_size_gb=int(values.get("storage_size_gb", 0)),
        features=features if isinstance(features, str) else ",".join(features),
        gpus=() if gpus == "none" else tuple(dict.fromkeys(gpus.split(","))),
        gpus_named=gpus_named,
        manage_gpus=values.get("manage_gpus") is True,
        scope_gpus=values.get("scope_gpus") is True,
        values=values,
        keys=keys,
    )
