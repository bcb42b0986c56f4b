# Imports POOL read-write, scrubs it, and compares it with what was meant.
#   POOL
#   MANIFEST    what manifest.py says of the source tree
#   HOLES       its holes, or nothing to leave them unchecked
#   PROPERTIES  lines of dataset, property and value, separated by tabs, or nothing
#   OBJECTS     `yes`: user space accounting must count every file of the tree once
#   DEVICES     disks to look at (default /dev/vda)
. /rig/lib.sh

step "import, booted in $VM_BOOT_SECONDS s"
import_pool
step "scrub"
scrub
step "compare names, attributes and contents"
compare "$MNT" "$MANIFEST"
if [ -n "${HOLES-}" ]; then
    step "holes"
    must python3 /rig/manifest.py check-holes "$MNT" "$HOLES"
fi
if [ -n "${PROPERTIES-}" ]; then
    step "properties"
    while IFS=$'\t' read -r dataset name value; do
        if [ "$dataset" = "$POOL" ] && zpool get -H "$name" "$POOL" >/dev/null 2>&1; then
            found=$(zpool get -Hp -o value "$name" "$POOL")
        else
            found=$(property "$dataset" "$name")
        fi
        [ "$found" = "$value" ] || fail "$dataset: $name is '$found', '$value' was meant"
    done <"$PROPERTIES"
    echo "$(wc -l <"$PROPERTIES") properties are as meant"
fi
if [ "${OBJECTS-}" = yes ]; then
    step "user space accounting"
    mounted=$(zfs list -H -o name,mounted -t filesystem -r "$POOL" | awk '$2 == "yes" { print $1 }')
    # Each mount point but the first hides a directory, root's, that counts as well.
    hidden=$(($(echo "$mounted" | wc -l) - 1))
    # With xattr=dir a file with attributes has objects that no name leads to.
    zfs list -H -o mountpoint,xattr,mounted -t filesystem -r "$POOL" |
        awk -F '\t' -v root="$MNT" '$3 == "yes" {
            path = substr($1, length(root) + 2); print (path == "" ? "." : path) "\t" $2 }' >/tmp/styles
    for kind in user group; do
        # A file of several names counts once.
        awk -F '\t' -v kind="$kind" -v hidden="$hidden" '
            function style_of(path) {
                while (!(path in style)) if (!sub("/[^/]*$", "", path)) path = "."
                return style[path]
            }
            NR == FNR { style[$1] = $2; next }
            $9 == "-" {
                split($4, id, ":")
                owner = kind == "user" ? id[1] : id[2]
                count[owner]++
                if ($10 != "-" && style_of($1) == "dir") count[owner] += 1 + split($10, attributes, " ")
            }
            END { count[0] += hidden; for (i in count) print i "\t" count[i] }' /tmp/styles "$MANIFEST" | sort -n >/tmp/meant
        for dataset in $mounted; do
            must zfs "${kind}space" -Hpn -o name,objused "$dataset"
        done | awk '{ count[$1] += $2 } END { for (i in count) if (count[i]) print i "\t" count[i] }' | sort -n >/tmp/found
        diff /tmp/meant /tmp/found || fail "objects by $kind differ (< meant, > found)"
    done
    echo "objects of each group:" $(cat /tmp/found)
fi
step "export and import again"
export_pool
import_pool
zpool list "$POOL"
step "export"
export_pool
finish
