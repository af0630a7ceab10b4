"""AppArmor labels, as the kernel prints them.

Owns parsing `a//&:ns:b (enforce)` and judging whether a label is what was assigned.
Pure.  Labels must come from the host: inside a policy namespace a process reads only
its own part.  Source: security/apparmor/label.c, apparmor(7), aa_stack_profile(3).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from phoenix_hypervisor.values import dataclass

_MODE = r"(?s)^(?P<names>.*) \((?P<mode>[a-z]+)\)$"
_NAMESPACE = r"(?s)^:(?P<ns>[^:]*):(?://)?(?P<name>.*)$"


@dataclass(frozen=True, slots=True)
class Component:
    """One profile of a stack; `namespace` is empty for the host's own."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Label:
    """A parsed label; `mode` is `enforce`, `complain`, `mixed`, ..., or empty (unconfined)."""

    components: tuple[Component, ...]
    mode: str

    @property
    def confined(self) -> bool:
        """Some profile is enforced on the process."""
        real = any(part.name != "unconfined" for part in self.components)
        return real and self.mode in ("enforce", "kill", "mixed")


def parse(text: str) -> Label:
    """Read one label; anything is a label, so nothing is raised."""
    match = re.match(_MODE, text)
    names, mode = (match["names"], match["mode"]) if match else (text, "")
    parts = []
    for name in names.split("//&"):
        inner = re.match(_NAMESPACE, name)
        parts.append(Component(inner["ns"], inner["name"]) if inner else Component("", name))
    return Label(tuple(parts), mode)


def carries(text: str, value: str | None, own: Sequence[str]) -> bool:
    """Whether a process labelled `text` runs under the assigned `value`.

    `value` None or `generated`: any of `own` counts, which the runtime itself gives to the
    container; a `*` at the end of one stands for anything.
    A child profile (`NAME//child`) and a stack that contains the profile count too.
    Complain mode does not: nothing is refused there.
    """
    label = parse(text)
    if value == "unconfined":
        return label.components == (Component("", "unconfined"),)
    if not label.confined:
        return False
    host = [part.name for part in label.components if not part.namespace]
    if value is None or value == "generated":
        starts = tuple(name[:-1] for name in own if name.endswith("*"))
        return any(name in own or name.startswith(starts) for name in host)
    wanted = parse(value).components
    return all(
        any(
            part == have or (part.namespace == have.namespace and have.name.startswith(part.name + "//"))
            for have in label.components
        )
        for part in wanted
        if part.name != "unconfined"
    )


def carriers(labels: Mapping[int, str], name: str) -> tuple[int, ...]:
    """The processes, of `labels` by PID, whose label holds profile `name` or a child of it.

    Unloading the profile would leave them unconfined.
    """
    return tuple(
        pid
        for pid, label in labels.items()
        if any(part.name == name or part.name.startswith(f"{name}//") for part in parse(label).components)
    )
