# Kinds of pools for jobs/make-variety.sh that differ in what is in them: the function
# make_KIND makes pool $POOL on the devices that `disks` gave, in folder $HERE.

make_dedup() {
    disks 1
    create -O dedup=on -O recordsize=16k $POOL "${DISKS[0]}"
    sample one 1
    sample two 1
    zfs create -o dedup=sha512,verify -o checksum=sha512 $POOL/verified
    fill verified record=16384 many=50
    zfs create -o dedup=blake3 $POOL/blake3
    fill blake3 record=16384 many=50
    rm -r "$MNT/one/sizes" "$MNT/one/renamed-"*
}

make_dedup_legacy() {
    disks 1
    create -o feature@fast_dedup=disabled -O dedup=on -O recordsize=16k $POOL "${DISKS[0]}"
    sample one 1
    sample two 1
    rm -r "$MNT/one/sizes" "$MNT/one/renamed-"*
}

make_cloned() {
    disks 1
    create -O recordsize=16k $POOL "${DISKS[0]}"
    parameter zfs_bclone_enabled 1
    sample from 1
    zfs create $POOL/to
    zpool sync $POOL
    for target in to/sizes from/again; do
        python3 /rig/populate.py clone "$MNT/from/sizes" "$MNT/$target"
    done
    python3 /rig/populate.py clone "$MNT/from/holes" "$MNT/to/holes"
    zpool sync $POOL
    zfs snapshot -r $POOL@cloned
    rm -r "$MNT/from/sizes"
    zpool sync $POOL
    [ "$(zpool get -Hp -o value bcloneused $POOL)" -gt 0 ]
}

make_encrypted() {
    disks 1 384
    local keys=$HERE/keys
    mkdir "$keys"
    printf 'correct horse battery' >"$keys/one.pass"
    printf '000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F' >"$keys/hex.key"
    head -c 32 /dev/urandom >"$keys/raw.key"
    head -c 32 /dev/urandom >"$keys/other.key"
    create -O recordsize=16k $POOL "${DISKS[0]}"
    sample plain 1
    encrypted gcm256 one.pass aes-256-gcm passphrase -o pbkdf2iters=100000
    sample gcm256/child 7
    encrypted ccm128 hex.key aes-128-ccm hex
    sample ccm128/child 7
    encrypted gcm192 raw.key aes-192-gcm raw -o xattr=dir
    encrypted ccm256 other.key aes-256-ccm raw -o compression=off -o dnodesize=auto
    encrypted gcm128 hex.key aes-128-gcm hex -o compression=zstd -o recordsize=128k -o copies=2
    encrypted ccm192 raw.key aes-192-ccm raw -o checksum=sha512 -o recordsize=1k
    zfs create -o dedup=on $POOL/gcm256/dedup
    fill gcm256/dedup record=16384 many=20
    mkdir "$MNT/gcm256/dedup/again"
    fill gcm256/dedup/again record=16384 many=20
    volume gcm256/volume
    zfs clone $POOL/gcm256/child@one $POOL/gcm256/clone
    change gcm256/clone record=16384 seed=9
    zfs snapshot $POOL/gcm256/clone@two
    zfs bookmark $POOL/gcm256/child@one $POOL/gcm256/child#mark
    # Sent raw, it keeps its key; else it takes that of its new parent.
    zfs send -w $POOL/ccm128/child@one | zfs receive -u $POOL/raw
    zfs send $POOL/ccm128/child@one | zfs receive -u -x encryption $POOL/gcm192/received
    # Incremental, raw.
    zfs snapshot $POOL/ccm128/child@three
    zfs send -w -i @one $POOL/ccm128/child@three | zfs receive -u $POOL/raw
    # After a change of key the old blocks have the old parameters.
    printf 'another pass phrase' >"$keys/two.pass"
    zfs change-key -o keyformat=passphrase -o pbkdf2iters=120000 -o "keylocation=file://$keys/two.pass" $POOL/gcm128
    zfs set "keylocation=file://$keys/hex.key" $POOL/raw
}

# A file system called $1 with the key in file $2, `encryption` $3, `keyformat` $4, and options.
encrypted() {
    zfs create -o encryption="$3" -o keyformat="$4" -o "keylocation=file://$HERE/keys/$2" "${@:5}" "$POOL/$1"
    fill "$1" record=16384 posix many=60 scale=20
}

make_bookmarks() {
    disks 1
    create -O recordsize=16k $POOL "${DISKS[0]}"
    sample files 1
    zfs snapshot $POOL/files@two
    zfs clone $POOL/files@one $POOL/edited
    change edited record=16384 seed=4
    zfs snapshot $POOL/edited@edited
    zfs bookmark $POOL/files@one $POOL/files#one
    zfs bookmark $POOL/files#one $POOL/files#copy
    zfs redact $POOL/files@one redaction $POOL/edited@edited
    zfs snapshot $POOL/files@gone
    zfs bookmark $POOL/files@gone $POOL/files#gone
    zfs destroy $POOL/files@gone
    zfs hold kept $POOL/files@two
}

make_redacted() {
    disks 1
    create -O recordsize=16k $POOL "${DISKS[0]}"
    parameter zfs_allow_redacted_dataset_mount 1
    sample files 1
    zfs clone $POOL/files@one $POOL/edited
    change edited record=16384 seed=4
    zfs snapshot $POOL/edited@edited
    zfs redact $POOL/files@one redaction $POOL/edited@edited
    zfs send --redact redaction $POOL/files@one | zfs receive -u $POOL/redacted
    PROBE=--probe
}

make_received() {
    disks 1
    create -O recordsize=16k $POOL "${DISKS[0]}"
    zfs create -o recordsize=16k -o compression=gzip-3 -o atime=off -o quota=100m -o org.example:word='a value' $POOL/source
    fill source record=16384 posix
    zfs snapshot $POOL/source@one
    change source record=16384
    zfs snapshot $POOL/source@two
    zfs send -p $POOL/source@one | zfs receive -u -o mountpoint=/received -x quota $POOL/received
    zfs send -I @one -Lec $POOL/source@two | zfs receive -u $POOL/received
    zfs send -R $POOL/source@two | zfs receive -u -o compression=off -o mountpoint=/replicated $POOL/replicated
    # Cut off: a clone without a name keeps what came, and can go on.
    zfs send $POOL/source@two | head -c 1500000 | zfs receive -u -s $POOL/partial || true
    zfs snapshot $POOL/source@three
    change source record=16384 seed=5
    zfs snapshot $POOL/source@four
    zfs send -i @two $POOL/source@four | head -c 60000 | zfs receive -u -s -F $POOL/received || true
    zfs get -H -o value receive_resume_token $POOL/partial | grep -q ...
}

make_volumes() {
    disks 1
    create $POOL "${DISKS[0]}"
    volume plain
    zfs snapshot $POOL/plain@one
    volume thin -s -o volblocksize=4k -o compression=off
    volume large -b 128k -o checksum=sha256
    zfs clone $POOL/plain@one $POOL/copy
    zfs create $POOL/folder
    volume folder/deep -o copies=2 -o refreservation=none
}

make_blocks() {
    disks 2 384
    create -o ashift=9 $POOL "${DISKS[@]}"
    parameter zfs_max_recordsize 16777216
    zfs create -o recordsize=1m -o compression=zstd $POOL/1m
    fill 1m record=1048576 many=20 scale=3
    zfs snapshot $POOL/1m@one
    change 1m record=1048576
    zfs create -o recordsize=16m $POOL/16m
    python3 -c 'import os, sys; open(sys.argv[1], "wb").write((os.urandom(1 << 20) + bytes(1 << 20)) * 19 + b"end")' "$MNT/16m/large"
    zfs create -o recordsize=512 -o compression=off $POOL/512
    fill 512 record=512 scale=8000
    zfs create -o recordsize=4k -o copies=2 $POOL/two
    fill two record=4096
    zfs create -o recordsize=4k -o copies=3 $POOL/three
    fill three record=4096
    change three record=4096
    for policy in most some none; do
        zfs create -o redundant_metadata=$policy -o recordsize=8k $POOL/$policy
        fill $policy record=8192 many=30
    done
}

make_dnodes() {
    disks 1
    create -O recordsize=16k $POOL "${DISKS[0]}"
    for size in auto 1k 2k 4k 8k 16k; do
        zfs create -o dnodesize=$size $POOL/$size
        fill $size record=16384 posix many=100
        zfs snapshot $POOL/$size@one
        change $size record=16384 many=100
    done
    zfs create -o dnodesize=auto -o xattr=dir $POOL/dir
    fill dir record=16384 posix many=100
    zfs create -o dnodesize=legacy -o xattr=dir -o acltype=off $POOL/legacy
    fill legacy record=16384 many=100
}

make_names() {
    disks 1
    create -O recordsize=16k $POOL "${DISKS[0]}"
    zfs create -o casesensitivity=insensitive $POOL/insensitive
    zfs create -o casesensitivity=mixed $POOL/mixed
    zfs create -o normalization=formD -o utf8only=on $POOL/formD
    zfs create -o normalization=formKC -o casesensitivity=insensitive -o utf8only=on $POOL/formKC
    zfs create -o utf8only=on $POOL/utf8
    zfs create -o longname=on $POOL/long
    fill insensitive record=16384
    fill mixed record=16384 many=600
    fill formD record=16384 utf8
    fill formKC record=16384 utf8
    fill utf8 record=16384 utf8
    fill long record=16384 long
    zfs snapshot -r $POOL@one
    change mixed record=16384
    change formKC record=16384
    # A micro ZAP of more than 128 KiB.
    parameter zap_micro_max_size 1048576
    zfs create $POOL/large
    (cd "$MNT/large" && touch $(seq 3000))
}

make_checksums() {
    disks 1 384
    create -O recordsize=16k $POOL "${DISKS[0]}"
    for checksum in on off fletcher2 fletcher4 sha256 noparity sha512 skein edonr blake3; do
        zfs create -o checksum=$checksum $POOL/$checksum || continue
        fill $checksum record=16384 many=20
    done
}

make_compressions() {
    disks 1 512
    create -O recordsize=16k $POOL "${DISKS[0]}"
    for compression in on off lz4 lzjb zle gzip-1 gzip-6 gzip-9 zstd zstd-1 zstd-19 zstd-fast zstd-fast-10 zstd-fast-1000; do
        zfs create -o compression=$compression $POOL/$compression
        fill $compression record=16384 many=20
    done
    zfs create -o compression=zstd-9 -o recordsize=128k $POOL/128k
    fill 128k many=20
    zfs create -o compression=lz4 -o recordsize=128k $POOL/lz4-128k
    fill lz4-128k many=20
}

make_gang() {
    disks 2 384
    create -o ashift=9 -O recordsize=128k $POOL "${DISKS[@]}"
    parameter metaslab_force_ganging 3000
    parameter metaslab_force_ganging_pct 70
    zfs create $POOL/files
    fill files posix scale=10
    zfs snapshot $POOL/files@one
    change files
    zfs create -o copies=2 -o compression=off $POOL/two
    fill two many=50 scale=5
    zfs create -o dedup=on $POOL/dedup
    fill dedup many=50 scale=5
    mkdir "$HERE/keys"
    printf 'correct horse battery' >"$HERE/keys/one.pass"
    zfs create -o encryption=on -o keyformat=passphrase -o pbkdf2iters=100000 -o "keylocation=file://$HERE/keys/one.pass" $POOL/encrypted
    fill encrypted many=50 scale=5
}

# The last transactions are in intent logs only; nothing may open it for writing.
make_zil() {
    disks 2
    mkdir "$HERE/keys"
    printf 'correct horse battery' >"$HERE/keys/one.pass"
    create -O recordsize=16k $POOL "${DISKS[0]}" log "${DISKS[1]}"
    sample files 1
    zfs create -o logbias=throughput $POOL/throughput
    zfs create -o encryption=on -o keyformat=passphrase -o pbkdf2iters=100000 -o "keylocation=file://$HERE/keys/one.pass" $POOL/encrypted
    fill encrypted record=16384 many=20
    for name in files throughput encrypted; do
        dd if=/dev/urandom of="$MNT/$name/first" bs=4k count=1 conv=fsync status=none
    done
    # Where the log had blocks, the root that the snapshot keeps names them.
    zfs snapshot -r $POOL@logged
    zpool sync $POOL
    zpool freeze $POOL
    for name in files throughput encrypted; do
        dd if=/dev/urandom of="$MNT/$name/logged" bs=50k count=3 oflag=sync status=none
        mkdir "$MNT/$name/logged-folder"
        dd if=/dev/urandom of="$MNT/$name/first" bs=1k seek=2 count=1 conv=notrunc,fsync status=none
    done
    sync
}

make_quotas() {
    disks 1
    create -O recordsize=16k $POOL "${DISKS[0]}"
    zfs create -o quota=150m -o refquota=100m -o reservation=10m -o refreservation=5m $POOL/limits
    sample limits/files 1
    zfs set userquota@1001=10m groupquota@1002=20m userobjquota@1001=100 groupobjquota@7=50 projectquota@33=30m projectobjquota@33=400 \
        defaultuserquota=1g $POOL/limits/files ||
        zfs set userquota@1001=10m groupquota@1002=20m userobjquota@1001=100 groupobjquota@7=50 projectquota@33=30m projectobjquota@33=400 $POOL/limits/files
    mkdir "$MNT/limits/files/project"
    zfs project -p 33 -s "$MNT/limits/files/project"
    python3 /rig/populate.py fill "$MNT/limits/files/project" record=16384 many=30
    zfs project -p 44 -r "$MNT/limits/files/modes"
    zfs set filesystem_limit=10 snapshot_limit=20 org.example:owner='somebody, "quoted"' $POOL/limits
    zfs allow -u 1001 snapshot,mount $POOL/limits
    zfs allow -c create $POOL
    zfs set canmount=noauto sync=disabled atime=off relatime=off devices=off exec=off setuid=off \
        primarycache=metadata secondarycache=none logbias=throughput sharenfs=off aclinherit=passthrough $POOL/limits
    zpool set comment='quotas and properties' $POOL
    zpool set bootfs=$POOL/limits/files $POOL
    zpool set org.example:pool=value $POOL
}

make_old_filesystems() {
    disks 1
    create -O recordsize=16k $POOL "${DISKS[0]}"
    for version in 1 2 3 4; do
        zfs create -o version=$version -o xattr=dir $POOL/v$version || continue
        fill v$version record=16384
        zfs snapshot $POOL/v$version@one
        change v$version record=16384
    done
    # Old znodes in a file system that was upgraded: some have become new ones.
    zfs create -o version=4 -o xattr=dir $POOL/upgraded
    fill upgraded record=16384
    zfs upgrade $POOL/upgraded
    zfs set xattr=sa $POOL/upgraded
    change upgraded record=16384
}

# Snapshots, clones of clones, promotion, deadlists, and a file that is open but gone.
make_snapshots() {
    disks 1 256
    create -O recordsize=16k $POOL "${DISKS[0]}"
    zfs create $POOL/files
    fill files record=16384 posix
    zfs snapshot $POOL/files@a
    for snapshot in b c d e; do
        change_again "$snapshot"
        zfs snapshot $POOL/files@$snapshot
    done
    zfs destroy $POOL/files@c
    zfs clone $POOL/files@b $POOL/clone
    dd if=/dev/urandom of="$MNT/clone/own" bs=64k count=20 status=none
    zfs snapshot $POOL/clone@x
    zfs clone $POOL/clone@x $POOL/grandchild
    rm -r "$MNT/grandchild/deep"
    zfs promote $POOL/clone
    zfs clone $POOL/clone@x $POOL/livelist
    dd if=/dev/urandom of="$MNT/livelist/own" bs=64k count=20 status=none
    zpool sync $POOL
    rm "$MNT/livelist/own" "$MNT/livelist/holes/many"
    exec 7>"$MNT/files/open"
    echo data >&7
    rm "$MNT/files/open"
    zfs snapshot $POOL/files@open
    exec 7>&-
    zfs hold keep $POOL/files@d
    zfs destroy -d $POOL/files@d
    zfs rename $POOL/grandchild $POOL/renamed
    zfs create -o mountpoint=none -p $POOL/a/b/c
    zfs set snapdev=visible $POOL
}

# Other writes where `change` has been before.
change_again() {
    dd if=/dev/urandom of="$MNT/files/sizes/mixed" bs=3000 count=20 seek="$((RANDOM % 100))" conv=notrunc status=none
    dd if=/dev/urandom of="$MNT/files/written-$1" bs=20000 count=10 status=none
    rm -f "$MNT"/files/many/"$RANDOM"* "$MNT"/files/names/-dash
    zpool sync $POOL
}
