//! What goes into an image: directories, mtree manifests and tar archives, merged into one ordered tree.
//!
//! ```no_run
//! use std::path::Path;
//! use tree::{Builder, Options};
//!
//! # fn main() -> Result<(), tree::Error> {
//! let mut builder = Builder::new(Options::default())?;
//! builder.add_directory(Path::new("root"))?;
//! let tree = builder.finish()?;
//! for entry in tree.entries(tree.root()) {
//!     println!("{} {}", String::from_utf8_lossy(entry.name), tree.node(entry.node).size);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The same files give the same tree, in the same order, from a directory, a manifest or an archive, as far as these
//! can carry it. Names are bytes. Only modification times are kept of all times.

pub mod acl;
mod builder;
mod content;
mod directory;
mod draft;
mod error;
mod flags;
mod glob;
mod host;
mod ids;
mod mode;
mod mtree;
mod names;
mod node;
mod options;
mod path;
mod places;
mod source;
mod tar;
mod tree;
mod xattr;
mod xattr_queue;

pub use acl::{Ace, AceKind, Who};
pub use builder::Builder;
pub use content::Content;
pub use error::{Error, PathBytes, Warning};
pub use glob::Pattern;
pub use ids::Principal;
pub use mode::ModeChange;
pub use mtree::ManifestError;
pub use node::{Kind, Namespace, Node, NodeId, Timestamp, Xattr};
pub use options::{MtimeRule, Options};
pub use tar::ArchiveError;
pub use tree::{Entry, Tree};
