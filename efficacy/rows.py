"""The form of one operation, and the names of the profiles.

Owns the row.  Must not know how operations are run, nor which there are (operations.py).

`do` is Python, run as root inside the container by inside/perform.py; what the modules of inside/ have, it
may use.  What it raises means that it did not succeed.  Who judges:

* `watch`: a file of the host (the guest's kernel).  It succeeded where its content changed; the
  content is put back.
* `check`: a judge of outside/judges.py by name, and its argument after a blank.
* `secret`: it succeeded where `do` returns the host's secret.
* none of them: it succeeded where `do` raised nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

BASE = "lxc-nvidia-gpu-base"
DOCKER = "lxc-nvidia-gpu-docker"
STORAGE = "lxc-gpu-docker-storage"
NESTING = "lxc-nesting-v1"
OURS = (BASE, DOCKER, STORAGE, NESTING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One operation."""

    klass: str
    name: str
    do: str
    watch: str = ""
    check: str = ""
    secret: bool = False
    needs: str = ""
    """What the host's side prepares before it: victim, module."""
    promises: tuple[str, ...] = ()
    """Profiles that promise to stop it (dangerous) or to let it be (legitimate)."""
    no_hook: str = ""
    """Why AppArmor has no say in it, and who has."""
    no_hook_kernel: str = ""
    """The mark holds only where the kernel's release begins so."""
    accepted: str = ""
    """There is a hook, and no profile uses it: what using it would break."""
    dangerous: bool = True

    def as_order(self) -> dict[str, object]:
        return asdict(self)


Shape = tuple[str, str] | tuple[str, str, dict[str, Any]]
"""Name, what it does, and the other fields of its row."""


def rows_of(klass: str, *rows: Shape, promises: tuple[str, ...] = OURS) -> tuple[Row, ...]:
    """Dangerous operations of one class; a row that no hook or profile stops promises nothing."""
    made = []
    for name, do, *rest in rows:
        more = dict(rest[0]) if rest else {}
        unstopped = (more.get("no_hook") and "no_hook_kernel" not in more) or more.get("accepted")
        more.setdefault("promises", () if unstopped else promises)
        made.append(Row(klass=klass, name=name, do=do, **more))
    return tuple(made)


def watch(path: str, **more: Any) -> dict[str, Any]:
    """The fields of a row that is judged by a file of the host."""
    return {"watch": path, **more}
