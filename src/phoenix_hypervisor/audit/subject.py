"""Whose denial it is.

Owns the way from a line's profile, namespace or label to the host's profile that decided, and to the
container where these say which.  Pure: what they do not say is not guessed.
Source: audit_pre in security/apparmor/audit.c; LXC's lsm/apparmor.c (apparmor_namespace).
"""

from __future__ import annotations

import re

from phoenix_hypervisor.audit.line import Line
from phoenix_hypervisor.values import dataclass

_PATH = "/var/lib/lxc"
"""Where both runtimes keep the containers that they name by CTID.  LXC puts it into names that it makes."""
_GENERATED = re.compile(rf"lxc-(.+)_<{_PATH}>")
_NAMESPACE = re.compile(rf"(?:root//)?lxc-(.+?)_<{_PATH.replace('/', '-')}>(?://.*)?", re.DOTALL)
_PART = re.compile(r":([^:]+):(?://)?(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Subject:
    """Who was refused something, as far as the line itself says."""

    profile: str
    """The profile that decided, with children (`a//b`); a stack as the line shows it; empty: none named."""
    namespace: str
    """The AppArmor namespace whose policy decided; empty: the host's."""
    container: str | None
    """The container, where a name that LXC made says it."""


def subject(line: Line) -> Subject:
    """As the line says it."""
    fields = line.fields
    return subject_of(fields.get("namespace", b""), fields.get("profile", b""), fields.get("label", b""))


def subject_of(namespace: bytes, profile: bytes, label: bytes) -> Subject:
    """The same, from the fields' values."""
    space, name, stack = (value.decode("utf-8", "backslashreplace") for value in (namespace, profile, label))
    if name:
        if space:
            # The container's own policy: its docker-default is not the host's, nor is its lxc-5_<...>.
            return Subject(name, space, _of_namespace(space))
        return Subject(name, "", _of_profile(name))
    parts = [_part(part) for part in stack.split("//&")] if stack else []
    said = {_of_namespace(space) if space else _of_profile(part) for space, part in parts}
    found = {one for one in said if one is not None}
    container = found.pop() if len(found) == 1 else None
    if len(parts) == 1 and parts[0][0]:
        return Subject(parts[0][1], parts[0][0], container)
    return Subject(stack, "", container)


def _part(text: str) -> tuple[str, str]:
    """Namespace and name of one profile of a stack."""
    match = _PART.fullmatch(text)
    return (match[1], match[2]) if match else ("", text)


def _of_namespace(name: str) -> str | None:
    match = _NAMESPACE.fullmatch(name)
    return match[1] if match else None


def _of_profile(name: str) -> str | None:
    """LXC calls the profile that it makes for a container by the container."""
    match = _GENERATED.fullmatch(name.partition("//")[0])
    return match[1] if match else None
