"""A host with something in each section of a report, some of it named by somebody who means harm."""

from __future__ import annotations

from phoenix_hypervisor.plan.mediation import read_dump
from support.gpus import conf, nvidia
from support.hosts import SECURITYFS, TOP, LiveHost

EVIL = """<img/src=x/onerror=alert(1)>"'&"""
"""A name that is markup, and would leave an attribute."""
HOSTILE = {
    "markup": EVIL.encode(),
    "script": b"</style><script>alert(1)</script>",
    "cursor": b"ct\x1b[2J\x1b]0;owned\x07",
    "turned": "ct\u202egnp.exe\u2066".encode(),
    "unseen": "a\u200bb\u00adc".encode(),
    "bytes": b"ct\xff\xfe\x80",
    "long": b"x" * 2000,
    "wide": "\U0001f525\u6f22\u5b57".encode() * 20,
    "stacked": ("Z" + "\u0310" * 40).encode(),
}
DUMP = TOP / "src/phoenix_hypervisor/data/features/bookworm-6.1"
ACCEPTED = """\
# accepted 1a2b3c4d 2026-11-20 08:15:00 UTC by root
#   nginx: write /srv/www/cache/<b>x</b>; container 101
#   seen 12 times, 2026-11-19 22:01:10 UTC to 2026-11-20 08:14:02 UTC; audit(1790000000.123:456)
/srv/www/cache/** rw,

/srv/by-hand/** r,
"""


def kernel_features(live: LiveHost) -> None:
    """The kernel of Debian 12, which cannot mediate everything."""
    for path, words in read_dump(DUMP.read_bytes()).items():
        place = live.root / SECURITYFS / "features" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(" ".join(sorted(words)))


def busy(live: LiveHost, *, hostile: bool = False) -> LiveHost:
    """Containers of every state, two GPUs, accepted rules, three transactions."""
    kernel_features(live)
    nvidia(live.root, 2)
    include = "include if exists <accepted/lxc-a>"
    live.source("lxc-a", "/** rwkml,", "deny /proc/sys/** w,", "deny /sys/** w,", "capability,", include)
    live.source("lxc-b", "/etc/hosts r,", "deny /proc/sysrq-trigger rw,", "/proc/** rw,", "/sys/fs/** rw,")
    live.source("accepted/lxc-a", data=ACCEPTED.encode())
    gpu0 = "dev0: /dev/nvidia0,mode=0666"
    live.conf("101", conf(gpu0, hostname="vllm-qwen2.5", unprivileged=True))
    live.conf("102", conf("lxc.cgroup2.devices.allow: c 195:* rwm", hostname="docker"))
    live.conf("103", conf(hostname="pihole", unprivileged=True))
    live.conf("104", conf(hostname="nas"))
    entries = {c: {"apparmor_profile": p, "name": n, "gpu_assignment": g} for c, p, n, g in _DECLARED}
    live.declare(entries)
    assert live.apply("--all", "--restart").code == 0
    live.conf("104", conf("lxc.apparmor.profile: unconfined", hostname="nas"))
    live.conf("105", conf(hostname="spare", unprivileged=True))
    if hostile:
        for number, name in enumerate(HOSTILE.values(), 201):
            lines = b"lxc.apparmor.profile: lxc-" + name[:60] + b"\nlxc.cgroup2.devices.allow: c 1:3 " + name
            live.conf(str(number), b"arch: amd64\nhostname: " + name + b"\n" + lines + b"\n")
    return live


_DECLARED = (
    ("101", "lxc-a", "vllm-qwen2.5", "0"),
    ("102", "lxc-b", "docker", "none"),
    ("103", "lxc-a", "pihole", "none"),
)
