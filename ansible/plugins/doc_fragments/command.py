# Copyright (c) 2026, The Phoenix authors
# SPDX-License-Identifier: Apache-2.0
"""The documentation that modules share: their options are in module_utils/command.py."""

from __future__ import annotations


class ModuleDocFragment:
    """How the installed command is called."""

    DOCUMENTATION = r"""
options:
  executable:
    description:
      - The C(phoenix) command on the node. A name is looked for in E(PATH) and in C(/usr/local/bin).
    type: str
    default: phoenix
  root:
    description:
      - A directory that holds the files of a host. Then no kernel is touched and nothing is started.
    type: path
  config:
    description:
      - The configuration file on the node. Without it, Phoenix looks in its own places.
    type: path
  runtime:
    description:
      - How containers are run. Without it, Phoenix finds out.
    type: str
    choices: [proxmox, lxc]
  parser:
    description:
      - The C(apparmor_parser) to use.
    type: path
  features:
    description:
      - The kernel features to compile for, as a file or a name of those that come with Phoenix.
    type: str
requirements:
  - Phoenix of the same version on the node
"""

    SIGNED = r"""
options:
  require_signed:
    description:
      - The path on the node of a keyring, as C(gpg --export) writes it. Only what a key in it has signed is
        installed, else it fails and changes nothing. Sources, policy tests and the configuration count.
      - The list and its signature lie beside the configuration on the node, as docs/guide/signing.md of
        Phoenix says. The node needs C(gpgv).
      - If the node has C(/etc/phoenix_hypervisor/require-signed.gpg), signatures are required without this
        option too. Then this option names another keyring.
    type: path
"""

    CHANGES = r"""
attributes:
  check_mode:
    description: Nothing is changed, and the result and the diff are those that the run would have.
    support: full
  diff_mode:
    description: Every file as it was and as it is, byte for byte. What is not UTF-8 is shown as C(\\xNN).
    support: full
"""
