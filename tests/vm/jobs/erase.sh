# Frees everything that POOL holds: files, then snapshots, then file systems. What a
# pool's space accounting has wrong shows here, or in `zdb -b` afterwards.
#   POOL
. /rig/lib.sh

step "import"
import_pool
step "remove all files"
for directory in "$MNT"/* "$MNT"/.[!.]*; do
    [ -e "$directory" ] || [ -h "$directory" ] || continue
    # Mount points of other file systems of the pool stay, emptied.
    find "$directory" -depth ! -type d -exec rm -f {} + || fail "cannot remove the files in $directory"
    find "$directory" -depth -type d -exec rmdir {} + 2>/dev/null
done
left=$(find "$MNT" ! -type d | wc -l)
[ "$left" = 0 ] || fail "$left files cannot be removed"
must zpool sync "$POOL"
step "destroy snapshots and file systems"
must zfs unmount -a
while name=$(zfs list -H -o name -t snapshot -r "$POOL" | head -n 1) && [ -n "$name" ]; do
    # Takes the snapshots of the same name further down and all clones along.
    must zfs destroy -R "$name"
done
for name in $(zfs list -H -o name -d 1 -r "$POOL" | grep /); do
    must zfs destroy -r "$name"
done
must zpool wait -t free "$POOL"
must zpool sync "$POOL"
zfs list -o name,used,referenced,usedbysnapshots -r "$POOL"
zpool list -o name,size,allocated,free "$POOL"
# What is left is metadata; empty pools made by the kernel hold less than this.
allocated=$(zpool list -Hp -o allocated "$POOL")
[ "$allocated" -lt $((4 << 20)) ] || fail "$allocated bytes are still allocated"
step "write into the freed space"
must zfs create -o mountpoint=/tine-fill "$POOL/tine-fill"
must dd if=/dev/urandom of="$MNT/tine-fill/file" bs=1M count=16 status=none
scrub
step "export"
export_pool
finish
