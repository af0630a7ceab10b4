#!/bin/bash
# The two pseudocode blocks of the design documents, made runnable: nothing improved.
# Usage: documents.sh setup | CTID...   with PHOENIX_DIR, DEST_DIR, CONF_DIR and FEATURES set.
set -u
config="$PHOENIX_DIR/etc/phoenix_lxc_configs.json"
log_info() { echo "$*"; }
log_success() { echo "$*"; }
jq_get_value() { jq -er --arg ctid "$1" ".lxc_configs[\$ctid]$2" "$config"; }

setup() {
    source_dir="${PHOENIX_DIR}/etc/apparmor/"
    dest_dir="$DEST_DIR/"
    profiles_changed=false
    for profile in "${source_dir}"/*; do
        profile_name=$(basename "$profile")
        dest_path="${dest_dir}/${profile_name}"
        if [ ! -f "$dest_path" ] || ! diff -q "$profile" "$dest_path" >/dev/null; then
            log_info "Copying AppArmor profile ${profile_name} to ${dest_path}..."
            cp "$profile" "$dest_path"
            profiles_changed=true
        fi
    done
    if [ "$profiles_changed" = true ]; then
        log_info "Reloading AppArmor profiles..."
        # There is no kernel to load into: compiled, not loaded, and no service to reload.
        apparmor_parser -r -W -Q $FEATURES --base "$dest_dir" "$dest_dir"
        log_success "AppArmor profiles reloaded successfully."
    else
        log_info "AppArmor profiles are already up-to-date. No changes needed."
    fi
}

apply_configurations() {
    CTID=$1
    apparmor_profile=$(jq_get_value "$CTID" ".apparmor_profile" || echo "lxc-nvidia-gpu-base")
    conf_file="$CONF_DIR/${CTID}.conf"
    if [ "$apparmor_profile" == "unconfined" ]; then
        log_info "Setting AppArmor profile to unconfined for container $CTID..."
        sed -i '/^lxc.apparmor.profile:/d' "$conf_file"
    else
        log_info "Applying AppArmor profile '${apparmor_profile}' for container $CTID..."
        profile_line="lxc.apparmor.profile: ${apparmor_profile}"
        if grep -q "^lxc.apparmor.profile:" "$conf_file"; then
            sed -i "s|^lxc.apparmor.profile:.*|$profile_line|" "$conf_file"
        else
            echo "$profile_line" >> "$conf_file"
        fi
    fi
}

if [ "$1" = setup ]; then
    setup
else
    for ctid in "$@"; do apply_configurations "$ctid"; done
fi
