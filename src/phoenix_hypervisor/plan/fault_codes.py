"""The codes of faults: of the configuration, and of profile sources.

Owns their rows, in the form of `plan.codes`.  Must hold no words for people beyond the meaning: the
errors that carry them say what, where and the next step.
"""

from __future__ import annotations

from phoenix_hypervisor.plan.roles import Coded, Role
from phoenix_hypervisor.plan.roles import row as _row

B = Role.FAULT


class Fault(Coded):
    """One code, equal to its name."""

    CONFIGURATION_MISSING = _row(
        "configuration-missing", (B,), "There is no configuration, and what was asked needs one."
    )
    TOO_LARGE = _row("too-large", (B,), "The configuration is larger than Phoenix reads.")
    NOT_UTF8 = _row("not-utf-8", (B,), "The configuration is not text in UTF-8.")
    NOT_JSON = _row("not-json", (B,), "The configuration is not JSON; the line and the column say where.")
    NOT_AN_OBJECT = _row("not-an-object", (B,), "The configuration is JSON, and not an object.")
    REPEATED_KEY = _row("repeated-key", (B,), "An object names a key twice.")
    UNKNOWN_KEY = _row("unknown-key", (B,), "A key is not known.")
    KEY_MISSING = _row("key-missing", (B,), "A key that is needed is missing.")
    WRONG_TYPE = _row("wrong-type", (B,), "A value has another type than its key.")
    WRONG_FORM = _row("wrong-form", (B,), "A value does not have the form of its key.")
    NOT_ALLOWED = _row("not-allowed", (B,), "A value is not one of the allowed ones.")
    CONTROL_CHARACTER = _row("control-character", (B,), "A value contains a control character.")
    SCHEMA_UNUSABLE = _row(
        "schema-unusable", (B,), "The schema beside the configuration allows what cannot be used."
    )
    PROFILE_DEPRECATED = _row("profile-deprecated", (B,), "A declared profile is deprecated.")
    DEPRECATED_SHIPPED = _row("deprecated-shipped", (B,), "A deprecated profile still has a source.")
    SUCCESSOR_UNUSABLE = _row(
        "successor-unusable", (B,), "The successor of a deprecated profile is deprecated, or is not there."
    )
    ADDRESS_UNUSABLE = _row("address-unusable", (B,), "A network address cannot be used.")
    ADDRESS_TWICE = _row("address-twice", (B,), "Two containers have the same network address.")
    DECLARED_TWICE = _row("declared-twice", (B,), "Two keys declare the same thing, and one of them must go.")
    MOUNT_UNUSABLE = _row("mount-unusable", (B,), "A mount point cannot be made as it is declared.")
    NO_SOURCES = _row("no-sources", (B,), "There is no directory of profile sources.")
    SOURCE_PLACE = _row("source-place", (B,), "Something is in a place where no source can be.")
    SOURCE_NAME = _row("source-name", (B,), "A source has a name that cannot be used.")
    SOURCE_UNREADABLE = _row("source-unreadable", (B,), "A source cannot be read as text.")
    SOURCE_WRITABLE = _row(
        "source-writable", (B,), "Others than its owner can write a source, or its directory."
    )
    SOURCE_OUTSIDE = _row("source-outside", (B,), "A source includes a file outside of /etc/apparmor.d.")
    ACCEPTED_UNUSABLE = _row(
        "accepted-unusable", (B,), "Accepted rules that no profile takes, or that are more than plain rules."
    )
    NOT_OFFERED = _row("not-offered", (B,), "A denial is offered no rule that could be accepted.")
    SOURCE_LOOP = _row("source-loop", (B,), "Sources include each other.")
    SOURCE_CHANGED = _row("source-changed", (B,), "A source was changed while it was being compiled.")
    NOT_SIGNED = _row(
        "not-signed", (B,), "Signatures are required, and there is no signed list that could be read."
    )
    SIGNATURE_BAD = _row(
        "signature-bad", (B,), "The list's signature is forged, has expired, or is of an unknown key."
    )
    UNSIGNED_FILE = _row("unsigned-file", (B,), "A file is not in the signed list.")
    SIGNED_OTHERWISE = _row("signed-otherwise", (B,), "A file is not what was signed.")
    SIGNED_MISSING = _row("signed-missing", (B,), "A file is in the signed list and is not there.")
    UNPROVEN = _row("unproven", (B,), "A profile does not compile, or not to what may be loaded.")
    UNPINNED = _row("unpinned", (B,), "A profile is compiled for features that this kernel does not have.")
    GPU_REACHED = _row(
        "gpu-reached", (B,), "A scoped profile opens a node of a GPU that another container is assigned."
    )
    TEST_FAILED = _row("test-failed", (B,), "Compiled policy does not answer as a policy test expects.")
