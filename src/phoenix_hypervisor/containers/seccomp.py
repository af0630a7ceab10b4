"""The seccomp companion of a privileged container: what AppArmor has no hook for.

Owns the rules, their text and the reading of such a file.  Pure; must not read files nor decide which
container gets it.

The grammar is LXC's version 2 (lxc `src/lxc/seccomp.c`: parse_config_v2, parse_v2_rules).  A raw
`lxc.seccomp.profile` line replaces what Proxmox would use.  For a privileged container that is LXC's own
`common.seccomp` and nothing else (pve-container `PVE::LXC::make_seccomp_config`: `return ''` unless it is
unprivileged), so the companion is the host's `common.seccomp` followed by our rules.
"""

from __future__ import annotations

import re

from phoenix_hypervisor.values import dataclass

COMMON = "/usr/share/lxc/config/common.seccomp"
"""LXC's own rules; an administrator may have edited them, so they are read on each host."""

COMPANION = "/var/lib/phoenix/seccomp/privileged"
"""Where the companion is installed: the same bytes for every privileged container of a host."""

ENOSYS = 38
EPERM = 1


@dataclass(frozen=True, slots=True)
class Rule:
    """One system call that is refused; `condition` is LXC's `[index,value,operator,mask]`."""

    syscall: str
    errno: int
    why: str
    condition: str = ""

    @property
    def line(self) -> str:
        return f"{self.syscall} errno {self.errno}" + (f" {self.condition}" if self.condition else "")


def _command(number: int) -> str:
    """bpf(2) with that command: an int, so the upper half of the register does not count."""
    return f"[0,{number},SCMP_CMP_MASKED_EQ,0xffffffff]"


def _address(operator: str) -> str:
    """The pointer to a type's name, beside the lowest address at which x86-64 maps a library.

    The heap and the program lie below (arch/x86/mm/mmap.c: mmap_base, 47 bits less at most 2 TiB).
    """
    return f"[0,{0x7E0000000000:#x},SCMP_CMP_{operator}]"


RULES = (
    # No kernel asks AppArmor here. After ENOSYS mount(8), runc and crun use mount(2), where it asks.  systemd
    # from 258 on does without the file system after EPERM, but ends the service after ENOSYS.  Nothing tells
    # the two apart but where the type's name lies: systemd's in its library, mount(8)'s on the heap.
    # Either way the call is refused.
    Rule("fsopen", ENOSYS, "a file system of the host's, attached nowhere", _address("LT")),
    Rule("fsopen", EPERM, "the same, asked by a library", _address("GE")),
    Rule("fsconfig", ENOSYS, "the same, its source and options"),
    Rule("fsmount", ENOSYS, "the same, made usable"),
    Rule("fspick", ENOSYS, "the options of a mounted file system, which may be shared with the host"),
    # Without OPEN_TREE_CLONE, too: mount(8) of util-linux 2.41 takes open_tree for the sign that the rest is
    # there, and then `mount -o remount` fails on fspick instead of using mount(2).
    Rule("open_tree", ENOSYS, "a copy of a mount without its read-only flag or the masks above it"),
    Rule("open_tree_attr", ENOSYS, "the same, since Linux 6.15"),
    # crun mounts cgroups with MS_REC, which no rule of AppArmor matches together with a type. After EPERM it
    # binds them. (MS_REC and none of MS_BIND, MS_MOVE, MS_REMOUNT and the propagation flags.)
    Rule("mount", EPERM, "a new mount with MS_REC", "[3,16384,SCMP_CMP_MASKED_EQ,0x1e7020]"),
    # BPF_PROG_DETACH takes the device cgroup's program away; BPF_RAW_TRACEPOINT_OPEN watches the whole host.
    Rule("bpf", EPERM, "the device cgroup, detached", _command(9)),
    Rule("bpf", EPERM, "programs at the kernel's raw tracepoints", _command(17)),
)
"""What the companion adds, in order (bpf commands: linux/bpf.h)."""

_HEAD = """
# Phoenix, for a privileged container: what AppArmor has no hook for. Do not edit: Phoenix replaces this file.
# Above: this host's common.seccomp, which a line with this file switches off.
[all]
"""

_RULE = (
    rb"^(?P<name>[a-z0-9_]+)"
    rb"(?:[ ]+(?:errno[ ]+\d+|kill|trap|allow|notify)(?:[ ]*\[\d,[^\],]+,[^\],0-9]+(?:,[^\],]+)?\])*)?"
    rb"[ ]*(?:#.*)?$"
)
_SECTION = rb"^\[[A-Za-z0-9_]+\][ ]*$"
_POLICY = rb"^(?:deny|allow|black|white)list(?:[ ]+\S+.*)?$"


def render(common: bytes | None) -> bytes:
    """The companion's bytes; `common` is the host's common.seccomp, None where LXC brought none.

    Raises ValueError, with the reason, where `common` cannot be read as LXC would: nothing may be
    added to rules that are not understood.
    """
    base = b"2\ndenylist\n" if common is None else common
    policy = base.split(b"\n", 2)[1] if base.count(b"\n") > 1 else b""
    fault = fault_of(base)
    if fault is not None:
        raise ValueError(fault)
    if policy.startswith((b"allow", b"white")):
        raise ValueError("it is an allow list; Phoenix can only add rules to a deny list")
    if not base.endswith(b"\n"):
        base += b"\n"
    return base + _HEAD.encode("ascii") + "".join(f"{rule.line}\n" for rule in RULES).encode("ascii")


def fault_of(text: bytes) -> str | None:
    """Why LXC would not take `text` as seccomp rules of version 2, or None."""
    lines = text.split(b"\n")
    if lines[0].strip() != b"2":
        return "line 1 is not the version 2"
    if len(lines) < 2 or not re.match(_POLICY, lines[1].rstrip()):
        return "line 2 is neither denylist nor allowlist"
    for number, raw in enumerate(lines[2:], 3):
        line = raw.strip()
        if not line or line.startswith(b"#") or re.match(_SECTION, line) or re.match(_RULE, line):
            continue
        return f"line {number} is not a rule: {line[:80].decode('utf-8', 'replace')}"
    return None


def syscalls(text: bytes) -> tuple[str, ...]:
    """Names of the system calls that `text` has rules for, each once, in order."""
    found: dict[str, None] = {}
    for line in text.split(b"\n")[2:]:
        match = re.match(_RULE, line.strip())
        if match is not None and match["name"] != b"reject_force_umount":
            found[match["name"].decode("ascii")] = None
    return tuple(found)
