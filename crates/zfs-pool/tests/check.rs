//! The check finds nothing wrong with what OpenZFS wrote, and all that is broken.

mod support;

use zfs_pool::Pool;
use zfs_pool::check::check;

/// Checks a pool of the corpus, which `zdb -bcc` found to be clean.
fn expect_sound(test: &str, image: &str) {
    let Some(unpacked) = support::unpack(test, image) else { return };
    let pool = Pool::open_paths(&unpacked.images).unwrap();
    let report = check(&pool).unwrap();
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings[..findings.len().min(40)].join("\n"));
    assert_eq!(report.bytes, report.allocated, "what is referenced is what is allocated");
    assert!(report.blocks > 100 && report.objects > 50, "{report:?}");
}

#[test]
fn a_pool_with_default_features_is_sound() {
    expect_sound("check default", "default");
}

#[test]
fn every_compression_is_sound() {
    expect_sound("check comp", "comp");
}

#[test]
fn a_mirror_is_sound() {
    expect_sound("check mirror", "mirror");
}

#[test]
fn raidz_is_sound() {
    expect_sound("check raidz", "rz1");
}

#[test]
fn snapshots_and_clones_are_sound() {
    expect_sound("check snap", "snap");
}

#[test]
fn a_tree_of_datasets_is_sound() {
    expect_sound("check tree", "tree");
}

#[test]
fn extended_attributes_are_sound() {
    expect_sound("check xattr", "xattr");
}

#[test]
fn a_root_on_zfs_pool_is_sound() {
    expect_sound("check zroot", "zroot");
}
