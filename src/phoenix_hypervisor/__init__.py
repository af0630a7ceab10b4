"""Confinement as code for LXC containers.

Owns the version and nothing else: importing the package does no work, so that
`phoenix --version` stays cheap.  Everything else lives in the rooms that
ARCHITECTURE.md lists.
"""

__version__ = "0.1.0"
