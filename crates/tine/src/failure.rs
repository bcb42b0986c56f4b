//! Why the program could not do what was asked, and the exit status that says so.

use std::fmt;
use std::process::ExitCode;

/// Why the program could not do what was asked: one sentence, with the way out where there is one.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line is wrong.
    Usage(String),
    /// The work could not be done.
    Work(String),
    /// The work was done, and something is wrong with what was examined. That was told already.
    Found,
    /// Nobody reads the output any more, which is no failure: there is nothing left to do.
    Closed,
}

impl Failure {
    /// 1 for something wrong in what was examined, 2 for a wrong command line, 3 for work that could not be done.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Closed => ExitCode::SUCCESS,
            Failure::Found => ExitCode::from(1),
            Failure::Usage(_) => ExitCode::from(2),
            Failure::Work(_) => ExitCode::from(3),
        }
    }

    /// What could not be done to what, and why.
    pub(crate) fn work(doing: impl fmt::Display, why: impl fmt::Display) -> Failure {
        Failure::Work(format!("{doing}: {why}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(message) | Failure::Work(message) => f.write_str(message),
            Failure::Found => f.write_str("something is wrong"),
            Failure::Closed => f.write_str("the output was closed"),
        }
    }
}

impl From<tree::Error> for Failure {
    fn from(error: tree::Error) -> Failure {
        match error {
            tree::Error::BadOption { .. } => Failure::Usage(error.to_string()),
            _ => Failure::Work(error.to_string()),
        }
    }
}

impl From<zfs_image::Error> for Failure {
    fn from(error: zfs_image::Error) -> Failure {
        use zfs_image::Error;
        Failure::Work(match &error {
            Error::TooSmall { size, needed } => format!(
                "an image of {size} bytes is too small: the contents need {needed} bytes ({} or more)",
                round_up(*needed)
            ),
            Error::Memory { needed, .. } => {
                format!("{error}; allow more with --memory {}", round_up(*needed))
            }
            Error::CrossLink { .. } => {
                format!("{error}; with --cross-links copy each gets a file of its own")
            }
            _ => error.to_string(),
        })
    }
}

impl From<disk::Error> for Failure {
    fn from(error: disk::Error) -> Failure {
        Failure::Work(error.to_string())
    }
}

impl From<zfs_pool::Error> for Failure {
    fn from(error: zfs_pool::Error) -> Failure {
        use zfs_ondisk::crypt::KeyFormat;
        use zfs_pool::Error;
        Failure::Work(match error.cause() {
            Error::Locked(lock) if lock.tried > 0 => lock.to_string(),
            Error::Locked(lock) => {
                let option = if lock.format == KeyFormat::Passphrase { "--passphrase-file" } else { "--key-file" };
                format!("{lock}; give it with {option} FILE")
            }
            _ => error.to_string(),
        })
    }
}

impl From<vmcore::contents::Error> for Failure {
    fn from(error: vmcore::contents::Error) -> Failure {
        use vmcore::contents::Error;
        Failure::Work(match &error {
            Error::Encrypted { .. } => format!("{error}; give it with --key PEM"),
            Error::NoKey { .. } => format!("{error}; give it with --dump-key FILE"),
            _ => error.to_string(),
        })
    }
}

/// A size as an option takes it, no smaller than `size`.
fn round_up(size: u64) -> String {
    format!("{}m", size.div_ceil(1 << 20))
}
