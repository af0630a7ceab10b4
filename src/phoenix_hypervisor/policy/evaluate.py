"""What the kernel would answer, given a profile.

Owns what a profile's mode makes of a state's permissions, and which class is mediated at all; which string
a question becomes, each kind of `policy/kinds/` knows.  Must not read blobs.  Agrees with Linux 6.12;
source: security/apparmor (lib.c, audit.c, file.c).  File ownership and modes, seccomp and the device
cgroup are not its business.
"""

from __future__ import annotations

from phoenix_hypervisor.policy import constants, perms
from phoenix_hypervisor.policy.answers import Answer, Reason
from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.perms import Masks, Perms
from phoenix_hypervisor.policy.profile import Class, Database, Mode, Profile
from phoenix_hypervisor.policy.queries import FileQuery, Query, RawQuery
from phoenix_hypervisor.policy.raw_masks import PROVED, raw_masks
from phoenix_hypervisor.policy.sockets import Asks

_FREE = Answer(allowed=True, reason=Reason.UNMEDIATED)
_UNCONFINED = Answer(allowed=True, reason=Reason.UNCONFINED)


class Evaluator:
    """Answers questions about one profile.  Keeps what it computed; not for two threads at once."""

    def __init__(self, profile: Profile, asks: Asks = Asks.TYPE) -> None:
        """`asks`: how the kernel that is meant asks about unix sockets."""
        self.profile = profile
        self.asks = asks
        self.unconfined = profile.mode is Mode.UNCONFINED
        self.complains = profile.mode is Mode.COMPLAIN
        """Whether the profile only complains about what no rule allows."""
        self.file_answers: dict[tuple[int, int, bool], Answer] = {}
        """The answer by state, access and `other`: few states answer for all paths."""
        self._masks: dict[str, int] = {}
        """The mask of each access that `file` was asked for."""
        self._file_start = profile.file_start
        self._walk = profile.file.dfa.walk if profile.file is not None else None

    def ask(self, query: Query) -> Answer:
        """Answer any query.  Raises PolicyError for one that no kernel could be asked."""
        return query.ask(self)

    def raw(self, query: RawQuery, kernel: tuple[int, int] = PROVED) -> Masks:
        """The four masks of securityfs `.access` on `kernel`, mode applied (raw.raw_masks)."""
        return raw_masks(self.profile, query, kernel)

    def file(self, path: bytes, access: str, *, other: bool = False) -> Answer:
        """Whether `path` may be used for `access` (letters or words, constants.file_access).

        Raises PolicyError for an unknown access or a path with a NUL.
        """
        if b"\0" in path:
            raise PolicyError("a path holds no NUL")
        mask = self._masks.get(access)
        if mask is None:
            mask = self._masks[access] = constants.file_access(access)
        # A question is only made where its answer is not known yet: that took longer than the walk.
        answer = self.file_answers.get((self.file_state(path), mask, other))
        return FileQuery(path, mask, other).ask(self) if answer is None else answer

    # What the kinds build their answers of

    def file_state(self, string: bytes) -> int:
        """Where `string` ends in the file automaton; 0 where there is none."""
        return self._walk(self._file_start, string) if self._walk is not None else 0

    def mediated(self, number: Class) -> tuple[Database | None, int]:
        """The database and the start of a class, or None where nothing is asked of it."""
        database = self.profile.policy
        if self.unconfined or database is None:
            return None, 0
        start = database.mediates(number)
        return (database, start) if start else (None, 0)

    def free(self) -> Answer:
        """The answer where nothing is asked."""
        return _UNCONFINED if self.unconfined else _FREE

    def by_file_rules(self, found: Perms, request: int, *, refused: bool = False) -> Answer:
        """The decision as aa_audit_file and audit_mount take it (`refused`: by more than a mask)."""
        denied = request & ~found.allow
        if not denied and not refused:
            mask = 0xFFFF if self.profile.audit else found.audit
            return Answer(allowed=True, reason=Reason.RULE, audited=bool(request & mask))
        reason = Reason.DENY_RULE if denied & found.quiet else Reason.NO_RULE
        quiet = 0 if self.profile.audit else found.quiet
        if self.complains and denied & ~quiet and not denied & found.kill:
            return Answer(allowed=True, reason=reason, complain=True)
        return Answer(allowed=False, reason=reason)

    def by_check(self, found: Perms, request: int) -> Answer:
        """The decision as aa_check_perms takes it, for everything but files and mounts."""
        denied = request & (~found.allow | found.deny)
        audit, quiet = (perms.ALL, 0) if self.profile.audit else (found.audit, found.quiet)
        if not denied:
            return Answer(allowed=True, reason=Reason.RULE, audited=bool(request & audit))
        reason = Reason.DENY_RULE if denied & (found.quiet | found.deny) else Reason.NO_RULE
        complain = perms.ALL if self.complains else found.complain
        if not denied & found.kill and not denied & ~complain and denied & ~quiet:
            return Answer(allowed=True, reason=reason, complain=True)
        return Answer(allowed=False, reason=reason)
