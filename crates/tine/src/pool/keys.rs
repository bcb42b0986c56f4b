//! Keys of encrypted datasets, from files.

use std::fs::File;
use std::io::{Read, stdin};
use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;
use zfs_pool::{Pool, Secret};

use crate::failure::Failure;

/// Bytes beyond which a file holds neither a passphrase nor a key: OpenZFS takes passphrases of 512 bytes.
const MOST_BYTES: u64 = 4096;

/// What unlocks encrypted datasets.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Encryption")]
pub(crate) struct KeyFiles {
    /// A file with a passphrase in its first line, or `-` for standard input. Each passphrase that is given is tried
    /// on each encryption root with keyformat=passphrase whose datasets are read
    #[arg(long = "passphrase-file", value_name = "FILE", global = true)]
    passphrases: Vec<PathBuf>,
    /// A file with a key, or `-` for standard input: 32 bytes, or 64 hexadecimal digits. Each key that is given is
    /// tried on each encryption root with keyformat=raw or keyformat=hex whose datasets are read
    #[arg(long = "key-file", value_name = "FILE", global = true)]
    keys: Vec<PathBuf>,
}

impl KeyFiles {
    /// Reads the files and gives what is in them to the pool.
    pub(crate) fn unlock(&self, pool: &Pool) -> Result<(), Failure> {
        let from_stdin = |path: &&PathBuf| path.as_os_str() == "-";
        if self.passphrases.iter().chain(&self.keys).filter(from_stdin).count() > 1 {
            return Err(Failure::Usage("only one passphrase or key can come from standard input".into()));
        }
        for path in &self.passphrases {
            pool.add_secret(Secret::passphrase_in(&contents(path)?));
        }
        for path in &self.keys {
            let key = Secret::key_in(&contents(path)?).ok_or_else(|| {
                let why = "this is no key: 32 bytes or 64 hexadecimal digits are expected (a passphrase is given with --passphrase-file)";
                Failure::work(path.display(), why)
            })?;
            pool.add_secret(key);
        }
        Ok(())
    }
}

fn contents(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed = |error| Failure::work(path.display(), error);
    let mut contents = Zeroizing::new(Vec::with_capacity(MOST_BYTES as usize + 1));
    let source: &mut dyn Read =
        if path.as_os_str() == "-" { &mut stdin().lock() } else { &mut File::open(path).map_err(failed)? };
    source.take(MOST_BYTES + 1).read_to_end(&mut contents).map_err(failed)?;
    if contents.len() as u64 > MOST_BYTES {
        return Err(Failure::work(path.display(), "too long for a passphrase or a key"));
    }
    Ok(contents)
}
