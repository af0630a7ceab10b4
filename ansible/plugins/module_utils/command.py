# Copyright (c) 2026, The Phoenix authors
# SPDX-License-Identifier: Apache-2.0
"""What the modules do: they run the installed `phoenix` and turn its JSON into a module's result.

Owns the words of each command, what counts as a change, and the diff. Knows nothing of Ansible but
`carry_out`, so a program without it can use the same code: each verb takes `run`, the parameters, and whether
to only look.
"""

from __future__ import annotations

import hashlib
import json

GLOBAL_OPTIONS = ("root", "config", "runtime", "parser", "features")

COMMON = {
    "executable": {"type": "str", "default": "phoenix"},
    "root": {"type": "path"},
    "config": {"type": "path"},
    "runtime": {"type": "str", "choices": ["proxmox", "lxc"]},
    "parser": {"type": "path"},
    "features": {"type": "str"},
}
"""The options of all modules."""
SIGNED = {"require_signed": {"type": "path"}}
"""Of those that install."""

OLDER = "phoenix on this host is older than this collection: install the package of the same version"
KINDS_OF_NOTES = {
    "skipped": "skipped",
    "warnings": "warning",
    "refusals": "refused",
    "unconfirmed": "unconfirmed",
}
"""What Phoenix calls a list of notes, and what one of it is: Ansible takes a key `skipped` for itself."""


class Failed(Exception):
    """A command failed, or its answer is a failure; `result` is what the module returns with it."""

    def __init__(self, message, **result):
        super().__init__(message)
        self.result = result


# The commands ------------------------------------------------------------------------


def apply(run, params, check):
    """`phoenix apply`: setup, then create, assign and start containers."""
    words = _containers(params["containers"]) or ["--all"]
    words += [] if params["start"] else ["--no-start"]
    words += ["--restart"] if params["restart"] else []
    words += ["--skip-refused"] if params["skip_refused"] else []
    words += _signed(params)
    document = _change(run, params, check, "apply", words)
    if document["refusals"] and not params["skip_refused"]:
        # Only a dry run gets here: what really runs has already failed.
        text = "; ".join(_sentence(note) for note in document["refusals"])
        raise Failed("nothing would be changed, because this is refused: " + text, **_changed(document))
    return _confirmed(document, "applied")


def setup(run, params, check):
    """`phoenix setup`: prove, install and load the profiles."""
    words = [word for name in params["adopt"] for word in ("--adopt", name)] + _signed(params)
    return _confirmed(_change(run, params, check, "setup", words), "set up")


def rollback(run, params, check):
    """`phoenix rollback`: undo one transaction, if that is not done already."""
    number = params["transaction"]
    for one in _ask(run, params, "history")["transactions"]:
        if one["id"] == number and one["rolled_back_by"] is not None:
            return {"changed": False, "transaction": None, "rolled_back_by": one["rolled_back_by"]}
    words = [str(number)] + (["--restart"] if params["restart"] else [])
    result = _confirmed(_change(run, params, check, "rollback", words), "rolled back")
    result["rolled_back_by"] = result["transaction"]
    return result


def import_(run, params, check):
    """`phoenix import --merge`: declare the containers that the configuration lacks."""
    words = ["--merge"]
    words += ["--output", params["output"]] if params["output"] else []
    words += ["--all-nodes"] if params["all_nodes"] else []
    words += ["--dry-run"] if check else []
    document = _ask(run, params, "import", *words)
    if "after" not in document:
        raise Failed(OLDER)
    before, after = _bytes(document["before"]), _bytes(document["after"])
    return {
        "changed": before != after,
        "path": document["path"],
        "containers": document["containers"],
        "declared_already": document["declared_already"],
        "left_out": _notes(document, "left_out"),
        "told": [_sentence(note) for note in document["left_out"]],
        "diff": [] if before == after else [_diff_of_file(document["path"], before, after)],
    }


def verify(run, params, check):
    """`phoenix verify`: whether all is as declared. It changes nothing."""
    document = _ask(run, params, "verify", *_containers(params["containers"]))
    faults = []
    about = [("host", document["host"])]
    about += [("container " + one["ctid"], one) for one in document["containers"]]
    about += [("profile " + one["name"], one) for one in document["profiles"]]
    for name, one in about:
        for found in one["findings"]:
            if found["fault"]:
                fault = {key: found[key] for key in ("code", "cause", "hint")}
                faults.append({"about": name, **fault})
    keys = ("ctid", "name", "declared", "assigned", "exists", "running", "label", "as_declared")
    result = {
        "changed": False,
        "as_declared": document["as_declared"],
        "confined": document["confined"],
        "faults": faults,
        "containers": [{key: one[key] for key in keys} for one in document["containers"]],
    }
    if params["strict"] and not document["as_declared"]:
        text = "; ".join(one["about"] + ": " + one["cause"] for one in faults)
        raise Failed("not as declared: " + text, **result)
    return result


# How they are run ----------------------------------------------------------------------


def _containers(names):
    for name in names:
        if name.startswith("-"):
            raise Failed(f"{name!r} is not a container")
    return list(names)


def _signed(params):
    # An empty path is passed on, and refused there: it must not mean that nothing is required.
    keyring = params["require_signed"]
    return [] if keyring is None else ["--require-signed", keyring]


def _change(run, params, check, verb, words):
    document = _ask(run, params, verb, *words, *(["--dry-run"] if check else []))
    if "transaction" not in document:
        raise Failed(OLDER)
    return document


def _ask(run, params, verb, *words):
    """The JSON that `phoenix` prints. Raises Failed where it says what failed, or prints none."""
    argv = [params["executable"], verb, "--json"]
    for name in GLOBAL_OPTIONS:
        if params[name] is not None:
            argv += ["--" + name, params[name]]
    status, out, err = run([*argv, *words])
    try:
        document = json.loads(out)
    except ValueError:
        said = (err or out).strip() or "it printed nothing"
        text = f"`phoenix {verb}` ended with {status}: {said}"
        raise Failed(OLDER if "no such option" in said.lower() else text, rc=status, stderr=err) from None
    if "error" in document:
        error = document["error"]
        parts = [error["message"], *(_sentence_of_problem(one) for one in error["problems"])]
        text = "; ".join(parts)
        text = (error["where"] + ": " if error["where"] else "") + text + _in_brackets(error["hint"])
        raise Failed(text, rc=status, code=error["code"], problems=error["problems"])
    return document


# What they answer -----------------------------------------------------------------------


def _confirmed(document, done):
    result = _changed(document)
    if document.get("unconfirmed"):
        text = "; ".join(_sentence(note) for note in document["unconfirmed"])
        raise Failed(f"{done}, but not as it should be: {text}", **result)
    return result


def _changed(document):
    """The result of what changes a host, or would."""
    changes = [_action(one) for one in document["actions"]]
    result = {
        "changed": bool(changes),
        "transaction": document["transaction"],
        "changes": changes,
        "effects": document.get("effects", {}),
        "told": [_sentence(note) for note in document["warnings"]],
        "diff": [_diff(one) for one in document["actions"]],
    }
    result["notes"] = [
        {"kind": word, **note} for kind, word in KINDS_OF_NOTES.items() for note in _notes(document, kind)
    ]
    return result


def _action(action):
    found = {key: action[key] for key in ("kind", "target", "summary", "path", "processes")}
    for name in ("before", "after"):
        data = _bytes(action.get(name))
        found[name + "_sha256"] = None if data is None else hashlib.sha256(data).hexdigest()
    return found


def _notes(document, kind):
    keys = ("code", "target", "text", "hint")
    return [{key: note[key] for key in keys} for note in document.get(kind, [])]


def _sentence(note):
    return note["target"] + ": " + note["text"] + _in_brackets(note["hint"])


def _sentence_of_problem(problem):
    where = problem["pointer"] + ": " if problem["pointer"] else ""
    return where + problem["message"] + _in_brackets(problem["hint"])


def _in_brackets(hint):
    return " (" + hint + ")" if hint else ""


def _bytes(text):
    """The bytes that `phoenix` means: those that are not UTF-8 come as lone surrogates."""
    return None if text is None else text.encode("utf-8", "surrogateescape")


def _shown(data):
    """Bytes as a diff can show them: what is not UTF-8 as \\xNN."""
    return "" if data is None else data.decode("utf-8", "backslashreplace")


def _diff_of_file(path, before, after):
    return {
        "before_header": path + (" (no such file)" if before is None else ""),
        "after_header": path + (" (no such file)" if after is None else ""),
        "before": _shown(before),
        "after": _shown(after),
    }


def _diff(action):
    """One entry of Ansible's diff: a file as it was and as it is, or else what is done in words."""
    before, after = _bytes(action.get("before")), _bytes(action.get("after"))
    if before is not None or after is not None:
        return _diff_of_file(action["path"], before, after)
    lines = [action["kind"] + " " + action["target"] + ": " + action["summary"]]
    for one in action.get("lines", []):
        lines.append("  " + one["key"] + ": " + ("(no line)" if one["value"] is None else one["value"]))
    lines += ["  $ " + " ".join(argv) for argv in action["processes"]]
    return {"prepared": "\n".join(lines) + "\n"}


def carry_out(module, verb):
    """Run a verb for an AnsibleModule, and end it."""
    executable = module.params["executable"]
    if "/" not in executable:
        found = module.get_bin_path(executable, opt_dirs=["/usr/local/bin"])
        if found is None:
            module.fail_json(msg=f"{executable} is not installed on this host: the role phoenix installs it")
        module.params["executable"] = found

    def run(argv):
        return module.run_command(argv, errors="surrogateescape")

    try:
        result, message = verb(run, module.params, module.check_mode), None
    except Failed as error:
        result, message = error.result, str(error)
    for text in result.pop("told", []):
        module.warn(text)
    if not module._diff:
        result.pop("diff", None)
    if message is not None:
        module.fail_json(msg=message, **result)
    module.exit_json(**result)
