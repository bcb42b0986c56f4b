# Kinds of pools for jobs/make-variety.sh that differ in their devices, features and age: the
# function make_KIND makes pool $POOL on the devices that `disks` gave, in folder $HERE.

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
    # zpool knows a spare by a direct read, which files in memory do not allow.
    local folder=/share/spare.disks
    mkdir "$folder"
    HERE=$folder disks 4
    create -o ashift=12 $POOL raidz1 "${DISKS[@]:0:3}" spare "${DISKS[3]}"
    sample before 1
    zpool offline $POOL "${DISKS[1]}"
    zpool replace -w $POOL "${DISKS[1]}" "${DISKS[3]}"
    sample after 2
    cd / && zpool export $POOL
    cp --sparse=always "$folder"/*.img "$HERE"
    rm -r "$folder"
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
