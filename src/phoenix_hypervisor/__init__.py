"""Confinement as code for LXC containers.

Owns the version, and the door for programs: `from phoenix_hypervisor import Phoenix`.
Importing the package does no work and reads no other room; everything else lives in the
rooms that ARCHITECTURE.md lists.
"""

from phoenix_hypervisor.engine.phoenix import Phoenix

__all__ = ["Phoenix", "__version__"]

__version__ = "0.1.0"
