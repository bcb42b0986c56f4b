# Makes pools of many kinds, each in /share/KIND with what the kernel says of it.
#   KINDS   the kinds, separated by spaces (default: all; see the functions make_*)
# A kind appears when it is complete:
#   *.img           its devices
#   manifest.txt    for each file system and snapshot `## NAME`, then what manifest.py says
#                   (absent from it: what cannot be mounted)
#   holes.txt       the same with the holes
#   volumes.txt     name, size and SHA-256 of volumes, as they were when written
#   list.txt, properties.txt, pool.txt, space.txt, status.txt, history.txt
#                   zfs list, zfs get, zpool get, zfs userspace, zpool status, zpool history
#   keys/           pass phrases (*.pass) and keys (*.key) of encrypted datasets
#   commands.txt    how it was made
# One that fails leaves KIND.failed and harms no other. The pool's name is "tank".
. /rig/lib.sh || exit
POOL=tank
WORK=/tmp/pools
PARAMETERS=/sys/module/zfs/parameters

### What the kinds are made of

# Adds $1 blank devices of $2 MiB (default 192) and names them in DISKS.
disks() {
    local number
    DISKS=()
    for ((number = 0; number < $1; number++)); do
        truncate -s "${2:-192}M" "$HERE/disk$number.img"
        DISKS+=("$HERE/disk$number.img")
    done
}

# Creates the pool of the words given, file systems mounted below $MNT.
create() {
    zpool create -f -R "$MNT" -o cachefile=none -O compression=lz4 -O xattr=sa -O acltype=posix -O mountpoint=/ "$@"
}

fill() {
    python3 /rig/populate.py fill "$MNT/$1" "${@:2}"
}

change() {
    python3 /rig/populate.py change "$MNT/$1" "${@:2}"
    zpool sync $POOL
}

# A file system with blocks of 16k, filled, in snapshot `one`, then changed.
sample() {
    zfs create -o recordsize=16k "$POOL/$1"
    fill "$1" record=16384 posix "seed=${2:-1}"
    zfs snapshot "$POOL/$1@one"
    change "$1" record=16384 "seed=${2:-1}"
}

# The same through the root file system's own place, where the pool may have nothing else.
samples() {
    sample files
    zfs snapshot -r $POOL@two
    rm -r "$MNT/files/many" "$MNT/files/renamed-"*
    zpool sync $POOL
}

# A volume of 8 MiB with the properties given, written, its state now in volumes.txt.
volume() {
    local before
    before=$(ls /sys/block)
    zfs create -V 8M "${@:2}" "$POOL/$1"
    for _ in $(seq 100); do
        # Without udev, the disk that has come is the volume.
        DEVICE=$(comm_new "$before")
        [ -z "$DEVICE" ] || break
        sleep 0.1
    done
    [ -b "/dev/$DEVICE" ]
    DEVICE=/dev/$DEVICE
    python3 /rig/populate.py volume "$DEVICE" 1
    volume_is "$POOL/$1" "$DEVICE"
}

comm_new() {
    local disk
    for disk in /sys/block/zd*; do
        [ ! -e "$disk" ] || grep -qxF "${disk##*/}" <<<"$1" || echo "${disk##*/}"
    done | head -n 1
}

volume_is() {
    zpool sync $POOL
    printf '%s\t%s\t%s\n' "$1" "$(cat "/sys/block/${2##*/}/size")" "$(sha256sum <"$2" | cut -d ' ' -f 1)" |
        awk -F '\t' -v OFS='\t' '{ $2 *= 512; print }' >>"$HERE/volumes.txt"
}

# Sets module parameter $1 to $2 until the kind is made.
parameter() {
    echo "$1=$(cat "$PARAMETERS/$1")" >>/tmp/parameters
    echo "$2" >"$PARAMETERS/$1"
}

restore_parameters() {
    local line
    [ -e /tmp/parameters ] || return 0
    tac /tmp/parameters | while read -r line; do
        echo "${line#*=}" >"$PARAMETERS/${line%%=*}"
    done
    rm /tmp/parameters
}

### The kinds

make_raidz1() {
    disks 3
    create -o ashift=12 $POOL raidz1 "${DISKS[@]}"
    samples
}

make_raidz2() {
    disks 5
    create -o ashift=9 $POOL raidz2 "${DISKS[@]}"
    samples
}

make_raidz3() {
    disks 6
    create -o ashift=12 $POOL raidz3 "${DISKS[@]}"
    samples
}

make_raidz1_expanded() {
    disks 4
    create -o ashift=12 $POOL raidz1 "${DISKS[@]:0:3}"
    sample before 1
    zpool attach -w $POOL raidz1-0 "${DISKS[3]}"
    sample after 2
    change before record=16384 seed=3
    zfs snapshot -r $POOL@two
    zpool status | grep -q expanded
}

make_raidz2_expanded_twice() {
    disks 6
    create -o ashift=9 $POOL raidz2 "${DISKS[@]:0:4}"
    sample before 1
    zpool attach -w $POOL raidz2-0 "${DISKS[4]}"
    sample between 2
    zpool attach -w $POOL raidz2-0 "${DISKS[5]}"
    sample after 3
}

# Exported in the middle of an expansion.
make_raidz1_expanding() {
    disks 4
    create -o ashift=12 $POOL raidz1 "${DISKS[@]:0:3}"
    sample before 1
    parameter raidz_expand_max_reflow_bytes 1000000
    zpool attach $POOL raidz1-0 "${DISKS[3]}"
    sleep 5
    sample during 2
    zpool status | grep -q 'in progress'
}

make_draid1() {
    disks 6
    create -o ashift=12 $POOL draid1:3d:6c:1s "${DISKS[@]}"
    samples
}

make_draid2() {
    disks 8
    create -o ashift=9 $POOL draid2:4d:8c:2s "${DISKS[@]}"
    samples
}

# A disk's place taken by distributed spare space.
make_draid1_spare() {
    disks 7
    create -o ashift=12 $POOL draid1:2d:7c:1s "${DISKS[@]}"
    sample before 1
    zpool offline $POOL "${DISKS[2]}"
    zpool replace -w $POOL "${DISKS[2]}" draid1-0-0
    sample after 2
}

make_mirror3() {
    disks 3
    create $POOL mirror "${DISKS[@]}"
    samples
}

# One side has missed the last transactions.
make_mirror_stale() {
    disks 2
    create $POOL mirror "${DISKS[@]}"
    sample before 1
    zpool offline $POOL "${DISKS[1]}"
    sample after 2
}

# A side that was detached still has its data.
make_mirror_detached() {
    disks 3
    create $POOL mirror "${DISKS[@]}"
    sample before 1
    zpool detach $POOL "${DISKS[2]}"
    sample after 2
}

make_stripe3() {
    disks 3
    create $POOL "${DISKS[@]}"
    samples
}

# A disk whose place a hot spare has taken.
make_spare() {
    disks 4
    create -o ashift=12 $POOL raidz1 "${DISKS[@]:0:3}" spare "${DISKS[3]}"
    sample before 1
    zpool offline $POOL "${DISKS[1]}"
    zpool replace -w $POOL "${DISKS[1]}" "${DISKS[3]}"
    sample after 2
}

make_removed() {
    disks 3
    create -o ashift=12 $POOL "${DISKS[@]}"
    sample before 1
    # Small segments: the mapping has many entries, and blocks lie across several.
    parameter zfs_remove_max_segment 40000
    parameter vdev_removal_max_span 0
    zpool remove -w $POOL "${DISKS[1]}"
    sample after 2
    change before record=16384 seed=3
    zpool status | grep -q 'remove:'
}

# Blocks of the first removed disk are on the second, and those on the third.
make_removed_twice() {
    disks 4
    create -o ashift=9 $POOL "${DISKS[@]:0:2}"
    sample before 1
    parameter zfs_remove_max_segment 30000
    parameter vdev_removal_max_span 0
    zpool remove -w $POOL "${DISKS[0]}"
    sample between 2
    zpool add -f $POOL "${DISKS[2]}" "${DISKS[3]}"
    zpool remove -w $POOL "${DISKS[1]}"
    zpool remove -w $POOL "${DISKS[2]}"
    sample after 3
    change before record=16384 seed=3
}

# Exported in the middle of a removal.
make_removing() {
    disks 3
    create -o ashift=12 $POOL "${DISKS[@]}"
    sample before 1
    # A segment in each transaction group.
    parameter zfs_removal_suspend_progress 1
    parameter zfs_remove_max_segment 40000
    zpool remove $POOL "${DISKS[1]}"
    sleep 8
    sample during 2
    change before record=16384 seed=3
    zpool status | grep -q 'in progress'
}

make_classes() {
    disks 7
    create -o ashift=12 $POOL mirror "${DISKS[0]}" "${DISKS[1]}" special "${DISKS[2]}" dedup "${DISKS[3]}" \
        log "${DISKS[4]}" cache "${DISKS[5]}" spare "${DISKS[6]}"
    zfs set special_small_blocks=4k dedup=on $POOL
    sample files 1
    sample same 1
    zfs create -o special_small_blocks=16k -o recordsize=16k -o sync=always $POOL/special
    fill special record=16384 many=50
}

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
    python3 - "$MNT/from" "$MNT/to" "$MNT/from/again" <<'END'
import os, stat, sys
source, *targets = sys.argv[1:]
names = [n for n in os.listdir(source + "/sizes")] + [None]
for target in targets:
    os.makedirs(target, exist_ok=True)
    for name in names:
        path = source + ("/sizes/" + name if name else "/holes/far")
        with open(path, "rb") as a, open(target + "/" + (name or "far"), "wb") as b:
            left = os.fstat(a.fileno()).st_size
            while left:
                done = os.copy_file_range(a.fileno(), b.fileno(), left)
                if not done: break
                left -= done
END
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
    encrypted ccm128 hex.key aes-128-ccm hex
    encrypted gcm192 raw.key aes-192-gcm raw -o xattr=dir
    encrypted ccm256 other.key aes-256-ccm raw -o compression=off -o dnodesize=auto
    encrypted gcm128 hex.key aes-128-gcm hex -o compression=zstd -o recordsize=128k -o copies=2
    encrypted ccm192 raw.key aes-192-ccm raw -o checksum=sha512 -o recordsize=512
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

# encrypted NAME KEY ENCRYPTION FORMAT OPTIONS...: with a child, a snapshot and changes.
encrypted() {
    zfs create -o encryption="$3" -o keyformat="$4" -o "keylocation=file://$HERE/keys/$2" "${@:5}" "$POOL/$1"
    fill "$1" record=16384 posix many=60 scale=20
    sample "$1/child" 7
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
    fill mixed record=16384 many=2000
    fill formD record=16384 utf8
    fill formKC record=16384 utf8
    fill utf8 record=16384 utf8
    fill long record=16384 long
    zfs snapshot -r $POOL@one
    change mixed record=16384 many=2000
    change formKC record=16384
    # A micro ZAP of more than 128 KiB.
    parameter zap_micro_max_size 1048576
    zfs create $POOL/large
    fill large record=16384 many=5000
    rm -r "$MNT/large/many"
    mkdir "$MNT/large/short"
    (cd "$MNT/large/short" && touch $(seq 3000))
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

make_gang_raidz() {
    disks 4
    create -o ashift=12 -O recordsize=128k $POOL raidz1 "${DISKS[@]}"
    parameter metaslab_force_ganging 20000
    parameter metaslab_force_ganging_pct 60
    zfs create $POOL/files
    fill files scale=10
}

make_checkpoint() {
    disks 2
    create $POOL "${DISKS[@]}"
    sample files 1
    zpool checkpoint $POOL
    change files record=16384 seed=2
    sample later 2
    zfs destroy $POOL/files@one
    rm -r "$MNT/files/deep"
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
    zfs set canmount=noauto sync=disabled atime=off relatime=off devices=off exec=off setuid=off snapdir=visible \
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

old_pool() {
    disks 2
    zpool create -f -d -o "version=$1" -R "$MNT" -o cachefile=none -O mountpoint=/ $POOL mirror "${DISKS[@]}"
    zfs create -o recordsize=16k $POOL/files
    fill files record=16384 plain
    zfs snapshot $POOL/files@one
    change files record=16384 plain
    zfs clone $POOL/files@one $POOL/clone
}

make_version28() { old_pool 28; }
make_version15() { old_pool 15; }
make_version1() { old_pool 1; }

make_grub2() {
    disks 1
    zpool create -f -o compatibility=grub2 -R "$MNT" -o cachefile=none -O mountpoint=/ $POOL "${DISKS[0]}"
    samples
}

make_no_features() {
    disks 1
    zpool create -f -d -R "$MNT" -o cachefile=none -O mountpoint=/ $POOL "${DISKS[0]}"
    samples
}

make_many() {
    disks 1
    create -O canmount=off $POOL "${DISKS[0]}"
    local group number
    for ((group = 0; group < 10; group++)); do
        zfs create -o canmount=noauto $POOL/group$group
        for ((number = 0; number < 19; number++)); do
            zfs create -u -o canmount=noauto $POOL/group$group/set$number
        done
    done
    for number in one two three four; do
        zfs snapshot -r $POOL@$number
    done
    RECORD=properties
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

# Makes a partition table, with the pool in its first partition.
make_partitioned() {
    disks 1 256
    local loop
    loop=$(losetup -f)
    losetup "$loop" "${DISKS[0]}"
    create $POOL "$loop"
    samples
    zpool export $POOL
    losetup -d "$loop"
}

### Around each kind

record() {
    local name kind origin
    zpool status -v $POOL >"$HERE/status.txt"
    zpool get -Hp all $POOL >"$HERE/pool.txt"
    zpool history -il $POOL >"$HERE/history.txt"
    zfs list -Hp -t all -r -o name,type,used,available,referenced,mountpoint,origin,creation,createtxg,guid $POOL >"$HERE/list.txt"
    zfs get -Hpr -t all all $POOL >"$HERE/properties.txt"
    [ "$RECORD" = all ] || return 0
    [ ! -d "$HERE/keys" ] || zfs load-key -a >/dev/null
    zfs get -Hpr -t all all $POOL >"$HERE/properties.txt"
    : >"$HERE/manifest.txt"
    : >"$HERE/holes.txt"
    : >"$HERE/space.txt"
    mkdir -p /tmp/view
    zfs list -H -t filesystem,snapshot -r -o name,type,origin $POOL | while IFS=$'\t' read -r name kind origin; do
        [ "$(zfs list -H -o type "${name%@*}")" = filesystem ] || continue
        mount.zfs -o ro,zfsutil "$name" /tmp/view 2>/tmp/refused || mount.zfs -o ro "$name" /tmp/view || continue
        echo "## $name" >>"$HERE/manifest.txt"
        python3 /rig/manifest.py make --lists $PROBE /tmp/view >>"$HERE/manifest.txt"
        echo "## $name" >>"$HERE/holes.txt"
        python3 /rig/manifest.py holes /tmp/view >>"$HERE/holes.txt"
        # Of a pool imported for reading, only while it is mounted: else OpenZFS 2.3.2 waits
        # for a transaction group that never comes.
        for of in user group project; do
            zfs ${of}space -Hpn -o type,name,used,quota,objused,objquota "$name" 2>/dev/null | sed "s|^|$name\t|" || true
        done >>"$HERE/space.txt"
        umount /tmp/view
    done
}

# Makes kind $1, in a process of its own.
make() {
    HERE=$WORK/$1
    RECORD=all PROBE=
    mkdir -p "$HERE"
    (
        set -eE -o pipefail
        trap 'echo "line $LINENO: \"$BASH_COMMAND\" ended with $?"' ERR
        # The words of every command, but not what they say.
        exec 9>"$HERE/commands.txt"
        BASH_XTRACEFD=9
        PS4='+'
        set -x
        "make_$1"
        if zpool list $POOL >/dev/null 2>&1; then
            cd / && zpool export $POOL
        fi
        set +x
        restore_parameters
        case $1 in raidz1_expanding) parameter raidz_expand_max_reflow_bytes 1000000 ;; removing) parameter zfs_removal_suspend_progress 1 ;; redacted) parameter zfs_allow_redacted_dataset_mount 1 ;; esac
        local devices=(-d "$HERE")
        [ "$1" != partitioned ] || { losetup /dev/loop7 "$HERE/disk0.img" && devices=(-d /dev/loop7); }
        zpool import -N -o readonly=on -R "$MNT" "${devices[@]}" $POOL
        record
        zpool export $POOL
        [ "$1" != partitioned ] || losetup -d /dev/loop7
    ) >"$HERE/output.txt" 2>&1
    local status=$?
    if [ $status != 0 ]; then
        zpool export -f $POOL 2>/dev/null
    fi
    restore_parameters
    return $status
}

mapfile -t all < <(declare -F | sed -n 's/^declare -f make_//p')
failed=0
for kind in ${KINDS:-${all[*]}}; do
    step "$kind"
    # In no condition: `set -e` would not hold there.
    make "$kind"
    if [ $? = 0 ]; then
        rm -rf "/share/$kind.part" "/share/$kind" "/share/$kind.failed"
        rm -f "$WORK/$kind/output.txt"
        must cp -r --sparse=always "$WORK/$kind" "/share/$kind.part"
        must mv "/share/$kind.part" "/share/$kind"
    else
        cat "$WORK/$kind/output.txt"
        cp "$WORK/$kind/output.txt" "/share/$kind.failed"
        echo "FAILED $kind"
        failed=1
    fi
    rm -rf "${WORK:?}/$kind"
done
finish
exit $failed
