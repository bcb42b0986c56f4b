//! ZAPs.

use zfs_ondisk::zap::{Entry, HashBits, hash_name};

use super::Checker;
use super::batch::Batch;
use super::findings::Kind;
use crate::error::Error;
use crate::object::Object;

impl Checker<'_> {
    /// Examines a ZAP: every entry must be where its name's hash leads, and only once. Calls `each` with the entries.
    pub(super) fn zap(&self, object: &Object, batch: &mut Batch, mut each: impl FnMut(&mut Batch, &Entry)) {
        if let Err(error) = read_zap(object, batch, &mut each) {
            // That a dataset is encrypted is said of it once.
            if !matches!(error.cause(), Error::Encrypted(_) | Error::Locked(_)) {
                batch.failed(Some(object.id()), &error);
            }
        }
    }
}

fn read_zap(object: &Object, batch: &mut Batch, each: &mut impl FnMut(&mut Batch, &Entry)) -> Result<(), Error> {
    let mut zap = object.zap()?;
    let recorded = zap.count()?;
    zap.reader().examine();
    let is_micro = zap.reader().is_micro();
    if is_micro && object.dnode().max_block_id != 0 {
        let message = format!("a micro ZAP has {} blocks, expected 1", object.dnode().max_block_id + 1);
        batch.finding(Kind::Zap, Some(object.id()), message);
    }
    // Of a micro ZAP, all names are in one block.
    let mut hashes = Vec::new();
    let mut count = 0;
    for entry in zap.iter() {
        let entry = entry?;
        count += 1;
        if is_micro {
            hashes.push(hash_name(0, &entry.name, HashBits::Long));
        }
        each(batch, &entry);
    }
    for fault in zap.reader().take_faults() {
        batch.finding(Kind::Zap, Some(object.id()), fault);
    }
    if count != recorded {
        let message = format!("the ZAP has {count} entries, its header says {recorded}");
        batch.finding(Kind::Zap, Some(object.id()), message);
    }
    hashes.sort_unstable();
    if hashes.windows(2).any(|pair| pair[0] == pair[1]) {
        equal_names(object, batch)?;
    }
    Ok(())
}

/// Looks for names in a micro ZAP that are there twice.
fn equal_names(object: &Object, batch: &mut Batch) -> Result<(), Error> {
    let mut names = object.zap()?.iter().map(|entry| Ok(entry?.name)).collect::<Result<Vec<_>, Error>>()?;
    names.sort_unstable();
    for pair in names.windows(2).filter(|pair| pair[0] == pair[1]) {
        let message = format!("the entry {:?} is there twice", String::from_utf8_lossy(&pair[0]));
        batch.finding(Kind::Zap, Some(object.id()), message);
    }
    Ok(())
}
