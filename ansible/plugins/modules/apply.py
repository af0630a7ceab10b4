#!/usr/bin/python
# Copyright (c) 2026, The Phoenix authors
# SPDX-License-Identifier: Apache-2.0
"""Apply the configuration to a node."""

DOCUMENTATION = r"""
---
module: apply
short_description: Confine the containers of a node as they are declared
version_added: "0.1.0"
description:
  - Proves, installs and loads the profiles. Then it creates missing containers, writes the profile line of
    each, and starts them, as one transaction. It is C(phoenix apply).
  - If anything fails, everything is as before, or the message says what is not.
options:
  containers:
    description:
      - CTIDs, names, lists (V(103,104)) and ranges (V(103-110)). Without any, all that are declared.
    type: list
    elements: str
    default: []
  start:
    description:
      - Start containers that are declared to run.
    type: bool
    default: true
  restart:
    description:
      - Restart containers that run under another profile than the declared one.
    type: bool
    default: false
  skip_refused:
    description:
      - Leave out the containers that are refused, and go on with the others.
    type: bool
    default: false
extends_documentation_fragment:
  - phoenix.hypervisor.command
  - phoenix.hypervisor.command.signed
  - phoenix.hypervisor.command.changes
author:
  - The Phoenix authors (@phoenix)
"""

EXAMPLES = r"""
- name: Confine all containers of the node
  phoenix.hypervisor.apply:

- name: Confine two of them, and restart them where that is needed
  phoenix.hypervisor.apply:
    containers: ["101", "110-119"]
    restart: true
  register: applied
"""

RETURN = r"""
changes:
  description: What was done, or would be, in order.
  returned: when something is to be changed
  type: list
  elements: dict
  contains:
    kind:
      description: What kind of step it is.
      type: str
      sample: assign
    target:
      description: The CTID, the profile or the include that it is about.
      type: str
      sample: "101"
    summary:
      description: The step in words.
      type: str
    path:
      description: The file that it writes, where it writes one.
      type: str
    processes:
      description: The exact argument vectors that it runs.
      type: list
      elements: list
    before_sha256:
      description: Of its content before. V(none) where there is no file, or where it is not known.
      type: str
    after_sha256:
      description: Of its content after.
      type: str
notes:
  description: What was left out on purpose, risks, refusals, and what started and does not run as declared.
  returned: when something is to be changed, or was refused
  type: list
  elements: dict
  contains:
    kind:
      description: One of V(skipped), V(warning), V(refused) and V(unconfirmed).
      type: str
    code:
      description: The stable code.
      type: str
      sample: restart-needed
    target:
      description: What it is about.
      type: str
    text:
      description: The same in words.
      type: str
    hint:
      description: The next step.
      type: str
effects:
  description: In check mode, what each changed profile would allow otherwise than now, in lines.
  returned: in check mode
  type: dict
transaction:
  description: Its number, for M(phoenix.hypervisor.rollback). V(none) where nothing was changed.
  returned: always
  type: int
  sample: 7
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.phoenix.hypervisor.plugins.module_utils.command import (
    COMMON,
    SIGNED,
    apply,
    carry_out,
)


def main():
    """Runs the module."""
    spec = {
        "containers": {"type": "list", "elements": "str", "default": []},
        "start": {"type": "bool", "default": True},
        "restart": {"type": "bool", "default": False},
        "skip_refused": {"type": "bool", "default": False},
    }
    carry_out(AnsibleModule(argument_spec={**COMMON, **SIGNED, **spec}, supports_check_mode=True), apply)


if __name__ == "__main__":
    main()
