"""Runs in the guest: single uses of unix sockets under a profile, each in a process of its own.

What comes before the use (the socket, its abstract name, a peer) is made without the profile.
Standard input: JSON {"profile": name or null, "uses": [[use, type, own name or null, peer's name or null], ...]}.
Output: JSON list of errno (0 for success).
"""

import json
import os
import signal
import socket
import sys

TYPES = {"stream": socket.SOCK_STREAM, "dgram": socket.SOCK_DGRAM, "seqpacket": socket.SOCK_SEQPACKET}


def use(profile: str | None, how: str, kind: int, own: str | None, peer: str | None) -> None:
    server = socket.socket(socket.AF_UNIX, kind)
    if peer is not None:
        server.bind(f"\0{peer}")
        if kind != socket.SOCK_DGRAM:
            server.listen(1)
    one = socket.socket(socket.AF_UNIX, kind)
    if own is not None and how != "bind":
        one.bind(f"\0{own}")
    if profile is not None:
        with open("/proc/self/attr/apparmor/current", "w") as file:
            file.write(f"changeprofile {profile}")
    if how == "create":
        socket.socket(socket.AF_UNIX, kind)
    elif how == "bind":
        one.bind(f"\0{own}")
    elif how == "listen":
        one.listen(128)
    elif how == "setopt":
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    elif how == "getopt":
        one.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    elif how == "connect":
        one.connect(f"\0{peer}")
    elif how == "send":
        one.sendto(b"x", f"\0{peer}")
    else:
        raise SystemExit(f"unknown use {how}")


def child(pipe: int, profile: str | None, how: str, kind: str, own: str | None, peer: str | None) -> None:
    code = 255
    try:
        use(profile, how, TYPES[kind], own, peer)
        code = 0
    except OSError as error:
        code = error.errno or 255
    os.write(pipe, bytes([code & 255]))
    os._exit(0)


def main() -> None:
    order = json.load(sys.stdin)
    results = []
    for how, kind, own, peer in order["uses"]:
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            signal.alarm(10)
            child(writing, order["profile"], how, kind, own, peer)
        os.close(writing)
        data = os.read(reading, 1)
        os.close(reading)
        os.waitpid(pid, 0)
        results.append(data[0] if data else 255)
    json.dump(results, sys.stdout)


main()
