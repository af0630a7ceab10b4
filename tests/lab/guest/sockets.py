"""Runs in a container: the sockets of ordinary services, each made, bound, listened on, connected and used.

Output: JSON {step: errno}, 0 where it worked.
"""

import contextlib
import json
import os
import socket
from collections.abc import Callable
from functools import partial

KINDS = {"stream": socket.SOCK_STREAM, "dgram": socket.SOCK_DGRAM, "seqpacket": socket.SOCK_SEQPACKET}
steps: dict[str, int] = {}


def step(name: str, work: Callable[[], object]) -> bool:
    try:
        work()
    except OSError as error:
        steps[name] = error.errno or -1
        return False
    steps[name] = 0
    return True


def create(family: int, kind: int) -> None:
    socket.socket(family, kind).close()


def talk(name: str, kind: int, address: str) -> None:
    with socket.socket(socket.AF_UNIX, kind) as server, socket.socket(socket.AF_UNIX, kind) as client:
        server.settimeout(10)
        if not step(f"{name} bind", lambda: server.bind(address)):
            return
        step(f"{name} setsockopt", lambda: server.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1))
        if kind != socket.SOCK_DGRAM:
            step(f"{name} listen", lambda: server.listen(1))
        if step(f"{name} connect", lambda: client.connect(address)):
            step(f"{name} send", lambda: client.send(b"x"))
            if kind == socket.SOCK_DGRAM:
                step(f"{name} receive", lambda: server.recv(1))
            else:
                step(f"{name} accept", lambda: server.accept()[0].recv(1))


def inet() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), 5).close()


def pair(kind: int) -> None:
    for end in socket.socketpair(socket.AF_UNIX, kind):
        end.close()


for word, number in KINDS.items():
    if not step(f"unix {word} create", partial(create, socket.AF_UNIX, number)):
        continue
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"/tmp/{word}")
    talk(f"unix {word} path", number, f"/tmp/{word}")
    talk(f"unix {word} abstract", number, f"\0phoenix-{word}")
    step(f"unix {word} pair", partial(pair, number))
step("netlink", partial(create, socket.AF_NETLINK, socket.SOCK_RAW))
step("inet stream", inet)
step("inet dgram", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9)))
step("packet", partial(create, socket.AF_PACKET, socket.SOCK_RAW))
print(json.dumps(steps))
