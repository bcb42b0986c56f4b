# Grows POOL after its disk has grown, fills the new space, then makes it a mirror
# with a second disk and takes that away again.
#   POOL, MANIFEST
#   FILL        MiB to write, more than was free before
# /dev/vdb is blank and as large as the grown disk.
. /rig/lib.sh

size() { zpool list -Hp -o size "$POOL"; }

step "import"
import_pool
before=$(size)
step "zpool online -e"
must zpool online -e "$POOL" vda
after=$(size)
[ "$after" -gt "$before" ] || fail "the pool has $after bytes as before"
echo "from $before to $after bytes"
step "fill the new space"
directory=$(zfs list -Hp -o mountpoint,mounted -r "$POOL" | awk -F '\t' '$2 == "yes" { print $1; exit }')
must dd if=/dev/urandom of="$directory/tine-fill" bs=1M count="$FILL" status=none
sum=$(sha256sum <"$directory/tine-fill")
step "attach a mirror, detach it"
loop=$(losetup -f)
must losetup "$loop" /dev/vdb
must zpool attach -w "$POOL" vda "$loop"
scrub
must zpool detach "$POOL" "$loop"
must losetup -d "$loop"
step "export, import"
export_pool
import_pool
[ "$(size)" = "$after" ] || fail "the pool shrank to $(size) bytes"
[ "$(sha256sum <"$directory/tine-fill")" = "$sum" ] || fail "the file in the new space changed"
step "scrub"
scrub
step "compare"
must rm "$directory/tine-fill"
must python3 /rig/manifest.py make "$MNT" >/tmp/found
# The directory that held the file has another modification time now.
place=${directory#"$MNT"}
place=${place#/}
drop_time() { awk -F '\t' -v OFS='\t' -v p="${place:-.}" '$1 == p { $7 = "-" } { print }' "$1"; }
drop_time /tmp/found >/tmp/found.cut
drop_time "$MANIFEST" >/tmp/meant.cut
diff /tmp/meant.cut /tmp/found.cut || fail "the tree changed (< meant, > found)"
step "export"
export_pool
finish
