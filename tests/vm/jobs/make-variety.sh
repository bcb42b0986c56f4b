# Makes pools of many kinds, each in /share/KIND with what the kernel says of it.
#   KINDS   the kinds, separated by spaces (default: all; see ../kinds-of-*.sh)
# A kind appears when it is complete:
#   *.img           its devices
#   manifest.txt    for each file system and snapshot `## NAME`, then what manifest.py says
#                   (absent from it: what cannot be mounted)
#   holes.txt       the same with the holes
#   volumes.txt     name, size and SHA-256 of volumes, as they were when written
#   list.txt, properties.txt, pool.txt, space.txt, status.txt, history.txt
#                   zfs list, zfs get, zpool get, zfs userspace, zpool status, zpool history
#   keys/           pass phrases (*.pass) and keys (*.key) of encrypted datasets
#   commands.txt    how it was made
# One that fails leaves KIND.failed and harms no other. The pool's name is "tank".
. /rig/lib.sh || exit
. /rig/kinds-of-devices.sh
. /rig/kinds-of-datasets.sh
POOL=tank
WORK=/tmp/pools
PARAMETERS=/sys/module/zfs/parameters

### What the kinds are made of

# Adds $1 blank devices of $2 MiB (default 192) and names them in DISKS.
disks() {
    local number
    DISKS=()
    for ((number = 0; number < $1; number++)); do
        truncate -s "${2:-192}M" "$HERE/disk$number.img"
        DISKS+=("$HERE/disk$number.img")
    done
}

# Creates the pool of the words given, file systems mounted below $MNT.
create() {
    zpool create -f -R "$MNT" -o cachefile=none -O compression=lz4 -O xattr=sa -O acltype=posix -O mountpoint=/ "$@"
}

fill() {
    python3 /rig/populate.py fill "$MNT/$1" "${@:2}"
}

change() {
    python3 /rig/populate.py change "$MNT/$1" "${@:2}"
    zpool sync $POOL
}

# A file system with blocks of 16k, filled, in snapshot `one`, then changed.
sample() {
    zfs create -o recordsize=16k "$POOL/$1"
    fill "$1" record=16384 posix "seed=${2:-1}"
    zfs snapshot "$POOL/$1@one"
    change "$1" record=16384 "seed=${2:-1}"
}

# One such file system with another snapshot, and more removed.
samples() {
    sample files
    zfs snapshot -r $POOL@two
    rm -r "$MNT/files/many" "$MNT/files/renamed-"*
    zpool sync $POOL
}

# A volume of 8 MiB with the properties given, written, its state now in volumes.txt.
volume() {
    local before=" $(echo /sys/block/*) "
    zfs create -V 8M "${@:2}" "$POOL/$1"
    for _ in $(seq 100); do
        # Without udev, the disk that has come is the volume.
        for DEVICE in /sys/block/zd*; do
            [ ! -e "$DEVICE" ] || [ "${before#* "$DEVICE" }" != "$before" ] || break 2
        done
        sleep 0.1
    done
    DEVICE=/dev/${DEVICE##*/}
    [ -b "$DEVICE" ]
    python3 /rig/populate.py volume "$DEVICE" 1
    volume_is "$POOL/$1" "$DEVICE"
}

# Writes down what is in volume $1, which is device $2.
volume_is() {
    zpool sync $POOL
    printf '%s\t%s\t%s\n' "$1" "$(cat "/sys/block/${2##*/}/size")" "$(sha256sum <"$2" | cut -d ' ' -f 1)" |
        awk -F '\t' -v OFS='\t' '{ $2 *= 512; print }' >>"$HERE/volumes.txt"
}

# Sets module parameter $1 to $2 until the kind is made.
parameter() {
    echo "$1=$(cat "$PARAMETERS/$1")" >>/tmp/parameters
    echo "$2" >"$PARAMETERS/$1"
}

restore_parameters() {
    local line
    [ -e /tmp/parameters ] || return 0
    tac /tmp/parameters | while read -r line; do
        echo "${line#*=}" >"$PARAMETERS/${line%%=*}"
    done
    rm /tmp/parameters
}

### Around each kind

# Writes down what the kernel says of the pool.
record() {
    local name of
    zpool status -v $POOL >"$HERE/status.txt"
    zpool get -Hp all $POOL >"$HERE/pool.txt"
    zpool history -il $POOL >"$HERE/history.txt"
    zfs list -Hp -t all -r -o name,type,used,available,referenced,mountpoint,origin,creation,createtxg,guid $POOL >"$HERE/list.txt"
    [ ! -d "$HERE/keys" ] || zfs load-key -a >/dev/null
    zfs get -Hpr -t all all $POOL >"$HERE/properties.txt"
    [ "$RECORD" = all ] || return 0
    mkdir -p /tmp/view
    zfs list -H -t filesystem,snapshot -r -o name $POOL | while read -r name; do
        [ "$(zfs list -H -o type "${name%@*}")" = filesystem ] || continue
        mount.zfs -o ro,zfsutil "$name" /tmp/view 2>/tmp/refused || mount.zfs -o ro "$name" /tmp/view || continue
        echo "## $name" >>"$HERE/manifest.txt"
        python3 /rig/manifest.py make --lists $PROBE /tmp/view >>"$HERE/manifest.txt"
        echo "## $name" >>"$HERE/holes.txt"
        python3 /rig/manifest.py holes /tmp/view >>"$HERE/holes.txt"
        # Of a pool imported for reading, only while it is mounted: else OpenZFS 2.3.2 waits
        # for a transaction group that never comes.
        for of in user group project; do
            zfs ${of}space -Hpn -o type,name,used,quota,objused,objquota "$name" 2>/dev/null | sed "s|^|$name\t|" || true
        done >>"$HERE/space.txt"
        umount /tmp/view
    done
}

# Makes kind $1 and writes down what is in it, with `set -e` in a process of its own: not to
# be called in a condition.
make() {
    HERE=$WORK/$1
    RECORD=all PROBE=
    mkdir -p "$HERE"
    (
        set -eE -o pipefail
        trap 'echo "line $LINENO: \"$BASH_COMMAND\" ended with $?"' ERR
        # The words of every command, but not what they say.
        exec 9>"$HERE/commands.txt"
        BASH_XTRACEFD=9
        PS4='+'
        set -x
        "make_$1"
        if zpool list $POOL >/dev/null 2>&1; then
            cd / && zpool export $POOL
        fi
        set +x
        zpool import -N -o readonly=on -R "$MNT" -d "$HERE" $POOL
        record
        zpool export $POOL
    ) >"$HERE/output.txt" 2>&1
    local status=$?
    if [ $status != 0 ]; then
        zpool export -f $POOL 2>/dev/null
    fi
    restore_parameters
    return $status
}

mapfile -t all < <(declare -F | sed -n 's/^declare -f make_//p')
failed=0
for kind in ${KINDS:-${all[*]}}; do
    step "$kind"
    make "$kind"
    if [ $? = 0 ]; then
        rm -rf "/share/$kind.part" "/share/$kind" "/share/$kind.failed"
        rm -f "$WORK/$kind/output.txt"
        must cp -r --sparse=always "$WORK/$kind" "/share/$kind.part"
        must mv "/share/$kind.part" "/share/$kind"
    else
        cat "$WORK/$kind/output.txt"
        cp "$WORK/$kind/output.txt" "/share/$kind.failed"
        echo "FAILED $kind"
        failed=1
    fi
    rm -rf "${WORK:?}/$kind"
done
finish
exit $failed
