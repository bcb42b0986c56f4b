# Functions for jobs; a job begins with `. /rig/lib.sh`.
#
# A job is a list of steps. Each step announces itself and what the one before it
# took; whatever fails ends the job with a sentence and status 1.
set -uo pipefail

# The job's own output, where a function's is redirected.
exec 3>&1

export LC_ALL=C
# Under emulation a cold cache of byte code is worth having.
export PYTHONPYCACHEPREFIX=/tmp/pycache
MNT=/mnt/pool
mkdir -p "$MNT"
_step= _began=

step() {
    _end_step
    _step=$*
    read -r _began _ </proc/uptime
    echo "--- $_step"
}

_end_step() {
    [ -n "$_step" ] || return 0
    local now
    read -r now _ </proc/uptime
    awk -v a="$_began" -v b="$now" 'BEGIN { printf "    %.1f s\n", b - a }'
    _step=
}

fail() {
    echo "FAILED in \"$_step\": $*" >&3
    dmesg | tail -n 5 >&3
    exit 1
}

# Runs a command that must succeed.
must() {
    "$@" || fail "'$*' ended with $?"
}

# Runs a command that must not.
must_not() {
    if "$@" 2>/tmp/refused; then
        fail "'$*' should have been refused"
    fi
}

# The value of property $2 of dataset $1, as zfs prints it for scripts.
property() {
    zfs get -Hp -o value "$2" "$1"
}

# Imports POOL from the virtio disks, read and write, mounts under $MNT.
import_pool() {
    local devices=() disk
    for disk in ${DEVICES:-/dev/vda}; do
        devices+=(-d "$disk")
    done
    must zpool import -N -R "$MNT" "${devices[@]}" "$@" "$POOL"
    [ "$(zpool get -H -o value readonly "$POOL")" = off ] || fail "the pool is imported read-only"
    # From where the datasets say that their keys are.
    if zfs list -H -o keystatus -t filesystem -r "$POOL" | grep -q unavailable; then
        must zfs load-key -a
    fi
    mount_all
}

# Mounts the boot file system, then every other one, parents first, those with
# canmount=noauto too; of several with one mount point only the first.
mount_all() {
    local name mounted mountpoint canmount
    local -A taken=()
    name=$(zpool get -H -o value bootfs "$POOL")
    [ "$name" = - ] || [ "$(property "$name" mounted)" = yes ] || must zfs mount "$name"
    zfs list -H -o name,mounted,mountpoint,canmount -t filesystem -r "$POOL" |
        sort -t $'\t' -k 2,2r -k 3,3 >/tmp/file-systems
    while IFS=$'\t' read -r name mounted mountpoint canmount; do
        case $mountpoint,$canmount in
        none,* | legacy,* | *,off) continue ;;
        esac
        [ -z "${taken[$mountpoint]-}" ] || continue
        taken[$mountpoint]=$name
        [ "$mounted" = yes ] || must zfs mount "$name"
    done </tmp/file-systems
}

export_pool() {
    cd / || exit
    must zpool export "$POOL"
}

# Scrubs POOL and asks for a clean bill of health.
scrub() {
    must zpool scrub -w "$POOL"
    zpool status -v "$POOL" >/tmp/status
    if ! grep -q 'repaired 0B in .* with 0 errors' /tmp/status || ! grep -q 'errors: No known data errors' /tmp/status; then
        cat /tmp/status
        fail "the scrub found something"
    fi
    # State, then read, write and checksum errors, of the pool and each device.
    if awk '$2 == "ONLINE" && ($3 + $4 + $5) > 0 || $2 ~ /DEGRADED|FAULTED|UNAVAIL/ { bad = 1 } END { exit !bad }' /tmp/status; then
        cat /tmp/status
        fail "a device counts errors"
    fi
}

# Compares the tree at $1 with the manifest file $2.
compare() {
    must python3 /rig/manifest.py make "$1" >/tmp/found
    if ! diff "$2" /tmp/found >/tmp/difference; then
        head -n 40 /tmp/difference
        fail "$(grep -c '^[<>]' /tmp/difference) lines differ from the manifest (< meant, > found)"
    fi
    echo "$(wc -l </tmp/found) names are as meant"
}

finish() {
    _end_step
    echo "DONE"
}
