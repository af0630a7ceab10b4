"""A few switches of the host in /proc and /sys that stand for all: known on both sides.

Owns their paths below the file system's own root, and a harmless value that differs from the usual one.
"""

from __future__ import annotations

PROC = {
    "sys/kernel/core_pattern": "phoenix-efficacy",
    "sys/kernel/panic": "17",
    "sys/vm/panic_on_oom": "1",
    "sys/fs/suid_dumpable": "2",
    "sys/debug/exception-trace": "0",
    "sys/abi/vsyscall32": "0",
    "sys/user/max_inotify_watches": "4321",
    "sys/sunrpc/rpc_debug": "1",
}
SYSFS = {
    "kernel/mm/transparent_hugepage/enabled": "never",
    "block/vda/queue/read_ahead_kb": "64",
    "fs/ext4/vda/inode_readahead_blks": "16",
    "module/printk/parameters/ignore_loglevel": "Y",
    "power/pm_async": "0",
    "devices/virtual/workqueue/writeback/nice": "5",
}
