"""The packed kernel lists are what tools/kernel_lists.py makes of Debian's own dump."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from phoenix_hypervisor.profiles.features import PACKED, packed

TOP = Path(__file__).parents[2]


def test_each_list_of_a_proxmox_kernel_is_made_from_the_table() -> None:
    spec = importlib.util.spec_from_file_location("kernel_lists", TOP / "tools/kernel_lists.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    lists = module.lists()
    assert sorted(lists) == sorted(name for name in PACKED if name.startswith("proxmox"))
    for name, data in lists.items():
        path = packed(name)
        assert path is not None and Path(path).read_bytes() == data
    base = (module.FEATURES / module.BASE).read_bytes()
    assert module.flatten(module.read(base)) == base
