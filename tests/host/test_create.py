"""Containers that do not exist yet: what `pct create` and `lxc-create` are called with, and what must be there first."""

from __future__ import annotations

import pytest

from support.hosts import CREATION, LiveHost, snapshot, world


def _nvidia(live: LiveHost, *names: str) -> None:
    dev = live.root / "dev"
    dev.mkdir(exist_ok=True)
    for name in names:
        (dev / name).parent.mkdir(exist_ok=True)
        (dev / name).touch()


def test_setup_create_assign_start(live: LiveHost) -> None:
    live.source("lxc-a", "file,")
    live.declare({"950": CREATION})
    _nvidia(live, "nvidia0", "nvidiactl", "nvidia-uvm", "nvidia-caps/nvidia-cap1")
    with live.recorded() as argvs:
        result = live.apply()
    assert (result.code, result.err) == (0, "")
    create = [argv for argv in argvs if argv[:2] == ("pct", "create")]
    assert create == [
        (
            *("pct", "create", "950", "local:vztmpl/ubuntu.tar.zst", "--hostname", "gpu-one"),
            *("--memory", "2048", "--swap", "0", "--cores", "2", "--features", "nesting=1,keyctl=1"),
            *("--unprivileged", "0", "--rootfs", "local-zfs:16"),
            *("--net0", "name=eth0,bridge=vmbr0,ip=10.0.0.5/24,gw=10.0.0.1,hwaddr=52:54:00:67:89:50"),
            *("--dev0", "/dev/nvidia0,mode=0666", "--dev1", "/dev/nvidiactl,mode=0666"),
            *("--dev2", "/dev/nvidia-uvm,mode=0666"),
        )
    ]
    order = [argv[1] for argv in argvs if argv[0] == "pct" or "--replace" in argv]
    assert order == ["--binary", "create", "start"]
    conf = (live.lxc / "950.conf").read_text()
    assert conf.endswith("unprivileged: 0\nlxc.apparmor.profile: lxc-a\nlxc.apparmor.allow_nesting: 1\n")
    assert live.labels() == {"950": "lxc-a (enforce)"}
    status = live.phoenix("status")
    assert status.out.startswith("1 of 1 containers confined\n")
    assert live.phoenix("verify").code == 0

    applied = snapshot(live.folder, without=("root/double",))
    assert live.phoenix("plan", "--detailed-exitcode").code == 0
    assert live.apply().recap["changed"] == 0
    assert snapshot(live.folder, without=("root/double",)) == applied


def test_what_its_features_lose_is_told_before_it_is_created(live: LiveHost) -> None:
    """As for one that exists: asked of the compiled profile, and silent where that allows it."""
    live.source("lxc-a", "mount fstype=nfs,")
    entry = {
        **CREATION,
        "unprivileged": True,
        "gpu_assignment": "none",
        "features": ["keyctl=1", "mount=nfs;cifs", "fuse=1"],
    }
    live.declare({"950": entry})
    for words in (("plan",), ("apply", "--all")):
        result = live.phoenix(*words, "--json")
        assert result.code == 0
        (note,) = result.document["warnings"]
        assert (note["code"], note["target"]) == ("features-lost", "container 950")
        assert (note["data"]["profile"], note["data"]["known"]) == ("lxc-a", True)
        assert [one["what"] for one in note["data"]["asked"]] == ["fuse", "mount cifs"]
    live.source("lxc-a", "file,", "mount fstype=(nfs,cifs,fuse),")
    live.declare({"951": {**entry, "network_config": {**entry["network_config"], "ip": "dhcp"}}})
    assert live.phoenix("plan", "--json").document["warnings"] == []


@pytest.mark.parametrize("missing", ["name", "template", "storage_pool", "storage_size_gb"])
def test_fields_that_creation_needs(live: LiveHost, missing: str) -> None:
    live.source("lxc-a")
    fields = {k: v for k, v in CREATION.items() if k not in (missing, "gpu_assignment")}
    live.declare({"950": fields})
    result = live.apply("--all", "--json")
    assert result.code == 1
    assert result.problems == [("key-needed", "/lxc_configs/950")]
    assert not (live.lxc / "950.conf").exists() and "lxc-a" not in live.loaded()


STORAGES = """\
dir: local
\tpath /srv/vz
\tcontent iso,vztmpl,backup

# a comment
zfspool: local-zfs
\tpool rpool/data
\tcontent images,rootdir
\tsparse 1

lvmthin: off
\tcontent rootdir
\tdisable

nfs: shared
\tcontent rootdir, vztmpl
\tnodes pve2,pve3

zfspool: any
\tpool rpool/any
\tdisable 0
\tnodes pve1 pve2
"""


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({}, []),
        ({"storage_pool": "any"}, []),
        ({"storage_pool": "local-lvm"}, [("storage_pool", "unknown")]),
        ({"storage_pool": "off"}, [("storage_pool", "disabled")]),
        ({"storage_pool": "shared"}, [("storage_pool", "elsewhere")]),
        ({"storage_pool": "local"}, [("storage_pool", "rootdir")]),
        ({"template": "local-zfs:vztmpl/ubuntu.tar.zst"}, [("template", "vztmpl")]),
        ({"template": "nowhere:vztmpl/ubuntu.tar.zst"}, [("template", "unknown")]),
        ({"template": "local:vztmpl/gone.tar.zst"}, [("template", None)]),
        ({"mount_points": {"mp0": {"volume": "off", "path": "/a", "size_gb": 1}}}, [("mp0", "disabled")]),
        ({"mount_points": {"mp0": {"volume": "local:1/a.raw", "path": "/a"}}}, []),
        ({"mount_points": {"mp1": {"volume": "nowhere:1/a.raw", "path": "/a"}}}, [("mp1", "unknown")]),
    ],
)
def test_storages_are_looked_up_before_anything_is_done(
    live: LiveHost, changes: dict[str, object], problems: list[tuple[str, str | None]]
) -> None:
    live.source("lxc-a")
    live.declare({"950": {**CREATION, "gpu_assignment": "none", "start": False, **changes}})
    (live.root / "etc/pve/storage.cfg").write_text(STORAGES)
    (live.root / "srv/vz/template/cache").mkdir(parents=True)
    (live.root / "srv/vz/template/cache/ubuntu.tar.zst").touch()
    before = world(live)
    result = live.apply("950", "--json")
    if not problems:
        assert result.code == 0 and (live.lxc / "950.conf").is_file()
        return
    assert result.code == 1 and world(live) == before
    found = result.document["error"]["problems"]
    assert [(p["data"].get("reason"), p["code"]) for p in found] == [
        (reason, "storage-unusable" if reason else "not-on-host") for _, reason in problems
    ]
    for (key, _), one in zip(problems, found, strict=True):
        assert one["target"].startswith("/lxc_configs/950/") and key in one["target"] and one["hint"]


def test_a_storage_file_that_is_away_or_damaged_stops_nothing(live: LiveHost) -> None:
    """`pct create` has the last word; and `local` is there without being named."""
    live.source("lxc-a")
    entry = {**CREATION, "gpu_assignment": "none", "start": False}
    live.declare({"950": entry})
    path = live.root / "etc/pve/storage.cfg"
    path.write_bytes(b"\xff\x00 nonsense\n\tcontent\nzfspool: local-zfs\n")
    (live.root / "var/lib/vz/template/cache").mkdir(parents=True)
    (live.root / "var/lib/vz/template/cache/ubuntu.tar.zst").touch()
    assert live.phoenix("plan", "950").code == 0
    path.unlink()
    path.mkdir()
    assert live.apply("950").code == 0


def test_an_address_without_a_network_is_refused(live: LiveHost) -> None:
    live.source("lxc-a")
    fields = {k: v for k, v in CREATION.items() if k not in ("network_config", "gpu_assignment")}
    live.declare({"950": fields})
    result = live.apply("--all", "--json")
    assert result.code == 1
    assert result.problems == [("address-lost", "/lxc_configs/950/mac_address")]
    assert "declare network_config too" in result.err
    assert not (live.lxc / "950.conf").exists()


def test_a_gpu_that_is_not_there(live: LiveHost) -> None:
    live.source("lxc-a")
    live.declare({"950": CREATION})
    result = live.apply()
    assert result.code == 1
    assert "/dev/nvidia0 does not exist on this host" in result.err
    assert "/lxc_configs/950/gpu_assignment" in result.err
    assert "lxc-a" not in live.loaded()


def test_no_quorum_stops_a_creation(live: LiveHost) -> None:
    live.source("lxc-a")
    live.declare({"950": {**CREATION, "gpu_assignment": "none"}})
    live.lose_quorum()
    with live.recorded() as argvs:
        result = live.apply("--all", "--json")
    assert result.code == 1 and result.problems == [("read-only", "container 950")]
    assert result.document["error"]["problems"][0]["data"]["cause"] == "no-quorum"
    assert not [a for a in argvs if a[0] == "pct"]


def test_a_duplicate_id_that_appears_meanwhile(live: LiveHost) -> None:
    """A VM that takes the id after the plan: pct refuses, and everything is undone."""
    live.source("lxc-a")
    live.declare({"950": {**CREATION, "gpu_assignment": "none"}})
    # .vmlist is a moment old: it knows other guests only.
    live.vmlist(_100=("qemu", "pve1"))
    (live.root / "etc/pve/nodes/pve1/qemu-server/950.conf").write_text("name: vm\n")
    before = world(live)
    result = live.apply()
    assert result.code == 1
    assert "VM 950 already exists on node 'pve1'" in result.err
    assert world(live) == before


@pytest.mark.parametrize("unprivileged", [True, False])
def test_unprivileged_is_always_said(live: LiveHost, unprivileged: bool) -> None:
    """Its default is 0 on Proxmox VE 8 and 1 on 9."""
    live.source("lxc-a")
    live.declare({"950": {**CREATION, "gpu_assignment": "none", "unprivileged": unprivileged}})
    assert live.apply("--all", "--no-start").code == 0
    assert f"unprivileged: {unprivileged:d}\n" in (live.lxc / "950.conf").read_text()


def test_only_what_is_declared_is_said(live: LiveHost) -> None:
    """No gateway, no MAC address, no features, no devices: Proxmox's own defaults then hold."""
    live.source("lxc-a")
    live.declare(
        {
            "950": {
                "name": "small",
                "apparmor_profile": "lxc-a",
                "template": "local:vztmpl/x.tar.zst",
                "storage_pool": "local-zfs",
                "storage_size_gb": 8,
                "network_config": {"name": "eth0", "bridge": "vmbr0", "ip": "dhcp"},
            }
        }
    )
    with live.recorded() as argvs:
        assert live.apply("--all", "--no-start").code == 0
    (create,) = [argv for argv in argvs if argv[:2] == ("pct", "create")]
    assert create[create.index("--net0") + 1] == "name=eth0,bridge=vmbr0,ip=dhcp"
    assert not {"--features", "--dev0", "--swap"} & set(create)


def test_what_is_created_stays_stopped_where_that_is_declared(live: LiveHost) -> None:
    live.source("lxc-a")
    live.declare({"950": {**CREATION, "gpu_assignment": "none", "start": False}})
    with live.recorded() as argvs:
        assert live.apply().code == 0
    assert [argv[1] for argv in argvs if argv[0] == "pct"] == ["create"]
    assert live.labels() == {}
    assert (live.lxc / "950.conf").read_text().endswith("lxc.apparmor.allow_nesting: 1\n")
    assert live.phoenix("verify").code == 0 and live.apply().recap["changed"] == 0


def test_no_start_holds_for_what_is_created(live: LiveHost) -> None:
    live.source("lxc-a")
    live.declare({"950": {**CREATION, "gpu_assignment": "none"}})
    assert live.apply("--all", "--no-start").code == 0
    assert live.labels() == {}
    assert live.apply().code == 0
    assert live.labels() == {"950": "lxc-a (enforce)"}


@pytest.mark.parametrize(
    "node, kind, words",
    [
        ("pve2", "lxc", "is a container on node pve2"),
        ("pve2", "qemu-server", "VM on node pve2"),
        ("pve1", "qemu-server", "VM on this node"),
    ],
)
def test_an_id_that_a_nodes_directory_holds(live: LiveHost, node: str, kind: str, words: str) -> None:
    """Without .vmlist the directories tell who has an id."""
    live.source("lxc-a")
    live.declare({"950": {**CREATION, "gpu_assignment": "none"}})
    folder = live.root / "etc/pve/nodes" / node / kind
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "950.conf").write_text("memory: 1\n")
    before = world(live)
    with live.recorded() as argvs:
        result = live.apply("950")
    assert result.code == 1
    assert words in result.err
    assert not [a for a in argvs if a[0] == "pct"]
    assert world(live) == before


@pytest.mark.parametrize("node", ["pve1", "pve2"])
def test_the_node_that_is_declared_creates_a_container(live: LiveHost, node: str) -> None:
    live.source("lxc-a")
    (live.root / "etc/pve/nodes/pve2").mkdir()
    live.declare({"950": {**CREATION, "gpu_assignment": "none", "node": node}})
    result = live.apply("950", "--no-start", "--json")
    assert result.code == 0
    assert (live.lxc / "950.conf").exists() is (node == "pve1")
    if node == "pve2":
        (note,) = result.document["skipped"]
        assert (note["code"], note["data"]) == ("made-elsewhere", {"node": "pve2", "here": "pve1"})
        assert live.phoenix("verify").code == 0
