//! `tine pool` and keys of encrypted datasets: what is given, what is missing, what is wrong.

mod common;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::command::{self, Ran};
use tempfile::TempDir;

/// Files in which the pool's keys are, and the pool.
struct Pool(TempDir);

impl Pool {
    fn new() -> Self {
        let kept = common::project().join("crates/zfs-pool/tests/data/encrypted");
        let folder = tempfile::tempdir().expect("a folder can be made");
        for key in ["pass", "changed", "raw", "hex", "sums"] {
            fs::copy(kept.join(key), folder.path().join(key)).expect("the key can be copied");
        }
        let packed = File::open(kept.join("encrypted.img.zst")).expect("the pool is kept with the tests");
        let mut image = File::create(folder.path().join("encrypted.img")).expect("a file can be made");
        zstd::stream::copy_decode(packed, &mut image).expect("there is room for the pool");
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tine"));
        command.arg("pool").args(words.split(' ')).args(["-p", "encrypted.img"]).current_dir(self.0.path());
        command
    }

    #[track_caller]
    fn run(&self, words: &str) -> Ran {
        command::run(&mut self.command(words), Duration::from_secs(120))
    }

    /// The one line that is said when it cannot be done.
    #[track_caller]
    fn refused(&self, words: &str, code: i32) -> String {
        let ran = self.run(words).ends_with(code);
        assert_eq!(ran.text(), "");
        ran.errors().trim_end().to_owned()
    }
}

#[test]
fn each_form_of_key_unlocks_its_datasets() {
    let pool = Pool::new();
    for (words, expected) in [
        ("cat enc/gcm256/child:/short --passphrase-file pass", "short\n"),
        ("cat enc/clone:/new --passphrase-file pass", "cloned\n"),
        ("cat enc/gcm192@one:/short --passphrase-file changed", "short\n"),
        ("cat enc/ccm128:/short --key-file raw", "short\n"),
        ("cat enc/received@one:/short --key-file raw", "short\n"),
        ("cat enc/ccm192:/short --key-file hex", "short\n"),
        ("cat enc/gcm128:/short --passphrase-file pass --key-file raw --key-file hex", "short\n"),
    ] {
        assert_eq!(pool.run(words).succeeds().text(), expected, "{words}");
    }
}

#[test]
fn a_passphrase_comes_from_standard_input_too() {
    let pool = Pool::new();
    let mut command = pool.command("cat enc/gcm256:/short --passphrase-file -");
    let input = Stdio::from(File::open(pool.path("pass")).expect("the passphrase is there"));
    let output = command.stdin(input).output().expect("the program runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "changed\n");
    let both = pool.refused("cat enc/gcm256:/short --passphrase-file - --key-file -", 2);
    assert_eq!(both, "tine: only one passphrase or key can come from standard input");
}

#[test]
fn a_missing_key_is_said_with_the_option_that_gives_it() {
    let pool = Pool::new();
    assert_eq!(
        pool.refused("cat enc/gcm256/child@one:/short --key-file raw", 3),
        "tine: enc/gcm256/child@one is encrypted, and the passphrase of its encryption root enc/gcm256 was not given; \
         give it with --passphrase-file FILE"
    );
    assert_eq!(
        pool.refused("ls enc/ccm128:/", 3),
        "tine: enc/ccm128 is encrypted, and its key was not given; give it with --key-file FILE"
    );
}

#[test]
fn a_wrong_key_is_said_plainly() {
    let pool = Pool::new();
    let said = |words| pool.refused(words, 3);
    assert_eq!(said("ls enc/clone:/ --passphrase-file changed"), "tine: the passphrase is wrong for enc/gcm256");
    assert_eq!(said("ls enc/ccm128:/ --key-file hex"), "tine: the key is wrong for enc/ccm128");
    assert_eq!(
        said("ls enc/ccm128:/ --key-file pass"),
        "tine: pass: this is no key: 32 bytes or 64 hexadecimal digits are expected (a passphrase is given with \
         --passphrase-file)"
    );
    assert_eq!(said("ls enc/ccm128:/ --key-file sums"), "tine: sums: too long for a passphrase or a key");
    assert_eq!(said("ls enc/ccm128:/ --key-file nowhere"), "tine: nowhere: No such file or directory (os error 2)");
    // Nothing is wrong with the pool, but what the user had in mind was not done.
    let ran = pool.run("verify enc --passphrase-file hex").ends_with(3);
    assert!(ran.text().contains("enc: sound") && ran.errors().contains("the passphrase is wrong for enc/"), "{ran}");
    pool.run("verify enc --passphrase-file changed").succeeds();
}
