"""Questions about changing to another profile.

Owns the kind.  Source: security/apparmor/domain.c (aa_change_profile).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phoenix_hypervisor.policy import perms
from phoenix_hypervisor.policy.answers import Answer
from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.perms import EVERYTHING, NULL, Perms, accumulate
from phoenix_hypervisor.policy.query import Fields, Form, Option, Query, show
from phoenix_hypervisor.values import dataclass, replace

if TYPE_CHECKING:
    from phoenix_hypervisor.policy.evaluate import Evaluator
    from phoenix_hypervisor.policy.profile import Database


@dataclass(frozen=True, slots=True)
class ChangeProfileQuery(Query):
    """Write `changeprofile target` (or with `onexec`, `exec target`) to one's own attr.

    `a//&b` stacks; `&a` adds to one's own.
    """

    target: bytes
    onexec: bool = False
    program: bytes | None = None
    """With `onexec`: what is executed then.  None: only the announcement is asked about."""

    def __str__(self) -> str:
        words = ["change-profile", show(self.target)] + ["--onexec"] * self.onexec
        if self.program is not None:
            words += ["--program", show(self.program)]
        return " ".join(words)

    def ask(self, judge: Evaluator) -> Answer:
        if judge.unconfined:
            return judge.free()
        request = perms.ONEXEC if self.onexec else perms.CHANGE_PROFILE
        database = judge.profile.file
        if database is None:
            return judge.by_file_rules(NULL, request)
        start = judge.profile.file_start
        if self.program is None:
            return judge.by_file_rules(_matched(database, start, self.target, request), request)
        # profile_onexec: the program, then the program and the target.
        state = database.dfa.walk(start, self.program)
        found = database.file_perms(state, owner=True) if state else NULL
        if found.allow & request:
            found = _matched(database, database.dfa.walk(state, b"\0"), self.target, request)
        answer = judge.by_file_rules(found, request)
        if not found.allow & request:
            return answer
        word = "unsafe" if found.xindex & perms.X_UNSAFE else "safe"
        return replace(answer, transition=f"{word} -> {self.target.decode('utf-8', 'backslashreplace')}")


def _matched(database: Database, start: int, target: bytes, request: int) -> Perms:
    """The permissions towards a target: its whole label, else all its components (change_profile_perms)."""
    state = database.dfa.walk(start, target)
    found = database.file_perms(state, owner=True) if state else NULL
    if found.allow & request == request:
        return found
    stack = b"&" if target.startswith(b"&") else b""
    found = EVERYTHING
    for component in target.removeprefix(b"&").split(b"//&"):
        state = database.dfa.walk(start, stack + component)
        if not state:
            return NULL
        found = accumulate(found, database.file_perms(state, owner=True))
    return found


def _changed(fields: Fields) -> ChangeProfileQuery:
    target, onexec, program = fields.path("target"), fields.flag("onexec"), fields.maybe_path("program")
    if program is not None and not (onexec and program.startswith(b"/")):
        raise PolicyError("'program' belongs to onexec, and is an absolute path")
    return ChangeProfileQuery(target, onexec, program)


FORMS = (
    Form(
        name="change_profile",
        parse=_changed,
        words=("target",),
        options=(
            Option("onexec", "at the next exec", bool),
            Option("program", "what is executed then", metavar="PATH"),
        ),
    ),
)
