"""Running the collection's playbooks with a real Ansible, and what each task answered.

PHOENIX_ANSIBLE names the directory of its commands; `make collection-test` makes one for each version.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.hosts import TOP

CALLBACKS = TOP / "tests/collection/callbacks"


def ansible() -> Path | None:
    """Where Ansible's commands are; None where nobody has said."""
    found = os.environ.get("PHOENIX_ANSIBLE")
    return None if not found else Path(found)


@dataclass(frozen=True, slots=True)
class Task:
    """What one task answered for one host."""

    host: str
    name: str
    how: str
    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Played:
    """A run of a playbook."""

    code: int
    text: str
    tasks: tuple[Task, ...]

    def of(self, name: str, host: str | None = None) -> list[Task]:
        return [t for t in self.tasks if t.name == name and host in (None, t.host)]

    def one(self, name: str, host: str) -> Task:
        found = self.of(name, host)
        assert len(found) == 1, (name, host, [t.how for t in found], self.text)
        return found[0]

    def changed(self) -> dict[str, int]:
        """`changed=` of the recap, by host."""
        lines = self.text.partition("PLAY RECAP")[2].splitlines()
        rows = [line.split() for line in lines if " ok=" in line]
        return {
            row[0]: int(word.partition("=")[2]) for row in rows for word in row if word.startswith("changed=")
        }


class Fleet:
    """A folder with an inventory of nodes, and the collection as Ansible finds it."""

    def __init__(self, folder: Path, nodes: Mapping[str, Mapping[str, object]], timeout: float = 120) -> None:
        self.folder, self.timeout = folder, timeout
        place = folder / "collections/ansible_collections/phoenix"
        place.mkdir(parents=True)
        (place / "hypervisor").symlink_to(TOP / "ansible")
        self.inventory = folder / "nodes.json"
        hosts = {name: dict(values) for name, values in nodes.items()}
        self.inventory.write_text(json.dumps({"all": {"children": {"phoenix": {"hosts": hosts}}}}))

    def change(self, node: str, **values: object) -> None:
        """Variables of a node in the inventory."""
        document = json.loads(self.inventory.read_text())
        document["all"]["children"]["phoenix"]["hosts"][node].update(values)
        self.inventory.write_text(json.dumps(document))

    def environment(self, sockets: str) -> dict[str, str]:
        return {
            **os.environ,
            "HOME": str(self.folder),
            "ANSIBLE_COLLECTIONS_PATH": str(self.folder / "collections"),
            "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
            "ANSIBLE_CALLBACKS_ENABLED": "record",
            "ANSIBLE_LOCALHOST_WARNING": "False",
            "ANSIBLE_DEPRECATION_WARNINGS": "False",
            "ANSIBLE_FORKS": "3",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "True",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets,
            "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
            "LC_ALL": "C.UTF-8",
            "PHOENIX_RECORD": str(self.folder / "record"),
        }

    def run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        """One of Ansible's commands."""
        place = ansible()
        assert place is not None, "PHOENIX_ANSIBLE says where Ansible is"
        # A socket's path must be shorter than pytest's folders.
        with tempfile.TemporaryDirectory(prefix="fleet") as sockets:
            return subprocess.run(
                [str(place / program), *words],
                env=self.environment(sockets),
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=self.timeout,
                check=False,
            )

    def play(self, playbook: str, *words: str, **variables: object) -> Played:
        """One of the collection's playbooks."""
        record = self.folder / "record"
        record.unlink(missing_ok=True)
        given = ["-e", json.dumps(variables)] if variables else []
        name = f"phoenix.hypervisor.{playbook}"
        done = self.run("ansible-playbook", name, "-i", str(self.inventory), *given, *words)
        lines = record.read_text().splitlines() if record.exists() else []
        tasks = [json.loads(line) for line in lines]
        found = tuple(Task(t["host"], t["task"], t["how"], t["result"]) for t in tasks)
        return Played(done.returncode, done.stdout + done.stderr, found)
