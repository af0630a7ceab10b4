"""From containers that stand on a host to declared and confined ones, with real LXC."""

from __future__ import annotations

import json

from phoenix_hypervisor.lab.booted import Lab
from support.lab_host import CONFIG, box, phoenix, verify

STOCK = "lxc-container-default-cgns"


def test_what_stands_is_imported_then_confined(ready: Lab) -> None:
    boxes = [
        box(ready, 901, privileged=False),
        box(ready, 902, privileged=False, profile="generated"),
        box(ready, 903, profile="unconfined"),
        box(ready, 904, profile=STOCK),
        box(ready, 905, profile="lxc-nvidia-gpu-base"),
        box(ready, 906, privileged=False),
    ]
    try:
        for container in boxes[:5]:
            assert container.start().ok
        labels = {container.name: container.label() for container in boxes[:5]}
        stood = {container.name: ready.get(container.config_path) for container in boxes}
        ready.run(["rm", "-f", CONFIG], check=True)

        done = phoenix(ready, "import", "--output", CONFIG)
        assert done.ok, done.stdout + done.stderr
        again = phoenix(ready, "import", "--output", "-")
        assert again.ok and again.stdout == ready.get(CONFIG).decode()
        planned = phoenix(ready, "plan", "--detailed-exitcode")
        assert planned.rc == 0, planned.stdout + planned.stderr
        assert "changed=0" in phoenix(ready, "apply", "--all").stdout
        assert {container.name: ready.get(container.config_path) for container in boxes} == stood
        assert {container.name: container.label() for container in boxes[:5]} == labels
        assert boxes[5].state() == "STOPPED"

        document = json.loads(ready.get(CONFIG))
        profiles = {ctid: entry["apparmor_profile"] for ctid, entry in document["lxc_configs"].items()}
        assert (profiles["902"], profiles["903"], profiles["904"]) == ("generated", "unconfined", STOCK)
        assert profiles["905"] == "lxc-nvidia-gpu-base"

        for entry in document["lxc_configs"].values():
            entry["apparmor_profile"] = "lxc-base"
            entry.pop("lines", None)
        ready.put(CONFIG, json.dumps(document))
        done = phoenix(ready, "apply", "--all", "--restart")
        assert done.ok, done.stdout + done.stderr
        found = {container.name: container.label() for container in boxes[:5]}
        unprivileged = "lxc-base-unprivileged (enforce)"
        assert found == {
            "901": unprivileged,
            "902": unprivileged,
            "903": "lxc-base (enforce)",
            "904": "lxc-base (enforce)",
            "905": "lxc-base (enforce)",
        }
        code, codes = verify(ready)
        assert code == 0, codes
    finally:
        for container in boxes:
            container.stop(kill=True)
            container.remove()
