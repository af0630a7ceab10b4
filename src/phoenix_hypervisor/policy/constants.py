"""The words of profiles and queries, and the numbers the kernel has for them.

Owns the tables of capabilities, families, socket types, signals, limits and mount flags.
Must not compute anything but a look-up.  Source: include/uapi/linux (capability.h,
mount.h), include/linux/socket.h, net.h, security/apparmor/include/sig_names.h,
parser/mount.cc.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from phoenix_hypervisor.policy.fault import PolicyError


def words(text: str) -> tuple[str, ...]:
    """The blank-separated words of a table."""
    return tuple(text.split())


CAPABILITIES = words(
    """
    chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable
    net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot
    sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease
    audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read
    perfmon bpf checkpoint_restore
    """
)

FAMILIES = words(
    """
    unspec unix inet ax25 ipx appletalk netrom bridge atmpvc x25 inet6 rose decnet netbeui security key
    netlink packet ash econet atmsvc rds sna irda pppox wanpipe llc ib mpls can tipc bluetooth iucv
    rxrpc isdn phonet ieee802154 caif alg nfc vsock kcm qipcrtr smc xdp mctp
    """
)

SOCKET_TYPES: Mapping[str, int] = {
    "stream": 1,
    "dgram": 2,
    "raw": 3,
    "rdm": 4,
    "seqpacket": 5,
    "dccp": 6,
    "packet": 10,
}

NETWORK_ACCESS: Mapping[str, int] = {
    "create": 0x10,
    "shutdown": 0x20,
    "connect": 0x40,
    "setattr": 0x100,
    "getattr": 0x200,
    "accept": 0x100000,
    "bind": 0x200000,
    "listen": 0x400000,
    "setopt": 0x1000000,
    "getopt": 0x2000000,
    "send": 0x2,
    "receive": 0x4,
}

SIGNALS = words(
    """
    unknown hup int quit ill trap abrt bus fpe kill usr1 segv usr2 pipe alrm term stkflt chld cont stop
    stp ttin ttou urg xcpu xfsz vtalrm prof winch io pwr sys emt lost unused exists
    """
)
SIGNAL_RT_BASE = 128
SIGNAL_RT_COUNT = 33

RLIMITS = words(
    """
    cpu fsize data stack core rss nproc nofile memlock as locks sigpending msgqueue nice rtprio rttime
    """
)

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC, MS_SILENT = 1, 1 << 5, 1 << 12, 1 << 13, 1 << 14, 1 << 15
MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 17, 1 << 18, 1 << 19, 1 << 20
MS_PROPAGATION = MS_UNBINDABLE | MS_PRIVATE | MS_SLAVE | MS_SHARED
MS_IGNORED = 1 << 22 | 1 << 28 | 1 << 29 | 1 << 30
"""MS_KERNMOUNT, MS_NOSEC, MS_BORN, MS_ACTIVE: AppArmor masks them off (AA_MS_IGNORE_MASK)."""

MOUNT_FLAGS: Mapping[str, int] = {
    "ro": MS_RDONLY,
    "nosuid": 1 << 1,
    "nodev": 1 << 2,
    "noexec": 1 << 3,
    "sync": 1 << 4,
    "remount": MS_REMOUNT,
    "mand": 1 << 6,
    "dirsync": 1 << 7,
    "nosymfollow": 1 << 8,
    "noatime": 1 << 10,
    "nodiratime": 1 << 11,
    "bind": MS_BIND,
    "move": MS_MOVE,
    "rec": MS_REC,
    "silent": MS_SILENT,
    "acl": 1 << 16,
    "unbindable": MS_UNBINDABLE,
    "private": MS_PRIVATE,
    "slave": MS_SLAVE,
    "shared": MS_SHARED,
    "relatime": 1 << 21,
    "iversion": 1 << 23,
    "strictatime": 1 << 24,
    "lazytime": 1 << 25,
    "nouser": 1 << 31,
}
_MOUNT_ALIASES: Mapping[str, int] = {
    **dict.fromkeys(
        words(
            """
            rw suid dev exec async nomand atime diratime loud
            noacl norelatime noiversion nostrictatime nolazytime user symfollow
            """
        ),
        0,
    ),
    "read-only": MS_RDONLY,
    "r": MS_RDONLY,
    "w": 0,
    "verbose": MS_SILENT,
    "rbind": MS_BIND | MS_REC,
    "B": MS_BIND,
    "M": MS_MOVE,
    "R": MS_BIND | MS_REC,
    **{f"make-{w}": f for w, f in MOUNT_FLAGS.items() if f & MS_PROPAGATION},
    **{f"r{w}": f | MS_REC for w, f in MOUNT_FLAGS.items() if f & MS_PROPAGATION},
    **{f"make-r{w}": f | MS_REC for w, f in MOUNT_FLAGS.items() if f & MS_PROPAGATION},
}

_MOUNT_BITS = tuple(f"bit{number}" for number in range(32))
"""What `mount_words` calls a bit without a name."""

FILE_ACCESS: Mapping[str, int] = {
    "r": 0x4,
    "w": 0x2,
    "a": 0x8,
    "x": 0x1,
    "m": 0x10000,
    "k": 0x8000,
    "l": 0x40000,
    "c": 0x10,
    "d": 0x20,
}
"""The kernel's own letters (aa_file_perm_chrs): read, write, append, execute, map
executable, lock, link, create, delete."""

FILE_ACCESS_WORDS: Mapping[str, int] = {
    "read": 0x4,
    "write": 0x2,
    "append": 0x8,
    "exec": 0x1,
    "mmap": 0x10000,
    "lock": 0x8000,
    "link": 0x40000,
    "create": 0x10,
    "delete": 0x20,
    "open": 0x40,
    "setattr": 0x100,
    "getattr": 0x200,
    "chmod": 0x1000,
    "chown": 0x2000,
}

PTRACE_ACCESS: Mapping[str, int] = {"trace": 0x2, "read": 0x4, "tracedby": 0x8, "readby": 0x10}
SIGNAL_ACCESS: Mapping[str, int] = {"send": 0x2, "receive": 0x4}


def _known(word: str, what: str, known: Iterable[str]) -> PolicyError:
    import difflib

    close = difflib.get_close_matches(word, list(known), 1)
    return PolicyError(f"unknown {what} {word!r}", hint=f"did you mean {close[0]!r}?" if close else None)


def capability(name: str) -> int:
    """The number of a capability, with or without `cap_`, in any case.  Raises PolicyError."""
    word = name.lower().removeprefix("cap_")
    if word not in CAPABILITIES:
        raise _known(name, "capability", CAPABILITIES)
    return CAPABILITIES.index(word)


def family(name: str) -> int:
    """The number of an address family.  Raises PolicyError."""
    word = name.lower().removeprefix("af_")
    if word not in FAMILIES:
        raise _known(name, "network family", FAMILIES)
    return FAMILIES.index(word)


def socket_type(name: str) -> int:
    """The number of a socket type.  Raises PolicyError."""
    word = name.lower().removeprefix("sock_")
    if word not in SOCKET_TYPES:
        raise _known(name, "socket type", SOCKET_TYPES)
    return SOCKET_TYPES[word]


def signal(name: str) -> int:
    """AppArmor's byte for a signal: `kill`, `SIGKILL`, `rtmin+3`, or `exists` for signal 0."""
    word = name.lower().removeprefix("sig")
    word = {"tstp": "stp", "poll": "io", "iot": "abrt", "cld": "chld", "rtmin": "rtmin+0"}.get(word, word)
    if word.startswith("rtmin+") and word[6:].isascii() and word[6:].isdigit():
        number = int(word[6:])
        if number < SIGNAL_RT_COUNT:
            return SIGNAL_RT_BASE + number
    if word not in SIGNALS:
        raise _known(name, "signal", SIGNALS)
    return SIGNALS.index(word)


def signal_name(number: int) -> str:
    """The profile word for AppArmor's signal byte."""
    if SIGNAL_RT_BASE <= number < SIGNAL_RT_BASE + SIGNAL_RT_COUNT:
        return f"rtmin+{number - SIGNAL_RT_BASE}"
    return SIGNALS[number] if number < len(SIGNALS) else f"#{number}"


def mount_flags(options: Iterable[str]) -> int:
    """The MS_* bits of mount options; words such as `rw` set none.  Raises PolicyError."""
    flags = 0
    for word in options:
        bits = MOUNT_FLAGS.get(word, _MOUNT_ALIASES.get(word))
        if bits is None and word in _MOUNT_BITS:
            bits = 1 << _MOUNT_BITS.index(word)
        if bits is None:
            raise _known(word, "mount flag", [*MOUNT_FLAGS, *_MOUNT_ALIASES])
        flags |= bits
    return flags


def mount_words(flags: int) -> tuple[str, ...]:
    """The names of the bits in `flags`; bits without a name as `bitN`."""
    named = {bits: word for word, bits in MOUNT_FLAGS.items()}
    return tuple(named.get(1 << i, f"bit{i}") for i in range(32) if flags >> i & 1)


def file_access(access: str) -> int:
    """The mask of file access given as letters (`rw`) or words (`create,delete`).

    Raises PolicyError for anything else, and for no access at all.
    """
    mask = 0
    if access and all(letter in FILE_ACCESS for letter in access):
        for letter in access:
            mask |= FILE_ACCESS[letter]
        return mask
    for word in access.split(","):
        if word not in FILE_ACCESS_WORDS:
            raise _known(access, "file access", FILE_ACCESS_WORDS)
        mask |= FILE_ACCESS_WORDS[word]
    return mask


def file_letters(mask: int) -> str:
    """`mask` as `file_access` takes it: letters, or words where one bit has no letter."""
    letters = "".join(letter for letter, bit in FILE_ACCESS.items() if mask & bit)
    if mask & ~sum(FILE_ACCESS.values()):
        return ",".join(word for word, bit in FILE_ACCESS_WORDS.items() if mask & bit)
    return letters


def from_table(word: str, what: str, table: Mapping[str, int]) -> int:
    """Look `word` up.  Raises PolicyError with the closest known word."""
    if word not in table:
        raise _known(word, what, table)
    return table[word]
