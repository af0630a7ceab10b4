"""Reads so many lines of a log in which every line is a denial; prints lines a CPU second, and MiB at most.

    python bench/audit_lines.py LINES

Run by itself, so that the memory is that of reading and of nothing else.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from phoenix_hypervisor.audit.groups import Groups
from phoenix_hypervisor.audit.logs import AUDITD, Once, Reader

BATCH = 2000


def log(lines: int) -> Iterator[bytes]:
    """auditd's file, enriched: 40 profiles, 500 names, a process and an id of its own each time."""
    for start in range(0, lines, BATCH):
        yield b"".join(
            b'type=AVC msg=audit(%d.%03d:%d): apparmor="DENIED" operation="open" class="file"'
            b' profile="lxc-a%d" name="/sys/kernel/debug/tracing/%d" pid=%d comm="cat"'
            b' requested_mask="wr" denied_mask="w" fsuid=0 ouid=0\x1dFSUID="root" OUID="root"\n'
            % (1795681057 + n // 1000, n % 1000, n, n % 40, n % 500, 1000 + n % 30000)
            for n in range(start, min(start + BATCH, lines))
        )


def main() -> None:
    lines = int(sys.argv[1])
    reader, once, groups = Reader(AUDITD), Once(), Groups()
    spent = 0.0
    for chunk in log(lines):
        # Making the lines is not reading them.
        begin = time.process_time()
        for event in once.of(reader.feed(chunk)):
            groups.add(event)
        spent += time.process_time() - begin
    counted = sum(group.count for group in groups.found())
    assert (reader.lines, reader.unread, counted) == (lines, 0, lines)
    print(f"{lines / spent:.0f} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}")


main()
