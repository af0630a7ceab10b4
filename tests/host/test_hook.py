"""The hook: what it lets start, what it stops, and that nothing of Phoenix that is broken stops anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.hosts import TOP, DirectoryHost, LiveHost, contents

SNIPPET = "var/lib/vz/snippets/phoenix"
NAMES_IT = "hookscript: local:snippets/phoenix\n"
LINE = "lxc.apparmor.profile: lxc-a\n"


@pytest.fixture
def hooked(live: LiveHost, monkeypatch: pytest.MonkeyPatch) -> LiveHost:
    """Container 101 is declared to run under lxc-a, is assigned to it, and names the hook, which is installed."""
    live.source("lxc-a")
    live.source("lxc-b")
    live.declare({"101": "lxc-a"})
    live.conf("101", f"arch: amd64\nmemory: 512\n{NAMES_IT}")
    (live.root / "var/lib/vz").mkdir(parents=True)
    assert live.phoenix("setup").code == 0
    assert live.apply("101", "--no-start").code == 0
    assert (live.lxc / "101.conf").read_text().endswith(LINE)
    # The script finds Phoenix by the name that it was called by: here the real one, told where the host is.
    program = live.folder / "phoenix"
    program.write_text(f'#!/bin/sh\nexec {TOP}/bin/phoenix --root {live.root} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    assert live.phoenix("hook", "install").code == 0
    return live


def script(live: LiveHost, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The installed script, as Proxmox or LXC runs it."""
    return subprocess.run(
        [live.root / SNIPPET, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": os.environ["PATH"], **environment},
    )


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_it_is_installed_once_and_no_container_is_made_to_name_it(live: LiveHost) -> None:
    (live.root / "var/lib/vz").mkdir(parents=True)
    live.conf("101")
    before = contents(live.lxc)
    assert live.phoenix("hook", "status", "--json").document["condition"] == "absent"
    done = live.phoenix("hook", "install")
    assert done.code == 0 and "next: pct set CTID --hookscript local:snippets/phoenix" in done.out
    path = live.root / SNIPPET
    assert path.stat().st_mode & 0o777 == 0o755
    done = live.phoenix("hook", "install", "--json")
    assert done.document["changed"] is False and done.document["condition"] == "ready"
    assert contents(live.lxc) == before
    path.chmod(0o644)
    assert live.phoenix("hook", "status", "--json").document["condition"] == "not-executable"
    assert live.phoenix("hook", "install", "--json").document["changed"] is True
    assert path.stat().st_mode & 0o100
    assert live.phoenix("hook", "remove").code == 0
    assert not path.exists() and not (live.root / "var/lib/phoenix/hook").exists()


def test_what_is_somebody_elses_is_neither_replaced_nor_removed(live: LiveHost) -> None:
    path = live.root / SNIPPET
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n# mine\n")
    for word in ("install", "remove"):
        done = live.phoenix("hook", word)
        assert done.code == 1 and SNIPPET in done.err and "next: " in done.err
    assert path.read_text() == "#!/bin/sh\n# mine\n"
    path.unlink()
    assert live.phoenix("hook", "install").code == 0
    path.write_text(path.read_text() + "# edited\n")
    assert live.phoenix("hook", "install").code == 1 and live.phoenix("hook", "remove").code == 1
    assert path.read_text().endswith("# edited\n")


def test_a_former_one_is_renewed(live: LiveHost) -> None:
    (live.root / "var/lib/vz").mkdir(parents=True)
    assert live.phoenix("hook", "install").code == 0
    assert "--config" in (live.root / SNIPPET).read_text(), "as it was given"
    assert live.phoenix("hook", "status", "--json", config=False).document["condition"] == "older"
    assert live.phoenix("hook", "install", "--json", config=False).document["changed"] is True
    assert "--config" not in (live.root / SNIPPET).read_text()


def test_as_declared_it_says_nothing(hooked: LiveHost) -> None:
    done = script(hooked, "101", "pre-start")
    assert (done.returncode, lines(done)) == (0, [])
    assert hooked.pct("start", "101").ok and hooked.labels()["101"] == "lxc-a (enforce)"


@pytest.mark.parametrize(
    ("conf", "says"),
    [
        ("arch: amd64\n", "declared lxc-a, assigned no line"),
        ("lxc.apparmor.profile: lxc-b\n", "declared lxc-a, assigned lxc-b"),
        ("lxc.apparmor.profile: unconfined\n", "declared lxc-a, assigned unconfined"),
        (f"{LINE}lxc.apparmor.profile = lxc-b\n", "declared lxc-a, assigned lxc-b"),
        (f"arch: amd64\n\n[snap]\n{LINE}", "declared lxc-a, assigned no line"),
        (f"{LINE}\n[pve:pending]\nlxc.cap.drop: sys_time\n", "declared lxc-a, assigned no line"),
        (f"{LINE}\n[PVE:Pending]\nlxc.apparmor.profile: lxc-b\n", "declared lxc-a, assigned lxc-b"),
        ("lxc.apparmor.profile : lxc-a\n", "declared lxc-a, assigned no line"),
    ],
    ids=["none", "other", "unconfined", "last", "section", "pending", "pending other", "no setting"],
)
def test_another_profile_than_the_declared_one_is_stopped(hooked: LiveHost, conf: str, says: str) -> None:
    (hooked.lxc / "101.conf").write_text(conf)
    done = script(hooked, "101", "pre-start")
    assert lines(done) == [f"phoenix: container 101: not started: {says} (next: phoenix apply 101)"]
    assert done.returncode == 1


@pytest.mark.parametrize(
    "conf",
    [
        "lxc.apparmor.profile=lxc-a\n",
        'lxc.apparmor.profile: "lxc-a"\n',
        f"lxc.apparmor.profile: lxc-b\n{LINE}",
        f"{LINE}\n[snap]\nlxc.apparmor.profile: lxc-b\n",
        f"{LINE}\n[pve:pending]\nmemory: 1024\n",
        "lxc.apparmor.profile: lxc-a\r\n",
    ],
    ids=["equal", "quotes", "last", "section", "pending", "cr"],
)
def test_the_declared_profile_starts_however_it_is_spelt(hooked: LiveHost, conf: str) -> None:
    (hooked.lxc / "101.conf").write_text(conf)
    done = script(hooked, "101", "pre-start")
    assert (done.returncode, lines(done)) == (0, [])


def test_a_profile_that_is_not_loaded_is_stopped_before_lxc_says_something_unclear(hooked: LiveHost) -> None:
    hooked.profiles.write_text("lxc-b (enforce)\n")
    done = hooked.pct("start", "101")
    text = "phoenix: container 101: not started: profile lxc-a is not loaded (next: phoenix setup)"
    assert not done.ok and text in done.stderr.decode().splitlines()
    assert "apparmor_process_label_set" not in done.stdout.decode() and "101" not in hooked.labels()
    assert hooked.phoenix("setup").code == 0
    assert hooked.pct("start", "101").ok


def test_a_kernel_without_apparmor_starts_nothing_that_is_to_be_confined(hooked: LiveHost) -> None:
    hooked.profiles.unlink()
    (hooked.profiles.parent / "features").rmdir()
    done = script(hooked, "101", "pre-start")
    assert done.returncode == 1 and "AppArmor is off in this kernel" in lines(done)[0]
    hooked.declare({"101": "unconfined"})
    (hooked.lxc / "101.conf").write_text("arch: amd64\n")
    assert script(hooked, "101", "pre-start").returncode == 0


def test_unconfined_and_generated_mean_no_line(hooked: LiveHost) -> None:
    for declared in ("unconfined", "generated"):
        hooked.declare({"101": declared})
        assert script(hooked, "101", "pre-start").returncode == 1
    (hooked.lxc / "101.conf").write_text("arch: amd64\n")
    assert script(hooked, "101", "pre-start").returncode == 0


def test_a_variant_may_be_assigned_by_either_name(hooked: LiveHost) -> None:
    """A variant that a later Phoenix brings must stop no start until `phoenix apply`."""
    hooked.source("lxc-a-unprivileged")
    assert hooked.phoenix("setup").code == 0
    for line in ("lxc-a", "lxc-a-unprivileged"):
        (hooked.lxc / "101.conf").write_text(f"unprivileged: 1\nlxc.apparmor.profile: {line}\n")
        done = script(hooked, "101", "pre-start")
        assert (done.returncode, lines(done)) == (0, [])


def test_what_is_not_declared_starts_and_is_told(hooked: LiveHost) -> None:
    hooked.conf("102", LINE.replace("lxc-a", "lxc-b"))
    done = script(hooked, "102", "pre-start")
    assert done.returncode == 0
    assert lines(done) == [
        "phoenix: container 102: not declared, so it starts under what is assigned (lxc-b)"
    ]
    hooked.conf("102", "lxc.apparmor.profile: lxc-nowhere\n")
    done = script(hooked, "102", "pre-start")
    assert done.returncode == 1 and "profile lxc-nowhere is not loaded" in done.stderr


def test_a_trial_is_an_allowed_profile(hooked: LiveHost) -> None:
    done = hooked.phoenix("try", "101", "lxc-b")
    assert done.code == 0, done.err
    assert "lxc-trial-101" in (hooked.lxc / "101.conf").read_text()
    done_ = script(hooked, "101", "pre-start")
    assert (done_.returncode, lines(done_)) == (0, [])
    assert hooked.pct("start", "101").ok and hooked.labels()["101"].startswith("lxc-trial-101 ")
    assert hooked.phoenix("try", "101", "--end").code == 0
    (hooked.lxc / "101.conf").write_text("lxc.apparmor.profile: lxc-trial-101\n")
    assert script(hooked, "101", "pre-start").returncode == 1, "the trial is over"


def test_other_phases_end_at_once(hooked: LiveHost) -> None:
    (hooked.lxc / "101.conf").write_text("arch: amd64\n")
    for phase in ("post-start", "pre-stop", "post-stop", "something-new"):
        done = script(hooked, "101", phase)
        assert (done.returncode, lines(done)) == (0, [])
    assert script(hooked).returncode == 0


def test_lxc_calls_it_in_its_own_ways(hooked: LiveHost) -> None:
    (hooked.lxc / "101.conf").write_text("arch: amd64\n")
    for kind, code in (("pre-start", 1), ("start", 0), ("post-stop", 0)):
        assert script(hooked, "101", "lxc", kind).returncode == code
        done = script(hooked, LXC_NAME="101", LXC_HOOK_TYPE=kind)
        assert done.returncode == code and ("101: not started" in done.stderr) is bool(code)


BROKEN = (
    "configuration",
    "no configuration",
    "program",
    "python",
    "records",
    "trial",
    "conf",
    "securityfs",
    "hung",
)


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_phoenix_stops_nothing(hooked: LiveHost, what: str) -> None:
    """It says so in one line, even where the container would have been stopped."""
    conf = hooked.lxc / "101.conf"
    conf.write_text(f"{NAMES_IT}lxc.apparmor.profile: lxc-b\n")
    program = hooked.folder / "phoenix"
    assert script(hooked, "101", "pre-start").returncode == 1
    if what == "configuration":
        hooked.config.write_text("{ not JSON\nat all\n")
    elif what == "no configuration":
        hooked.config.unlink()
    elif what == "program":
        program.unlink()
    elif what == "python":
        program.write_text("#!/no/such/python3\n")
    elif what == "records":
        # Nothing that the hook asks about is in them.
        (hooked.root / "var/lib/phoenix/manifest.json").write_text("rubbish")
    elif what == "trial":
        (hooked.root / "var/lib/phoenix/trials").mkdir()
        (hooked.root / "var/lib/phoenix/trials/101.json").write_text("rubbish")
    elif what == "conf":
        conf.write_text(f"{NAMES_IT}[a section?] # no\nlxc.apparmor.profile: lxc-b\n")
    elif what == "securityfs":
        hooked.profiles.unlink()
    elif what == "hung":
        program.write_text("#!/bin/sh\nexec sleep 60\n")
        snippet = hooked.root / SNIPPET
        snippet.write_text(snippet.read_text().replace("timeout -k 1 30 ", "timeout -k 1 0.3 "))
    done = script(hooked, "101", "pre-start")
    (line,) = lines(done)
    if what == "records":
        assert done.returncode == 1 and "not started" in line
        return
    assert done.returncode == 0, done.stderr
    assert line.startswith("phoenix: container 101 cannot be judged (")
    assert line.endswith("); it starts under what is assigned")
    if what != "securityfs":  # The double's kernel has its profiles there.
        assert hooked.pct("start", "101").ok and hooked.labels()["101"] == "lxc-b (enforce)"


def test_a_crash_is_told_by_its_last_line(hooked: LiveHost) -> None:
    (hooked.folder / "phoenix").write_text(f"#!{sys.executable}\nimport no_such_module\n")
    (line,) = lines(script(hooked, "101", "pre-start"))
    assert "ModuleNotFoundError: No module named 'no_such_module'" in line


def test_a_stray_exit_code_is_not_taken_for_a_no(hooked: LiveHost) -> None:
    (hooked.folder / "phoenix").write_text("#!/bin/sh\necho something else\nexit 3\n")
    done = script(hooked, "101", "pre-start")
    assert done.returncode == 0 and "cannot be judged (something else)" in lines(done)[0]


def test_it_is_not_removed_while_a_container_names_it(hooked: LiveHost) -> None:
    before = contents(hooked.lxc)
    done = hooked.phoenix("hook", "remove")
    assert done.code == 1 and "container 101 names it" in done.err
    assert "next: pct set 101 --delete hookscript" in done.err
    assert (hooked.root / SNIPPET).exists() and contents(hooked.lxc) == before
    assert hooked.phoenix("hook", "status").code == 0
    (hooked.root / SNIPPET).unlink()
    done = hooked.phoenix("hook", "status")
    assert done.code == 3 and "they do not start: 101" in done.out
    assert not hooked.pct("start", "101").ok, "as Proxmox does"
    assert hooked.phoenix("hook", "install").code == 0 and hooked.pct("start", "101").ok
    (hooked.lxc / "101.conf").write_text(f"arch: amd64\n\n[snap]\n{NAMES_IT}")
    done = hooked.phoenix("hook", "remove")
    assert done.code == 0 and "container 101: a snapshot names the hook" in done.err
    assert not (hooked.root / SNIPPET).exists()


def test_another_hook_is_left_alone(hooked: LiveHost) -> None:
    hooked.conf("102", "hookscript: local:snippets/mine\n")
    done = hooked.phoenix("hook", "status", "--json").document
    assert [one["ctid"] for one in done["containers"]] == ["101"]
    assert done["others"] == [{"ctid": "102", "node": None, "value": "local:snippets/mine"}]


def test_what_is_asked_is_json_too(hooked: LiveHost) -> None:
    found = hooked.phoenix("hook", "judge", "101", "--json").document
    assert found == {"version": 1, "container": "101", "may_start": True, "notes": []}
    (hooked.lxc / "101.conf").write_text("arch: amd64\n")
    done = hooked.phoenix("hook", "judge", "101", "--json")
    assert done.code == 3 and done.document["notes"][0]["code"] == "held-not-assigned"
    for name in ("", "..", "a/b"):
        assert hooked.phoenix("hook", "judge", "--", name).code == 2


STORAGES = """dir: local
\tpath /var/lib/vz
\tcontent iso,vztmpl,backup

dir: scripts
\tpath /srv/scripts
\tcontent snippets
\tcontent-dirs snippets=hooks

nfs: away
\tcontent snippets
\tserver 10.0.0.1
\texport /x

lvmthin: data
\tcontent rootdir
"""


def test_the_storage_is_one_that_has_snippets(live: LiveHost) -> None:
    (live.root / "etc/pve/storage.cfg").write_text(STORAGES)
    for folder in ("var/lib/vz", "srv/scripts"):
        (live.root / folder).mkdir(parents=True)
    found = live.phoenix("hook", "status", "--json").document
    assert (found["path"], found["names"]["value"]) == (
        "/srv/scripts/hooks/phoenix",
        "scripts:snippets/phoenix",
    )
    assert live.phoenix("hook", "install", "--storage", "local").code == 0
    assert (live.root / SNIPPET).exists()
    done = live.phoenix("hook", "install", "--storage", "scripts")
    assert done.code == 1 and "is installed already, as /var/lib/vz/snippets/phoenix" in done.err
    assert live.phoenix("hook", "status", "--json").document["names"]["value"] == "local:snippets/phoenix"
    assert live.phoenix("hook", "remove").code == 0
    for storage, says in (("nowhere", "is not known"), ("data", "no directory"), ("away", "is not there")):
        done = live.phoenix("hook", "install", "--storage", storage)
        assert done.code == 1 and says in done.err and "next: " in done.err
    # Mounted, it has that folder; then other nodes see the same file.
    (live.root / "mnt/pve/away/snippets").mkdir(parents=True)
    (live.root / "etc/pve/nodes/pve2/lxc").mkdir(parents=True)
    (live.root / "etc/pve/nodes/pve2/lxc/201.conf").write_text("hookscript: away:snippets/phoenix\n")
    assert live.phoenix("hook", "install", "--storage", "away").code == 0
    done = live.phoenix("hook", "remove")
    assert done.code == 1 and "container 201 on pve2 names it" in done.err


def test_a_place_that_others_write_is_refused(live: LiveHost) -> None:
    folder = (live.root / SNIPPET).parent
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    done = live.phoenix("hook", "install")
    assert done.code == 1 and "can be written by everybody" in done.err and not (folder / "phoenix").exists()


def test_plain_lxc_names_it_in_a_line_of_its_own(host: DirectoryHost) -> None:
    container = host.root / "var/lib/lxc/101"
    container.mkdir(parents=True)
    hook = "/etc/lxc/phoenix-hook"
    config = container / "config"
    config.write_text("lxc.uts.name = a\n")
    words = ("--runtime", "lxc", "hook")
    done = host.phoenix(*words, "install")
    assert (
        done.code == 0
        and f"put the line `lxc.hook.pre-start = {hook}` into /var/lib/lxc/CTID/config" in done.out
    )
    assert os.access(f"{host.root}{hook}", os.X_OK)
    assert "--runtime lxc" in Path(f"{host.root}{hook}").read_text()
    config.write_text(f"lxc.hook.pre-start = /other\nlxc.hook.pre-start = {hook}\n")
    found = json.loads(host.phoenix(*words, "status", "--json").out)
    assert [one["ctid"] for one in found["containers"]] == ["101"] and len(found["others"]) == 1
    assert host.phoenix(*words, "remove").code == 1
    config.write_text(f"lxc.hook.pre-start = {hook}\nlxc.hook.pre-start =\n")
    assert host.phoenix(*words, "remove").code == 0, "an empty line takes those before it away"
    assert host.phoenix(*words, "install", "--storage", "local").code == 2
