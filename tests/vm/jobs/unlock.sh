# Unlocks the encrypted datasets of POOL, sends them raw, changes their keys, and lives with
# the boot environments, one of which takes the place of the first.
#   POOL
#   DATASET   an encryption root with the passphrase of /share/passphrase, a child, and a
#             snapshot @install of both
#   MANIFEST  the whole tree below the pool's mount points
#   ROOT      the boot file system; beside it is its clone `next`
# A blank /dev/vdb takes the replicas.
. /rig/lib.sh

# Says what differs between two trees.
same() {
    must diff -r --no-dereference "$1" "$2"
}

step "import, locked"
must zpool import -N -R "$MNT" -d /dev/vda "$POOL"
for name in $(zfs list -H -o name,keystatus -t filesystem -r "$POOL" | awk '$2 == "available" { print $1 }'); do
    fail "$name has its key"
done
must_not zfs mount "$DATASET"
echo "a wrong passphrase" >/tmp/wrong
must_not zfs load-key -L file:///tmp/wrong "$DATASET"
step "unlock, compare"
must zfs load-key -a
mount_all
compare "$MNT" "$MANIFEST"
home=$(property "$DATASET" mountpoint)

step "boot environments"
next=${ROOT%/*}/next
[ "$(property "$next" origin)" = "$ROOT@install" ] || fail "$next is a clone of $(property "$next" origin)"
[ "$(property "$ROOT@install" clones | tr , '\n' | wc -l)" = 2 ] || fail "$(property "$ROOT@install" clones)"
must mkdir /tmp/next
must mount -t zfs -o zfsutil "$next" /tmp/next
(cd "$MNT" && find . -xdev -type f -exec sha256sum {} + | sort) >/tmp/root.sums
(cd /tmp/next && find . -xdev -type f -exec sha256sum {} + | sort) >/tmp/next.sums
[ -s /tmp/next.sums ] && must cmp /tmp/root.sums /tmp/next.sums
echo changed >/tmp/next/changed
must umount /tmp/next

step "send raw"
loop=$(losetup -f)
must losetup "$loop" /dev/vdb
must zpool create -f -R /mnt/replica -o cachefile=none -m none replica "$loop"
zfs send -w -R "$DATASET@install" | zfs receive -u replica/raw || fail "zfs send -w | zfs receive"
must_not zfs mount replica/raw
must zfs load-key -L file:///share/passphrase replica/raw
must zfs set mountpoint=/raw replica/raw
for name in replica/raw $(zfs list -H -o name -t filesystem -r replica/raw | tail -n +2); do
    [ "$(property "$name" mounted)" = yes ] || must zfs mount "$name"
done
same "$home" /mnt/replica/raw
step "send what changes"
for number in $(busybox seq 1 50); do
    head -c $((number * 3000)) /dev/urandom >"$home/changed-$number" || fail "cannot write"
done
first=$(find "$home" -xdev -type f -size +8k ! -name 'changed-*' | sort | head -n 1)
must dd if=/dev/urandom of="$first" bs=5000 count=1 conv=notrunc oflag=append status=none
must zfs snapshot -r "$DATASET@second"
zfs send -w -R -i @install "$DATASET@second" | zfs receive -F -u replica/raw || fail "an incremental raw stream"
for name in $(zfs list -H -o name -t filesystem -r replica/raw); do
    [ "$(property "$name" mounted)" = yes ] || must zfs mount "$name"
done
same "$home" /mnt/replica/raw
zfs send "$DATASET@second" | zfs receive -u -o mountpoint=/plain replica/plain || fail "zfs send | zfs receive"
[ "$(property replica/plain mounted)" = yes ] || must zfs mount replica/plain
must test "$(find /mnt/replica/plain -type f | wc -l)" = "$(find "$home" -xdev -type f | wc -l)"
must zpool scrub -w replica
zpool status replica | grep -q 'with 0 errors' || fail "the replica is damaged"
must zpool destroy replica

step "other keys"
head -c 32 /dev/urandom >/tmp/raw
must zfs change-key -o keyformat=raw -o keylocation=file:///tmp/raw "$DATASET"
must zpool sync "$POOL"
zfs unmount "$DATASET" 2>/dev/null || { zfs list -H -o name -r "$DATASET" | tail -n +2 | xargs -rn 1 zfs unmount; must zfs unmount "$DATASET"; }
must zfs unload-key -r "$DATASET"
must zfs load-key "$DATASET"
mount_all
must zfs change-key -o keyformat=passphrase -o keylocation=file:///share/passphrase "$DATASET"

step "the other boot environment takes over"
export_pool
must zpool import -N -R "$MNT" -d /dev/vda "$POOL"
must zpool set bootfs="$next" "$POOL"
must zfs promote "$next"
must zfs destroy "$ROOT"
must zfs load-key -L file:///share/raw "$next"
must mount -t zfs -o zfsutil "$next" /tmp/next
must cmp /tmp/next/changed <(echo changed)
must umount /tmp/next
step "scrub"
scrub
step "export"
export_pool
finish
