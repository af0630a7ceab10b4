"""Runs inside a container of the lab: what opens, of stand-in nodes, and what can be made.

Standard input: JSON, [[path inside, major, minor], ...].  Output: JSON by path, the error number of opening it
for reading and writing, for reading, for writing, of making a node so numbered and opening that, and of
opening it on a devtmpfs of one's own; -1: there is no node, -2: none could be made.
"""

import ctypes
import errno
import json
import os
import sys


def opened(path: str, flags: int) -> int:
    try:
        os.close(os.open(path, flags))
    except OSError as error:
        return error.errno or -1
    return 0


def anyhow(path: str) -> int:
    """As `opened`, for whichever access goes through."""
    codes = [opened(path, flags) for flags in (os.O_RDWR, os.O_RDONLY, os.O_WRONLY)]
    return next((code for code in codes if code not in (errno.EACCES, errno.EPERM)), codes[0])


def made(major: int, minor: int) -> int:
    path = f"/tmp/made-{major}-{minor}"
    try:
        os.mknod(path, 0o20666, os.makedev(major, minor))
    except OSError:
        return -2
    code = anyhow(path)
    os.unlink(path)
    return code


def mounted(major: int, minor: int) -> int:
    """Through a devtmpfs of one's own, which has every node of the host's."""
    libc = ctypes.CDLL(None, use_errno=True)
    os.makedirs("/tmp/devtmpfs", exist_ok=True)
    if libc.mount(b"none", b"/tmp/devtmpfs", b"devtmpfs", 0, None):
        return -2
    code = -2
    for folder, _, names in os.walk("/tmp/devtmpfs"):
        for name in names:
            path = os.path.join(folder, name)
            if os.lstat(path).st_rdev == os.makedev(major, minor):
                code = anyhow(path)
    libc.umount2(b"/tmp/devtmpfs", 2)
    return code


found = {}
for path, major, minor in json.load(sys.stdin):
    there = os.path.exists(path) and os.stat(path).st_rdev == os.makedev(major, minor)
    codes = [opened(path, flags) for flags in (os.O_RDWR, os.O_RDONLY, os.O_WRONLY)] if there else [-1] * 3
    found[path] = [*codes, made(major, minor), mounted(major, minor)]
print(json.dumps(found))
