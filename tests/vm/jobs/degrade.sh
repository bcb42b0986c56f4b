# Imports pools of several disks, loses as many of them as each pool can do without, goes on,
# and gets them back.
#   POOLS     lines of a pool's name, its disks, and the number of disks in each vdev and of
#             those that it can lose, such as `one /dev/vda,/dev/vdb 2 1`
#   MANIFEST  the tree in each pool
. /rig/lib.sh

step "begin, booted in $VM_BOOT_SECONDS s"
while read -r POOL disks children lost; do
    all=(${disks//,/ })
    step "$POOL: import, scrub, compare"
    DEVICES=${all[*]} import_pool
    scrub
    compare "$MNT" "$MANIFEST"
    export_pool
    # The first disks of each vdev are away: nothing leads to them.
    left=() away=()
    for number in "${!all[@]}"; do
        if [ $((number % children)) -lt "$lost" ]; then
            away+=("${all[$number]}")
        else
            left+=("${all[$number]}")
        fi
    done
    must rm "${away[@]}"
    step "$POOL: ${#left[@]} of ${#all[@]} disks"
    DEVICES=${left[*]} import_pool
    [ "$(zpool list -H -o health "$POOL")" = DEGRADED ] || fail "$(zpool status "$POOL")"
    compare "$MNT" "$MANIFEST"
    mkdir "$MNT/tine-new"
    for number in $(busybox seq 1 30); do
        head -c $((number * 5000)) /dev/urandom >"$MNT/tine-new/$number" || fail "cannot write"
    done
    (cd "$MNT/tine-new" && sha256sum *) >/tmp/sums
    export_pool
    for disk in "${away[@]}"; do
        must mknod "$disk" b $(tr : ' ' <"/sys/block/${disk#/dev/}/dev")
    done
    step "$POOL: all disks again"
    DEVICES=${all[*]} import_pool
    # The import asks for a resilver, and a later transaction group begins it. It would take the place of a scrub that
    # came first.
    resilvered=
    for _ in $(busybox seq 1 300); do
        zpool status "$POOL" | grep -q 'scan: resilver' && resilvered=yes && break
        sleep 1
    done
    [ -n "$resilvered" ] || fail "no resilver has begun: $(zpool status "$POOL")"
    must zpool wait -t resilver "$POOL"
    # What it leaves, a scrub mends; then there is nothing left to mend.
    must zpool scrub -w "$POOL"
    must zpool clear "$POOL"
    scrub
    (cd "$MNT/tine-new" && sha256sum --quiet -c /tmp/sums) || fail "what was written is damaged"
    must rm -r "$MNT/tine-new"
    export_pool
done <<<"$POOLS"
finish
