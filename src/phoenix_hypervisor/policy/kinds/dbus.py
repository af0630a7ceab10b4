"""Questions that a D-Bus daemon puts to the kernel.

Owns the kind.  A bus asks, not the kernel by itself, and only where the kernel exports the class.
Source: dbus-daemon's bus/apparmor.c, parser/dbus.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phoenix_hypervisor.policy import constants
from phoenix_hypervisor.policy.answers import Answer
from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.perms import NULL
from phoenix_hypervisor.policy.profile import Class
from phoenix_hypervisor.policy.query import Fields, Form, Option, Query, show, words_of
from phoenix_hypervisor.values import dataclass

if TYPE_CHECKING:
    from phoenix_hypervisor.policy.evaluate import Evaluator

ACCESS = {"send": 0x2, "receive": 0x4, "eavesdrop": 0x20, "bind": 0x40}
_MESSAGE = ("name", "peer", "path", "interface", "member")


@dataclass(frozen=True, slots=True)
class DbusQuery(Query):
    """Send or receive a message, own a name (`bind`), or watch a whole bus (`eavesdrop`)."""

    access: int
    bus: bytes
    details: tuple[bytes, ...] = ()
    """The name for `bind`; name, peer's profile, path, interface and member of a message."""

    def __str__(self) -> str:
        words = ["dbus", words_of(self.access, ACCESS), show(self.bus)]
        for field, value in zip(_MESSAGE, self.details, strict=False):
            words += [f"--{field}", show(value)]
        return " ".join(words)

    def ask(self, judge: Evaluator) -> Answer:
        database, start = judge.mediated(Class.DBUS)
        if database is None:
            return judge.free()
        state = database.dfa.walk(start, b"\0".join((self.bus, *self.details)))
        return judge.by_check(database.perms(state) if state else NULL, self.access)


def _dbus(fields: Fields) -> DbusQuery:
    access = constants.from_table(fields.text("access"), "D-Bus access", ACCESS)
    bus = fields.path("bus")
    asked: tuple[str, ...] = _MESSAGE if access in (ACCESS["send"], ACCESS["receive"]) else ()
    asked = ("name",) if access == ACCESS["bind"] else asked
    given = {name: fields.maybe_path(name) for name in _MESSAGE}
    spare = [name for name, value in given.items() if value is not None and name not in asked]
    missing = [name for name in asked if given[name] is None]
    if spare or missing:
        raise PolicyError(f"{(spare or missing)[0]!r} is " + ("not asked for here" if spare else "missing"))
    return DbusQuery(access, bus, tuple(given[name] or b"" for name in asked))


FORMS = (
    Form(
        name="dbus",
        parse=_dbus,
        words=("access", "bus"),
        options=(
            Option("name", "the name that is owned, or the destination"),
            Option("peer", "the other's profile"),
            Option("path", "the object"),
            Option("interface", "the interface"),
            Option("member", "the method or signal"),
        ),
    ),
)
