# Makes a pool with the kernel itself, for trying the other jobs on.
#   POOL; TREE: a tar archive; CREATE: further words for `zpool create`
. /rig/lib.sh

step "create $POOL"
# On a disk of its own `zpool create` makes a partition table; on a loop device it
# uses all of it, and the pool begins where an image's does.
loop=$(losetup -f)
must losetup "$loop" /dev/vda
# shellcheck disable=SC2086
must zpool create -R "$MNT" -o cachefile=none -m / ${CREATE-} "$POOL" "$loop"
step "unpack"
must tar --extract --file "$TREE" --directory "$MNT" --numeric-owner --same-permissions --xattrs --xattrs-include='*'
sync
must zpool sync "$POOL"
zfs list -o name,used,refer "$POOL"
step "export"
export_pool
must losetup -d "$loop"
finish
