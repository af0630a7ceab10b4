"""The codes of everything that Phoenix refuses, warns of, skips or finds.

Owns the registry: one row for each code, with what it means and the data that come with it.
Codes are stable: a program may act on them.  Must hold no words for people beyond the meaning;
what a code says on a terminal is made in `cli`.  docs/codes.md is made from this table.
"""

from __future__ import annotations

from enum import Enum, StrEnum


class Role(Enum):
    """What happens where a code is reported."""

    REFUSAL = "refusal"
    """The run ends before the first write."""
    SKIP = "skip"
    """One thing is not done; the run continues."""
    WARNING = "warning"
    """Done all the same; somebody should look."""
    FAULT = "fault"
    """The configuration, or a profile source, cannot be used: the run ends before it looks at the host."""
    FINDING = "finding"
    """`status` and `verify`: something is not as declared, or worth knowing."""
    FAILURE = "failure"
    """A transaction failed: where, why, and how that left the host."""
    STAYED = "stayed"
    """A transaction was rolled back, and this stays deliberately."""


R, S, W, F = Role.REFUSAL, Role.SKIP, Role.WARNING, Role.FINDING
B = Role.FAULT
X, L = Role.FAILURE, Role.STAYED


class Code(StrEnum):
    """One code, equal to its name; the roles it comes in, its meaning, and the names of its data."""

    roles: tuple[Role, ...]
    meaning: str
    data: tuple[str, ...]

    def __new__(cls, text: str, roles: tuple[Role, ...], meaning: str, data: str = "") -> Code:
        code = str.__new__(cls, text)
        code._value_ = text
        code.roles, code.meaning, code.data = roles, meaning, tuple(data.split())
        return code

    # Profiles and their files ---------------------------------------------------
    FILE_UNUSABLE = "file-unusable", (R,), "A file of /etc/apparmor.d cannot be read or replaced.", "why"
    FILE_FOREIGN = (
        "file-foreign",
        (R,),
        "A file exists with other content that Phoenix did not install.",
        "source name",
    )
    NAME_DEFINED = "name-defined", (R,), "Another file already defines a profile of that name.", "by"
    NAME_LOADED = "name-loaded", (R,), "Somebody else loaded a profile of that name into the kernel."
    DISABLED = (
        "disabled",
        (R, F),
        "An entry in /etc/apparmor.d/disable keeps the boot from loading it.",
        "name",
    )
    FORCE_COMPLAIN = (
        "force-complain",
        (R, F),
        "An entry in /etc/apparmor.d/force-complain makes the boot load it in complain mode.",
        "name",
    )
    OPEN_TO_OTHERS = (
        "open-to-others",
        (R, F),
        "Others than root can write where Phoenix reads or writes.",
        "why next",
    )
    NOT_SHIPPED = "not-shipped", (W,), "Phoenix installed the file, and no source for it exists any more."
    PARSER_WARNING = "parser-warning", (W,), "apparmor_parser warns about a source.", "words"
    LEFT_OUT = "left-out", (S,), "Optional includes have rules that this parser does not know."
    EDITED_IN_VAIN = (
        "edited-in-vain",
        (W,),
        "A source was edited, and on this parser a file below if-parser-accepts counts in its place.",
        "counts",
    )
    KERNEL_OFF = "kernel-off", (S,), "AppArmor is off in this kernel, so nothing is loaded.", "what"
    FILES_ONLY = "files-only", (S,), "With --root no kernel is touched and no container started.", "what"

    # Deprecated profiles --------------------------------------------------------
    DEPRECATED_KEPT = "deprecated-kept", (S,), "A deprecated profile must never be removed.", "reason by"
    DEPRECATED_DECLARED = (
        "deprecated-declared",
        (R,),
        "`setup` would retire a profile that a declared container is assigned to.",
        "containers",
    )
    DEPRECATED_ASSIGNED = (
        "deprecated-assigned",
        (S,),
        "A container is still assigned to a deprecated profile.",
        "containers",
    )
    DEPRECATED_IN_SNAPSHOT = (
        "deprecated-in-snapshot",
        (S,),
        "A snapshot, or pending changes, would bring a deprecated profile back.",
        "places",
    )
    DEPRECATED_UNKNOWN = (
        "deprecated-unknown",
        (S,),
        "A configuration cannot be read, so its container may be assigned to a deprecated profile.",
        "containers",
    )
    DEPRECATED_RUNNING = (
        "deprecated-running",
        (S,),
        "Processes still run under a deprecated profile.",
        "count pids",
    )

    # Containers -----------------------------------------------------------------
    CONF_UNUSABLE = (
        "conf-unusable",
        (R, F),
        "A container's configuration cannot be edited safely.",
        "path reason why next",
    )
    IS_VM = "is-vm", (R, F), "The id belongs to something that is not a container.", "kind node"
    ON_ANOTHER_NODE = (
        "on-another-node",
        (R, S, F),
        "The container is on another node of the cluster.",
        "kind node",
    )
    MADE_ELSEWHERE = (
        "made-elsewhere",
        (S, F),
        "The configuration says that another node creates it.",
        "node here",
    )
    NO_CONFIGURATION = (
        "no-configuration",
        (R, S),
        "A directory host has no configuration of it; nothing creates it there.",
    )
    NO_RUNTIME = "no-runtime", (R, W, F), "The host has no program that runs containers.", "programs"
    READ_ONLY = "read-only", (R,), "No configuration can be written now.", "cause command"
    LOCKED = "locked", (R,), "The runtime is at work on the container.", "by reason command"
    START_LOCKED = (
        "start-locked",
        (S,),
        "The container is not started: the runtime is at work on it.",
        "by reason command",
    )
    PENDING_RAW = (
        "pending-raw",
        (R, W, F),
        "Pending changes replace the profile line at the next start.",
        "path profile",
    )
    START_UNLOADED = "start-unloaded", (R,), "The profile to start under is not in the kernel.", "name"
    START_KERNEL_OFF = (
        "start-kernel-off",
        (R,),
        "A start under a profile needs AppArmor, which is off.",
        "name",
    )
    KEY_NEEDED = "key-needed", (R,), "A key that is needed to create the container is not declared.", "key"
    NOT_ON_HOST = "not-on-host", (R,), "A path that the new container needs is not on this host.", "path"
    NO_GPU_NODE = "no-gpu-node", (R,), "A device node of the GPU is not on this host.", "path"
    ADDRESS_LOST = "address-lost", (R,), "A MAC address is declared, and no network that would have it."
    NO_TEMPLATE = "no-template", (R,), "Plain LXC has no such template.", "template"
    NO_SUBORDINATE_IDS = "no-subordinate-ids", (R,), "Root has no ids for an unprivileged container."
    NO_VLAN_FILTER = "no-vlan-filter", (R,), "A bridge filters no VLANs, so LXC cannot use one.", "bridge"
    NO_STORAGE = "no-storage", (R,), "Plain LXC has no Proxmox storage.", "volume"
    NOT_IN_LXC = "not-in-lxc", (R,), "Plain LXC has nothing like this key.", "key"
    RESTART_NEEDED = (
        "restart-needed",
        (S,),
        "The container runs under another label; its profile takes effect with a start.",
        "ctid label",
    )
    FEATURES_LOST = (
        "features-lost",
        (W,),
        "Mounts that its features allow fail under its profile, or may fail: `known` is false then.",
        "profile kinds known",
    )
    STILL_NAMED = (
        "still-named",
        (R,),
        "A file would go that a container's configuration names, so that it could not start.",
        "containers",
    )
    LINE_KEPT = (
        "line-kept",
        (W,),
        "A line beside the profile line is the operator's own, and is kept with its value.",
        "key",
    )
    MADE_FOR_UNPRIVILEGED = (
        "made-for-unprivileged",
        (W,),
        "A privileged container is assigned a profile that is made for unprivileged ones.",
        "profile",
    )
    START_WITHOUT_FILE = (
        "start-without-file",
        (R,),
        "The seccomp file that the configuration names does not exist.",
        "file",
    )
    LINE_BESIDE = (
        "line-beside",
        (F,),
        "A line that belongs beside the profile line is missing, or has another value.",
        "keys",
    )
    SECCOMP_MISSING = "seccomp-missing", (F,), "The seccomp companion is not installed."
    SECCOMP_RULES = "seccomp-rules", (F,), "LXC's own seccomp rules cannot be extended.", "why"
    CONF_INCLUDE = (
        "conf-include",
        (W,),
        "The configuration has lxc.include: another file may set the profile.",
    )
    PENDING_SAME = (
        "pending-same",
        (W,),
        "Pending changes replace all raw lines, and leave the profile as declared.",
    )
    OLD_KEY = "old-key", (W,), "The configuration has lxc.aa_profile, with which LXC 3 does not start."
    NOT_DECLARED = "not-declared", (F,), "The container is on this host and not in the configuration."

    # Rollback -------------------------------------------------------------------
    CHANGED_SINCE = "changed-since", (R,), "A file is no longer what the transaction left.", "transaction"
    CONTAINER_GONE = "container-gone", (S, L), "The container does not exist on this node any more."
    POLICY_UNKNOWN = (
        "policy-unknown",
        (S, L),
        "What the kernel had of a profile is not known, so it stays as it is.",
    )
    LOADED_LATER = "loaded-later", (R,), "A later transaction loaded another version of the profile."
    ASSIGNED = (
        "assigned",
        (R,),
        "The profile would be removed, and a container is assigned to it.",
        "containers",
    )
    PERHAPS_ASSIGNED = (
        "perhaps-assigned",
        (R,),
        "The profile would be removed, and a container with an unreadable configuration may use it.",
        "containers",
    )
    CARRIED = "carried", (R,), "The profile would be unloaded, and processes run under it.", "pids"
    INCLUDED = "included", (R,), "The include would be removed, and installed profiles need it.", "profiles"
    NOTHING_TO_UNDO = "nothing-to-undo", (S,), "Everything is already as it was before that transaction."

    # A transaction that failed, and what stays when one is rolled back -------------
    STEP_FAILED = (
        "step-failed",
        (X,),
        "This step failed; the next entry says why.",
        "step subject",
    )
    RECORD_FAILED = (
        "record-failed",
        (X,),
        "The journal or the manifest could not be written; the next entry says why.",
        "when",
    )
    RECOVERY_FAILED = (
        "recovery-failed",
        (X,),
        "An interrupted transaction could not be rolled back; the next entries say why.",
        "transaction time",
    )
    FAILED = (
        "failed",
        (X,),
        "Why, in the words of the program or of the file system that failed.",
        "why next",
    )
    INTERRUPTED = "interrupted", (X,), "Somebody ended the run."
    CHANGED_MEANWHILE = (
        "changed-meanwhile",
        (X, L),
        "Somebody else changed the file while Phoenix was working, so nothing was written to it.",
    )
    UNDO_FAILED = (
        "undo-failed",
        (X,),
        "A step could not be taken back.",
        "step subject why",
    )
    UNDO_UNRECORDED = "undo-unrecorded", (X,), "The rollback could not be recorded.", "why"
    UNDO_CONTINUES = (
        "undo-continues",
        (X,),
        "Not everything was taken back: the next setup, apply or rollback continues.",
    )
    UNDONE = "undone", (X,), "Files and kernel are as before."
    UNDONE_BUT = "undone-but", (X,), "Everything is as before, except for what is listed."
    NOTHING_DONE = "nothing-done", (X,), "Nothing was changed before it."
    POLICY_GUESSED = (
        "policy-guessed",
        (L,),
        "What the kernel had of a profile is not known; what its file says was loaded.",
    )
    STAYS_LOADED = "stays-loaded", (X, L), "Processes run under the profile, so it is not unloaded.", "pids"
    CREATED = "created", (X, L), "The container was created, and is left in place."
    STARTED = "started", (X,), "The container was started, and is left running."
    MAYBE_STARTED = "maybe-started", (L,), "The container was being started, and is left as it is."
    MAYBE_CREATED = "maybe-created", (X,), "The container may have been created in part."
    MAYBE_RUNNING = "maybe-running", (X,), "The container may be running nevertheless."
    MAYBE_STOPPED = "maybe-stopped", (X,), "The container may be stopped now."
    SENTENCE = (
        "sentence",
        (L,),
        "A sentence, as journals before 2026-11-26 have in place of a code.",
        "words",
    )

    # What status and verify find ------------------------------------------------
    NOT_ASSIGNED = "not-assigned", (F,), "The profile line is not the declared one.", "assigned declared"
    LINE_IN_SNAPSHOT = (
        "line-in-snapshot",
        (F,),
        "The declared line is in a section, where it does not count.",
        "assigned declared sections",
    )
    CONF_EDITED = (
        "conf-edited",
        (F,),
        "Phoenix wrote the declared line, and somebody changed it since.",
        "assigned declared",
    )
    MISSING = "missing", (F,), "The declared container does not exist.", "ctid"
    NOT_RUNNING = (
        "not-running",
        (F,),
        "The container is declared to run, and is stopped.",
        "ctid by reason command",
    )
    LABEL_UNKNOWN = "label-unknown", (F,), "The label of a running container cannot be read.", "pid"
    OLD_LABEL = (
        "old-label",
        (F,),
        "A running container is under another label than declared.",
        "ctid pid label",
    )
    STRAY_PROCESS = (
        "stray-process",
        (F,),
        "Some processes of a container run under another label.",
        "ctid count processes",
    )
    COMPLAIN = (
        "complain",
        (F,),
        "A container or a profile is in complain mode: nothing is refused.",
        "pid label",
    )
    NOT_INSTALLED = "not-installed", (F,), "A profile has no file in /etc/apparmor.d."
    FILE_EDITED = (
        "file-edited",
        (F,),
        "An installed file is neither its source nor what Phoenix installed.",
        "path name",
    )
    FILE_DIFFERS = "file-differs", (F,), "Installed files are older than their sources.", "paths"
    NOT_LOADED = "not-loaded", (F,), "A profile is not in the kernel."
    NOT_ENFORCED = "not-enforced", (F,), "A profile is loaded in a mode that enforces nothing.", "mode"
    STALE_POLICY = "stale-policy", (F,), "The kernel has an older version of a profile."
    POLICY_DIFFERS = (
        "policy-differs",
        (F,),
        "The kernel has another policy than the one that Phoenix loaded.",
        "part",
    )
    STALE_CACHE = (
        "stale-cache",
        (F,),
        "A boot-time cache entry was not made from the files as they are.",
        "newer",
    )
    APPARMOR_OFF = "apparmor-off", (F,), "AppArmor is off in this kernel: nothing is confined."
    UNFINISHED = (
        "unfinished-transaction",
        (F,),
        "A run was interrupted; its transaction is not rolled back yet.",
        "transaction time command",
    )
    UNDER_WAY = "transaction-under-way", (F,), "Another Phoenix is at work.", "transaction time command"
    JOURNAL_UNREADABLE = "journal-unreadable", (F,), "A journal cannot be read.", "why next"

    # The configuration and the profile sources ----------------------------------
    TOO_LARGE = "too-large", (B,), "The configuration is larger than Phoenix reads."
    NOT_UTF8 = "not-utf-8", (B,), "The configuration is not text in UTF-8."
    NOT_JSON = "not-json", (B,), "The configuration is not JSON; the line and the column say where."
    NOT_AN_OBJECT = "not-an-object", (B,), "The configuration is JSON, and not an object."
    REPEATED_KEY = "repeated-key", (B,), "An object names a key twice."
    UNKNOWN_KEY = "unknown-key", (B,), "A key is not known."
    KEY_MISSING = "key-missing", (B,), "A key that is needed is missing."
    WRONG_TYPE = "wrong-type", (B,), "A value has another type than its key."
    WRONG_FORM = "wrong-form", (B,), "A value does not have the form of its key."
    NOT_ALLOWED = "not-allowed", (B,), "A value is not one of the allowed ones."
    CONTROL_CHARACTER = "control-character", (B,), "A value contains a control character."
    SCHEMA_UNUSABLE = (
        "schema-unusable",
        (B,),
        "The schema beside the configuration allows what cannot be used.",
    )
    PROFILE_UNKNOWN = "profile-unknown", (B,), "A declared profile is neither shipped nor installed."
    PROFILE_DEPRECATED = "profile-deprecated", (B,), "A declared profile is deprecated."
    DEPRECATED_SHIPPED = "deprecated-shipped", (B,), "A deprecated profile still has a source."
    SUCCESSOR_UNUSABLE = (
        "successor-unusable",
        (B,),
        "The successor of a deprecated profile is deprecated, or is not there.",
    )
    ADDRESS_UNUSABLE = "address-unusable", (B,), "A network address cannot be used."
    ADDRESS_TWICE = "address-twice", (B,), "Two containers have the same network address."
    DECLARED_TWICE = "declared-twice", (B,), "Two keys declare the same thing, and one of them must go."
    MOUNT_UNUSABLE = "mount-unusable", (B,), "A mount point cannot be made as it is declared."
    NO_SOURCES = "no-sources", (B,), "There is no directory of profile sources."
    SOURCE_PLACE = "source-place", (B,), "Something is in a place where no source can be."
    SOURCE_NAME = "source-name", (B,), "A source has a name that cannot be used."
    SOURCE_UNREADABLE = "source-unreadable", (B,), "A source cannot be read as text."
    SOURCE_WRITABLE = "source-writable", (B,), "Others than its owner can write a source, or its directory."
    SOURCE_OUTSIDE = "source-outside", (B,), "A source includes a file outside of /etc/apparmor.d."
    SOURCE_LOOP = "source-loop", (B,), "Sources include each other."
    SOURCE_CHANGED = "source-changed", (B,), "A source was changed while it was being compiled."
    UNPROVEN = "unproven", (B,), "A profile does not compile, or not to what may be loaded."
    UNPINNED = "unpinned", (B,), "A profile is compiled for features that this kernel does not have."
    TEST_FAILED = "test-failed", (B,), "Compiled policy does not answer as a policy test expects."


def code_named(text: str) -> Code:
    """Raises ValueError where no code is called so."""
    for code in Code:
        if code == text:
            return code
    raise ValueError(f"{text!r:.60} is not a code")
