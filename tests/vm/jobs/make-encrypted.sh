# Makes the pool that the tests of encryption carry with them: /share/encrypted.img,
# the keys (pass, raw, hex) and SHA-256 sums of all files (`sums`: dataset, sum, path).
#
# A file system for each suite, with a child, snapshots, a clone, a volume, a raw copy
# and a key that was changed; everything as small as it can be.
. /rig/lib.sh
POOL=enc

step "create $POOL"
printf 'correct horse battery\n' >/share/pass
printf 'another passphrase\n' >/share/changed
head -c 32 /dev/urandom >/share/raw
{ head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' && echo; } >/share/hex
truncate -s 64M /share/encrypted.img
must zpool create -f -R "$MNT" -o cachefile=none -o ashift=9 -O compression=lz4 -O xattr=sa -O acltype=posix \
    -O mountpoint=/ -O atime=off -O redundant_metadata=none $POOL /share/encrypted.img

# encrypted NAME SUITE FORMAT KEY OPTION...
encrypted() {
    must zfs create -o encryption="$2" -o keyformat="$3" -o keylocation="file:///share/$4" "${@:5}" "$POOL/$1"
}

fill() {
    local root=$MNT/$1
    # Several blocks, holes, indirect blocks; one block; none; names for several blocks of dnodes.
    seq 4000 | head -c 14000 >"$root/numbers"
    truncate -s 300000 "$root/numbers" && echo end >>"$root/numbers"
    echo short >"$root/short"
    : >"$root/empty"
    mkdir "$root/dir"
    local number
    for number in $(seq 16); do echo "$number" >"$root/dir/$number"; done
    # In the bonus buffer, and in a spill block.
    must setfattr -n user.small -v value "$root/short"
    must setfattr -n user.large -v "$(seq -s , 200)" "$root/empty"
    must setfacl -m u:5:r "$root/short"
    ln -s "$(seq -s / 60)" "$root/link"
}

step "fill"
encrypted gcm256 aes-256-gcm passphrase pass -o pbkdf2iters=100000
encrypted gcm192 aes-192-gcm raw raw -o recordsize=512
encrypted gcm128 aes-128-gcm hex hex -o recordsize=4k -o compression=off -o checksum=sha256
encrypted ccm256 aes-256-ccm raw raw -o dnodesize=1k
encrypted ccm192 aes-192-ccm hex hex -o xattr=dir -o copies=2
encrypted ccm128 aes-128-ccm raw raw -o compression=zstd -o dedup=on
must zfs create $POOL/gcm256/child
for name in gcm256 gcm192 gcm128 ccm256 ccm192 ccm128 gcm256/child; do fill $name; done
must zpool sync $POOL
must zfs snapshot -r $POOL@one
echo changed >"$MNT/gcm256/short"
rm "$MNT/gcm256/dir/"?
must zfs clone $POOL/gcm256@one $POOL/clone
echo cloned >"$MNT/clone/new"
zfs send -w $POOL/ccm256@one | zfs receive -u $POOL/received || fail "the raw copy"
must zfs change-key -o keyformat=passphrase -o pbkdf2iters=100000 -o keylocation=file:///share/changed $POOL/gcm192
must zfs create -V 256k -o volblocksize=4k $POOL/gcm128/volume
must zpool sync $POOL

step "describe"
for name in gcm256 gcm192 gcm128 ccm256 ccm192 ccm128 gcm256/child clone; do
    for snapshot in "" @one; do
        [ $name$snapshot != clone@one ] || continue
        root=$MNT/$name${snapshot:+/.zfs/snapshot/one}
        (cd "$root" && find . -xdev -type f ! -path './.zfs/*' ! -path ./child/\* | LC_ALL=C sort | xargs sha256sum) |
            awk -v name="$POOL/$name$snapshot" '{ print name, $1, $2 }'
    done
done >/share/sums
zfs list -H -t all -o name,encryption,encryptionroot,keyformat,pbkdf2iters >/share/list
wc -l /share/sums
export_pool
finish
