"""Checks: every option by which a unit of systemd shuts itself in, and that it really does.

Owns their rows.  Each is a transient service with that option; its command fails where the option had no effect.
"""

from __future__ import annotations

from workloads.checks import Check

SANDBOX = "services that shut themselves in"

_ROOT = """
r=/srv/root; mkdir -p $r/bin $r/proc $r/sys $r/dev $r/run $r/tmp $r/etc $r/usr $r/var
cp /bin/busybox $r/bin/; ln -sf busybox $r/bin/sh; : > $r/etc/os-release
"""


def option(names: str, do: str, *, before: str = "", few: bool = False) -> Check:
    """A check of these options (blanks part them) by a command in such a service."""
    flags = " ".join(f"-p '{one}'" for one in names.split())
    quoted = do.replace("'", "'\\''")
    return Check(names, SANDBOX, f"{before}\nbox {flags} /bin/sh -ec '{quoted}'", few=few)


def since(version: int) -> str:
    """Ends a check as passed where systemd is older."""
    return (
        f"[ \"$(systemctl --version | sed -n '1s/^systemd \\([0-9]*\\).*/\\1/p')\" -ge {version} ] || exit 0"
    )


ROWS = (
    option("PrivateTmp=yes", "echo a > /tmp/only-inside", few=True),
    option("ProtectSystem=full", "! touch /etc/x 2>/dev/null"),
    option("ProtectSystem=strict", "! touch /srv/x 2>/dev/null", few=True),
    option("ProtectSystem=strict ReadWritePaths=/srv", "touch /srv/x"),
    option("ProtectHome=yes", "test -z \"$(ls -A /home /root 2>/dev/null | grep -v :)\""),
    option("ProtectHome=read-only", "test -d /home/worker; ! touch /home/x 2>/dev/null"),
    option("ProtectHome=tmpfs", "test -z \"$(ls -A /home)\""),
    option("PrivateDevices=yes", "test ! -e /dev/fuse; echo a > /dev/null"),
    option("PrivateNetwork=yes", "test \"$(ip -o link | wc -l)\" = 1"),
    option("PrivateUsers=yes", "test \"$(wc -l < /proc/self/uid_map)\" -ge 1; id"),
    option("PrivateIPC=yes", "ipcs -q > /dev/null"),
    option("PrivateMounts=yes", "mount -t tmpfs w /mnt; touch /mnt/x"),
    option("DynamicUser=yes", "test \"$(id -u)\" -ge 61184; touch /tmp/x; ! touch /usr/x 2>/dev/null", few=True),
    option("DynamicUser=yes StateDirectory=ws CacheDirectory=wc LogsDirectory=wl RuntimeDirectory=wr",
           "touch $STATE_DIRECTORY/x $CACHE_DIRECTORY/x $LOGS_DIRECTORY/x $RUNTIME_DIRECTORY/x"),
    option("ProtectProc=invisible User=worker", "test ! -e /proc/1"),
    option("ProcSubset=pid", "test ! -e /proc/meminfo"),
    option("ProtectKernelTunables=yes", "! sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward' 2>/dev/null"),
    option("ProtectKernelModules=yes", "true"),
    option("ProtectKernelLogs=yes", "true"),
    option("ProtectControlGroups=yes", "! mkdir /sys/fs/cgroup/x 2>/dev/null"),
    option("ProtectHostname=yes", "true"),
    option("ProtectClock=yes", "true"),
    option("TemporaryFileSystem=/srv", "test -z \"$(ls -A /srv)\"", before="touch /srv/y"),
    option("BindReadOnlyPaths=/etc:/mnt", "test -f /mnt/passwd; ! touch /mnt/x 2>/dev/null"),
    option("BindPaths=/srv:/mnt", "touch /mnt/bound"),
    option("ReadOnlyPaths=/srv", "! touch /srv/x 2>/dev/null"),
    option("InaccessiblePaths=/srv", "! ls /srv/y 2>/dev/null"),
    option("NoExecPaths=/srv", "! /srv/busybox true 2>/dev/null", before="cp /bin/busybox /srv/"),
    option("RootDirectory=/srv/root", "test ! -e /etc/passwd", before=_ROOT),
    option("RootDirectory=/srv/root MountAPIVFS=yes", "test -r /proc/1/comm; test -d /sys/class; test -c /dev/null",
           before=_ROOT),
    option("ExtensionDirectories=/srv/ext", "test -f /usr/share/extended",
           before="d=/srv/ext/usr/lib/extension-release.d; mkdir -p $d /srv/ext/usr/share\n"
           "echo ID=_any > $d/extension-release.ext; touch /srv/ext/usr/share/extended"),
    option("LoadCredential=c:/etc/hostname", "test -s $CREDENTIALS_DIRECTORY/c; ! touch $CREDENTIALS_DIRECTORY/x 2>/dev/null",
           few=True),
    option("SetCredential=c:secret DynamicUser=yes", "grep secret $CREDENTIALS_DIRECTORY/c"),
    option("RestrictNamespaces=yes", "! unshare -m true 2>/dev/null"),
    option("SystemCallFilter=@system-service", "! mount -t tmpfs w /mnt 2>/dev/null"),
    option("RestrictAddressFamilies=AF_UNIX", "! ping -c 1 127.0.0.1 2>/dev/null"),
    option("MemoryDenyWriteExecute=yes LockPersonality=yes RestrictRealtime=yes RestrictSUIDSGID=yes", "true"),
    option("NoNewPrivileges=yes CapabilityBoundingSet=", "true"),
    option("User=worker AmbientCapabilities=CAP_NET_BIND_SERVICE",
           "python3 -c 'import socket; socket.socket().bind((\"127.0.0.1\", 99))'"),
    option("User=worker AmbientCapabilities=CAP_NET_ADMIN", "ip link add wdummy type bridge; ip link del wdummy"),
    option("MemoryMax=200M TasksMax=50 CPUWeight=50 DevicePolicy=closed IPAddressDeny=any KeyringMode=private",
           "echo a > /dev/null"),
    Check("a hardened service, all of it", SANDBOX, """
set -- -p DynamicUser=yes -p ProtectSystem=strict -p ProtectHome=yes -p PrivateTmp=yes -p PrivateDevices=yes
set -- "$@" -p PrivateUsers=yes -p ProtectProc=invisible -p ProcSubset=pid -p ProtectKernelTunables=yes
set -- "$@" -p ProtectKernelModules=yes -p ProtectKernelLogs=yes -p ProtectControlGroups=yes -p ProtectHostname=yes
set -- "$@" -p ProtectClock=yes -p RestrictNamespaces=yes -p NoNewPrivileges=yes -p SystemCallFilter=@system-service
set -- "$@" -p MemoryDenyWriteExecute=yes -p CapabilityBoundingSet= -p StateDirectory=hardened
box "$@" sh -ec 'touch /var/lib/hardened/x; ! touch /usr/x 2>/dev/null'
"""),
    # Options that are newer than the oldest systemd here; what does not know them has nothing to lose.
    option("PrivatePIDs=yes", "test \"$(ls -d /proc/[0-9]* | wc -l)\" -lt 8", before=since(257)),
    option("ProtectControlGroups=strict", "! mkdir /sys/fs/cgroup/x 2>/dev/null", before=since(258)),
    option("PrivateTmp=disconnected", "echo a > /tmp/x", before=since(258)),
)  # fmt: skip
