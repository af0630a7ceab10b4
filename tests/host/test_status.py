"""What status shows: an overview from which one can choose, and everything about one container."""

from __future__ import annotations

import pytest

from support.hosts import LiveHost

PROFILES = ("lxc-nvidia-gpu-base", "lxc-nvidia-gpu-base-unprivileged", "lxc-gpu-docker-storage")
UNPRIVILEGED = "unprivileged: 1\n"
NVIDIA = "dev0: /dev/nvidia0\ndev1: /dev/nvidiactl\ndev2: /dev/nvidia1,mode=0666\n"
SNAPSHOT = "\n[before]\narch: amd64\nlxc.apparmor.profile: unconfined\n"


@pytest.fixture
def many(live: LiveHost) -> LiveHost:
    """25 containers; 101 to 103 are declared and set up, the others stand as somebody made them."""
    for name in PROFILES:
        live.source(name)
    live.conf("101", f"hostname: pihole\n{UNPRIVILEGED}features: nesting=1\n")
    live.conf("102", f"hostname: vllm-qwen2.5-7b-awq\nfeatures: nesting=1,keyctl=1\n{NVIDIA}")
    live.conf("103", f"hostname: media\n{UNPRIVILEGED}dev0: /dev/dri/renderD128,gid=104\n")
    live.conf("104", "hostname: nas\nfeatures: mount=nfs;cifs\nlxc.apparmor.profile: unconfined\n")
    live.conf("105", f"hostname: gitea\n{UNPRIVILEGED}lock: backup\n")
    live.conf("106", f"hostname: debian-template\n{UNPRIVILEGED}template: 1\n")
    for ctid in range(107, 126):
        live.conf(str(ctid), f"hostname: web-{ctid}\n{UNPRIVILEGED}")
    (live.root / "dev/dri").mkdir(parents=True)
    for name in ("nvidia0", "nvidia1", "nvidiactl", "dri/renderD128"):
        (live.root / "dev" / name).touch()
    live.declare({"101": PROFILES[0], "102": PROFILES[0], "103": PROFILES[0]})
    assert live.apply("--all").code == 0
    live.conf("102", (live.lxc / "102.conf").read_text() + SNAPSHOT)
    return live


def _rows(out: str) -> dict[str, str]:
    """The containers' table by CTID, each row with the lines that it was wrapped to."""
    rows: dict[str, str] = {}
    for line in out[out.rindex("Containers\n") :].splitlines()[3:]:
        if line[:1].isdigit():
            rows[line.split()[0]] = line
        elif line:
            rows[list(rows)[-1]] += line
    return rows


def test_the_overview_fits_100_columns_and_says_what_one_chooses_by(
    many: LiveHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    out = many.phoenix("status").out
    table = out[out.rindex("Containers\n") :].splitlines()
    assert max(map(len, table)) <= 100
    assert table[1].split() == ["CTID", "name", "kind", "GPU", "features", "profile", "state", "verdict"]
    rows = _rows(out)
    assert sorted(rows) == [str(ctid) for ctid in range(101, 126)]
    assert rows["101"].split()[:5] == ["101", "pihole", "unpriv", "nesting", PROFILES[0]]
    assert rows["102"].split()[:6] == ["102", "vllm-qwen2.5-7b-awq", "priv", "0", "1", "nesting"]
    assert "keyctl" in rows["102"] and "snapshot differs" in " ".join(rows["102"].split())
    assert rows["103"].split()[3] == "dri" and "as declared" in rows["103"]
    assert "mount=nfs" in rows["104"] and "unconfined" in rows["104"]
    assert "locked (backup)" in " ".join(rows["105"].split())
    assert "template" in rows["106"].split() and "not declared" in rows["107"]


def test_the_containers_come_last(many: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """25 rows stay on a screen of 40 lines: what is as declared takes one line before them."""
    monkeypatch.setenv("COLUMNS", "100")
    out = many.phoenix("status").out
    assert out.startswith("3 of 25 containers confined (22 not running)\n")
    assert "\n3 profiles, 2 in use: as declared\n" in out
    before = out[: out.rindex("Containers\n")].splitlines()
    assert [line for line in before if "not declared" in line or "web-1" in line] == [
        line for line in before if line.startswith("container 104 nas: undeclared-unconfined: ")
    ]
    assert out.rstrip().splitlines()[-1].startswith("125 ")
    assert len(out.splitlines()) <= 40, out


def test_80_columns_break_no_name(many: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = many.phoenix("status").out
    assert max(map(len, out[out.rindex("Containers\n") :].splitlines())) <= 80
    rows = _rows(out)
    assert rows["102"].split()[:4] == ["102", "vllm-qwen2.5-7b-awq", "priv", PROFILES[0]]
    assert len(rows) == 25


@pytest.mark.parametrize("columns", ["80", "100"])
def test_one_long_name_takes_nobody_else_s_row_away(
    many: LiveHost, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    """It is cut off in the table, and whole where all is shown."""
    monkeypatch.setenv("COLUMNS", columns)
    long = "a" * 60 + "." + "b" * 60
    many.conf("125", f"hostname: {long}\n")
    out = many.phoenix("status").out
    rows = _rows(out)
    assert len(rows) == 25 and rows["125"].split()[1].endswith("…")
    assert rows["102"].split()[1] == "vllm-qwen2.5-7b-awq"
    assert max(map(len, out[out.rindex("Containers\n") :].splitlines())) <= int(columns)
    assert long in many.phoenix("status", "--wide").out and long in many.phoenix("status", "125").out


def test_a_name_cannot_turn_a_line_round(many: LiveHost) -> None:
    many.conf("125", "hostname: \u202egnissim\u2069\n")
    out = many.phoenix("status").out
    assert "\\u202egnissim\\u2069" in out and "\u202e" not in out


def test_wide_shows_every_column_and_every_profile(many: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = many.phoenix("status", "--wide").out
    row = _rows(out)["102"]
    assert "nesting=1,keyctl=1" in row and "before: unconfined" in row and "(enforce)  PID" in row
    assert all(f"\n{name} " in out for name in PROFILES)
    assert "backup" in _rows(out)["105"]


def test_json_has_the_same_facts(many: LiveHost) -> None:
    found = {one["ctid"]: one for one in many.phoenix("status", "--json").document["containers"]}
    assert {ctid: one["name"] for ctid, one in found.items()}["104"] == "nas"
    nodes = ["/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia1"]
    assert (found["102"]["unprivileged"], found["102"]["gpu_nodes"]) == (False, nodes)
    assert found["102"]["snapshots"] == [{"name": "before", "profile": "unconfined"}]
    assert found["105"]["lock"] == {"by": "Proxmox", "reason": "backup", "command": "pct unlock 105"}
    assert (found["101"]["lock"], found["101"]["template"], found["106"]["template"]) == (None, False, True)
    assert found["104"]["features"] == "mount=nfs;cifs"


def test_one_container_is_shown_whole(many: LiveHost) -> None:
    out = many.phoenix("status", "vllm-qwen2.5-7b-awq").out
    lines = [
        line.split(maxsplit=1)
        for line in out[out.rindex("container 102") :].splitlines()
        if " " in line.strip()
    ]
    facts = dict(lines[1:])
    assert lines[0] == ["container", "102 vllm-qwen2.5-7b-awq"]
    assert facts["kind"] == "privileged" and facts["features"] == "nesting=1,keyctl=1"
    assert facts["GPU"] == "/dev/nvidia0, /dev/nvidiactl, /dev/nvidia1"
    assert facts["snapshot"] == "before: unconfined" and facts["file"] == "/etc/pve/lxc/102.conf"
    assert facts["declared"] == facts["assigned"] == PROFILES[0] and facts["verdict"] == "as declared"
    assert facts["label"] == f"{PROFILES[0]} (enforce)"
    other = many.phoenix("status", "gitea").out
    assert "lock      backup (by Proxmox; `pct unlock 105` ends it by hand)" in other
    assert "PID" not in other and "103" not in other


def test_faults_are_told_with_the_next_step_before_the_table(many: LiveHost) -> None:
    conf = many.lxc / "101.conf"
    conf.write_text(conf.read_text().replace(f"lxc.apparmor.profile: {PROFILES[1]}\n", ""))
    result = many.phoenix("verify")
    fault = "container 101 pihole: conf-edited: "
    assert result.code == 3 and fault in result.out and "(next: phoenix apply 101)" in result.out
    assert result.out.index(fault) < result.out.index("Containers\n")
    whole = many.phoenix("verify", "101").out
    assert "fault     conf-edited: " in whole and "next      phoenix apply 101" in whole


def test_what_several_containers_have_alike_is_told_once(many: LiveHost) -> None:
    for ctid in ("103", "104", "105", "107"):
        many.conf(ctid, "hostname: x\nunprivileged: 1\n")
    many.declare({ctid: {"apparmor_profile": PROFILES[2], "start": False} for ctid in ("104", "105", "107")})
    out = many.phoenix("status").out
    line = f"container 104,105,107: not-assigned: assigned no line, declared {PROFILES[2]} "
    assert line + "(next: phoenix apply 104,105,107)\n" in out
    assert many.phoenix("apply", "104,105,107", "--no-start").code == 0


def test_a_host_that_was_never_set_up_says_the_same_once(many: LiveHost) -> None:
    for name in PROFILES:
        (many.installed / name).unlink()
    out = many.phoenix("status").out
    assert out.count("not-installed: has no installed file (phoenix setup)") == 1
    assert "3 profiles, 2 in use: 3 not as declared" in out
