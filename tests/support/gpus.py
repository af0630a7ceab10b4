"""GPUs for a host that is a directory: what drivers show in /proc and /sys, and files in the place of nodes.

An ordinary user can make no device node, so plain files stand there; `mode` is a node's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

DEVICES = """Character devices:
  1 mem
195 nvidia
195 nvidiactl
226 drm
234 nvidia-caps
235 nvidia-caps-imex-channels
510 nvidia-uvm
511 kfd

Block devices:
  8 sd
"""
UUID = "GPU-{:08x}-0000-4000-8000-000000000000"
SHARED = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")


def node(root: Path, path: str, mode: int = 0o666) -> None:
    """A file where the driver has a node."""
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()
    place.chmod(mode)


def write(root: Path, path: str, text: str) -> None:
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


def bus(number: int) -> str:
    return f"0000:{number + 1:02x}:00.0"


def nvidia(
    root: Path, count: int, *, slices: Iterable[int] = (), uvm_major: int = 510, driver: bool = True
) -> None:
    """`count` NVIDIA GPUs; those of `slices` have two GPU instances with one compute instance each."""
    for number in range(count):
        node(root, f"/dev/nvidia{number}")
        if driver:
            text = f"Model: \t\t NVIDIA A100-SXM4-80GB\nGPU UUID: \t {UUID.format(number)}\n"
            text += f"Bus Location: \t {bus(number)}\nDevice Minor: \t {number}\n"
            write(root, f"/proc/driver/nvidia/gpus/{bus(number)}/information", text)
    for name in SHARED:
        node(root, f"/dev/{name}")
    write(root, "/proc/devices", DEVICES.replace("510 nvidia-uvm", f"{uvm_major} nvidia-uvm"))
    minors = ["config 1", "monitor 2"]
    for number in range(count):
        for instance in (1, 2):
            first = 10 + 20 * number + 4 * instance
            names = {f"gi{instance}/access": first, f"gi{instance}/ci0/access": first + 1}
            minors += [f"gpu{number}/{name} {minor}" for name, minor in names.items()]
            for name, minor in names.items() if number in slices else ():
                write(
                    root,
                    f"/proc/driver/nvidia/capabilities/gpu{number}/mig/{name}",
                    f"DeviceFileMinor: {minor}\n",
                )
                node(root, f"/dev/nvidia-caps/nvidia-cap{minor}", 0o444)
    if tuple(slices):
        write(root, "/proc/driver/nvidia-caps/mig-minors", "\n".join(minors) + "\n")
        node(root, "/dev/nvidia-caps/nvidia-cap1", 0o400)
        node(root, "/dev/nvidia-caps/nvidia-cap2", 0o444)


def drm(root: Path, number: int, vendor: str, place: str, *, render: bool = True) -> None:
    """A card of another vendor, as sysfs shows it."""
    device = root / "sys/devices/pci0000:00" / place
    device.mkdir(parents=True, exist_ok=True)
    (device / "vendor").write_text(f"{vendor}\n")
    (device / "device").write_text("0x740f\n")
    for name in (f"card{number}", f"renderD{128 + number}")[: 1 + render]:
        node(root, f"/dev/dri/{name}", 0o660)
        link = root / "sys/class/drm" / name / "device"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"/sys/devices/pci0000:00/{place}")


def conf(*lines: str, unprivileged: bool = False, profile: str | None = None, **keys: str) -> str:
    """A container's configuration as Proxmox writes it."""
    found: Mapping[str, str] = {
        "arch": "amd64",
        "hostname": "box",
        "memory": "512",
        "ostype": "debian",
        **keys,
    }
    text = "".join(f"{key}: {value}\n" for key, value in found.items())
    text += "unprivileged: 1\n" * unprivileged
    text += "".join(f"{line}\n" for line in lines)
    return text + (f"lxc.apparmor.profile: {profile}\n" if profile else "")
