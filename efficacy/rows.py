"""The form of one operation, and all of them.

Owns the row.  To add an operation, add one row to dangerous.py, published.py or legitimate.py; nothing else has
to change.  Must not know how operations are run.

`do` is Python, run as root inside the container by inside.py, whose functions it may use.  What it
raises means that it did not succeed.  Who judges:

* `watch`: a file of the host (the guest's kernel).  It succeeded where its content changed; the
  content is put back.
* `check`: Python on the host side, with what outside.py keeps (`mark()`, `key()`, ...).
* `secret`: it succeeded where `do` returns the host's secret.
* none of them: it succeeded where `do` raised nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib import import_module

BASE = "lxc-nvidia-gpu-base"
DOCKER = "lxc-nvidia-gpu-docker"
STORAGE = "lxc-gpu-docker-storage"
NESTING = "lxc-nesting-v1"
OURS = (BASE, DOCKER, STORAGE, NESTING)


@dataclass(frozen=True, slots=True)
class Row:
    """One operation."""

    klass: str
    name: str
    do: str
    watch: str = ""
    check: str = ""
    secret: bool = False
    needs: str = ""
    """What outside.py prepares before it: victim, module."""
    promises: tuple[str, ...] = ()
    """Profiles that promise to stop it (dangerous) or to let it be (legitimate)."""
    no_hook: str = ""
    """Why AppArmor has no say in it, and who has."""
    no_hook_kernel: str = ""
    """The mark holds only where the kernel's release begins so."""
    dangerous: bool = True

    def as_order(self) -> dict[str, object]:
        return asdict(self)


def load() -> tuple[Row, ...]:
    """All operations, dangerous first; ValueError where a name stands twice."""
    rows: tuple[Row, ...] = (
        *import_module("efficacy.dangerous").ROWS,
        *import_module("efficacy.published").ROWS,
        *import_module("efficacy.legitimate").ROWS,
    )
    names = [row.name for row in rows]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"operations of the same name: {', '.join(sorted(twice))}")
    return rows
