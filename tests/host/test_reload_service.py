"""A reload through apparmor.service, and a kernel without AppArmor."""

from __future__ import annotations

import shutil
from pathlib import Path

from support.hosts import DOUBLES, SECURITYFS, LiveHost, world


def test_reload_service_reads_back(two: LiveHost, tmp_path: Path) -> None:
    two.declare({"101": "lxc-a", "102": "lxc-b"}, reload="service")
    script = tmp_path / "systemctl"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    two.runner._inner._replacements["systemctl"] = [str(script)]  # type: ignore[attr-defined]
    before = world(two)
    result = two.apply("--all", "--no-start")
    assert result.code == 1, "a reload that loads nothing passed"
    assert "lxc-a" in result.err
    assert world(two) == before
    # One that loads a part and fails is run once more when the files are back.
    script.write_text(
        f"#!/bin/sh\necho x >> {tmp_path}/runs\n[ -e {two.installed}/lxc-a ] && exit 1\nexit 0\n"
    )
    assert two.apply("--all", "--no-start").code == 1
    assert (tmp_path / "runs").read_text() == "x\nx\n"
    assert world(two) == before
    script.write_text(
        "#!/bin/sh\n[ \"$*\" = 'reload apparmor.service' ] || exit 3\n"
        f"printf 'lxc-a (enforce)\\nlxc-b (enforce)\\n' >> {two.profiles}\n"
    )
    with two.recorded() as argvs:
        result = two.apply("--all", "--no-start")
    assert (result.code, result.err) == (0, "")
    assert ("systemctl", "reload", "apparmor.service") in argvs
    assert not [a for a in argvs if "--replace" in a]
    assert two.apply("--all", "--no-start").recap["changed"] == 0


SERVICE = """#!/usr/bin/env python3
# What apparmor.service does: compile and load every file.
import os, subprocess, sys
root, double = {root!r}, {double!r}
for name in sorted(n for n in os.listdir(root + "/etc/apparmor.d") if n.startswith("lxc-")):
    path = root + "/etc/apparmor.d/" + name
    words = [double, "--skip-kernel-load", "--skip-cache", "--stdout", path]
    with open(root + "/double/blob", "wb") as file:
        subprocess.run(words, stdout=file, check=True)
    subprocess.run([double, "--binary", "--replace", root + "/double/blob"], check=True)
    shown = root + "/{securityfs}/policy/profiles/" + name + ".1"
    os.makedirs(shown, exist_ok=True)
    os.replace(root + "/double/blob", shown + "/raw_data")
"""


def test_from_changed_to_service_and_back(two: LiveHost, tmp_path: Path) -> None:
    """What the service loaded is not our copy: neither compared with it nor undone by it."""
    script = tmp_path / "systemctl"
    script.write_text(
        SERVICE.format(root=str(two.root), double=str(DOUBLES / "apparmor_parser"), securityfs=SECURITYFS)
    )
    script.chmod(0o755)
    two.runner._inner._replacements["systemctl"] = [str(script)]  # type: ignore[attr-defined]
    assert two.apply("--all", "--no-start").code == 0
    two.source("lxc-a", "/etc/passwd r,")
    two.declare({"101": "lxc-a", "102": "lxc-b"}, reload="service")
    assert two.apply("--all", "--no-start").code == 0
    assert two.phoenix("verify").out.count("policy-differs") == 0
    assert two.apply("--all", "--no-start").recap["changed"] == 0
    loaded = two.policy()["lxc-a"]
    two.declare({"101": "lxc-a", "102": "lxc-b"})
    shutil.rmtree(two.root / SECURITYFS / "policy")
    for name in ("lxc-a", "lxc-b"):
        two.source(name, "/etc/group r,")
    two.fail(parser_replace=2)
    result = two.apply("--all", "--no-start")
    assert result.code == 1 and "what the kernel had of it is not known" in " ".join(result.err.split())
    assert two.policy()["lxc-a"] == loaded, "what the restored file says"


def test_a_kernel_without_apparmor(two: LiveHost) -> None:
    shutil.rmtree(two.root / "sys")
    result = two.apply("--all", "--no-start")
    assert result.code == 0
    assert "AppArmor is off in this kernel" in result.out
    assert (two.installed / "lxc-a").exists()
    assert two.apply("--all", "--no-start").recap["changed"] == 0
    verify = two.phoenix("verify")
    assert verify.code == 3 and "not-loaded" in verify.out
    started = two.apply()
    assert started.code == 1
    assert "AppArmor is off in this kernel" in started.err and "boot with apparmor=1" in started.err
    assert two.labels() == {}
