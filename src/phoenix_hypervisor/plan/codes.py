"""The codes of everything that Phoenix refuses, warns of, skips or finds.

Owns the registry: one row for each code, with what it means and the data that come with it; faults of
the configuration and of sources are in `plan.fault_codes`, all registries in `plan.registries`.
Codes are stable: a program may act on them.  Must hold no words for people beyond the meaning;
what a code says on a terminal is made in `cli`.  docs/codes.md is made from this table.
"""

from __future__ import annotations

from phoenix_hypervisor.plan.roles import Coded, Role
from phoenix_hypervisor.plan.roles import row as _row

R, S, W, F = Role.REFUSAL, Role.SKIP, Role.WARNING, Role.FINDING
B, P, X, L = Role.FAULT, Role.PROGRESS, Role.FAILURE, Role.STAYED


class Code(Coded):
    """One code, equal to its name."""

    # Profiles and their files ---------------------------------------------------
    FILE_UNUSABLE = _row(
        "file-unusable", (R,), "A file of /etc/apparmor.d cannot be read or replaced.", "why"
    )
    FILE_FOREIGN = _row(
        "file-foreign", (R,), "A file exists with other content that Phoenix did not install.", "source name"
    )
    NAME_DEFINED = _row("name-defined", (R,), "Another file already defines a profile of that name.", "by")
    NAME_LOADED = _row("name-loaded", (R,), "Somebody else loaded a profile of that name into the kernel.")
    DISABLED = _row(
        "disabled", (R, F), "An entry in /etc/apparmor.d/disable keeps the boot from loading it.", "name"
    )
    FORCE_COMPLAIN = _row(
        "force-complain",
        (R, F),
        "An entry in /etc/apparmor.d/force-complain makes the boot load it in complain mode.",
        "name",
    )
    OPEN_TO_OTHERS = _row(
        "open-to-others", (R, F), "Others than root can write where Phoenix reads or writes.", "why next"
    )
    NOT_SHIPPED = _row(
        "not-shipped", (W,), "Phoenix installed the file, and no source for it exists any more."
    )
    PARSER_WARNING = _row("parser-warning", (W,), "apparmor_parser warns about a source.", "words")
    ONLY_COMPLAINS = _row("only-complains", (W,), "A source has the flag complain: it refuses nothing.")
    LEFT_OUT = _row("left-out", (S,), "Optional includes have rules that this parser does not know.")
    EDITED_IN_VAIN = _row(
        "edited-in-vain",
        (W,),
        "A source was edited, and on this parser a file below if-parser-accepts counts in its place.",
        "counts",
    )
    KERNEL_OFF = _row("kernel-off", (S,), "AppArmor is off in this kernel, so nothing is loaded.", "what")
    FILES_ONLY = _row(
        "files-only", (S,), "With --root no kernel is touched and no container started.", "what"
    )

    # Deprecated profiles --------------------------------------------------------
    DEPRECATED_KEPT = _row(
        "deprecated-kept", (S,), "A deprecated profile must never be removed.", "reason by"
    )
    DEPRECATED_DECLARED = _row(
        "deprecated-declared",
        (R,),
        "`setup` would retire a profile that a declared container is assigned to.",
        "containers",
    )
    DEPRECATED_ASSIGNED = _row(
        "deprecated-assigned", (S,), "A container is still assigned to a deprecated profile.", "containers"
    )
    DEPRECATED_IN_SNAPSHOT = _row(
        "deprecated-in-snapshot",
        (S,),
        "A snapshot, or pending changes, would bring a deprecated profile back.",
        "places",
    )
    DEPRECATED_UNKNOWN = _row(
        "deprecated-unknown",
        (S,),
        "A configuration cannot be read, so its container may be assigned to a deprecated profile.",
        "containers",
    )
    DEPRECATED_RUNNING = _row(
        "deprecated-running", (S,), "Processes still run under a deprecated profile.", "count pids"
    )

    # Containers -----------------------------------------------------------------
    CONF_UNUSABLE = _row(
        "conf-unusable",
        (R, S, F),
        "A container's configuration cannot be edited safely.",
        "path reason why next",
    )
    IS_VM = _row("is-vm", (R, F), "The id belongs to something that is not a container.", "kind node")
    ON_ANOTHER_NODE = _row(
        "on-another-node", (R, S, F), "The container is on another node of the cluster.", "kind node"
    )
    MADE_ELSEWHERE = _row(
        "made-elsewhere", (S, F), "The configuration says that another node creates it.", "node here"
    )
    NODE_UNKNOWN = _row(
        "node-unknown",
        (S, F),
        "The configuration says that a node creates it which the cluster does not have, so that nobody does.",
        "node known",
    )
    NO_CONFIGURATION = _row(
        "no-configuration", (R, S), "A directory host has no configuration of it; nothing creates it there."
    )
    NO_RUNTIME = _row("no-runtime", (R, W, F), "The host has no program that runs containers.", "programs")
    READ_ONLY = _row("read-only", (R,), "No configuration can be written now.", "cause command")
    LOCKED = _row("locked", (R,), "The runtime is at work on the container.", "by reason command")
    START_LOCKED = _row(
        "start-locked",
        (S,),
        "The container is not started: the runtime is at work on it.",
        "by reason command",
    )
    HA_STOPPED = _row(
        "ha-stopped",
        (S, F),
        "Proxmox's HA is told to keep the container stopped, so it is not started.",
        "by service state command",
    )
    HA_NOT_STARTED = _row(
        "ha-not-started",
        (F,),
        "Proxmox's HA was asked to start the container, which does not run as it should yet.",
        "by service seconds",
    )
    WAITING_FOR_HA = _row(
        "waiting-for-ha",
        (P,),
        "Proxmox's HA was asked to start the container, and Phoenix waits for it.",
        "by service said seconds",
    )
    WAITING_FOR_LOCK = _row(
        "waiting-for-lock", (P,), "Another process holds a lock, and Phoenix waits for it.", "seconds"
    )
    PENDING_RAW = _row(
        "pending-raw",
        (R, W, F),
        "Pending changes replace the profile line at the next start.",
        "path profile",
    )
    START_UNLOADED = _row("start-unloaded", (R,), "The profile to start under is not in the kernel.", "name")
    START_KERNEL_OFF = _row(
        "start-kernel-off", (R,), "A start under a profile needs AppArmor, which is off.", "name"
    )
    KEY_NEEDED = _row(
        "key-needed", (R,), "A key that is needed to create the container is not declared.", "key"
    )
    NOT_ON_HOST = _row(
        "not-on-host", (R,), "A path that the new container needs is not on this host.", "path"
    )
    NO_GPU_NODE = _row("no-gpu-node", (R,), "A device node of the GPU is not on this host.", "path")
    ADDRESS_LOST = _row("address-lost", (R,), "A MAC address is declared, and no network that would have it.")
    NO_TEMPLATE = _row("no-template", (R,), "Plain LXC has no such template.", "template")
    NO_SUBORDINATE_IDS = _row("no-subordinate-ids", (R,), "Root has no ids for an unprivileged container.")
    NO_VLAN_FILTER = _row(
        "no-vlan-filter", (R,), "A bridge filters no VLANs, so LXC cannot use one.", "bridge"
    )
    STORAGE_UNUSABLE = _row(
        "storage-unusable",
        (R,),
        "This node cannot use a storage that the new container names.",
        "storage reason known",
    )
    NO_STORAGE = _row("no-storage", (R,), "Plain LXC has no Proxmox storage.", "volume")
    NOT_IN_LXC = _row("not-in-lxc", (R,), "Plain LXC has nothing like this key.", "key")
    RESTART_NEEDED = _row(
        "restart-needed",
        (S,),
        "The container runs under another label; its profile takes effect with a start.",
        "ctid label",
    )
    FEATURES_LOST = _row(
        "features-lost",
        (W,),
        "What its configuration asks for fails under its profile, or may fail: `known` is false then.",
        "profile asked known",
    )
    STILL_NAMED = _row(
        "still-named",
        (R,),
        "A file would go that a container's configuration names, so that it could not start.",
        "containers",
    )
    LINE_KEPT = _row(
        "line-kept",
        (W,),
        "A line beside the profile line is the operator's own, and is kept with its value.",
        "key",
    )
    MADE_FOR_UNPRIVILEGED = _row(
        "made-for-unprivileged",
        (W,),
        "A privileged container gets a profile that is no wall there: procfs anywhere, and writable.",
        "profile",
    )
    SANDBOXES_LOST = _row(
        "sandboxes-lost",
        (W,),
        "A privileged container's profile refuses systemd's sandboxes.",
        "profile question",
    )
    RAW_RULES_INERT = _row(
        "raw-rules-inert",
        (W,),
        "Its lines lxc.apparmor.raw do not count beside a named profile.",
        "profile rules",
    )
    ALL_DEVICES = _row(
        "all-devices",
        (W,),
        "A line opens every device node to a privileged container; `mknod`: it can make nodes, too.",
        "profile line mknod",
    )
    SNAPSHOT_DIFFERS = _row(
        "snapshot-differs",
        (W,),
        "Snapshots hold another profile line, or none: a rollback to one brings it back.",
        "profile snapshots",
    )
    BECOMES_CONFINED = _row(
        "becomes-confined",
        (W,),
        "Its line `unconfined` goes, and what the runtime generates confines it from its next start on.",
    )
    START_WITHOUT_FILE = _row(
        "start-without-file", (R,), "The seccomp file that the configuration names does not exist.", "file"
    )
    LINE_BESIDE = _row(
        "line-beside",
        (F,),
        "A line that belongs beside the profile line is missing, or has another value.",
        "keys",
    )
    SECCOMP_MISSING = _row("seccomp-missing", (F,), "The seccomp companion is not installed.")
    SECCOMP_RULES = _row("seccomp-rules", (F,), "LXC's own seccomp rules cannot be extended.", "why")
    CONF_INCLUDE = _row(
        "conf-include", (W,), "The configuration has lxc.include: another file may set the profile."
    )
    PENDING_SAME = _row(
        "pending-same", (W,), "Pending changes replace all raw lines, and leave the profile as declared."
    )
    OLD_KEY = _row("old-key", (W,), "The configuration has lxc.aa_profile, with which LXC 3 does not start.")
    UNDECLARED = _row(
        "undeclared-container",
        (F,),
        "A container is not in the configuration, which says that this is a fault.",
    )
    UNDECLARED_UNCONFINED = _row(
        "undeclared-unconfined",
        (F,),
        "A container that is not in the configuration is unconfined: by its line, or as it runs.",
        "ctid line label",
    )
    FOREIGN_ID = _row(
        "foreign-id", (S,), "What the container is called is no CTID, so it cannot be declared.", "path"
    )
    LINE_UNUSABLE = _row("line-unusable", (S,), "What the profile line says cannot be declared.", "why next")
    NOT_DECLARED = _row("not-declared", (F,), "The container is on this host and not in the configuration.")

    # Rollback -------------------------------------------------------------------
    CHANGED_SINCE = _row(
        "changed-since", (R,), "A file is no longer what the transaction left.", "transaction"
    )
    CONTAINER_GONE = _row("container-gone", (S, L), "The container does not exist on this node any more.")
    POLICY_UNKNOWN = _row(
        "policy-unknown", (S, L), "What the kernel had of a profile is not known, so it stays as it is."
    )
    LOADED_LATER = _row("loaded-later", (R,), "A later transaction loaded another version of the profile.")
    ASSIGNED = _row(
        "assigned", (R,), "The profile would be removed, and a container is assigned to it.", "containers"
    )
    PERHAPS_ASSIGNED = _row(
        "perhaps-assigned",
        (R,),
        "The profile would be removed, and a container with an unreadable configuration may use it.",
        "containers",
    )
    CARRIED = _row("carried", (R,), "The profile would be unloaded, and processes run under it.", "pids")
    INCLUDED = _row(
        "included", (R,), "The include would be removed, and installed profiles need it.", "profiles"
    )
    NOTHING_TO_UNDO = _row(
        "nothing-to-undo", (S,), "Everything is already as it was before that transaction.", "earlier"
    )

    # A transaction that failed, and what stays when one is rolled back -------------
    STEP_FAILED = _row("step-failed", (X,), "This step failed; the next entry says why.", "step subject")
    RECORD_FAILED = _row(
        "record-failed",
        (X,),
        "The journal or the manifest could not be written; the next entry says why.",
        "when",
    )
    RECOVERY_FAILED = _row(
        "recovery-failed",
        (X,),
        "An interrupted transaction could not be rolled back; the next entries say why.",
        "transaction time",
    )
    FAILED = _row(
        "failed", (X,), "Why, in the words of the program or of the file system that failed.", "why next"
    )
    INTERRUPTED = _row("interrupted", (X,), "Somebody ended the run.")
    CHANGED_MEANWHILE = _row(
        "changed-meanwhile",
        (X, L),
        "Somebody else changed the file while Phoenix was working, so nothing was written to it.",
    )
    UNDO_FAILED = _row("undo-failed", (X,), "A step could not be taken back.", "step subject why")
    UNDO_UNRECORDED = _row("undo-unrecorded", (X,), "The rollback could not be recorded.", "why")
    UNDO_CONTINUES = _row(
        "undo-continues", (X,), "Not everything was taken back: the next setup, apply or rollback continues."
    )
    UNDONE = _row("undone", (X,), "Files and kernel are as before.")
    UNDONE_BUT = _row("undone-but", (X,), "Everything is as before, except for what is listed.")
    NOTHING_DONE = _row("nothing-done", (X,), "Nothing was changed before it.")
    POLICY_GUESSED = _row(
        "policy-guessed",
        (L,),
        "What the kernel had of a profile is not known; what its file says was loaded.",
    )
    STAYS_LOADED = _row(
        "stays-loaded", (X, L), "Processes run under the profile, so it is not unloaded.", "pids"
    )
    CREATED = _row("created", (X, L), "The container was created, and is left in place.")
    STARTED = _row("started", (X,), "The container was started, and is left running.")
    MAYBE_STARTED = _row("maybe-started", (L,), "The container was being started, and is left as it is.")
    MAYBE_CREATED = _row("maybe-created", (X,), "The container may have been created in part.")
    MAYBE_RUNNING = _row("maybe-running", (X,), "The container may be running nevertheless.")
    MAYBE_STOPPED = _row("maybe-stopped", (X,), "The container may be stopped now.")
    NOT_CREATED = _row("not-created", (X,), "Creating the container failed, and there is nothing of it.")
    CREATED_IN_PART = _row(
        "created-in-part", (X,), "The container was created in part, and is left in place.", "command"
    )
    NOW_RUNNING = _row("now-running", (X, L), "The container runs now, and is left so.", "pid label")
    NOW_STOPPED = _row("now-stopped", (X, L), "The container is stopped now, and is left so.")
    SENTENCE = _row(
        "sentence", (L,), "A sentence, as journals before 2026-11-26 have in place of a code.", "words"
    )

    # What status and verify find ------------------------------------------------
    NOT_ASSIGNED = _row(
        "not-assigned", (F,), "The profile line is not the declared one.", "assigned declared"
    )
    LINE_IN_SNAPSHOT = _row(
        "line-in-snapshot",
        (F,),
        "The declared line is in a section, where it does not count.",
        "assigned declared sections",
    )
    CONF_EDITED = _row(
        "conf-edited",
        (F,),
        "Phoenix wrote the declared line, and somebody changed it since.",
        "assigned declared",
    )
    MISSING = _row("missing", (F,), "The declared container does not exist.", "ctid")
    NOT_RUNNING = _row(
        "not-running", (F,), "The container is declared to run, and is stopped.", "ctid by reason command"
    )
    LABEL_UNKNOWN = _row("label-unknown", (F,), "The label of a running container cannot be read.", "pid")
    OLD_LABEL = _row(
        "old-label", (F,), "A running container is under another label than declared.", "ctid pid label"
    )
    STRAY_PROCESS = _row(
        "stray-process",
        (F,),
        "Some processes of a container run under another label.",
        "ctid count processes",
    )
    COMPLAIN = _row(
        "complain", (F,), "A container or a profile is in complain mode: nothing is refused.", "pid label"
    )
    NOT_INSTALLED = _row("not-installed", (F,), "A profile has no file in /etc/apparmor.d.")
    FILE_EDITED = _row(
        "file-edited",
        (F,),
        "An installed file is neither its source nor what Phoenix installed.",
        "path name",
    )
    FILE_DIFFERS = _row("file-differs", (F,), "Installed files are older than their sources.", "paths")
    NOT_LOADED = _row("not-loaded", (F,), "A profile is not in the kernel.")
    NOT_ENFORCED = _row("not-enforced", (F,), "A profile is loaded in a mode that enforces nothing.", "mode")
    STALE_POLICY = _row("stale-policy", (F,), "The kernel has an older version of a profile.")
    POLICY_DIFFERS = _row(
        "policy-differs", (F,), "The kernel has another policy than the one that Phoenix loaded.", "part"
    )
    STALE_CACHE = _row(
        "stale-cache", (F,), "A boot-time cache entry was not made from the files as they are.", "newer"
    )
    APPARMOR_OFF = _row("apparmor-off", (F,), "AppArmor is off in this kernel: nothing is confined.")
    UNFINISHED = _row(
        "unfinished-transaction",
        (F,),
        "A run was interrupted; its transaction is not rolled back yet.",
        "transaction time command",
    )
    UNDER_WAY = _row("transaction-under-way", (F,), "Another Phoenix is at work.", "transaction time command")
    LISTENING = _row("listening", (F,), "`phoenix denials --listen` is at work.", "pid began")
    LISTENING_LEFT = _row(
        "listening-left",
        (F,),
        "`phoenix denials --listen` was killed: the kernel still logs what deny rules refuse.",
        "pid began",
    )
    LISTENING_UNREADABLE = _row(
        "listening-unreadable", (F,), "What `phoenix denials --listen` recorded cannot be read.", "why next"
    )
    LISTENING_BEGAN = _row(
        "listening-began", (P,), "The kernel now logs what deny rules refuse.", "value before"
    )
    LISTENING_ENDED = _row(
        "listening-ended", (P,), "The kernel's parameter `audit` is put back.", "value pid began"
    )
    JOURNAL_UNREADABLE = _row("journal-unreadable", (F,), "A journal cannot be read.", "why next")

    RECORDS_HIDDEN = _row(
        "records-hidden", (F,), "Only root may read what Phoenix installed and loaded: less can be said."
    )

    # Of the configuration, and where a container is assigned ---------------------
    PROFILE_UNKNOWN = _row(
        "profile-unknown", (B, R), "A declared profile is neither shipped nor installed.", "profile"
    )
