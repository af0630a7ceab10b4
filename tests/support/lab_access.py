"""The engine beside the kernel's own `.access`: which questions, and what both answer."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from phoenix_hypervisor.lab.guestlink import Guest
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.profile import Profile
from phoenix_hypervisor.policy.queries import RawQuery
from phoenix_hypervisor.policy.reader import read_policy
from phoenix_hypervisor.policy.witness import raw_queries

ACCESS = Path(__file__).parents[1] / "lab/guest/access.py"
Question = tuple[int, bytes]
Masks = tuple[int, ...]


def compile_and_load(lab: Guest, paths: Sequence[str]) -> list[Profile]:
    """The profiles of the guest's files as its own parser compiles them, loaded there too."""
    found: list[Profile] = []
    for path in paths:
        lab.run(f"apparmor_parser -QKS {path} > /tmp/blob", check=True, timeout=120)
        found += read_policy(lab.get("/tmp/blob")).profiles
        lab.run(["apparmor_parser", "-r", "-B", "/tmp/blob"], check=True)
    return found


def questions(profile: Profile, chance: random.Random, mutations: int) -> Iterator[Question]:
    """Every state, and around each some strings that a mistake in a walk would answer otherwise."""
    for number, string in raw_queries(profile):
        yield number, string
        for _ in range(mutations):
            data = bytearray(string[:200])
            for _ in range(chance.randint(1, 3)):
                where = chance.randint(0, len(data))
                byte = chance.choice(b"/.abcxyz019-_\x00\x01\x02\x05\x20\x80\xff")
                if chance.random() < 0.5 and where < len(data):
                    data[where] = byte
                else:
                    data.insert(where, byte)
            yield number, bytes(data)


def kernel_answers(lab: Guest, profile: Profile, asked: Sequence[Question], uid: int) -> list[Masks]:
    """What the guest's kernel says, asked by `uid`."""
    lab.put("/tmp/access.py", ACCESS.read_bytes())
    records = [struct.pack("<I", uid)]
    for number, string in asked:
        records.append(struct.pack("<HH", len(profile.name), 1 + len(string)))
        records.append(profile.name + bytes((number,)) + string)
    lab.put("/tmp/queries", b"".join(records))
    lab.run("python3 -I -S /tmp/access.py < /tmp/queries > /tmp/answers", timeout=240, check=True)
    answers = lab.get("/tmp/answers")
    assert len(answers) == 16 * len(asked)
    return list(struct.iter_unpack("<4I", answers))


def disagreements(
    profile: Profile, asked: Sequence[Question], uid: int, answers: Sequence[Masks], kernel: tuple[int, int]
) -> list[str]:
    """One line for each answer of the engine that is not the kernel's."""
    judge = Evaluator(profile)
    wrong = []
    for (number, string), kernel_says in zip(asked, answers, strict=True):
        ours = tuple(judge.raw(RawQuery(number, string, uid), kernel))
        if ours != kernel_says:
            wrong.append(f"{profile.label} class {number} {string!r} uid {uid}: {kernel_says} != {ours}")
    return wrong
