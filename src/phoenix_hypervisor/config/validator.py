"""What the packaged schema checks, as code.  `make reference` writes it: do not edit it.

Owns nothing of its own: fastjsonschema made it from the schema, so that a run need not load and ask
fastjsonschema for it.  Must be what `config.reference.code` gives: a test compares them.
"""

# ruff: noqa
# mypy: ignore-errors
from __future__ import annotations

import re


class Invalid(Exception):
    """The document does not fit the schema; `config.schema` finds out where."""


class Patterns(dict):
    def __init__(self, texts):
        self.texts = texts

    def __missing__(self, name):
        self[name] = re.compile(self.texts[name])
        return self[name]


REGEX_PATTERNS = Patterns({
    '^(lxc-[A-Za-z0-9_.-]+|unconfined|generated)$': '^(lxc-[A-Za-z0-9_.-]+|unconfined|generated)\\Z',
    '^[A-Za-z0-9_.-]+$': '^[A-Za-z0-9_.-]+\\Z',
    '^[1-9][0-9]{2,8}$': '^[1-9][0-9]{2,8}$',
    '^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$': '^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\\Z',
    '^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$': '^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\\Z',
    '^[^-]': '^[^-]',
    '^[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]$': '^[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]\\Z',
    '^[A-Za-z][A-Za-z0-9_.-]{1,14}$': '^[A-Za-z][A-Za-z0-9_.-]{1,14}\\Z',
    '^(dhcp|manual|((0|[1-9][0-9]{0,2})\\.){3}(0|[1-9][0-9]{0,2})/([89]|[12][0-9]|3[0-2]))$': '^(dhcp|manual|((0|[1-9][0-9]{0,2})\\.){3}(0|[1-9][0-9]{0,2})/([89]|[12][0-9]|3[0-2]))\\Z',
    '^((0|[1-9][0-9]{0,2})\\.){3}(0|[1-9][0-9]{0,2})$': '^((0|[1-9][0-9]{0,2})\\.){3}(0|[1-9][0-9]{0,2})\\Z',
    '^(auto|dhcp|manual|[0-9A-Fa-f:.]{2,45}/([89]|[1-9][0-9]|1[01][0-9]|12[0-8]))$': '^(auto|dhcp|manual|[0-9A-Fa-f:.]{2,45}/([89]|[1-9][0-9]|1[01][0-9]|12[0-8]))\\Z',
    '^[0-9A-Fa-f:.]{2,45}$': '^[0-9A-Fa-f:.]{2,45}\\Z',
    '^net[0-9]$': '^net[0-9]$',
    '^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$': '^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}\\Z',
    '^mp(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])$': '^mp(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])$',
    '^(/[!-+.-~-]*|[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9](:[!-+.-~-]+)?)$': '^(/[!-+.-~-]*|[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9](:[!-+.-~-]+)?)\\Z',
    '^/[!-+.-~-]+$': '^/[!-+.-~-]+\\Z',
    '^[A-Za-z0-9_][A-Za-z0-9_+.-]*$': '^[A-Za-z0-9_][A-Za-z0-9_+.-]*\\Z',
    '^([a-z_]+=[A-Za-z0-9;_-]+(,[a-z_]+=[A-Za-z0-9;_-]+)*)?$': '^([a-z_]+=[A-Za-z0-9;_-]+(,[a-z_]+=[A-Za-z0-9;_-]+)*)?\\Z',
    '^[a-z_]+=[A-Za-z0-9;_-]+$': '^[a-z_]+=[A-Za-z0-9;_-]+\\Z',
    '^(none|all|(MIG-[0-9a-fA-F-]{36}|(MIG-)?(GPU-[0-9a-fA-F-]{36}|[0-9]{1,3})(/[0-9]{1,2}){0,2})(,(MIG-[0-9a-fA-F-]{36}|(MIG-)?(GPU-[0-9a-fA-F-]{36}|[0-9]{1,3})(/[0-9]{1,2}){0,2}))*)$': '^(none|all|(MIG-[0-9a-fA-F-]{36}|(MIG-)?(GPU-[0-9a-fA-F-]{36}|[0-9]{1,3})(/[0-9]{1,2}){0,2})(,(MIG-[0-9a-fA-F-]{36}|(MIG-)?(GPU-[0-9a-fA-F-]{36}|[0-9]{1,3})(/[0-9]{1,2}){0,2}))*)\\Z',
    '^vllm_[a-z0-9_]+$': '^vllm_[a-z0-9_]+$'
})

NoneType = type(None)

def validate(data):
    if not isinstance(data, (dict)):
        raise Invalid
    data_is_dict = isinstance(data, dict)
    if data_is_dict:
        data__missing_keys = set(['lxc_configs']) - data.keys()
        if data__missing_keys:
            raise Invalid
        data_keys = set(data.keys())
        if "$schema" in data_keys:
            data_keys.remove("$schema")
            data__schema = data["$schema"]
            if not isinstance(data__schema, (str)):
                raise Invalid
        if "note" in data_keys:
            data_keys.remove("note")
            data__note = data["note"]
            if not isinstance(data__note, (str)):
                raise Invalid
        if "nvidia_driver_version" in data_keys:
            data_keys.remove("nvidia_driver_version")
            data__nvidiadriverversion = data["nvidia_driver_version"]
            if not isinstance(data__nvidiadriverversion, (str)):
                raise Invalid
        if "nvidia_repo_url" in data_keys:
            data_keys.remove("nvidia_repo_url")
            data__nvidiarepourl = data["nvidia_repo_url"]
            if not isinstance(data__nvidiarepourl, (str)):
                raise Invalid
        if "deprecated_profiles" in data_keys:
            data_keys.remove("deprecated_profiles")
            data__deprecatedprofiles = data["deprecated_profiles"]
            if not isinstance(data__deprecatedprofiles, (dict)):
                raise Invalid
            data__deprecatedprofiles_is_dict = isinstance(data__deprecatedprofiles, dict)
            if data__deprecatedprofiles_is_dict:
                data__deprecatedprofiles_keys = set(data__deprecatedprofiles.keys())
                for data__deprecatedprofiles_key in data__deprecatedprofiles_keys:
                    if data__deprecatedprofiles_key not in []:
                        data__deprecatedprofiles_value = data__deprecatedprofiles.get(data__deprecatedprofiles_key)
                        if not isinstance(data__deprecatedprofiles_value, (str)):
                            raise Invalid
                        if True:
                            if not REGEX_PATTERNS['^(lxc-[A-Za-z0-9_.-]+|unconfined|generated)$'].search(data__deprecatedprofiles_value):
                                raise Invalid
                data__deprecatedprofiles_len = len(data__deprecatedprofiles)
                if data__deprecatedprofiles_len != 0:
                    data__deprecatedprofiles_property_names = True
                    for data__deprecatedprofiles_key in data__deprecatedprofiles:
                        try:
                            if isinstance(data__deprecatedprofiles_key, str):
                                if not REGEX_PATTERNS['^[A-Za-z0-9_.-]+$'].search(data__deprecatedprofiles_key):
                                    raise Invalid
                        except Invalid:
                            data__deprecatedprofiles_property_names = False
                    if not data__deprecatedprofiles_property_names:
                        raise Invalid
        if "unconfined_means" in data_keys:
            data_keys.remove("unconfined_means")
            data__unconfinedmeans = data["unconfined_means"]
            if not isinstance(data__unconfinedmeans, (str)):
                raise Invalid
            if not (isinstance(data__unconfinedmeans, str) and data__unconfinedmeans == 'no-line' or isinstance(data__unconfinedmeans, str) and data__unconfinedmeans == 'explicit-line'):
                raise Invalid
        if "reload" in data_keys:
            data_keys.remove("reload")
            data__reload = data["reload"]
            if not isinstance(data__reload, (str)):
                raise Invalid
            if not (isinstance(data__reload, str) and data__reload == 'changed' or isinstance(data__reload, str) and data__reload == 'service'):
                raise Invalid
        if "undeclared" in data_keys:
            data_keys.remove("undeclared")
            data__undeclared = data["undeclared"]
            if not isinstance(data__undeclared, (str)):
                raise Invalid
            if not (isinstance(data__undeclared, str) and data__undeclared == 'ignore' or isinstance(data__undeclared, str) and data__undeclared == 'note' or isinstance(data__undeclared, str) and data__undeclared == 'fault'):
                raise Invalid
        if "lxc_configs" in data_keys:
            data_keys.remove("lxc_configs")
            data__lxcconfigs = data["lxc_configs"]
            if not isinstance(data__lxcconfigs, (dict)):
                raise Invalid
            data__lxcconfigs_is_dict = isinstance(data__lxcconfigs, dict)
            if data__lxcconfigs_is_dict:
                data__lxcconfigs_keys = set(data__lxcconfigs.keys())
                for data__lxcconfigs_key, data__lxcconfigs_val in data__lxcconfigs.items():
                    if REGEX_PATTERNS['^[1-9][0-9]{2,8}$'].search(data__lxcconfigs_key):
                        if data__lxcconfigs_key in data__lxcconfigs_keys:
                            data__lxcconfigs_keys.remove(data__lxcconfigs_key)
                        validate___definitions_container(data__lxcconfigs_val)
                if data__lxcconfigs_keys:
                    raise Invalid
        if data_keys:
            raise Invalid
    return data

def validate___definitions_container(data):
    if not isinstance(data, (dict)):
        raise Invalid
    data_is_dict = isinstance(data, dict)
    if data_is_dict:
        data_keys = set(data.keys())
        if "name" in data_keys:
            data_keys.remove("name")
            data__name = data["name"]
            if not isinstance(data__name, (str)):
                raise Invalid
            if True:
                data__name_len = len(data__name)
                if data__name_len > 255:
                    raise Invalid
                if not REGEX_PATTERNS['^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$'].search(data__name):
                    raise Invalid
        if "apparmor_profile" in data_keys:
            data_keys.remove("apparmor_profile")
            data__apparmorprofile = data["apparmor_profile"]
            if not isinstance(data__apparmorprofile, (str)):
                raise Invalid
        if "note" in data_keys:
            data_keys.remove("note")
            data__note = data["note"]
            if not isinstance(data__note, (str)):
                raise Invalid
        if "node" in data_keys:
            data_keys.remove("node")
            data__node = data["node"]
            if not isinstance(data__node, (str)):
                raise Invalid
            if True:
                data__node_len = len(data__node)
                if data__node_len > 63:
                    raise Invalid
                if not REGEX_PATTERNS['^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$'].search(data__node):
                    raise Invalid
        if "start" in data_keys:
            data_keys.remove("start")
            data__start = data["start"]
            if not isinstance(data__start, (bool)):
                raise Invalid
        if "memory_mb" in data_keys:
            data_keys.remove("memory_mb")
            data__memorymb = data["memory_mb"]
            if not isinstance(data__memorymb, (int)) and not (isinstance(data__memorymb, float) and data__memorymb.is_integer()) or isinstance(data__memorymb, bool):
                raise Invalid
            if isinstance(data__memorymb, (int, float)) and not isinstance(data__memorymb, bool):
                if data__memorymb < 16:
                    raise Invalid
        if "swap_mb" in data_keys:
            data_keys.remove("swap_mb")
            data__swapmb = data["swap_mb"]
            if not isinstance(data__swapmb, (int)) and not (isinstance(data__swapmb, float) and data__swapmb.is_integer()) or isinstance(data__swapmb, bool):
                raise Invalid
            if isinstance(data__swapmb, (int, float)) and not isinstance(data__swapmb, bool):
                if data__swapmb < 0:
                    raise Invalid
        if "cores" in data_keys:
            data_keys.remove("cores")
            data__cores = data["cores"]
            if not isinstance(data__cores, (int)) and not (isinstance(data__cores, float) and data__cores.is_integer()) or isinstance(data__cores, bool):
                raise Invalid
            if isinstance(data__cores, (int, float)) and not isinstance(data__cores, bool):
                if data__cores < 1:
                    raise Invalid
                if data__cores > 8192:
                    raise Invalid
        if "template" in data_keys:
            data_keys.remove("template")
            data__template = data["template"]
            if not isinstance(data__template, (str)):
                raise Invalid
            if True:
                data__template_len = len(data__template)
                if data__template_len > 255:
                    raise Invalid
                if not REGEX_PATTERNS['^[^-]'].search(data__template):
                    raise Invalid
        if "storage_pool" in data_keys:
            data_keys.remove("storage_pool")
            data__storagepool = data["storage_pool"]
            if not isinstance(data__storagepool, (str)):
                raise Invalid
            if True:
                if not REGEX_PATTERNS['^[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]$'].search(data__storagepool):
                    raise Invalid
        if "storage_size_gb" in data_keys:
            data_keys.remove("storage_size_gb")
            data__storagesizegb = data["storage_size_gb"]
            if not isinstance(data__storagesizegb, (int)) and not (isinstance(data__storagesizegb, float) and data__storagesizegb.is_integer()) or isinstance(data__storagesizegb, bool):
                raise Invalid
            if isinstance(data__storagesizegb, (int, float)) and not isinstance(data__storagesizegb, bool):
                if data__storagesizegb < 1:
                    raise Invalid
        if "network_config" in data_keys:
            data_keys.remove("network_config")
            data__networkconfig = data["network_config"]
            if not isinstance(data__networkconfig, (dict)):
                raise Invalid
            data__networkconfig_is_dict = isinstance(data__networkconfig, dict)
            if data__networkconfig_is_dict:
                data__networkconfig__missing_keys = set(['name', 'bridge', 'ip']) - data__networkconfig.keys()
                if data__networkconfig__missing_keys:
                    raise Invalid
                data__networkconfig_keys = set(data__networkconfig.keys())
                if "name" in data__networkconfig_keys:
                    data__networkconfig_keys.remove("name")
                    data__networkconfig__name = data__networkconfig["name"]
                    if not isinstance(data__networkconfig__name, (str)):
                        raise Invalid
                    if True:
                        if not REGEX_PATTERNS['^[A-Za-z][A-Za-z0-9_.-]{1,14}$'].search(data__networkconfig__name):
                            raise Invalid
                if "bridge" in data__networkconfig_keys:
                    data__networkconfig_keys.remove("bridge")
                    data__networkconfig__bridge = data__networkconfig["bridge"]
                    if not isinstance(data__networkconfig__bridge, (str)):
                        raise Invalid
                    if True:
                        if not REGEX_PATTERNS['^[A-Za-z0-9_.-]+$'].search(data__networkconfig__bridge):
                            raise Invalid
                if "ip" in data__networkconfig_keys:
                    data__networkconfig_keys.remove("ip")
                    data__networkconfig__ip = data__networkconfig["ip"]
                    if not isinstance(data__networkconfig__ip, (str)):
                        raise Invalid
                    if True:
                        if not REGEX_PATTERNS['^(dhcp|manual|((0|[1-9][0-9]{0,2})\\.){3}(0|[1-9][0-9]{0,2})/([89]|[12][0-9]|3[0-2]))$'].search(data__networkconfig__ip):
                            raise Invalid
                if "gw" in data__networkconfig_keys:
                    data__networkconfig_keys.remove("gw")
                    data__networkconfig__gw = data__networkconfig["gw"]
                    if not isinstance(data__networkconfig__gw, (str)):
                        raise Invalid
                    if True:
                        if not REGEX_PATTERNS['^((0|[1-9][0-9]{0,2})\\.){3}(0|[1-9][0-9]{0,2})$'].search(data__networkconfig__gw):
                            raise Invalid
                if "ip6" in data__networkconfig_keys:
                    data__networkconfig_keys.remove("ip6")
                    data__networkconfig__ip6 = data__networkconfig["ip6"]
                    if not isinstance(data__networkconfig__ip6, (str)):
                        raise Invalid
                    if True:
                        if not REGEX_PATTERNS['^(auto|dhcp|manual|[0-9A-Fa-f:.]{2,45}/([89]|[1-9][0-9]|1[01][0-9]|12[0-8]))$'].search(data__networkconfig__ip6):
                            raise Invalid
                if "gw6" in data__networkconfig_keys:
                    data__networkconfig_keys.remove("gw6")
                    data__networkconfig__gw6 = data__networkconfig["gw6"]
                    if not isinstance(data__networkconfig__gw6, (str)):
                        raise Invalid
                    if True:
                        if not REGEX_PATTERNS['^[0-9A-Fa-f:.]{2,45}$'].search(data__networkconfig__gw6):
                            raise Invalid
                if "tag" in data__networkconfig_keys:
                    data__networkconfig_keys.remove("tag")
                    data__networkconfig__tag = data__networkconfig["tag"]
                    if not isinstance(data__networkconfig__tag, (int)) and not (isinstance(data__networkconfig__tag, float) and data__networkconfig__tag.is_integer()) or isinstance(data__networkconfig__tag, bool):
                        raise Invalid
                    if isinstance(data__networkconfig__tag, (int, float)) and not isinstance(data__networkconfig__tag, bool):
                        if data__networkconfig__tag < 1:
                            raise Invalid
                        if data__networkconfig__tag > 4094:
                            raise Invalid
                if data__networkconfig_keys:
                    raise Invalid
        if "networks" in data_keys:
            data_keys.remove("networks")
            data__networks = data["networks"]
            if not isinstance(data__networks, (dict)):
                raise Invalid
            data__networks_is_dict = isinstance(data__networks, dict)
            if data__networks_is_dict:
                data__networks_keys = set(data__networks.keys())
                for data__networks_key, data__networks_val in data__networks.items():
                    if REGEX_PATTERNS['^net[0-9]$'].search(data__networks_key):
                        if data__networks_key in data__networks_keys:
                            data__networks_keys.remove(data__networks_key)
                        if not isinstance(data__networks_val, (dict)):
                            raise Invalid
                        data__networks_val_is_dict = isinstance(data__networks_val, dict)
                        if data__networks_val_is_dict:
                            data__networks_val__missing_keys = set(['name', 'bridge']) - data__networks_val.keys()
                            if data__networks_val__missing_keys:
                                raise Invalid
                            data__networks_val_keys = set(data__networks_val.keys())
                            if "name" in data__networks_val_keys:
                                data__networks_val_keys.remove("name")
                                data__networks_val__name = data__networks_val["name"]
                                if not isinstance(data__networks_val__name, (str)):
                                    raise Invalid
                                if True:
                                    if not REGEX_PATTERNS['^[A-Za-z][A-Za-z0-9_.-]{1,14}$'].search(data__networks_val__name):
                                        raise Invalid
                            if "bridge" in data__networks_val_keys:
                                data__networks_val_keys.remove("bridge")
                                data__networks_val__bridge = data__networks_val["bridge"]
                                if not isinstance(data__networks_val__bridge, (str)):
                                    raise Invalid
                                if True:
                                    if not REGEX_PATTERNS['^[A-Za-z0-9_.-]+$'].search(data__networks_val__bridge):
                                        raise Invalid
                            if "ip" in data__networks_val_keys:
                                data__networks_val_keys.remove("ip")
                                data__networks_val__ip = data__networks_val["ip"]
                                if not isinstance(data__networks_val__ip, (str)):
                                    raise Invalid
                                if True:
                                    if not REGEX_PATTERNS['^(dhcp|manual|((0|[1-9][0-9]{0,2})\\.){3}(0|[1-9][0-9]{0,2})/([89]|[12][0-9]|3[0-2]))$'].search(data__networks_val__ip):
                                        raise Invalid
                            if "gw" in data__networks_val_keys:
                                data__networks_val_keys.remove("gw")
                                data__networks_val__gw = data__networks_val["gw"]
                                if not isinstance(data__networks_val__gw, (str)):
                                    raise Invalid
                                if True:
                                    if not REGEX_PATTERNS['^((0|[1-9][0-9]{0,2})\\.){3}(0|[1-9][0-9]{0,2})$'].search(data__networks_val__gw):
                                        raise Invalid
                            if "ip6" in data__networks_val_keys:
                                data__networks_val_keys.remove("ip6")
                                data__networks_val__ip6 = data__networks_val["ip6"]
                                if not isinstance(data__networks_val__ip6, (str)):
                                    raise Invalid
                                if True:
                                    if not REGEX_PATTERNS['^(auto|dhcp|manual|[0-9A-Fa-f:.]{2,45}/([89]|[1-9][0-9]|1[01][0-9]|12[0-8]))$'].search(data__networks_val__ip6):
                                        raise Invalid
                            if "gw6" in data__networks_val_keys:
                                data__networks_val_keys.remove("gw6")
                                data__networks_val__gw6 = data__networks_val["gw6"]
                                if not isinstance(data__networks_val__gw6, (str)):
                                    raise Invalid
                                if True:
                                    if not REGEX_PATTERNS['^[0-9A-Fa-f:.]{2,45}$'].search(data__networks_val__gw6):
                                        raise Invalid
                            if "tag" in data__networks_val_keys:
                                data__networks_val_keys.remove("tag")
                                data__networks_val__tag = data__networks_val["tag"]
                                if not isinstance(data__networks_val__tag, (int)) and not (isinstance(data__networks_val__tag, float) and data__networks_val__tag.is_integer()) or isinstance(data__networks_val__tag, bool):
                                    raise Invalid
                                if isinstance(data__networks_val__tag, (int, float)) and not isinstance(data__networks_val__tag, bool):
                                    if data__networks_val__tag < 1:
                                        raise Invalid
                                    if data__networks_val__tag > 4094:
                                        raise Invalid
                            if "mac_address" in data__networks_val_keys:
                                data__networks_val_keys.remove("mac_address")
                                data__networks_val__macaddress = data__networks_val["mac_address"]
                                if not isinstance(data__networks_val__macaddress, (str)):
                                    raise Invalid
                                if True:
                                    if not REGEX_PATTERNS['^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$'].search(data__networks_val__macaddress):
                                        raise Invalid
                            if "firewall" in data__networks_val_keys:
                                data__networks_val_keys.remove("firewall")
                                data__networks_val__firewall = data__networks_val["firewall"]
                                if not isinstance(data__networks_val__firewall, (bool)):
                                    raise Invalid
                            if "mtu" in data__networks_val_keys:
                                data__networks_val_keys.remove("mtu")
                                data__networks_val__mtu = data__networks_val["mtu"]
                                if not isinstance(data__networks_val__mtu, (int)) and not (isinstance(data__networks_val__mtu, float) and data__networks_val__mtu.is_integer()) or isinstance(data__networks_val__mtu, bool):
                                    raise Invalid
                                if isinstance(data__networks_val__mtu, (int, float)) and not isinstance(data__networks_val__mtu, bool):
                                    if data__networks_val__mtu < 64:
                                        raise Invalid
                                    if data__networks_val__mtu > 65535:
                                        raise Invalid
                            if data__networks_val_keys:
                                raise Invalid
                if data__networks_keys:
                    raise Invalid
        if "mount_points" in data_keys:
            data_keys.remove("mount_points")
            data__mountpoints = data["mount_points"]
            if not isinstance(data__mountpoints, (dict)):
                raise Invalid
            data__mountpoints_is_dict = isinstance(data__mountpoints, dict)
            if data__mountpoints_is_dict:
                data__mountpoints_keys = set(data__mountpoints.keys())
                for data__mountpoints_key, data__mountpoints_val in data__mountpoints.items():
                    if REGEX_PATTERNS['^mp(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])$'].search(data__mountpoints_key):
                        if data__mountpoints_key in data__mountpoints_keys:
                            data__mountpoints_keys.remove(data__mountpoints_key)
                        if not isinstance(data__mountpoints_val, (dict)):
                            raise Invalid
                        data__mountpoints_val_is_dict = isinstance(data__mountpoints_val, dict)
                        if data__mountpoints_val_is_dict:
                            data__mountpoints_val__missing_keys = set(['volume', 'path']) - data__mountpoints_val.keys()
                            if data__mountpoints_val__missing_keys:
                                raise Invalid
                            data__mountpoints_val_keys = set(data__mountpoints_val.keys())
                            if "volume" in data__mountpoints_val_keys:
                                data__mountpoints_val_keys.remove("volume")
                                data__mountpoints_val__volume = data__mountpoints_val["volume"]
                                if not isinstance(data__mountpoints_val__volume, (str)):
                                    raise Invalid
                                if True:
                                    data__mountpoints_val__volume_len = len(data__mountpoints_val__volume)
                                    if data__mountpoints_val__volume_len > 1024:
                                        raise Invalid
                                    if not REGEX_PATTERNS['^(/[!-+.-~-]*|[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9](:[!-+.-~-]+)?)$'].search(data__mountpoints_val__volume):
                                        raise Invalid
                            if "path" in data__mountpoints_val_keys:
                                data__mountpoints_val_keys.remove("path")
                                data__mountpoints_val__path = data__mountpoints_val["path"]
                                if not isinstance(data__mountpoints_val__path, (str)):
                                    raise Invalid
                                if True:
                                    data__mountpoints_val__path_len = len(data__mountpoints_val__path)
                                    if data__mountpoints_val__path_len > 1024:
                                        raise Invalid
                                    if not REGEX_PATTERNS['^/[!-+.-~-]+$'].search(data__mountpoints_val__path):
                                        raise Invalid
                            if "size_gb" in data__mountpoints_val_keys:
                                data__mountpoints_val_keys.remove("size_gb")
                                data__mountpoints_val__sizegb = data__mountpoints_val["size_gb"]
                                if not isinstance(data__mountpoints_val__sizegb, (int)) and not (isinstance(data__mountpoints_val__sizegb, float) and data__mountpoints_val__sizegb.is_integer()) or isinstance(data__mountpoints_val__sizegb, bool):
                                    raise Invalid
                                if isinstance(data__mountpoints_val__sizegb, (int, float)) and not isinstance(data__mountpoints_val__sizegb, bool):
                                    if data__mountpoints_val__sizegb < 1:
                                        raise Invalid
                            if "read_only" in data__mountpoints_val_keys:
                                data__mountpoints_val_keys.remove("read_only")
                                data__mountpoints_val__readonly = data__mountpoints_val["read_only"]
                                if not isinstance(data__mountpoints_val__readonly, (bool)):
                                    raise Invalid
                            if "backup" in data__mountpoints_val_keys:
                                data__mountpoints_val_keys.remove("backup")
                                data__mountpoints_val__backup = data__mountpoints_val["backup"]
                                if not isinstance(data__mountpoints_val__backup, (bool)):
                                    raise Invalid
                            if data__mountpoints_val_keys:
                                raise Invalid
                if data__mountpoints_keys:
                    raise Invalid
        if "onboot" in data_keys:
            data_keys.remove("onboot")
            data__onboot = data["onboot"]
            if not isinstance(data__onboot, (bool)):
                raise Invalid
        if "tags" in data_keys:
            data_keys.remove("tags")
            data__tags = data["tags"]
            if not isinstance(data__tags, (list, tuple)):
                raise Invalid
            data__tags_is_list = isinstance(data__tags, (list, tuple))
            if data__tags_is_list:
                data__tags_len = len(data__tags)
                for data__tags_x, data__tags_item in enumerate(data__tags):
                    if not isinstance(data__tags_item, (str)):
                        raise Invalid
                    if True:
                        if not REGEX_PATTERNS['^[A-Za-z0-9_][A-Za-z0-9_+.-]*$'].search(data__tags_item):
                            raise Invalid
        if "features" in data_keys:
            data_keys.remove("features")
            data__features = data["features"]
            data__features_any_of_count1 = 0
            if not data__features_any_of_count1:
                try:
                    if not isinstance(data__features, (str)):
                        raise Invalid
                    if True:
                        if not REGEX_PATTERNS['^([a-z_]+=[A-Za-z0-9;_-]+(,[a-z_]+=[A-Za-z0-9;_-]+)*)?$'].search(data__features):
                            raise Invalid
                    data__features_any_of_count1 += 1
                except Invalid: pass
            if not data__features_any_of_count1:
                try:
                    if not isinstance(data__features, (list, tuple)):
                        raise Invalid
                    data__features_is_list = isinstance(data__features, (list, tuple))
                    if data__features_is_list:
                        data__features_len = len(data__features)
                        for data__features_x, data__features_item in enumerate(data__features):
                            if not isinstance(data__features_item, (str)):
                                raise Invalid
                            if True:
                                if not REGEX_PATTERNS['^[a-z_]+=[A-Za-z0-9;_-]+$'].search(data__features_item):
                                    raise Invalid
                    data__features_any_of_count1 += 1
                except Invalid: pass
            if not data__features_any_of_count1:
                try:
                    if not isinstance(data__features, (NoneType)):
                        raise Invalid
                    data__features_any_of_count1 += 1
                except Invalid: pass
            if not data__features_any_of_count1:
                raise Invalid
        if "mac_address" in data_keys:
            data_keys.remove("mac_address")
            data__macaddress = data["mac_address"]
            if not isinstance(data__macaddress, (str)):
                raise Invalid
            if True:
                if not REGEX_PATTERNS['^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$'].search(data__macaddress):
                    raise Invalid
        if "static_ip" in data_keys:
            data_keys.remove("static_ip")
            data__staticip = data["static_ip"]
            if not isinstance(data__staticip, (str)):
                raise Invalid
        if "gpu_assignment" in data_keys:
            data_keys.remove("gpu_assignment")
            data__gpuassignment = data["gpu_assignment"]
            if not isinstance(data__gpuassignment, (str)):
                raise Invalid
            if True:
                if not REGEX_PATTERNS['^(none|all|(MIG-[0-9a-fA-F-]{36}|(MIG-)?(GPU-[0-9a-fA-F-]{36}|[0-9]{1,3})(/[0-9]{1,2}){0,2})(,(MIG-[0-9a-fA-F-]{36}|(MIG-)?(GPU-[0-9a-fA-F-]{36}|[0-9]{1,3})(/[0-9]{1,2}){0,2}))*)$'].search(data__gpuassignment):
                    raise Invalid
        if "manage_gpus" in data_keys:
            data_keys.remove("manage_gpus")
            data__managegpus = data["manage_gpus"]
            if not isinstance(data__managegpus, (bool)):
                raise Invalid
        if "scope_gpus" in data_keys:
            data_keys.remove("scope_gpus")
            data__scopegpus = data["scope_gpus"]
            if not isinstance(data__scopegpus, (bool)):
                raise Invalid
        if "unprivileged" in data_keys:
            data_keys.remove("unprivileged")
            data__unprivileged = data["unprivileged"]
            if not isinstance(data__unprivileged, (bool)):
                raise Invalid
        if "seccomp" in data_keys:
            data_keys.remove("seccomp")
            data__seccomp = data["seccomp"]
            data__seccomp_any_of_count2 = 0
            if not data__seccomp_any_of_count2:
                try:
                    if not isinstance(data__seccomp, (str)):
                        raise Invalid
                    if not (isinstance(data__seccomp, str) and data__seccomp == 'auto'):
                        raise Invalid
                    data__seccomp_any_of_count2 += 1
                except Invalid: pass
            if not data__seccomp_any_of_count2:
                try:
                    if not isinstance(data__seccomp, (bool)):
                        raise Invalid
                    if not (isinstance(data__seccomp, bool) and data__seccomp is False):
                        raise Invalid
                    data__seccomp_any_of_count2 += 1
                except Invalid: pass
            if not data__seccomp_any_of_count2:
                raise Invalid
        if "lines" in data_keys:
            data_keys.remove("lines")
            data__lines = data["lines"]
            if not isinstance(data__lines, (str)):
                raise Invalid
            if not (isinstance(data__lines, str) and data__lines == 'auto' or isinstance(data__lines, str) and data__lines == 'keep'):
                raise Invalid
        if "portainer_role" in data_keys:
            data_keys.remove("portainer_role")
            data__portainerrole = data["portainer_role"]
            if not isinstance(data__portainerrole, (str)):
                raise Invalid
            if not (isinstance(data__portainerrole, str) and data__portainerrole == 'server' or isinstance(data__portainerrole, str) and data__portainerrole == 'agent' or isinstance(data__portainerrole, str) and data__portainerrole == 'none'):
                raise Invalid
        for data_key in [*data_keys]:
            if REGEX_PATTERNS['^vllm_[a-z0-9_]+$'].search(data_key):
                data_keys.remove(data_key)
        if data_keys:
            raise Invalid
    return data
