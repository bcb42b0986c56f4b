//! Extended attributes: in the system attributes, in a directory, or in both.

use zfs_ondisk::nvlist::{NvList, Value};

use super::File;
use crate::error::Error;

/// The longest value in bytes that is read at once.
const MAX_VALUE: u64 = 64 << 20;

/// The name and value of an extended attribute.
pub type Xattr = (Vec<u8>, Vec<u8>);

impl File {
    /// The extended attributes, name and value, as they are stored: those in the
    /// system attributes first.
    ///
    /// # Errors
    /// If they cannot be read, or a value is longer than 64 MiB.
    pub fn xattrs(&self) -> Result<Vec<Xattr>, Error> {
        let mut found = self.system_xattrs()?;
        if let Some(mut directory) = self.xattr_dir()? {
            for entry in directory.entries() {
                let entry = entry?;
                let file = self.file_system().file(entry.object)?;
                found.push((entry.name, file.whole(MAX_VALUE)?));
            }
        }
        Ok(found)
    }

    /// Those in the system attributes.
    pub(crate) fn system_xattrs(&self) -> Result<Vec<Xattr>, Error> {
        let Some(packed) = self.stored().xattrs.as_deref().filter(|packed| !packed.is_empty()) else {
            return Ok(Vec::new());
        };
        let list = NvList::decode(packed).map_err(|error| self.object().failed(error.into()))?;
        list.iter()
            .map(|(name, value)| match value {
                Value::ByteArray(bytes) => Ok((name.to_vec(), bytes.clone())),
                other => Err(self.object().failed(Error::Malformed {
                    what: "type of an extended attribute",
                    found: other.type_name().to_owned(),
                    expected: "a byte array",
                })),
            })
            .collect()
    }
}
