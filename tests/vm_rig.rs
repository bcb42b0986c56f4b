//! The small virtual machine itself: it must tell good pools from bad ones before its
//! word on ours counts.

mod common;

use std::fs::{self, File};
use std::process::Command;
use std::time::Duration;

use common::command;
use common::source_tree::Recipe;
use common::vm::Vm;
use common::zdb::Zdb;

/// A small tree, and its archive and description in a folder to share.
fn share_tree(vm: &Vm, folder: &std::path::Path) -> std::path::PathBuf {
    let tree = folder.join("tree");
    let recipe = Recipe { block_sizes: vec![16 << 10], many: 300, ..Recipe::default() };
    recipe.make(&tree).expect("the tree can be made");
    let share = folder.join("share");
    fs::create_dir(&share).expect("a new folder");
    let mut tar = Command::new("tar");
    tar.args(["--create", "--format=posix", "--sparse", "--numeric-owner", "--xattrs"]);
    tar.args(["--xattrs-include=*", "--file"]).arg(share.join("tree.tar"));
    tar.arg("--directory").arg(&tree).arg(".");
    command::run(&mut tar, Duration::from_secs(120)).succeeds();
    vm.describe(&tree, &share);
    share
}

#[test]
fn a_pool_made_by_the_kernel_is_found_good_and_a_wrong_manifest_is_noticed() {
    let test = "a_pool_made_by_the_kernel_is_found_good_and_a_wrong_manifest_is_noticed";
    let Some(vm) = Vm::find(test) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let share = share_tree(&vm, folder.path());
    let pools = folder.path().join("pools");
    fs::create_dir(&pools).expect("a new folder");
    let image = pools.join("tank.img");
    File::create(&image).and_then(|file| file.set_len(128 << 20)).expect("room for an image");

    vm.job("make-pool", &share)
        .disk(&image)
        .set("POOL", "tank")
        .set("TREE", "/share/tree.tar")
        .set("CREATE", "-O compression=lz4 -O recordsize=16k -O xattr=sa -O atime=off")
        .run()
        .succeeds();
    if let Some(zdb) = Zdb::find(test, &pools, "tank") {
        let blocks = zdb.blocks().expect("a pool without leaks");
        assert!(blocks.pointers > 100 && blocks.allocated > 0, "{blocks:?}");
        let objects = zdb.objects().expect("readable objects");
        assert!(objects.contains("ZFS plain file"), "no files in {objects}");
    }

    let verify = || {
        vm.job("verify", &share)
            .disk(&image)
            .set("POOL", "tank")
            .set("MANIFEST", "/share/manifest")
            .set("HOLES", "/share/holes")
            .set("PROPERTIES", "/share/properties")
            .set("OBJECTS", "yes")
    };
    let properties = "tank\trecordsize\t16384\ntank\tatime\toff\ntank\tcomment\t-\n";
    fs::write(share.join("properties"), properties).expect("the share can be written to");
    verify().run().succeeds();

    let manifest = fs::read(share.join("manifest")).expect("a manifest");
    let wrong = String::from_utf8(manifest).expect("text").replacen("\t0640\t", "\t0600\t", 1);
    fs::write(share.join("manifest"), wrong).expect("the share can be written to");
    let noticed = verify().run().ends_with(1);
    assert!(noticed.text().contains("FAILED in \"compare names"), "{noticed}");
}

#[test]
fn the_exit_status_the_output_and_the_end_of_a_guest_come_back() {
    let test = "the_exit_status_the_output_and_the_end_of_a_guest_come_back";
    let Some(vm) = Vm::find(test) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let job = |text: &str| {
        let script = folder.path().join("job.sh");
        fs::write(&script, text).expect("a job script");
        vm.script(&script, folder.path())
    };

    let ran = job("echo \"$WORD\"; exit 7").set("WORD", "it's here").run().ends_with(7);
    assert_eq!(ran.text(), "it's here\n");

    let ran = job("echo before; echo c >/proc/sysrq-trigger; sleep 60").run().ends_with(125);
    assert!(ran.text().starts_with("before\n") && ran.text().contains("panic"), "{ran}");

    let ran = job("sleep 600").limit(Duration::from_secs(25)).run().ends_with(124);
    assert!(ran.elapsed < Duration::from_secs(600), "{ran}");
}
