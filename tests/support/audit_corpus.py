"""Denials made in the lab by real operations, as every transport holds them.

Owns the containers, the daemons that write logs beside them, and what each line must be read as: which
container did it, and of which kind it is.  Both are known from what was done and when, not from the line.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from phoenix_hypervisor.engine.phoenix import Phoenix
from phoenix_hypervisor.engine.policy_requests import CompileRequest
from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.lab.guest_containers import Container, make_container
from phoenix_hypervisor.lab.rootdisk import RootDisk

SCRIPT = Path(__file__).parents[1] / "lab/guest/refused.py"
CONFIG = Path(__file__).parents[2] / "etc/phoenix_lxc_configs.json"
PACKAGES = ("auditd", "rsyslog", "systemd-sysv", "busybox-static")
RULES = """\
  /{,usr/}{bin,sbin,lib,lib64}/** mrix,
  /etc/** r,  /dev/** rw,  /run/** rw,  /tmp/** rwkl,  /var/** r,  /home/** r,  /root/** r,  / r,  /srv/ r,
  /proc/ r,  /proc/** r,  deny /proc/@{pids}/mem rw,  /proc/*/attr/** rw,  /sys/** r,
  audit /srv/seen r,  /srv/refused.py r,
  network unix,
  capability dac_override,  capability dac_read_search,  capability kill,  capability setpcap,
  signal receive,
"""
STRICT = f"""\
@{{pids}}=[0-9]*
profile lxc-strict flags=(attach_disconnected) {{
{RULES}
  ^there {{ /** r, }}
  profile inner {{ /** r, }}
}}
profile lxc-complain flags=(attach_disconnected, complain) {{
{RULES}
}}
"""
DOCKER = f"profile docker-default flags=(attach_disconnected) {{\n{RULES}}}\n".replace("@{pids}", "[0-9]*")
NAMESPACE = "lxc-207_<-var-lib-lxc>"
SLEEP = "lxc.init.cmd = /bin/sleep infinity\n"
PLACES = {
    "201": ("generated", True),
    "202": ("lxc-base", True),
    "203": ("lxc-base-unprivileged", False),
    "204": ("lxc-strict", True),
    "205": ("lxc-strict", False),
    "206": ("lxc-complain", True),
    "207": ("generated", True),
}
"""Container -> its profile, and whether it is privileged.  What 207 does its own policy refuses."""
NAMED = {"201", "207"}
"""LXC named these containers' profile or namespace after them."""
OPERATIONS = {
    "capable": "capability",
    "ptrace": "ptrace",
    "signal": "signal",
    "mount": "mount",
    "umount": "umount",
    "pivotroot": "pivot_root",
    "userns_create": "userns",
    "create": "network",
    "change_hat": "change_hat",
}
"""What else an operation may have run into than what it was made for."""
_ID = re.compile(rb"audit\([^()]*?([0-9.]*):([0-9]+)\)")


@dataclass(frozen=True)
class Known:
    """One line of one log, and what it is."""

    release: str
    form: str
    line: bytes
    container: str
    named: bool
    """Whether a name in the line says the container."""
    kind: str


def disk(release: str) -> RootDisk:
    """The programs that write logs, of the guest's own release."""
    return RootDisk(f"audit-{release}", release, PACKAGES, files={})


def prepare(lab: Lab) -> dict[str, Container]:
    """The profiles, the containers and the other file system."""
    features = "--policy-features=/sys/kernel/security/apparmor/features"
    ours = Phoenix(config=str(CONFIG), features=f"debian-{lab.release.version}")
    for name in ("lxc-base", "lxc-base-unprivileged"):
        # Compiled here: the guest's own parser takes minutes where nothing speeds the machine up.
        lab.put(f"/root/{name}", ours.compile(CompileRequest(source=name)).blob)
        lab.run(["apparmor_parser", "-r", "-B", f"/root/{name}"], check=True)
    lab.put("/root/strict", STRICT)
    lab.run(["apparmor_parser", "-r", features, "/root/strict"], check=True)
    lab.put("/root/refused.py", SCRIPT.read_bytes())
    lab.run("mkdir -p /mnt/disk && mount /dev/vdb /mnt/disk", check=True)
    for place in ("proc", "dev", "sys", "run"):
        lab.run(f"mkdir -p /mnt/disk/{place} && mount --rbind /{place} /mnt/disk/{place}", check=True)
    made = {}
    for ctid, (profile, privileged) in PLACES.items():
        extra = SLEEP + ("lxc.apparmor.allow_nesting = 1\n" if profile == "generated" else "")
        made[ctid] = make_container(
            lab, ctid, layer="bare", privileged=privileged, rootfs="debian", profile=profile, extra=extra
        )
        started = made[ctid].start()
        assert started.ok, (ctid, started.stderr)
        base = 0 if privileged else 100000
        root = f"/proc/{made[ctid].init_pid()}/root"
        lab.run(
            f"r={root}; mkdir -p $r/srv/no/empty $r/tmp/refused/at && echo x > $r/srv/no/file && cp /bin/true"
            f" $r/srv/no/program && echo x > $r/srv/no/others && echo x > $r/srv/seen && cp /root/refused.py $r/srv/"
            f" && chown -R {base}:{base} $r/srv $r/tmp/refused && chown {base + 7}:{base} $r/srv/no/others"
            f" && chmod 666 $r/srv/no/others",
            check=True,
        )
    lab.put("/root/docker", DOCKER)
    loading = ["apparmor_parser", "-r", "-n", NAMESPACE, features, "/root/docker"]
    lab.run(loading, check=True)
    return made


def refuse(container: Container) -> list[tuple[str, str, float, float, int]]:
    """Do everything once in a container: name, kind, begin, end, errno."""
    command = "exec python3 -I -S /srv/refused.py"
    if container.name == "207":
        command = f"echo 'exec docker-default' > /proc/self/attr/apparmor/exec && {command}"
    done = container.attach(command, timeout=120)
    found = [tuple(json.loads(line)) for line in done.stdout.splitlines()]
    assert len(found) > 70, (container.name, done)
    return found


def number_of(line: bytes, form: str) -> int | None:
    """The serial number of the event that a line is about."""
    if form.startswith("journal audit"):
        return int(json.loads(line)["_AUDIT_ID"])
    match = _ID.search(line)
    return int(match[2]) if match else None


def forms_of_printk(lab: Lab) -> dict[str, list[bytes]]:
    """The kernel's log in each form that programs of the guest give it."""
    found = {}
    for form, words in {
        "dmesg": [],
        "dmesg -x": ["-x"],
        "dmesg -T": ["-T"],
        "dmesg -x -T": ["-x", "-T"],
        "dmesg -r": ["-r"],
        "dmesg -t": ["-t"],
        "dmesg iso": ["--time-format", "iso"],
        "dmesg -S": ["-S"],
    }.items():
        found[form] = _lines(lab.run(["dmesg", *words], check=True).stdout)
    return found


def _lines(text: str) -> list[bytes]:
    return [line for line in text.encode("utf-8", "surrogateescape").split(b"\n") if b"apparmor=" in line]


RSYSLOG = """\
module(load="imklog")
template(name="new" type="string" string="<%pri%>1 %timestamp:::date-rfc3339% %hostname% %app-name% %procid% %msgid% - %msg%\\n")
kern.* action(type="omfile" file="/tmp/syslog.old" template="RSYSLOG_TraditionalFileFormat")
kern.* action(type="omfile" file="/tmp/syslog.iso" template="RSYSLOG_FileFormat")
kern.* action(type="omfile" file="/tmp/syslog.5424" template="new")
"""


def start_loggers(lab: Lab) -> None:
    """journald and rsyslogd, as the release has them."""
    lab.run(
        "systemd-machine-id-setup; mkdir -p /run/systemd/journal /run/log/journal; mkdir -p /mnt/disk/tmp"
    )
    lab.run("setsid /lib/systemd/systemd-journald > /tmp/journald.log 2>&1 < /dev/null &", check=True)
    lab.put("/mnt/disk/root/rsyslog.conf", RSYSLOG)
    lab.run(
        "setsid chroot /mnt/disk rsyslogd -n -f /root/rsyslog.conf -i /tmp/rsyslog.pid > /tmp/rsyslog.log 2>&1 < /dev/null &",
        check=True,
    )
    lab.run("sleep 2")


AUDITD = """\
log_file = /var/log/audit/audit.log
log_format = {format}
log_group = root
flush = INCREMENTAL_ASYNC
freq = 50
max_log_file = 8
num_logs = 5
priority_boost = 0
name_format = {name}
max_log_file_action = ROTATE
space_left = 75
space_left_action = IGNORE
admin_space_left = 50
admin_space_left_action = IGNORE
disk_full_action = IGNORE
disk_error_action = IGNORE
"""


def start_auditd(lab: Lab, *, enriched: bool, node: bool) -> None:
    text = AUDITD.format(format="ENRICHED" if enriched else "RAW", name="HOSTNAME" if node else "NONE")
    lab.put("/mnt/disk/etc/audit/auditd.conf", text, 0o640)
    lab.run(
        "rm -rf /mnt/disk/var/log/audit; mkdir -p /mnt/disk/var/log/audit; chmod 750 /mnt/disk/var/log/audit;"
        " setsid chroot /mnt/disk auditd -n > /tmp/auditd.log 2>&1 < /dev/null & sleep 2"
    )


def stop_auditd(lab: Lab) -> None:
    lab.run("kill $(pidof auditd); sleep 1; chroot /mnt/disk auditctl -e 0; true")


def journal(lab: Lab) -> dict[str, list[bytes]]:
    """What journald holds, in journalctl's forms."""
    found: dict[str, list[bytes]] = {}
    for name, match in {
        "journal kernel": ["_TRANSPORT=kernel"],
        "journal audit": ["_TRANSPORT=audit", "_AUDIT_TYPE=1400"],
    }.items():
        text = lab.run(["journalctl", "-o", "json", "--all", "--no-pager", *match], timeout=60).stdout
        found[name] = _lines(text)
    for name, how in {"journalctl": "short", "journalctl iso": "short-iso"}.items():
        text = lab.run(
            ["journalctl", "-o", how, "--all", "--no-pager", "_TRANSPORT=kernel"], timeout=60
        ).stdout
        found[name] = _lines(text)
    return found


class Ledger:
    """What was done when, and so what a line with a number is about."""

    def __init__(self, release: str) -> None:
        self.release = release
        self._done: list[tuple[str, str, str, float, float]] = []
        self._times: dict[int, float] = {}

    def note(self, ctid: str, done: list[tuple[str, str, float, float, int]]) -> None:
        self._done += [(ctid, name, kind, begin, end) for name, kind, begin, end, _ in done]

    def learn(self, lines: list[bytes]) -> None:
        """The time of each event, from lines that say it."""
        for line in lines:
            match = _ID.search(line)
            if match and match[1]:
                self._times[int(match[2])] = float(match[1])

    def learn_journal(self, lines: list[bytes]) -> None:
        for line in lines:
            record = json.loads(line)
            self._times[int(record["_AUDIT_ID"])] = int(record["_SOURCE_REALTIME_TIMESTAMP"]) / 1e6

    def known(self, form: str, lines: list[bytes]) -> Iterator[Known]:
        """Each line that is about something that was done."""
        for line in lines:
            number = number_of(line, form)
            time = None if number is None else self._times.get(number)
            operation = re.search(rb'operation=\\?"?(\w+)', line)
            if time is None or operation is None:
                continue
            for ctid, _, kind, begin, end in self._done:
                if begin - 0.009 <= time <= end + 0.004:
                    kind = kind_of(operation[1].decode(), kind)
                    yield Known(self.release, form, line, ctid, ctid in NAMED, kind)
                    break


def kind_of(operation: str, made: str) -> str:
    """The kind of what an operation ran into; `made` is that of what it was made for."""
    # Neither kernel asks about queues as such: it asks for a file.
    made = "file" if made == "mqueue" and operation == "open" else made
    return OPERATIONS.get(operation, made)


def gather(lab: Lab, release: str) -> list[Known]:
    """All of it on one release."""
    containers = prepare(lab)
    ledger = Ledger(release)
    found: list[Known] = []
    start_loggers(lab)
    printed: dict[str, list[bytes]] = {}
    for ctid, container in containers.items():
        lab.mark()
        lab.run(["dmesg", "-C"])
        ledger.note(ctid, refuse(container))
        lab.run("sleep 1")
        forms = forms_of_printk(lab)
        forms["kmsg"] = [
            f"5,{one.sequence},{round(one.seconds * 1e6)},-;{one.text}".encode("utf-8", "surrogateescape")
            for one in lab.kernel_log()
            if "apparmor=" in one.text
        ]
        for form, lines in forms.items():
            printed.setdefault(form, []).extend(lines)
    ledger.learn(printed["kmsg"])
    printed.update(journal(lab))
    ledger.learn_journal(printed["journal audit"])
    for name, path in {"syslog": "old", "syslog iso": "iso", "syslog 5424": "5424"}.items():
        printed[name] = _lines(lab.run(f"cat /mnt/disk/tmp/syslog.{path}").stdout)
    for form, lines in printed.items():
        found += ledger.known(form, lines)
    for form, enriched, node in (("auditd enriched", True, False), ("auditd node", False, True)):
        start_auditd(lab, enriched=enriched, node=node)
        for ctid, container in containers.items():
            ledger.note(ctid, refuse(container))
        lab.run("sleep 1")
        log = _lines(lab.run("cat /mnt/disk/var/log/audit/audit.log").stdout)
        ledger.learn(log)
        found += ledger.known(form, log)
        stop_auditd(lab)
    beside = journal(lab)["journal audit"]
    ledger.learn_journal(beside)
    found += ledger.known("journal audit beside auditd", beside)
    return found


CORPUS = Path(__file__).parents[1] / "data/audit/corpus.jsonl.gz"


def chosen(found: list[Known]) -> list[Known]:
    """Of every form a line of each kind and operation, each from another container, and every odd name."""
    seen: set[tuple[str, ...]] = set()
    kept = []
    for number, known in enumerate(found):
        operation = re.search(rb'operation=\\?"?(\w+)', known.line)
        verdict = re.search(rb'apparmor=\\?"?(\w+)', known.line)
        assert operation is not None and verdict is not None
        what = (known.kind, operation[1].decode(), verdict[1].decode())
        key = (known.release, known.form, *what)
        other = (known.release, known.form, known.container, ("a", "b")[number % 2])
        odd = re.search(rb"(?:name|comm|srcname|options)=[0-9A-F]{4}", known.line)
        if key in seen and other in seen and not (odd and known.form in ("kmsg", "auditd node")):
            continue
        seen |= {key, other}
        kept.append(known)
    return kept


def write(found: list[Known]) -> None:
    lines = [
        json.dumps({**vars(known), "line": known.line.decode("utf-8", "surrogateescape")}, sort_keys=True)
        for known in found
    ]
    CORPUS.parent.mkdir(parents=True, exist_ok=True)
    # Without a time in its head: the same lines are the same bytes.
    CORPUS.write_bytes(gzip.compress("\n".join(lines).encode() + b"\n", mtime=0))


def read() -> list[Known]:
    """The corpus that is kept."""
    text = gzip.decompress(CORPUS.read_bytes()).decode()
    found = []
    for line in text.splitlines():
        values = json.loads(line)
        found.append(Known(**{**values, "line": values["line"].encode("utf-8", "surrogateescape")}))
    return found
