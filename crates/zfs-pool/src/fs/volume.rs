//! Volumes: block devices in a pool.

use std::sync::Arc;

use zfs_ondisk::object::ObjectId;
use zfs_ondisk::objset::Kind;

use super::Contents;
use crate::dataset::Dataset;
use crate::error::Error;
use crate::object::ObjectSet;

/// The object with a volume's bytes (`ZVOL_OBJ`).
pub(crate) const DATA: ObjectId = ObjectId(1);
/// The object with its properties (`ZVOL_ZAP_OBJ`).
pub(crate) const PROPERTIES: ObjectId = ObjectId(2);

/// A volume or a snapshot of one.
#[derive(Clone)]
pub struct Volume {
    contents: Arc<Contents>,
}

impl Volume {
    /// Opens a volume.
    ///
    /// # Errors
    /// [`Error::NotA`] if it is none, or if what it is cannot be read.
    pub fn open(dataset: &Dataset) -> Result<Self, Error> {
        match dataset.objects()? {
            Some(set) => Self::from_objects(&set),
            None => Err(Error::NotA("volume")),
        }
    }

    /// Opens the volume that is in an object set.
    ///
    /// # Errors
    /// As [`Volume::open`].
    pub fn from_objects(set: &ObjectSet) -> Result<Self, Error> {
        if set.kind() != Some(Kind::Volume) {
            return Err(Error::NotA("volume"));
        }
        let properties = set.object(PROPERTIES)?;
        let size = properties.zap()?.number("size")?.ok_or_else(|| {
            properties.failed(Error::Malformed {
                what: "the entry 'size' of a volume",
                found: "missing".into(),
                expected: "its size",
            })
        })?;
        Ok(Self { contents: Arc::new(Contents::new(set.object(DATA)?, size)) })
    }

    /// Its bytes.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }
}
