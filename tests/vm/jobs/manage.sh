# Goes on living with POOL: files and names of all kinds, snapshots, clones, sends,
# quotas, renames. The pool is left as it came, but for the feature upgrade.
#   POOL, DATASET: a mounted file system of it
#   MANIFEST       the whole tree below the pool's mount points
# A blank /dev/vdb takes the replicas.
. /rig/lib.sh

# The manifest of tree $1 to file $2.
manifest() {
    must python3 /rig/manifest.py make "$1" >"$2"
}

same() {
    cmp -s "$1" "$2" && return
    diff "$1" "$2" | head -n 20
    fail "$3"
}

# $1 hexadecimal digits. OpenZFS 2.3.2's `zfs send -e` loses a spill block that
# compresses so well that it is embedded in the dnode; these do not.
noise() {
    busybox hexdump -v -n $((($1 + 1) / 2)) -e '/1 "%02x"' /dev/urandom
}

step "import"
import_pool
home=$(property "$DATASET" mountpoint)
loop=$(losetup -f)
must losetup "$loop" /dev/vdb
must zpool create -f -R /mnt/replica -o cachefile=none -m none replica "$loop"

step "snapshot, new files"
must zfs snapshot -r "$POOL@first"
must mkdir "$home/tine-new" "$home/tine-new/many"
for size in 0 1 511 512 513 4095 4096 4097 131071 131072 131073 1000000; do
    must dd if=/dev/urandom of="$home/tine-new/$size" bs="$((size > 0 ? size : 1))" count="$((size > 0))" status=none
done
# More than 50 bytes do not fit into the small form of a directory.
long="a name that is too long for the small form of a directory"
for i in $(busybox seq 1 800); do
    : >"$home/tine-new/many/$long $i" || fail "cannot create name $i"
done
must dd if=/dev/urandom of="$home/tine-new/sparse" bs=1000 count=1 seek=9999 status=none
must mkfifo "$home/tine-new/fifo"
must mknod "$home/tine-new/null" c 1 3
must ln -s "$(noise 900)" "$home/tine-new/long"
must ln "$home/tine-new/513" "$home/tine-new/again"
must touch -d '1999-12-31 23:59:59.123456789 UTC' "$home/tine-new/512"

step "change what the image brought: names, owners, attributes"
# Every directory of the image gets names, loses them, and some keep one.
find "$home" -xdev -type d -not -path "$home/tine-new*" | head -n 200 >/tmp/directories
while IFS= read -r directory; do
    [ -d "$directory" ] || continue
    for i in $(busybox seq 1 20); do
        echo "$i" >"$directory/tine-$i" || fail "cannot create tine-$i in $directory"
    done
    must mv "$directory/tine-1" "$directory/tine, $long"
    must rm "$directory"/tine-[0-9]*
done </tmp/directories
find "$home" -xdev -type f -links 1 -not -path "$home/tine-new*" | head -n 200 >/tmp/files
count=0
while IFS= read -r file; do
    name=${file##*/}
    # A longer one cannot get an ending.
    [ -f "$file" ] && [ "${#name}" -lt 240 ] || continue
    count=$((count + 1))
    case $((count % 8)) in
    0) must chmod 0640 "$file" ;;
    1) must chown 4321:4322 "$file" ;;
    2) must setfattr -n user.tine -v "$(noise $((count * 20)))" "$file" ;;
    3) must touch -d '2001-02-03 04:05:06.789 UTC' "$file" ;;
    4) must ln "$file" "$file.tine-link" ;;
    5) must mv "$file" "$file.tine-moved" ;;
    6) must rm "$file" ;;
    7) must cp -p "$file" "$file.tine-copy" ;;
    esac
done </tmp/files
echo "$(wc -l </tmp/directories) directories and $count files touched"
must zpool sync "$POOL"

step "send all, then the difference, to another pool"
must zfs snapshot -r "$POOL@second"
zfs send -R "$POOL@first" | zfs receive -u -d -F -o canmount=noauto replica || fail "zfs send -R | zfs receive"
zfs send -R -i @first "$POOL@second" | zfs receive -u -d replica || fail "zfs send -R -i | zfs receive"
zfs send -Lec "$DATASET@second" | zfs receive -u -o mountpoint=legacy replica/lec || fail "zfs send -Lec | zfs receive"
must mkdir /mnt/lec
must mount -t zfs replica/lec /mnt/lec
name=replica${DATASET#"$POOL"}
must zfs mount "$name"
manifest "$home/.zfs/snapshot/second/." /tmp/second
manifest /mnt/lec /tmp/lec
same /tmp/second /tmp/lec "the stream of $DATASET@second (-Lec) holds another tree"
for snapshot in first second; do
    received=$(property "$name" mountpoint)/.zfs/snapshot/$snapshot/.
    manifest "$home/.zfs/snapshot/$snapshot/." /tmp/meant
    manifest "$received" /tmp/received
    same /tmp/meant /tmp/received "$name@$snapshot is not $DATASET@$snapshot"
done
echo "$(wc -l </tmp/second) names are the same on the other side"
must zpool scrub -w replica
zpool status replica | grep -q 'errors: No known data errors' || fail "the replica has errors"
must zpool destroy replica
must losetup -d "$loop"

step "clone, promote, rename"
must zfs clone -o mountpoint=/tine-clone "$DATASET@first" "$POOL/tine-clone"
echo more >"$MNT/tine-clone/tine-more"
must zfs snapshot "$POOL/tine-clone@mine"
must zfs promote "$POOL/tine-clone"
must zfs promote "$DATASET"
must zfs rename "$POOL/tine-clone" "$POOL/tine-renamed"
must zfs destroy -r "$POOL/tine-renamed"
if [ "$DATASET" != "$POOL" ]; then
    must zfs rename -u "$DATASET" "$DATASET-renamed"
    must zfs rename -u "$DATASET-renamed" "$DATASET"
fi

step "properties and quotas"
must zfs create -o mountpoint=/tine-quota -o compression=off "$POOL/tine-quota"
must zfs set quota=4m "$POOL/tine-quota"
must_not dd if=/dev/urandom of="$MNT/tine-quota/big" bs=1M count=16 status=none
rm -f "$MNT/tine-quota/big"
must zfs set quota=none refreservation=8m "$POOL/tine-quota"
must zfs destroy "$POOL/tine-quota"
used=$(property "$DATASET" used)
must zfs set quota=$((used + (8 << 20))) "$DATASET"
must zpool sync "$POOL"
must_not dd if=/dev/urandom of="$home/tine-new/big" bs=1M count=64 status=none
rm -f "$home/tine-new/big"
must zfs set quota=none "$DATASET"
must zfs set userquota@4321=1g "$DATASET"
must zfs userspace -n "$DATASET"
must zfs set userquota@4321=none "$DATASET"
must zfs set org.example:tine=value "$DATASET"
[ "$(property "$DATASET" org.example:tine)" = value ] || fail "a user property is lost"
must zfs inherit org.example:tine "$DATASET"

step "upgrade"
must zpool upgrade "$POOL" >/dev/null
zpool status "$POOL" | grep -q 'features are not enabled' && fail "zpool upgrade left features disabled"
echo upgraded >"$home/tine-new/upgraded" || fail "no write after the upgrade"
must zpool sync "$POOL"

step "export, import, roll back"
manifest "$home" /tmp/before
export_pool
import_pool
manifest "$home" /tmp/after
same /tmp/before /tmp/after "$home is not the same after export and import"
for name in $(zfs list -H -o name -t filesystem -r "$POOL"); do
    must zfs rollback -r "$name@first"
    must zfs destroy "$name@first"
done
compare "$MNT" "$MANIFEST"
step "scrub"
scrub
step "export"
export_pool
finish
