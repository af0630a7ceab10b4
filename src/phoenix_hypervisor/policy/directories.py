"""Paths that are directories on every Linux.

Owns the list, and nothing else.  AppArmor asks for a directory with a slash at the end, and a path alone
does not say whether it is one.  Links are left out: the kernel asks for what they lead to.
"""

from __future__ import annotations

from phoenix_hypervisor.policy.constants import words

DIRECTORIES = frozenset(
    place.encode()
    for place in words(
        """
        /boot /dev /etc /home /media /mnt /opt /proc /root /run /srv /sys /tmp /usr /var
        /dev/mqueue /dev/pts /dev/shm /etc/apparmor.d /etc/systemd
        /proc/fs /proc/irq /proc/sys /proc/sys/fs /proc/sys/kernel /proc/sys/net /proc/sys/vm /proc/tty
        /run/lock /run/systemd /run/user
        /sys/block /sys/bus /sys/class /sys/dev /sys/devices /sys/firmware /sys/fs /sys/fs/bpf /sys/fs/cgroup
        /sys/fs/fuse /sys/fs/pstore /sys/kernel /sys/kernel/config /sys/kernel/debug /sys/kernel/security
        /sys/kernel/tracing /sys/module /sys/power
        /usr/bin /usr/lib /usr/libexec /usr/local /usr/sbin /usr/share /usr/src
        /var/cache /var/lib /var/log /var/spool /var/tmp
        """
    )
)
