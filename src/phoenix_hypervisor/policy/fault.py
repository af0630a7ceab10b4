"""The errors of the policy room.

Owns `PolicyError`: what is wrong with a compiled policy or with a question about it; and `NotJudged`.
Must not know the format; the modules that find the fault say where it is.
"""

from __future__ import annotations

from phoenix_hypervisor.errors import PhoenixError


class PolicyError(PhoenixError):
    """A compiled policy cannot be read, or a question about it makes no sense.

    `where` is the profile or the byte offset in the blob, as far as it is known.
    """


class NotJudged(PolicyError):
    """The answer depends on what the question cannot say: neither allowed nor denied would be true."""
