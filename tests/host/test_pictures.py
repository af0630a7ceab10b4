"""The README's pictures are what the commands print today, and load nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as Xml
from pathlib import Path

from support.hosts import TOP

PICTURES = TOP / "docs/pictures"
NAMESPACE = "http://www.w3.org/2000/svg"


def test_a_picture_shows_what_is_printed_today(tmp_path: Path) -> None:
    command = [sys.executable, str(TOP / "tools/pictures"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_text() for path in PICTURES.iterdir()}, "run make pictures"


def test_a_picture_loads_nothing_and_says_what_it_is_of() -> None:
    readme = (TOP / "README.md").read_text()
    paths = sorted(PICTURES.iterdir())
    assert [path.name for path in paths] == ["plan.svg", "status.svg"]
    for path in paths:
        text = path.read_text()
        assert f"](docs/pictures/{path.name})" in readme
        tree = Xml.fromstring(text)
        assert tree.tag == f"{{{NAMESPACE}}}svg"
        words = re.sub(r"\s+", " ", " ".join(tree.itertext()))
        assert f"phoenix {path.stem}" in words and "950" in words
        assert re.findall(r"https?:", text.replace(NAMESPACE, "")) == []
        assert not re.search(r"url\((?!#)|@import|@font-face|<script|<image|href", text)
