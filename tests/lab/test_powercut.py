"""The power goes while Phoenix applies; `make powercut` does it at many more points."""

from __future__ import annotations

from pathlib import Path

from support import powercut


def test_a_power_cut_and_what_catches_a_missing_fsync(lab_tools: None, tmp_path: Path) -> None:
    report = powercut.Report()
    with powercut.kept_machine("bookworm", tmp_path) as kept:
        guest = kept.boot()
        last = powercut.counted(guest)
        assert last > 60
        guest = powercut.cut_and_recover(kept, guest, 2, last // 2, "commit", report)
        assert (report.recovered, report.announced, report.violations) == (1, 1, [])
        # Without the fsync of a file that is renamed, ext4 brings it back empty: that must be seen.
        guest = powercut.cut_and_recover(kept, guest, 3, last // 2, "commit", report, "no-file")
        assert report.recovered == 1 and report.violations
