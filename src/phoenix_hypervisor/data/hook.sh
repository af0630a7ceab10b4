# Written by `phoenix hook install`; `phoenix hook remove` takes it away again. Do not remove it by hand while a
# container names it: Proxmox and LXC start no container whose hook is missing.
#
# Before a start it asks Phoenix whether the container would run as declared. Only a clear no stops the start.
# Whatever is wrong with Phoenix itself is said in one line, and the container starts under what is assigned.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
name=${1:-${LXC_NAME:-}}
case ${2:-} in
    pre-start) proxmox=yes ;;                             # Proxmox: CTID PHASE
    lxc) [ "${3:-}" = pre-start ] || exit 0 ;;            # LXC: NAME lxc TYPE
    '') [ "${LXC_HOOK_TYPE:-}" = pre-start ] || exit 0 ;; # LXC with lxc.hook.version = 1
    *) exit 0 ;;
esac

# Proxmox shows it in the task's log. LXC keeps it in its own log, at level DEBUG only.
tell() {
    echo "$1" >&2
    [ -n "${proxmox:-}" ] || logger -t phoenix-hook -- "${1#phoenix: }" 2>/dev/null || true
}

ask() {
    if [ -x @FILE@ ]; then
        timeout -k 1 30 @PROGRAM@ hook judge @OPTIONS@-- "$name"
    elif [ -x /usr/bin/phoenix ]; then
        timeout -k 1 30 /usr/bin/phoenix hook judge @OPTIONS@-- "$name"
    elif [ -x /usr/local/bin/phoenix ]; then
        timeout -k 1 30 /usr/local/bin/phoenix hook judge @OPTIONS@-- "$name"
    else
        echo "Phoenix is not installed here"
        return 1
    fi
}
said=$(ask 2>&1 </dev/null)
code=$?
newline='
'
case $code:$said in
    0:) exit 0 ;;
    0:*) tell "$said"; exit 0 ;;
    3:"phoenix: "*) tell "$said"; exit 1 ;;
    124:*|137:*) said="no answer within 30 s" ;;
    *:Traceback*) said=${said##*"$newline"} ;;
esac
said=${said#phoenix: }
tell "phoenix: container $name cannot be judged (${said%%"$newline"*}); it starts under what is assigned"
exit 0
