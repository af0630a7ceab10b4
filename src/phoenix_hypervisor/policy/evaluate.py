"""What the kernel would answer.

Owns the decision: which string a question becomes, which state it ends in, and what the
profile's mode makes of that state's permissions.  Must not read blobs.  Agrees with
Linux 6.12; source: security/apparmor (file.c, mount.c, net.c, ipc.c, task.c, capability.c,
domain.c, lib.c, audit.c, apparmorfs.c).  File ownership and modes, seccomp and the device
cgroup are not its business.
"""

from __future__ import annotations

from dataclasses import replace

from phoenix_hypervisor.policy import constants, perms, sockets
from phoenix_hypervisor.policy.answers import Answer, Reason
from phoenix_hypervisor.policy.errors import PolicyError
from phoenix_hypervisor.policy.model import Class, Database, Mode, Profile
from phoenix_hypervisor.policy.perms import EVERYTHING, NULL, Masks, Perms, accumulate
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
)
from phoenix_hypervisor.policy.raw import PROVED, raw_masks
from phoenix_hypervisor.policy.sockets import Asks
from phoenix_hypervisor.policy.strings import flag_bytes, label_match, mount_question, transition

_FREE = Answer(True, Reason.UNMEDIATED)
_UNCONFINED = Answer(True, Reason.UNCONFINED)
_RAW_NEEDS = {("inet", 3), ("inet6", 3), ("appletalk", 3), ("ieee802154", 3), ("nfc", 3)}
_FAMILY_NEEDS = {"packet": "net_raw", "llc": "net_raw", "xdp": "net_raw", "key": "net_admin"}


class Evaluator:
    """Answers questions about one profile.  Keeps what it computed; not for two threads at once."""

    def __init__(self, profile: Profile, asks: Asks = Asks.TYPE) -> None:
        """`asks`: how the kernel that is meant asks about unix sockets."""
        self.profile = profile
        self.asks = asks
        self._unconfined = profile.mode is Mode.UNCONFINED
        self._complain = profile.mode is Mode.COMPLAIN
        self._file = profile.file
        self._file_start = profile.file_start
        self._walk = self._file.dfa.walk if self._file is not None else None
        self._masks: dict[str, int] = {}
        self._answers: dict[tuple[int, str, bool], Answer] = {}

    @property
    def complains(self) -> bool:
        """Whether the profile only complains about what no rule allows."""
        return self._complain

    # Files

    def file(self, path: bytes, access: str, *, other: bool = False) -> Answer:
        """Whether `path` may be used for `access` (letters or words, constants.file_access).

        Raises PolicyError for an unknown access or a path with a NUL.
        """
        state = self._walk(self._file_start, path) if self._walk is not None else 0
        key = (state, access, other)
        answer = self._answers.get(key)
        if answer is None or b"\0" in path:
            if b"\0" in path:
                raise PolicyError("a path holds no NUL")
            answer = self._file_answer(state, constants.file_access(access), other)
            self._answers[key] = answer
        return answer

    def _file_answer(self, state: int, mask: int, other: bool) -> Answer:
        if self._unconfined:
            return _UNCONFINED
        found = self._file.file_perms(state, owner=not other) if self._file is not None else NULL
        answer = self._by_file_rules(found, mask)
        if mask & perms.EXEC:
            if found.allow & perms.EXEC:
                if answer.allowed:
                    return replace(answer, transition=transition(self._file, found.xindex))
            elif self._complain and mask == perms.EXEC:
                # profile_transition goes on in a learning profile, whatever the rule says.
                return Answer(True, answer.reason, complain=True)
        return answer

    def link(self, path: bytes, target: bytes, *, other: bool = False) -> Answer:
        """Whether `path` may become a hard link to `target` (profile_path_link)."""
        if self._unconfined:
            return _UNCONFINED
        database = self._file
        if database is None:
            return self._by_file_rules(NULL, perms.LINK)
        walk = database.dfa.walk
        state = walk(self._file_start, path)
        link = database.file_perms(state, owner=not other)
        if not link.allow & perms.LINK:
            return self._by_file_rules(link, perms.LINK)
        pair = database.file_perms(walk(walk(state, b"\0"), target), owner=not other)
        link = link._replace(audit=pair.audit, quiet=pair.quiet, kill=pair.kill)
        if not pair.allow & perms.LINK:
            return self._by_file_rules(pair, perms.LINK, refused=True)
        if not pair.allow & perms.LINK_SUBSET:
            return self._by_file_rules(link, perms.LINK)
        whole = database.file_perms(walk(self._file_start, target), owner=not other)
        request = link.allow & ~perms.LINK
        link = link._replace(allow=link.allow & (whole.allow | perms.LINK))
        request |= perms.AUDIT_FILE_MASK & (link.allow & ~whole.allow)
        if not request & ~link.allow and link.allow & perms.EXEC:
            same = link.xindex & ~perms.X_UNSAFE == whole.xindex & ~perms.X_UNSAFE
            if not same or (link.xindex & perms.X_UNSAFE and not whole.xindex & perms.X_UNSAFE):
                link = link._replace(allow=link.allow & ~perms.EXEC)
                request |= perms.EXEC
        return self._by_file_rules(link, request, refused=bool(request & ~link.allow))

    # Mounts

    def mount(self, query: MountQuery) -> Answer:
        """Whether mount(2) may do this; the caller also needs CAP_SYS_ADMIN.

        A move without a source is move_mount(2) of a mount that is attached nowhere.
        Raises PolicyError for a bind mount without a source.
        """
        target, source, fstype, flags = mount_question(query)
        if flags & constants.MS_BIND and not flags & constants.MS_REMOUNT and not source:
            raise PolicyError("a bind mount needs a source", hint="the kernel answers EINVAL")
        database, start = self._mediated(Class.MOUNT)
        if database is None:
            return self._free().needing("sys_admin")
        walk = database.dfa.walk
        state = walk(start, target + b"\0" + source + b"\0" + fstype + b"\0" + flag_bytes(flags))
        found = database.perms(state) if state else NULL
        if (
            state
            and query.data is not None
            and not found.allow & perms.MAY_MOUNT
            and found.allow & perms.MOUNT_CONTINUES
        ):
            state = walk(state, b"\0" + query.data)
            found = database.perms(state) if state else found
        return self._by_file_rules(found, perms.MAY_MOUNT).needing("sys_admin")

    def umount(self, target: bytes) -> Answer:
        return self._mount_class(target, perms.MAY_UMOUNT)

    def pivot_root(self, new_root: bytes, put_old: bytes) -> Answer:
        return self._mount_class(new_root + b"\0" + put_old, perms.MAY_PIVOT_ROOT)

    def _mount_class(self, string: bytes, request: int) -> Answer:
        database, start = self._mediated(Class.MOUNT)
        if database is None:
            return self._free().needing("sys_admin")
        found = database.perms(database.dfa.walk(start, string))
        return self._by_file_rules(found, request).needing("sys_admin")

    # The other classes

    def capability(self, number: int) -> Answer:
        """Whether capability `number` may be used (profile_capable)."""
        if self._unconfined:
            return _UNCONFINED
        caps = self.profile.capabilities
        bit = 1 << number
        if caps.allow & bit:
            return Answer(True, Reason.RULE, audited=self.profile.audit or bool(caps.audit & bit))
        quiet = bool(caps.quiet & bit)
        reason = Reason.DENY_RULE if quiet else Reason.NO_RULE
        if self._complain and (not quiet or self.profile.audit):
            return Answer(True, reason, complain=True)
        return Answer(False, reason)

    def network(self, query: NetworkQuery) -> Answer:
        """Whether a socket may be created or used, as the kernel that is meant asks (sockets.Asks)."""
        name = constants.FAMILIES[query.family] if query.family < len(constants.FAMILIES) else ""
        need = "net_raw" if (name, query.type) in _RAW_NEEDS else _FAMILY_NEEDS.get(name)
        return self._network(query).needing(*((need,) if need else ()))

    def _network(self, query: NetworkQuery) -> Answer:
        policy = self.profile.policy
        if self._unconfined:
            return self._free()
        start, fine = sockets.start(policy, query.family, self.asks) if policy is not None else (0, False)
        if policy is not None and start and fine:
            answers = [
                self._by_check(found, bit)
                for bit, found in sockets.unix(policy, start, query, self.profile.name)
            ]
            worst = min(answers, key=lambda answer: (answer.allowed, not answer.complain))
            return replace(worst, audited=any(a.audited for a in answers)) if worst.allowed else worst
        if policy is not None and start:
            return self._by_check(sockets.by_type(policy, start, query, self.asks), query.access)
        families = self.profile.families
        if families is None:
            return self._free()
        row = families[query.family] if query.family < len(families) else (0, 0, 0)
        allow, audit, quiet = (perms.ALL if mask >> query.type & 1 else 0 for mask in row)
        return self._by_check(Perms(allow=allow, audit=audit, quiet=quiet), query.access)

    def signal(self, number: int, access: int, peer: bytes) -> Answer:
        """This profile's side of a signal; the other side is asked of the peer's profile."""
        database, start = self._mediated(Class.SIGNAL)
        if database is None:
            return self._free()
        found = label_match(database, database.dfa.step(start, number), peer, access)
        return self._by_check(found, access)

    def ptrace(self, access: int, peer: bytes) -> Answer:
        """This profile's side of tracing (trace, read) or being traced (tracedby, readby)."""
        tracee = bool(access & (0x8 | 0x10))
        if tracee and peer == b"unconfined" and not self._unconfined:
            return _UNCONFINED
        database, _ = self._mediated(Class.PTRACE)
        if database is None:
            # Without ptrace rules a tracer is asked for the capability instead.
            alien = not tracee and not self._unconfined and peer != self.profile.name
            return self._free().needing("sys_ptrace") if alien else self._free()
        start = database.dfa.step(database.mediates(Class.LABEL), Class.PTRACE)
        return self._by_check(label_match(database, start, peer, access), access)

    def change_profile(self, target: bytes, *, onexec: bool = False) -> Answer:
        """Whether the process may change to `target` (`a//&b` stacks; `&a` adds to its own)."""
        if self._unconfined:
            return _UNCONFINED
        request = perms.ONEXEC if onexec else perms.CHANGE_PROFILE
        database = self._file
        if database is None:
            return self._by_file_rules(NULL, request)
        walk, start = database.dfa.walk, self._file_start
        state = walk(start, target)
        found = database.file_perms(state, owner=True) if state else NULL
        if found.allow & request != request:
            stack = b"&" if target.startswith(b"&") else b""
            found = EVERYTHING
            for component in target.removeprefix(b"&").split(b"//&"):
                state = walk(start, stack + component)
                if not state:
                    found = NULL
                    break
                found = accumulate(found, database.file_perms(state, owner=True))
        return self._by_file_rules(found, request)

    def userns(self) -> Answer:
        """Whether a user namespace may be created."""
        database, start = self._mediated(Class.NAMESPACE)
        if database is None:
            return self._free()
        return self._by_check(database.perms(start), perms.USERNS_CREATE)

    # The same without the profile's mode, to compare and to list

    def network_access(self, family: int, kind: int) -> int:
        """The bits of NETWORK_ACCESS that rules grant on such a socket."""
        every = sum(constants.NETWORK_ACCESS.values())
        query = NetworkQuery(family, kind, every)
        policy = self.profile.policy
        if self._unconfined:
            return every
        start, fine = sockets.start(policy, family, self.asks) if policy is not None else (0, False)
        if policy is not None and start and fine:
            found = sockets.unix(policy, start, query, self.profile.name)
            return sum(bit for bit, granted in found if granted.allow & bit)
        if policy is not None and start:
            return sockets.by_type(policy, start, query, self.asks).allow & every
        families = self.profile.families
        if families is None:
            return every
        return every if family < len(families) and families[family].allow >> kind & 1 else 0

    def userns_granted(self) -> bool:
        """Whether rules grant user namespaces."""
        database, start = self._mediated(Class.NAMESPACE)
        return database is None or bool(database.perms(start).allow & perms.USERNS_CREATE)

    # All of them

    def ask(self, query: Query) -> Answer:
        """Answer any query.  Raises PolicyError for one that no kernel could be asked."""
        if isinstance(query, FileQuery):
            state = self._walk(self._file_start, query.path) if self._walk is not None else 0
            return self._file_answer(state, query.access, query.other)
        if isinstance(query, LinkQuery):
            return self.link(query.path, query.target, other=query.other)
        if isinstance(query, MountQuery):
            return self.mount(query)
        if isinstance(query, UmountQuery):
            return self.umount(query.target)
        if isinstance(query, PivotRootQuery):
            return self.pivot_root(query.new_root, query.put_old)
        if isinstance(query, CapabilityQuery):
            return self.capability(query.number)
        if isinstance(query, NetworkQuery):
            return self.network(query)
        if isinstance(query, SignalQuery):
            return self.signal(query.signal, query.access, query.peer)
        if isinstance(query, PtraceQuery):
            return self.ptrace(query.access, query.peer)
        if isinstance(query, ChangeProfileQuery):
            return self.change_profile(query.target, onexec=query.onexec)
        return self.userns()

    def raw(self, query: RawQuery, kernel: tuple[int, int] = PROVED) -> Masks:
        """The four masks of securityfs `.access` on `kernel`, mode applied (raw.raw_masks)."""
        return raw_masks(self.profile, query, kernel)

    def _mediated(self, number: Class) -> tuple[Database | None, int]:
        """The database and the start of a class, or None where nothing is asked of it."""
        database = self.profile.policy
        if self._unconfined or database is None:
            return None, 0
        start = database.mediates(number)
        return (database, start) if start else (None, 0)

    def _free(self) -> Answer:
        return _UNCONFINED if self._unconfined else _FREE

    def _by_file_rules(self, found: Perms, request: int, *, refused: bool = False) -> Answer:
        """The decision as aa_audit_file and audit_mount take it (`refused`: by more than a mask)."""
        denied = request & ~found.allow
        if not denied and not refused:
            mask = 0xFFFF if self.profile.audit else found.audit
            return Answer(True, Reason.RULE, audited=bool(request & mask))
        reason = Reason.DENY_RULE if denied & found.quiet else Reason.NO_RULE
        quiet = 0 if self.profile.audit else found.quiet
        if self._complain and denied & ~quiet and not denied & found.kill:
            return Answer(True, reason, complain=True)
        return Answer(False, reason)

    def _by_check(self, found: Perms, request: int) -> Answer:
        """The decision as aa_check_perms takes it, for everything but files and mounts."""
        denied = request & (~found.allow | found.deny)
        audit, quiet = (perms.ALL, 0) if self.profile.audit else (found.audit, found.quiet)
        if not denied:
            return Answer(True, Reason.RULE, audited=bool(request & audit))
        reason = Reason.DENY_RULE if denied & (found.quiet | found.deny) else Reason.NO_RULE
        complain = perms.ALL if self._complain else found.complain
        if not denied & found.kill and not denied & ~complain and denied & ~quiet:
            return Answer(True, reason, complain=True)
        return Answer(False, reason)
