"""A trial's copy of a profile: what it is made of, and which danger a rule of it would open.

Owns three things.  Renaming a profile's text.  The rules that a trial may add: each lets through what the
profile merely does not allow, and logs it (`audit`).  The dangers that no added rule may open.  Pure; must
not compile.

The copy enforces.  A profile in complain mode is no wall: its processes leave it by one write, and take its
deny rules off with it (docs/internals/trials.md, measured on 6.1 and 6.12).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from phoenix_hypervisor.policy.answers import Reason
from phoenix_hypervisor.policy.assertions import GlobQuery, PolicyTest, allowed_query
from phoenix_hypervisor.policy.constants import file_access
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.fault import NotJudged, PolicyError
from phoenix_hypervisor.policy.profile import Profile
from phoenix_hypervisor.policy.queries import FileQuery, Query, parse_query
from phoenix_hypervisor.policy.sockets import Asks
from phoenix_hypervisor.policy.source import Resolver, Statement, read_source
from phoenix_hypervisor.values import dataclass

_HEADER = re.compile(r'profile\s+("?)(?P<name>[^\s"]+)\1(?P<rest>\s+(?:flags\s*=\s*)?\([^)]*\))?\s*\{')
_ENFORCES_NOT = re.compile(r"\b(?:complain|unconfined|default_allow|prompt)\b")


@dataclass(frozen=True, slots=True)
class Extra:
    """Rules that are added together, or not at all; `name` says what they let through.

    Each comes with a question: where the profile allows that, or denies it by name, the rule is not added.
    (It would log what the profile allows.)
    """

    name: str
    rules: tuple[tuple[str, Query], ...]

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(rule for rule, _ in self.rules))


def _asked(kind: str, **fields: object) -> Query:
    query = parse_query({"kind": kind, **fields})
    assert isinstance(query, Query)
    return query


def _mount(source: str | None, target: str, fstype: str | None, *flags: str) -> Query:
    fields = {"source": source, "target": target, "fstype": fstype, "flags": list(flags)}
    return _asked("mount", **{name: value for name, value in fields.items() if value is not None})


_FLAGS = "nosuid, nodev, noexec, sync, noatime, nodiratime, relatime, strictatime, silent"
_OWN = "{boot,etc,home,media,mnt,opt,root,srv,usr,var/{cache,log,spool}}"
_MAKES = ("shared", "private", "slave", "unbindable")
_SAFE_FAMILIES = ("inet", "inet6", "netlink", "packet", "unix")
_SAFE_CAPABILITIES = (
    "chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "net_bind_service",
    "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner", "sys_chroot", "sys_ptrace", "sys_admin",
    "sys_nice", "sys_resource", "sys_tty_config", "lease", "audit_write", "setfcap", "bpf", "audit_read",
)  # fmt: skip
_FILES = (("/usr/bin/x", "x"), ("/etc/x", "r"), ("/var/lib/x/y", "w"), ("/opt/x.so", "m"), ("/srv/x", "k"))


def _types(name: str, *types: str) -> Extra:
    # Without MS_REC, which parser 4.1 would let through with every file system.
    rule = "audit mount fstype={} options in (ro, {}) -> /{{,**}},"
    rules = [(rule.format(one, _FLAGS), _mount("x", "/mnt/x/", one.replace("*", "x"))) for one in types]
    return Extra(name, tuple(rules))


EXTRAS = (
    _types("network file systems", "nfs", "nfs4", "cifs", "smb3", "ceph"),
    _types("FUSE", "fuse", "fuse.*", "fuseblk"),
    _types("memory file systems", "tmpfs", "ramfs", "hugetlbfs"),
    _types("message queues and terminals", "mqueue", "devpts"),
    _types("overlay", "overlay"),
    Extra(
        "bind mounts of its own directories",
        (
            (
                f"audit mount options=(bind) /{_OWN}/** -> /{_OWN}/**,",
                _mount("/srv/a/", "/opt/b/", None, "bind"),
            ),
            (
                f"audit mount options=(rbind) /{_OWN}/** -> /{_OWN}/**,",
                _mount("/srv/a/", "/opt/b/", None, "bind", "rec"),
            ),
        ),
    ),
    Extra(
        "read-only remounts of its own directories",
        (
            (
                f"audit mount options=(ro, remount, bind) options in ({_FLAGS}) -> /{_OWN}/**,",
                _mount(None, "/srv/a/", None, "ro", "remount", "bind"),
            ),
        ),
    ),
    Extra(
        "propagation",
        tuple(
            (f"audit mount options=(make-{recursive}{kind}),", _mount(None, "/x/", None, *flags, kind))
            for kind in _MAKES
            for recursive, flags in (("", ()), ("r", ("rec",)))
        ),
    ),
    Extra("umount", (("audit umount,", _asked("umount", target="/mnt/x/")),)),
    Extra(
        "sockets",
        tuple(
            (f"audit network {family},", _asked("network", family=family, type="dgram"))
            for family in _SAFE_FAMILIES
        ),
    ),
    Extra(
        "capabilities",
        tuple((f"audit capability {name},", _asked("capability", name=name)) for name in _SAFE_CAPABILITIES),
    ),
    Extra("user namespaces", (("audit userns,", _asked("userns")),)),
    Extra(
        "POSIX message queues",
        (("audit mqueue,", _asked("mqueue", name="/x", access=["create", "read", "write"])),),
    ),
    Extra(
        "files",
        tuple(("priority=-1 audit file,", FileQuery(p.encode(), file_access(a), False)) for p, a in _FILES),
    ),
)
"""In the order in which they are tried.  Never among them: what reaches past the container (signals and
traces of other profiles, changes of profile, other socket families, capabilities that our profiles deny)."""


_NEVER = (
    "proc", "sysfs", "debugfs", "tracefs", "securityfs", "configfs", "devtmpfs", "binfmt_misc", "bpf",
    "cgroup", "ext4", "xfs", "btrfs", "vfat", "squashfs", "efivarfs", "pstore",
)  # fmt: skip
_ANYWHERE = ("/mnt/", "/mnt/a/", "/srv/x/y/", "/run/x/", "/tmp/x/", "/home/u/x/", "/root/", "/usr/x/")
_SOURCES = ("/", "/proc/", "/sys/", "/proc/sys/", "/proc/sys/kernel/core_pattern", "/sys/kernel/mm/", "/dev/")
_STANDING = ("/", "/proc/", "/proc/sys/", "/sys/", "/sys/fs/cgroup/", "/srv/share/", "/mnt/", "/dev/shm/")
_PEERS = ("unconfined", "lxc-container-default", "lxc-other")
_PROFILES = (*_PEERS, ":x:unconfined", "&unconfined")


def _dangers() -> Iterator[Query]:
    every = itertools.product
    for fstype, target, flags in every(_NEVER, _ANYWHERE, ("", "ro", "nosuid nodev noexec", "rec", "silent")):
        yield _mount(fstype, target, fstype, *flags.split())
    for source, target, flags in every(
        _SOURCES, ("/mnt/", "/srv/x/", "/etc/x"), ("bind", "bind rec", "move")
    ):
        yield _mount(source, target, None, *flags.split())
    for target, flags in every(_STANDING, ("remount", "remount bind", "remount ro", "remount nosuid")):
        yield _mount(None, target, None, *flags.split())
    for target in ("/mnt/", "/srv/x/", "/etc/"):
        yield _mount(None, target, None, "move")
    for old in ("/mnt/n/", "/mnt/n/o/"):
        yield _asked("pivot_root", new_root="/mnt/n/", put_old=old)
    for target in ("/proc/", "/proc/sys/", "/proc/meminfo", "/sys/"):
        yield _asked("umount", target=target)
    for target, onexec in every(_PROFILES, (False, True)):
        yield _asked("change_profile", target=target, onexec=onexec)
    for peer in _PEERS:
        yield _asked("signal", signal="kill", access="send", peer=peer)
        for access in ("trace", "read"):
            yield _asked("ptrace", access=access, peer=peer)


DANGERS: tuple[Query, ...] = tuple(_dangers())
"""Asked beside what the policy tests hold."""


def copy(text: bytes, where: str, name: str, new: str, resolve: Resolver) -> bytes:
    """The source `text` of profile `name` with the profile called `new`; all else as it is.

    Children come along under the new name.  Raises PolicyError, naming the place, where the profile cannot be
    renamed so: it has another form, does not enforce, or names itself in a rule.
    """
    plain = read_source(where, text)
    top = [block for block in plain.blocks() if "//" not in block.profile]
    match = _HEADER.fullmatch(top[0].text) if len(top) == 1 else None
    if match is None or match["name"] != name:
        hint = "write it as `profile NAME flags=(...) {`, one in the file"
        raise PolicyError(f"has no plain header of profile {name}", where=where, hint=hint)
    rest = match["rest"] or ""
    if _ENFORCES_NOT.search(rest):
        raise PolicyError(f"does not enforce: {rest.strip()}", where=where, hint="take that flag out")
    word = re.compile(rf"(?<![\w.\-]){re.escape(name)}(?![\w.\-])")
    for statement in read_source(where, text, resolve).rules():
        if word.search(statement.text):
            hint = "write @{profile_name} for it"
            raise PolicyError(
                f"a rule names the profile itself: {statement.text}", where=statement.place, hint=hint
            )
    header = top[0]
    return text[: header.start] + f"profile {new}{rest} {{".encode() + text[header.end :]


def missing(profile: Profile, asks: Asks) -> tuple[Extra, ...]:
    """Of EXTRAS the rules that say more than `profile`: what it merely does not allow."""
    judge = Evaluator(profile, asks)

    def is_missing(question: Query) -> bool:
        answer = judge.ask(question)
        return not answer.allowed and answer.reason is Reason.NO_RULE

    wanted = (
        Extra(extra.name, tuple(rule for rule in extra.rules if is_missing(rule[1]))) for extra in EXTRAS
    )
    return tuple(extra for extra in wanted if extra.rules)


def opened(text: bytes, where: str, extras: Iterable[Extra]) -> bytes:
    """A copy with the rules of `extras` at the end of its profile."""
    plain = read_source(where, text)
    header: Statement = next(block for block in plain.blocks() if "//" not in block.profile)
    end = plain.ends[header.start] - 1
    rules = dict.fromkeys(rule for extra in extras for rule, _ in extra.rules)
    lines = "".join(f"  {rule}\n" for rule in rules)
    return text[:end] + lines.encode() + text[end:]


def dangers(profile: Profile, tests: Iterable[PolicyTest], asks: Asks) -> tuple[Query | GlobQuery, ...]:
    """What policy tests say must be denied to some profile, and DANGERS, as far as `profile` denies it."""
    known = [query for test in tests if not test.allowed for query in test.queries]
    allowed = {str(query) for query in opens(profile, (*known, *DANGERS), asks)}
    found = {str(query): query for query in (*known, *DANGERS) if str(query) not in allowed}
    return tuple(found.values())


def opens(profile: Profile, asked: Sequence[Query | GlobQuery], asks: Asks) -> tuple[Query | GlobQuery, ...]:
    """Those of `asked` that `profile` allows, of a glob where it allows any path."""
    judge = Evaluator(profile, asks)
    found = []
    for query in asked:
        try:
            if allowed_query(judge, query):
                found.append(query)
        except NotJudged:
            continue
    return tuple(found)
