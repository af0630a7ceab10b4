"""Questions about mounts: mount, umount, pivot_root.

Owns the three kinds; how the kernel rewrites flags is `strings.mount_question`'s.  Source:
security/apparmor/mount.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phoenix_hypervisor.policy import constants, perms
from phoenix_hypervisor.policy.answers import Answer
from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.perms import NULL
from phoenix_hypervisor.policy.profile import Class
from phoenix_hypervisor.policy.query import Fields, Form, Option, Query, absolute, show, slashed
from phoenix_hypervisor.policy.strings import flag_bytes, mount_question
from phoenix_hypervisor.values import dataclass, replace

_ON_FILES = constants.MS_REMOUNT | constants.MS_BIND | constants.MS_PROPAGATION | constants.MS_MOVE
"""With one of these a mount may lie on a file, too."""

if TYPE_CHECKING:
    from phoenix_hypervisor.policy.evaluate import Evaluator


@dataclass(frozen=True, slots=True)
class MountQuery(Query):
    """mount(2) with `flags` as the caller gives them; the kernel's rewriting comes later.

    A move without a source is move_mount(2) of a mount that is attached nowhere.
    """

    source: bytes | None
    target: bytes
    fstype: bytes | None
    flags: int
    data: bytes | None = None

    def __str__(self) -> str:
        words = ["mount"]
        if self.source is not None:
            words += ["--source", show(self.source)]
        words += ["--target", show(self.target)]
        if self.fstype is not None:
            words += ["--fstype", show(self.fstype)]
        if self.flags:
            words += ["--flags", ",".join(constants.mount_words(self.flags))]
        if self.data is not None:
            words += ["--data", show(self.data)]
        return " ".join(words)

    def ask(self, judge: Evaluator) -> Answer:
        """The caller also needs CAP_SYS_ADMIN.  Raises PolicyError for a bind mount without a source."""
        target, source, fstype, flags = mount_question(self)
        if flags & constants.MS_BIND and not flags & constants.MS_REMOUNT and not source:
            raise PolicyError("a bind mount needs a source", hint="the kernel answers EINVAL")
        database, start = judge.mediated(Class.MOUNT)
        if database is None:
            return judge.free().needing("sys_admin")
        walk = database.dfa.walk
        state = walk(start, target + b"\0" + source + b"\0" + fstype + b"\0" + flag_bytes(flags))
        found = database.perms(state) if state else NULL
        insufficient = not found.allow & perms.MAY_MOUNT and found.allow & perms.MOUNT_CONTINUES
        if state and self.data is not None and insufficient:
            state = walk(state, b"\0" + self.data)
            found = database.perms(state) if state else found
        return judge.by_file_rules(found, perms.MAY_MOUNT).needing("sys_admin")

    def as_directory(self) -> MountQuery | None:
        """The same on a directory, and of one where it is bound or moved; None where it is that already."""
        target = slashed(self.target)
        if target is None:
            return None
        moved = self.flags & (constants.MS_BIND | constants.MS_MOVE) and not self.flags & constants.MS_REMOUNT
        source = slashed(self.source) if moved and self.source else None
        return replace(self, target=target, source=source or self.source)


@dataclass(frozen=True, slots=True)
class UmountQuery(Query):
    target: bytes

    def __str__(self) -> str:
        return f"umount --target {show(self.target)}"

    def ask(self, judge: Evaluator) -> Answer:
        return _asked(judge, self.target, perms.MAY_UMOUNT)

    def as_directory(self) -> UmountQuery | None:
        """The same for a directory at this path; None where it is one already."""
        target = slashed(self.target)
        return None if target is None else UmountQuery(target)


@dataclass(frozen=True, slots=True)
class PivotRootQuery(Query):
    new_root: bytes
    put_old: bytes

    def __str__(self) -> str:
        return f"pivot-root --new-root {show(self.new_root)} --put-old {show(self.put_old)}"

    def ask(self, judge: Evaluator) -> Answer:
        return _asked(judge, self.new_root + b"\0" + self.put_old, perms.MAY_PIVOT_ROOT)


def _asked(judge: Evaluator, string: bytes, request: int) -> Answer:
    database, start = judge.mediated(Class.MOUNT)
    if database is None:
        return judge.free().needing("sys_admin")
    found = database.perms(database.dfa.walk(start, string))
    return judge.by_file_rules(found, request).needing("sys_admin")


def _mount(fields: Fields) -> MountQuery:
    if fields.is_number("flags"):
        flags = fields.number("flags", 0xFFFFFFFF)
    else:
        # As the kernel logs them: "ro, remount, bind".
        flags = constants.mount_flags(word.strip() for word in fields.words("flags"))
    target = absolute(fields.path("target"), "target")
    if not flags & _ON_FILES:
        target = slashed(target) or target  # a file system is mounted on a directory
    return MountQuery(
        source=fields.maybe_path("source"),
        target=target,
        fstype=fields.maybe_path("fstype"),
        flags=flags,
        data=fields.maybe_path("data"),
    )


def _umount(fields: Fields) -> UmountQuery:
    return UmountQuery(absolute(fields.path("target"), "target"))


def _directory(fields: Fields, name: str) -> bytes:
    path = absolute(fields.path(name), name)
    return slashed(path) or path


_TARGET = Option("target", "where; directories end in a slash")

FORMS = (
    Form(
        name="mount",
        parse=_mount,
        options=(
            Option("source", "what is mounted"),
            _TARGET,
            Option("fstype", "file system"),
            Option("flags", "flags, with commas between"),
            Option("data", "the options in text"),
        ),
    ),
    Form(name="umount", parse=_umount, options=(_TARGET,)),
    Form(
        name="pivot_root",
        parse=lambda fields: PivotRootQuery(_directory(fields, "new_root"), _directory(fields, "put_old")),
        options=(Option("new_root", "the new root"), Option("put_old", "where the old one goes")),
    ),
)
