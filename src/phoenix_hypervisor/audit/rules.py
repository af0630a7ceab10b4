"""The smallest rule for a denied question.

Owns what a rule for each kind of question looks like, and what of the question it covers.  Pure: a
question in, a rule out; whether the rule compiles, and lets the question through, is asked elsewhere.
Must not widen but by the named patterns of `audit.spelled`.
Source: apparmor.d(5); security/apparmor/mount.c (audit_mnt_flags: what of the flags is logged).
"""

from __future__ import annotations

from collections.abc import Callable

from phoenix_hypervisor.audit.spelled import Name, exact, general
from phoenix_hypervisor.policy import constants, perms
from phoenix_hypervisor.policy.kinds import dbus, io_uring, mqueue
from phoenix_hypervisor.policy.kinds.dbus import DbusQuery
from phoenix_hypervisor.policy.kinds.io_uring import IoUringQuery
from phoenix_hypervisor.policy.kinds.mqueue import MqueueQuery
from phoenix_hypervisor.policy.queries import (
    CapabilityQuery,
    ChangeProfileQuery,
    FileQuery,
    LinkQuery,
    MountQuery,
    NetworkQuery,
    PivotRootQuery,
    PtraceQuery,
    Query,
    RawQuery,
    SignalQuery,
    UmountQuery,
    UsernsQuery,
)
from phoenix_hypervisor.policy.sockets import AF_UNIX
from phoenix_hypervisor.policy.strings import mount_question
from phoenix_hypervisor.values import dataclass

NOT_PRINTED = (
    "logs never show the flags `lazytime` and, without a bind, `rec`, those of Linux 6.1 no `nosymfollow`: "
    "where the program asked for one of them, it is refused still"
)
NODES = "without `nodev` it may hold device nodes, which the container's device list alone stops then"
_FROM_OUTSIDE = (b"nfs", b"cifs", b"smb3", b"ceph", b"afs", b"fuse")
_ONE_PATH = "the kernel stops at the first refusal: the other name may be asked for next"
_ONCE = "the kernel prints a capability once in a row for each processor: it may be used more often than that"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule, and what it is for."""

    text: str
    covers: Callable[[Query | RawQuery], bool]
    """Whether a question is about the very object of the rule; what it opens beyond is told."""
    widened: bool = False
    """Whether a name in it is a pattern."""
    note: str | None = None


class NoRule(Exception):
    """There is no rule for a question; the message says why."""


def rules(question: Query, operation: str = "") -> list[Rule]:
    """The rules to try, best first: widened by named patterns, then for the very names.

    Raises NoRule.
    """
    make = _MAKERS.get(type(question))
    if make is None:
        raise NoRule("no rule can be made for such a question")
    found = [make(question, operation, general), make(question, operation, exact)]
    return found[:1] if found[0].text == found[1].text else found


_Spell = Callable[[bytes], Name]


# Files ----------------------------------------------------------------------------

_WRITES = perms.WRITE | perms.CREATE | perms.DELETE | perms.SETATTR | perms.CHMOD | perms.CHOWN
_READS = perms.READ | perms.GETATTR | perms.OPEN


def _letters(access: int) -> str:
    """What a rule must grant for `access`; an execution keeps the profile."""
    letters = "r" * bool(access & _READS) + "w" * bool(access & _WRITES)
    letters += "a" * bool(access & perms.APPEND and not access & _WRITES)
    letters += "".join(letter for letter, bit in (("m", perms.MMAP_EXEC), ("k", perms.LOCK)) if access & bit)
    letters += "l" * bool(access & perms.LINK)
    return letters + "ix" * bool(access & perms.EXEC)


def _file(question: Query, operation: str, spell: _Spell) -> Rule:
    assert isinstance(question, FileQuery)
    name, other, access = spell(question.path), question.other, question.access
    letters = _letters(access)

    def covers(asked: Query | RawQuery) -> bool:
        own = isinstance(asked, FileQuery) and name.covers(asked.path)
        return own and isinstance(asked, FileQuery) and not asked.access & ~_granted(letters)

    owner = "" if other else "owner "
    note = _ONE_PATH if operation.startswith("rename") else None
    return Rule(text=f"{owner}{name.text} {letters},", covers=covers, widened=bool(name.general), note=note)


def _granted(letters: str) -> int:
    """The bits that the letters of a rule stand for."""
    found = 0
    found |= _READS if "r" in letters else 0
    found |= _WRITES | perms.APPEND if "w" in letters else 0
    for letter, bit in (("a", perms.APPEND), ("m", perms.MMAP_EXEC), ("k", perms.LOCK), ("l", perms.LINK)):
        found |= bit if letter in letters else 0
    return found | (perms.EXEC if "x" in letters else 0)


def _link(question: Query, operation: str, spell: _Spell) -> Rule:
    assert isinstance(question, LinkQuery)
    path, target = spell(question.path), spell(question.target)

    def covers(asked: Query | RawQuery) -> bool:
        return isinstance(asked, LinkQuery) and path.covers(asked.path) and target.covers(asked.target)

    owner = "" if question.other else "owner "
    return Rule(
        text=f"{owner}link subset {path.text} -> {target.text},",
        covers=covers,
        widened=bool(path.general or target.general),
    )


# Mounts ---------------------------------------------------------------------------

_NEVER = 1 << 31
"""MS_NOUSER: the kernel refuses it from user space."""


def _mount(question: Query, operation: str, spell: _Spell) -> Rule:
    assert isinstance(question, MountQuery)
    target, source, fstype, flags = mount_question(question)
    if flags & _NEVER or any(word.startswith("bit") for word in constants.mount_words(flags)):
        raise NoRule("it has a mount flag that rules have no word for")
    remount = bool(flags & constants.MS_REMOUNT)
    changes = bool(flags & constants.MS_PROPAGATION)
    new = not flags & (
        constants.MS_REMOUNT | constants.MS_BIND | constants.MS_MOVE | constants.MS_PROPAGATION
    )
    if new and not fstype:
        raise NoRule("the line says no type of file system")
    there, what, kind = spell(target), spell(source), exact(fstype)
    words = ["mount"] + ([f"fstype={kind.text}"] if new else [])
    words.append(f"options=({', '.join(_flag_words(flags)) or 'rw'})")
    words += [] if remount or changes else [what.text]
    words += ["->", there.text]

    def covers(asked: Query | RawQuery) -> bool:
        if not isinstance(asked, MountQuery):
            return False
        at, of, of_type, with_flags = mount_question(asked)
        return there.covers(at) and what.covers(of) and of_type == fstype and with_flags == flags

    return Rule(
        text=f"{' '.join(words)},",
        covers=covers,
        widened=bool(there.general or what.general),
        note=_mount_note(fstype, flags) if new or remount else None,
    )


def _mount_note(fstype: bytes, flags: int) -> str:
    nodes = fstype.startswith(_FROM_OUTSIDE) and not flags & constants.MOUNT_FLAGS["nodev"]
    return f"{NODES}; {NOT_PRINTED}" if nodes else NOT_PRINTED


def _flag_words(flags: int) -> list[str]:
    """The words of rules: bind and propagation with what is below are words of their own."""
    words = list(constants.mount_words(flags))
    for word in ("bind", "unbindable", "private", "slave", "shared"):
        if word in words:
            deep = "rec" in words
            words[words.index(word)] = {"bind": ""}.get(word, "make-") + ("r" if deep else "") + word
            if deep:
                words.remove("rec")
    if "rec" in words:
        raise NoRule("rules have no word for MS_REC but for binds and propagation")
    return words


def _umount(question: Query, operation: str, spell: _Spell) -> Rule:
    assert isinstance(question, UmountQuery)
    target = spell(question.target)

    def covers(asked: Query | RawQuery) -> bool:
        return isinstance(asked, UmountQuery) and target.covers(asked.target)

    return Rule(text=f"umount {target.text},", covers=covers, widened=bool(target.general))


def _pivot_root(question: Query, operation: str, spell: _Spell) -> Rule:
    assert isinstance(question, PivotRootQuery)
    new, old = spell(question.new_root), spell(question.put_old)

    def covers(asked: Query | RawQuery) -> bool:
        return isinstance(asked, PivotRootQuery) and new.covers(asked.new_root) and old.covers(asked.put_old)

    text = f"pivot_root oldroot={old.text} {new.text},"
    return Rule(text=text, covers=covers, widened=bool(new.general or old.general))


# Everything else: names of profiles and sockets are taken as they are ---------------


def _capability(question: Query, operation: str, spell: _Spell) -> Rule:
    assert isinstance(question, CapabilityQuery)
    return Rule(
        text=f"capability {constants.CAPABILITIES[question.number]},",
        covers=lambda asked: asked == question,
        note=_ONCE,
    )


def _network(question: Query, operation: str, spell: _Spell) -> Rule:
    assert isinstance(question, NetworkQuery)
    kinds = {number: word for word, number in constants.SOCKET_TYPES.items()}
    kind = kinds.get(question.type)
    if kind is None or question.family >= len(constants.FAMILIES):
        raise NoRule("rules have no word for such a socket")
    family = constants.FAMILIES[question.family]
    fine = (question.address, question.peer_address, question.peer) != (None, None, None)
    if question.family == AF_UNIX:
        return _unix(question, kind, fine)

    head = question.family.to_bytes(2, "big") + question.type.to_bytes(2, "big")

    def covers(asked: Query | RawQuery) -> bool:
        if isinstance(asked, RawQuery):
            return asked.string.startswith(head)
        return isinstance(asked, NetworkQuery) and (asked.family, asked.type) == (
            question.family,
            question.type,
        )

    note = "a socket is allowed with all its uses: parser 3 knows no rules for single ones"
    return Rule(text=f"network {family} {kind},", covers=covers, note=note)


def _unix(question: NetworkQuery, kind: str, fine: bool) -> Rule:
    access = [word for word, bit in constants.NETWORK_ACCESS.items() if question.access & bit]
    words = [f"unix ({', '.join(access)}) type={kind}"]
    if question.address is not None:
        words.append(f"addr={exact(b'@' + question.address[1:]).text}")
    peer = [f"label={exact(question.peer).text}"] if question.peer is not None else []
    if question.peer_address is not None:
        peer.append(f"addr={exact(b'@' + question.peer_address[1:]).text}")
    words += [f"peer=({', '.join(peer)})"] if peer else []

    def covers(asked: Query | RawQuery) -> bool:
        if not isinstance(asked, NetworkQuery) or (asked.family, asked.type) != (AF_UNIX, question.type):
            return False
        same = (asked.address, asked.peer_address, asked.peer) == (
            question.address,
            question.peer_address,
            question.peer,
        )
        return not asked.access & ~question.access and (same or not fine)

    return Rule(text=f"{' '.join(words)},", covers=covers)


def _signal(question: Query, operation: str, spell: _Spell) -> Rule:
    assert isinstance(question, SignalQuery)
    name = constants.signal_name(question.signal)
    if name.startswith("#") or name in ("unknown", "unused"):
        raise NoRule("rules have no word for this signal")
    access = "send" if question.access & constants.SIGNAL_ACCESS["send"] else "receive"
    text = f'signal ({access}) set=("{name}") peer={_label(question.peer)},'
    return Rule(text=text, covers=lambda asked: asked == question)


def _ptrace(question: Query, operation: str, spell: _Spell) -> Rule:
    assert isinstance(question, PtraceQuery)
    access = next(word for word, bit in constants.PTRACE_ACCESS.items() if question.access & bit)
    text = f"ptrace ({access}) peer={_label(question.peer)},"
    return Rule(text=text, covers=lambda asked: asked == question)


def _change_profile(question: Query, operation: str, spell: _Spell) -> Rule:
    assert isinstance(question, ChangeProfileQuery)
    target = question.target
    stack, name = (b"&", target[1:]) if target.startswith(b"&") else (b"", target)
    written = exact(name).text
    text = f'"&{written.strip(chr(34))}"' if stack else written

    def covers(asked: Query | RawQuery) -> bool:
        return isinstance(asked, ChangeProfileQuery) and asked.target == target

    return Rule(text=f"change_profile -> {text},", covers=covers)


def _mqueue(question: Query, operation: str, spell: _Spell) -> Rule:
    assert isinstance(question, MqueueQuery)
    access = ", ".join(word for word, bit in mqueue.ACCESS.items() if question.access & bit)
    label = f" label={_label(question.peer)}" if question.peer is not None else ""

    def covers(asked: Query | RawQuery) -> bool:
        same = isinstance(asked, MqueueQuery) and asked.name == question.name
        return same and isinstance(asked, MqueueQuery) and not asked.access & ~question.access

    text = f"mqueue ({access}) type=posix{label} {exact(question.name).text},"
    return Rule(text=text, covers=covers)


def _io_uring(question: Query, operation: str, spell: _Spell) -> Rule:
    assert isinstance(question, IoUringQuery)
    access = next(word for word, bit in io_uring.OPERATIONS.items() if question.access & bit)
    label = f" label={_label(question.peer)}" if question.peer is not None else ""
    return Rule(text=f"io_uring ({access}){label},", covers=lambda asked: asked == question)


def _userns(question: Query, operation: str, spell: _Spell) -> Rule:
    return Rule(text="userns,", covers=lambda asked: isinstance(asked, UsernsQuery))


def _dbus(question: Query, operation: str, spell: _Spell) -> Rule:
    assert isinstance(question, DbusQuery)
    access = next(word for word, bit in dbus.ACCESS.items() if question.access & bit)
    words = [f"dbus ({access}) bus={exact(question.bus).text}"]
    if access == "bind":
        words.append(f"name={exact(question.details[0]).text}")
    elif question.details:
        name, peer, path, interface, member = question.details
        words += [
            f"{key}={exact(value).text}" for key, value in (("path", path), ("interface", interface)) if value
        ]
        words += [f"member={exact(member).text}"] if member else []
        ends = [f"name={exact(name).text}"] if name else []
        ends += [f"label={_label(peer)}"] if peer else []
        words += [f"peer=({', '.join(ends)})"] if ends else []
    return Rule(text=f"{' '.join(words)},", covers=lambda asked: asked == question)


def _label(peer: bytes) -> str:
    """The name of a profile, always quoted: some hold blanks and brackets."""
    text = exact(peer).text
    return text if text.startswith('"') else f'"{text}"'


_MAKERS: dict[type, Callable[[Query, str, _Spell], Rule]] = {
    FileQuery: _file,
    LinkQuery: _link,
    MountQuery: _mount,
    UmountQuery: _umount,
    PivotRootQuery: _pivot_root,
    CapabilityQuery: _capability,
    NetworkQuery: _network,
    SignalQuery: _signal,
    PtraceQuery: _ptrace,
    ChangeProfileQuery: _change_profile,
    MqueueQuery: _mqueue,
    IoUringQuery: _io_uring,
    UsernsQuery: _userns,
    DbusQuery: _dbus,
}
