"""Questions about files: use, and hard links.

Owns both kinds.  Source: security/apparmor/file.c (aa_path_perm, profile_path_link), domain.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phoenix_hypervisor.policy import constants, perms
from phoenix_hypervisor.policy.answers import Answer
from phoenix_hypervisor.policy.perms import NULL
from phoenix_hypervisor.policy.query import Fields, Form, Option, Query, absolute, show, slashed
from phoenix_hypervisor.policy.strings import transition
from phoenix_hypervisor.values import dataclass, replace

if TYPE_CHECKING:
    from phoenix_hypervisor.policy.evaluate import Evaluator


@dataclass(frozen=True, slots=True)
class FileQuery(Query):
    """Open, read, write, execute, map, lock or otherwise use a path."""

    path: bytes
    access: int
    other: bool = False
    """Asked by a process whose fsuid does not own the file."""

    def __str__(self) -> str:
        who = " --other" if self.other else ""
        return f"file {show(self.path)} --access {constants.file_letters(self.access)}{who}"

    def ask(self, judge: Evaluator) -> Answer:
        state = judge.file_state(self.path)
        key = (state, self.access, self.other)
        answer = judge.file_answers.get(key)
        if answer is None:
            answer = judge.file_answers[key] = _used(judge, state, self.access, self.other)
        return answer

    def as_directory(self) -> FileQuery | None:
        """The same for a directory at this path; None where it is one already."""
        path = slashed(self.path)
        return None if path is None else replace(self, path=path)


@dataclass(frozen=True, slots=True)
class EachAccess:
    """A path, and every usual way to use it: reading, writing, mapping, locking, linking, executing."""

    path: bytes
    other: bool = False

    def __str__(self) -> str:
        return f"file {show(self.path)}" + (" --other" if self.other else "")

    def questions(self) -> dict[str, FileQuery]:
        """By the letter of the access."""
        return {
            letter: FileQuery(self.path, constants.FILE_ACCESS[letter], self.other) for letter in "rwmklx"
        }


@dataclass(frozen=True, slots=True)
class LinkQuery(Query):
    """Make `path` a hard link to the existing file `target`."""

    path: bytes
    target: bytes
    other: bool = False

    def __str__(self) -> str:
        return f"link {show(self.path)} --target {show(self.target)}" + (" --other" if self.other else "")

    def ask(self, judge: Evaluator) -> Answer:
        return _linked(judge, self.path, self.target, self.other)


def _used(judge: Evaluator, state: int, mask: int, other: bool) -> Answer:
    if judge.unconfined:
        return judge.free()
    database = judge.profile.file
    found = database.file_perms(state, owner=not other) if database is not None else NULL
    answer = judge.by_file_rules(found, mask)
    if mask & perms.EXEC:
        if found.allow & perms.EXEC:
            if answer.allowed:
                return replace(answer, transition=transition(database, found.xindex))
        elif judge.complains and mask == perms.EXEC:
            # profile_transition goes on in a learning profile, whatever the rule says.
            return Answer(allowed=True, reason=answer.reason, complain=True)
    return answer


def _linked(judge: Evaluator, path: bytes, target: bytes, other: bool) -> Answer:
    """The pair is asked, then whether the link would have more than its target (profile_path_link)."""
    if judge.unconfined:
        return judge.free()
    database = judge.profile.file
    if database is None:
        return judge.by_file_rules(NULL, perms.LINK)
    walk = database.dfa.walk
    state = judge.file_state(path)
    link = database.file_perms(state, owner=not other)
    if not link.allow & perms.LINK:
        return judge.by_file_rules(link, perms.LINK)
    pair = database.file_perms(walk(walk(state, b"\0"), target), owner=not other)
    link = link._replace(audit=pair.audit, quiet=pair.quiet, kill=pair.kill)
    if not pair.allow & perms.LINK:
        return judge.by_file_rules(pair, perms.LINK, refused=True)
    if not pair.allow & perms.LINK_SUBSET:
        return judge.by_file_rules(link, perms.LINK)
    whole = database.file_perms(judge.file_state(target), owner=not other)
    request = link.allow & ~perms.LINK
    link = link._replace(allow=link.allow & (whole.allow | perms.LINK))
    request |= perms.AUDIT_FILE_MASK & (link.allow & ~whole.allow)
    if not request & ~link.allow and link.allow & perms.EXEC:
        same = link.xindex & ~perms.X_UNSAFE == whole.xindex & ~perms.X_UNSAFE
        if not same or (link.xindex & perms.X_UNSAFE and not whole.xindex & perms.X_UNSAFE):
            link = link._replace(allow=link.allow & ~perms.EXEC)
            request |= perms.EXEC
    return judge.by_file_rules(link, request, refused=bool(request & ~link.allow))


def _absolute(fields: Fields, name: str) -> bytes:
    return absolute(fields.path(name), name)


_OTHER = Option("other", "ask as a user who does not own the file", bool)

FORMS = (
    Form(
        name="file",
        parse=lambda fields: FileQuery(
            _absolute(fields, "path"), constants.file_access(fields.text("access")), fields.flag("other")
        ),
        words=("path",),
        options=(Option("access", "letters rwaxmklcd or words"), _OTHER),
    ),
    Form(
        name="link",
        parse=lambda fields: LinkQuery(
            _absolute(fields, "path"), _absolute(fields, "target"), fields.flag("other")
        ),
        words=("path", "target"),
        options=(Option("target", "the existing file"), _OTHER),
    ),
)
