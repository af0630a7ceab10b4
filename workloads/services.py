"""Checks: services and logins as a user of the guest sees them.

Owns their rows.  Every one asks the running service something; that a unit is active is not enough.
"""

from __future__ import annotations

from workloads.checks import Check
from workloads.guests import GATEWAY

WEB, DATA, MAIL, DNS = "web servers", "databases and caches", "mail", "name servers"
NET, LOGIN, SYSTEM = "the network", "logins", "the system's own services"
INIT = "the init system"

_KEY = """
[ -f /root/.ssh/id ] || ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id
cp /root/.ssh/id.pub /root/.ssh/authorized_keys
"""
SSH = "ssh -i /root/.ssh/id -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"

ROWS = (
    Check("nginx", WEB, "up nginx; curl -fsS http://127.0.0.1/ | grep 'hello from nginx'", few=True),
    Check("apache2", WEB, "up apache2; curl -fsS http://127.0.0.1:8080/ | grep hello"),
    Check("php-fpm", WEB, "u=$(systemctl list-units --plain --no-legend 'php*-fpm.service' | cut -d' ' -f1)\n"
          'up "$u"; systemctl reload "$u"; up "$u"; ls /run/php/php*-fpm.pid'),
    Check("postgresql", DATA, """up 'postgresql@*'; cd /; su postgres -c "psql -Atc 'select 40+2'" | grep -x 42"""),
    Check("mariadb", DATA, "up mariadb; mariadb -N -e 'create database if not exists w; select 40+2' | grep -x 42"),
    Check("redis-server", DATA, "up redis-server; redis-cli set a 42; redis-cli get a | grep -x 42", few=True),
    Check("memcached", DATA, "up memcached\n"
          r"printf 'set a 0 0 2\r\n42\r\nget a\r\nquit\r\n' | nc -w 5 127.0.0.1 11211 | grep VALUE"),
    Check("mosquitto", DATA, "up mosquitto; nc -z -w 5 127.0.0.1 1883"),
    Check("postfix", MAIL, "systemctl list-units --plain --no-legend 'postfix*' | grep -q running\n"
          "printf 'Subject: w\\n\\nhello-by-mail\\n' | sendmail root@localhost\n"
          "eventually 20 grep -q hello-by-mail /var/mail/root", limit=40),
    Check("bind9", DNS, "up named; dig +short @127.0.0.1 www.workloads.test | grep -x 10.1.2.3"),
    Check("unbound", DNS, "up unbound; dig +short -p 5335 @127.0.0.1 unbound.test | grep -x 10.1.2.3"),
    Check("dnsmasq", DNS, "up dnsmasq; dig +short -p 5354 @127.0.0.1 dnsmasq.test | grep -x 10.1.2.3"),
    Check("systemd-resolved", DNS, "up systemd-resolved; resolvectl query www.workloads.test | grep 10.1.2.3; "
          "getent hosts www.workloads.test"),
    Check("systemd-networkd", NET, f"up systemd-networkd; networkctl list --no-legend | grep 'eth0.*routable.*configured'\n"
          f"ping -c 1 -W 5 {GATEWAY}", few=True),
    Check("systemd-logind", LOGIN, "up systemd-logind; timeout 15 loginctl list-sessions --no-legend"),
    Check("ssh, a session of logind", LOGIN, f"{_KEY}{SSH} root@127.0.0.1 'echo id=$XDG_SESSION_ID' | grep 'id=.'",
          limit=40, few=True),
    Check("su and sudo", LOGIN, "su - worker -c id | grep worker; sudo -u worker id -un | grep -x worker"),
    Check("a user's own systemd", LOGIN, "loginctl enable-linger worker\n"
          "own() { su worker -c \"XDG_RUNTIME_DIR=/run/user/1000 systemctl --user $*\"; }\n"
          "settled() { own is-system-running | grep -Eq 'running|degraded'; }\n"
          "eventually 30 settled; own --failed --no-legend --plain; own is-system-running | grep -qx running"),
    Check("hostnamectl", SYSTEM, "timeout 20 hostnamectl status; timeout 20 hostnamectl hostname renamed; "
          "grep -x renamed /etc/hostname; hostnamectl hostname guest", few=True),
    Check("timedatectl", SYSTEM, "timeout 20 timedatectl show | grep Timezone; timeout 20 timedatectl set-timezone "
          "Europe/Vienna; readlink /etc/localtime | grep Vienna"),
    Check("localectl", SYSTEM, "timeout 20 localectl status | grep -i locale"),
    Check("systemd-journald", SYSTEM, "logger -t wl hello-journal; eventually 5 sh -c "
          "'journalctl -q -t wl | grep -q hello-journal'"),
    Check("rsyslog", SYSTEM, "up rsyslog; logger -t wl hello-syslog; eventually 10 grep -q hello-syslog /var/log/syslog"),
    Check("polkit", SYSTEM, "systemctl start polkit; up polkit"),
    Check("logrotate", SYSTEM, "systemctl start logrotate.service"),
    Check("systemd-tmpfiles", SYSTEM, "systemctl start systemd-tmpfiles-clean.service; "
          "echo 'd /run/by-tmpfiles 0700 worker worker' > /etc/tmpfiles.d/w.conf; systemd-tmpfiles --create w.conf; "
          "test -d /run/by-tmpfiles"),
    Check("mount units", SYSTEM, "systemctl start tmp.mount dev-mqueue.mount; up tmp.mount dev-mqueue.mount"),
    Check("timers", SYSTEM, "systemd-run -q --on-active=1 --timer-property=AccuracySec=100ms touch /run/timer-ran\n"
          "eventually 15 test -e /run/timer-ran"),
    Check("systemctl daemon-reexec", SYSTEM, "systemctl daemon-reexec; eventually 15 systemctl is-active -q basic.target",
          limit=40),
    Check("cron", SYSTEM, "up cron; eventually 75 test -s /run/cron-ran", limit=90),
    Check("the runlevel is reached", INIT, "eventually 60 sh -c \"rc-status default | grep -q nginx\"; rc-status -s",
          limit=80, inits=("openrc",)),
    Check("nginx without systemd", WEB, "eventually 30 sh -c 'curl -fsS http://127.0.0.1/ | grep -q hello'",
          limit=50, inits=("openrc", "runit")),
    Check("redis without systemd", DATA, "eventually 20 sh -c 'redis-cli ping | grep -qx PONG'",
          limit=40, inits=("openrc", "runit")),
    Check("ssh without systemd", LOGIN, f"{_KEY}eventually 20 {SSH} root@127.0.0.1 true",
          limit=60, inits=("openrc", "runit")),
    Check("rsyslog without systemd", SYSTEM, "logger -t wl hello-syslog; eventually 20 grep -q hello-syslog /var/log/syslog",
          limit=40, inits=("openrc", "runit")),
    Check("cron without systemd", SYSTEM, "eventually 75 test -s /run/cron-ran", limit=90, inits=("openrc", "runit")),
)  # fmt: skip
