"""The hook under real LXC: it stops what would start otherwise than declared, and nothing else stops a start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.lab.guest_containers import Container
from support.lab_host import CONFIG, HOME, box, declare, phoenix, source

PLACE = "/etc/lxc/phoenix-hook"
NAME = "lxc-t-hook"
LINE = f"lxc.hook.pre-start = {PLACE}\n"


@pytest.fixture
def hooked(lab: Lab) -> Iterator[Container]:
    """A container that is declared to run under a profile of ours, assigned to it, and names the hook."""
    lab.install_phoenix()
    # The shipped ones take minutes to compile under emulation.
    lab.run(f"cd {HOME}/etc && rm -rf policy_tests apparmor/lxc-* apparmor/*/lxc-*", check=True)
    for name in (NAME, "lxc-t-other"):
        source(lab, name)
    container = box(lab, 906, profile=NAME, extra=LINE)
    declare(lab, {"906": NAME})
    try:
        done = phoenix(lab, "hook", "install")
        assert done.ok and done.stdout == f"{PLACE}: written\n", done.stderr
        done = phoenix(lab, "setup")
        assert done.ok, done.stderr
        yield container
    finally:
        container.stop(kill=True)
        container.remove()
        lab.run(f"rm -f {PLACE} /var/lib/phoenix/hook")
        lab.install_phoenix()
        declare(lab, {})


def start(container: Container) -> tuple[bool, str]:
    """Whether it starts, and what the hook said, from LXC's own log: at DEBUG it keeps what a hook prints."""
    argv = ["lxc-start", "-n", container.name, "-d", "-l", "DEBUG", "-o", "/tmp/hook.log"]
    container.guest.run(["rm", "-f", "/tmp/hook.log"])
    done = container.guest.run(argv, timeout=60)
    text = container.guest.get("/tmp/hook.log").decode()
    return done.ok, "\n".join(line for line in text.splitlines() if "phoenix" in line)


def test_the_declared_profile_starts(hooked: Container) -> None:
    started, words = start(hooked)
    assert started and "phoenix: " not in words, words
    assert hooked.label() == f"{NAME} (enforce)"
    assert hooked.guest.run("phoenix hook status").stdout.splitlines() == [
        f"{PLACE}: installed",
        "named by: 906",
    ]


def test_another_profile_is_stopped_and_lxc_logs_why(hooked: Container) -> None:
    hooked.set_profile("lxc-t-other")
    started, words = start(hooked)
    assert not started and hooked.state() == "STOPPED", words
    assert f"phoenix: container 906: not started: declared {NAME}, assigned lxc-t-other" in words, words
    done = phoenix(hooked.guest, "apply", "906")
    assert done.ok, done.stdout + done.stderr
    assert hooked.label() == f"{NAME} (enforce)", "apply starts it through the hook"


def test_a_profile_that_is_not_loaded_is_stopped(hooked: Container) -> None:
    hooked.guest.run(f"apparmor_parser -R /etc/apparmor.d/{NAME}", check=True)
    started, words = start(hooked)
    assert not started
    assert f"phoenix: container 906: not started: profile {NAME} is not loaded (next: phoenix setup)" in words
    assert phoenix(hooked.guest, "setup").ok and hooked.start().ok


@pytest.mark.parametrize("what", ["configuration", "program"])
def test_a_broken_phoenix_lets_it_start_under_what_is_assigned(hooked: Container, what: str) -> None:
    hooked.set_profile("lxc-t-other")
    paths = [CONFIG] if what == "configuration" else ["/usr/local/bin/phoenix", f"{HOME}/bin/phoenix"]
    for path in paths:
        hooked.guest.run(["mv", path, f"{path}.kept"], check=True)
    try:
        if what == "configuration":
            hooked.guest.put(CONFIG, "{")
        started, words = start(hooked)
        assert started, words
        assert hooked.label() == "lxc-t-other (enforce)"
        assert "phoenix: container 906 cannot be judged (" in words, words
    finally:
        for path in paths:
            hooked.guest.run(["mv", f"{path}.kept", path], check=True)


def test_the_hook_of_a_confined_lxc_start_can_ask(hooked: Container) -> None:
    """lxc-start runs it under its own profile."""
    hooked.guest.run(
        f"printf '#!/bin/sh\\ncat /proc/self/attr/current > /run/hook-label\\nexec {PLACE}.real \"$@\"\\n' > /root/wrap"
        f" && mv {PLACE} {PLACE}.real && mv /root/wrap {PLACE} && chmod 755 {PLACE}",
        check=True,
    )
    try:
        hooked.set_profile("lxc-t-other")
        started, words = start(hooked)
        assert not started and "not started" in words
        assert hooked.guest.get("/run/hook-label").decode().strip() == "/usr/bin/lxc-start (enforce)"
    finally:
        hooked.guest.run(["mv", f"{PLACE}.real", PLACE], check=True)
