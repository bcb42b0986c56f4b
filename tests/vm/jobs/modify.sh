# Changes the files of one file system in every way of modify.py, each in a clone of
# its own, then all ways at once in place, and looks at the result before and after
# an export.
#   POOL, DATASET
. /rig/lib.sh

mountpoint_of() { property "$1" mountpoint; }
changes=$(python3 /rig/modify.py list)

step "import"
import_pool
origin=$(mountpoint_of "$DATASET")
count=$(must python3 /rig/modify.py count "$origin")
must zfs snapshot "$DATASET@pristine"
pristine=$origin/.zfs/snapshot/pristine
step "change"
for change in $changes; do
    clone=$POOL/modify-$change
    must zfs clone -o mountpoint="/modify/$change" -o canmount=on "$DATASET@pristine" "$clone"
    must python3 /rig/modify.py apply "$change" "$MNT/modify/$change"
    must zpool sync "$POOL"
done
must python3 /rig/modify.py apply mixed "$origin"
step "export, import"
export_pool
import_pool
step "verify"
for change in $changes; do
    must python3 /rig/modify.py verify "$change" "$MNT/modify/$change" "$pristine" "$count"
done
must python3 /rig/modify.py verify mixed "$origin" "$pristine" "$count"
step "scrub"
scrub
step "send a changed clone"
must zfs snapshot "$POOL/modify-append-blocks@sent"
zfs send "$POOL/modify-append-blocks@sent" | zfs receive -u "$POOL/received" || fail "zfs send | zfs receive"
must zfs set mountpoint=/received "$POOL/received"
[ "$(property "$POOL/received" mounted)" = yes ] || must zfs mount "$POOL/received"
must python3 /rig/modify.py verify append-blocks "$MNT/received" "$pristine" "$count"
step "destroy the clones, go back"
must zfs destroy -r "$POOL/received"
for change in $changes; do
    must zfs destroy -r "$POOL/modify-$change"
done
must zfs rollback "$DATASET@pristine"
must zfs destroy "$DATASET@pristine"
step "export"
export_pool
finish
