#!/usr/bin/python
# Copyright (c) 2026, The Phoenix authors
# SPDX-License-Identifier: Apache-2.0
"""Ask whether a node is as declared."""

DOCUMENTATION = r"""
---
module: verify
short_description: Fail where a node is not as declared
version_added: "0.1.0"
description:
  - Compares what is declared, assigned and running, from the host. It is C(phoenix verify) and changes
    nothing.
options:
  containers:
    description:
      - CTIDs, names, lists (V(103,104)) and ranges (V(103-110)). Without any, all that are declared or there.
    type: list
    elements: str
    default: []
  strict:
    description:
      - Fail where anything is not as declared. Otherwise only say so.
    type: bool
    default: true
extends_documentation_fragment:
  - phoenix.hypervisor.command
attributes:
  check_mode:
    description: It changes nothing in either mode.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
author:
  - The Phoenix authors (@phoenix)
"""

EXAMPLES = r"""
- name: Fail where anything is not as declared
  phoenix.hypervisor.verify:
"""

RETURN = r"""
as_declared:
  description: Whether everything is as declared.
  returned: always
  type: bool
confined:
  description: How many containers run confined.
  returned: always
  type: int
faults:
  description: What is not as declared.
  returned: always
  type: list
  elements: dict
  contains:
    about:
      description: The container, the profile or the host.
      type: str
      sample: container 101
    code:
      description: The stable code of the fault.
      type: str
      sample: old-label
    cause:
      description: The fault in words.
      type: str
    hint:
      description: The next step.
      type: str
containers:
  description: Each container, with what is declared, assigned and running.
  returned: always
  type: list
  elements: dict
  contains:
    ctid:
      description: Its CTID.
      type: str
    name:
      description: Its name.
      type: str
    declared:
      description: The declared profile.
      type: str
    assigned:
      description: The profile line of its configuration.
      type: str
    exists:
      description: Whether it is on this node.
      type: bool
    running:
      description: Whether it runs. V(none) where that is not known.
      type: bool
    label:
      description: The label of its init, as the kernel of the host has it.
      type: str
    as_declared:
      description: Whether it is as declared.
      type: bool
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.phoenix.hypervisor.plugins.module_utils.command import COMMON, carry_out, verify


def main():
    """Runs the module."""
    spec = {
        "containers": {"type": "list", "elements": "str", "default": []},
        "strict": {"type": "bool", "default": True},
    }
    carry_out(AnsibleModule(argument_spec={**COMMON, **spec}, supports_check_mode=True), verify)


if __name__ == "__main__":
    main()
