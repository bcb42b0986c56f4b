//! How a dump in a file is opened: its keys and its temporary space.

use std::fs::File;
use std::io::{Read, stdin};
use std::path::{Path, PathBuf};

use clap::Args;
use vmcore::contents::{self, Contents};
use vmcore::files::Files;
use vmcore::private_key::{self, PrivateKey};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::values;

/// The most bytes of a file with a key or a passphrase.
const MOST: u64 = 1 << 20;

/// How the dump is read.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Reading")]
pub(crate) struct Reading {
    /// The RSA private key that an encrypted dump is decrypted with, a PEM file (PKCS#1 or PKCS#8)
    #[arg(long, value_name = "PEM")]
    key: Option<PathBuf>,
    /// A file with the passphrase of the private key in its first line, or `-` for standard input
    #[arg(long, value_name = "FILE", requires = "key")]
    passphrase_file: Option<PathBuf>,
    /// The file with the dump's own key [default: key.N beside vmcore.N]
    #[arg(long, value_name = "FILE")]
    dump_key: Option<PathBuf>,
    /// How much temporary space may be used to unpack a dump that cannot be read in place
    #[arg(long, value_name = "SIZE", value_parser = values::size, default_value = "64g")]
    scratch: u64,
}

impl Reading {
    /// The dump in the file `path`, and those beside it.
    pub(crate) fn files(&self, path: &Path) -> Result<Files, Failure> {
        let mut files =
            Files::find(path).map_err(|error| Failure::work(format_args!("cannot read {}", path.display()), error))?;
        if let Some(key) = &self.dump_key {
            if !key.is_file() {
                return Err(Failure::work(format_args!("cannot read {}", key.display()), "there is no such file"));
            }
            files.read_key(key);
        }
        Ok(files)
    }

    /// How its data are read.
    pub(crate) fn options(&self) -> Result<contents::Options, Failure> {
        Ok(contents::Options { private_key: self.private_key()?, scratch: self.scratch, scratch_directory: None })
    }

    /// Its data.
    pub(crate) fn contents(&self, files: &Files) -> Result<Contents, Failure> {
        Ok(Contents::of(files, &self.options()?)?)
    }

    fn private_key(&self) -> Result<Option<PrivateKey>, Failure> {
        let Some(path) = &self.key else { return Ok(None) };
        let text = read(path)?;
        let passphrase = self.passphrase_file.as_deref().map(read).transpose()?;
        // The line break is no part of it.
        let passphrase = passphrase.as_ref().map(|text| text.split(|&byte| byte == b'\n').next().unwrap_or_default());
        let passphrase = passphrase.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let text = Zeroizing::new(String::from_utf8_lossy(&text).into_owned());
        match PrivateKey::from_pem(&text, passphrase) {
            Ok(key) => Ok(Some(key)),
            Err(private_key::Error::Passphrase) => Err(Failure::work(
                path.display(),
                format_args!("{}: give it with --passphrase-file FILE", private_key::Error::Passphrase),
            )),
            Err(error) => Err(Failure::work(path.display(), error)),
        }
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed = |error| Failure::work(format_args!("cannot read {}", path.display()), error);
    let mut bytes = Zeroizing::new(Vec::with_capacity(16 << 10));
    let source: &mut dyn Read =
        if path.as_os_str() == "-" { &mut stdin().lock() } else { &mut File::open(path).map_err(failed)? };
    source.take(MOST).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
