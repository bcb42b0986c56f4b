//! The tables that count references: cloned blocks and deduplicated ones.

use zfs_ondisk::blkptr::Dva;
use zfs_ondisk::bytes::View;
use zfs_ondisk::checksum::Checksum;
use zfs_ondisk::ddt::{self, Key, LogHeader, Record};
use zfs_ondisk::object::ObjectId;

use super::Checker;
use super::batch::Batch;
use super::claims::{Owner, Said, Source};
use super::findings::Kind;
use super::{MOS_SET, SPACE};
use crate::block::order_of;
use crate::error::Error;
use crate::object::ObjectSet;
use crate::pool::MOS;
use crate::spill::Sorter;

/// Classes of deduplicated blocks, by the ZAP that they are in.
const CLASSES: [&str; 3] = ["ditto", "duplicate", "unique"];
/// Records are handed on when there are so many.
const PART: usize = 4096;
/// Part of the memory for entries of tables that have logs.
const MEMORY_PART: u64 = 8;
/// Where what is said of a key comes from: a later log counts more than an older one, and logs more than ZAPs. The low
/// bits count down, so that the last of a log's records comes first.
const ACTIVE_LOG: u64 = 0;
const FLUSHING_LOG: u64 = 1 << 62;
const ZAP: u64 = 2 << 62;

/// An entry of a table that has logs: the key; where it comes from; the first DVA, and the references.
type Logged = [u64; 9];

impl Checker<'_> {
    /// How many more references there are to blocks that were cloned: the block reference tables.
    pub(super) fn clone_tables(&self, mos: &ObjectSet, batch: &mut Batch) -> Result<(), Error> {
        for vdev in self.pool.vdevs() {
            let name = format!("com.fudosecurity:brt:vdev:{}", vdev.id);
            let Some(id) = self.pool.directory_entry(&name)? else { continue };
            let object = mos.object(id)?;
            let entries = object.bonus_word(0, "block reference table")?;
            if entries == 0 {
                continue;
            }
            let table = ObjectId(entries);
            for entry in mos.object(table)?.zap()?.iter() {
                let entry = entry?;
                let key: Option<[u8; 8]> = entry.name.as_slice().try_into().ok();
                // The count is an integer, or its bytes as they are in memory.
                let count = match (entry.integer_size, entry.bytes()) {
                    (1, Some(bytes)) => bytes.try_into().ok().map(u64::from_le_bytes),
                    _ => entry.number(),
                };
                let said = key.zip(count).and_then(|(key, count)| {
                    let owner = Owner { set: MOS_SET, object: ObjectId(count) };
                    let offset = u64::from_be_bytes(key);
                    Said { vdev: vdev.id as u32, offset, size: 0, source: Source::CloneTable, owner }.pack()
                });
                match said {
                    Some(said) => batch.claims.push(said),
                    None => batch.finding(Kind::References, Some(table), "an entry is no offset and no number"),
                }
                self.hand_on(batch);
            }
        }
        Ok(())
    }

    /// How many references there are to deduplicated blocks.
    pub(super) fn dedup_tables(&self, mos: &ObjectSet, batch: &mut Batch) -> Result<(), Error> {
        for checksum in Checksum::ALL {
            // Before `fast_dedup`, tables were in the object directory itself.
            let mut directory = mos.object(crate::pool::DIRECTORY)?.zap()?;
            for class in CLASSES {
                if let Some(id) = directory.number(&format!("DDT-{checksum}-zap-{class}"))? {
                    self.dedup_table(mos, ObjectId(id), false, batch)?;
                }
            }
            if let Some(id) = directory.number(&format!("DDT-{checksum}"))? {
                self.dedup_directory(mos, ObjectId(id), checksum, batch)?;
            }
        }
        Ok(())
    }

    /// A table without logs.
    fn dedup_table(&self, mos: &ObjectSet, id: ObjectId, flat: bool, batch: &mut Batch) -> Result<(), Error> {
        for entry in mos.object(id)?.zap()?.iter() {
            match ddt::zap_records(&entry?.bytes().unwrap_or_default(), flat) {
                Ok(records) => records.iter().for_each(|record| say(record.first, record.references, batch)),
                Err(fault) => batch.finding(Kind::References, Some(id), fault),
            }
            self.hand_on(batch);
        }
        Ok(())
    }

    /// Tables with logs: the last that is said of a key counts.
    fn dedup_directory(
        &self,
        mos: &ObjectSet,
        id: ObjectId,
        checksum: Checksum,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        let mut directory = mos.object(id)?.zap()?;
        let flat = directory.number("flags")?.unwrap_or(0) & ddt::FLAG_FLAT != 0;
        let failed = |source| Error::scratch(&self.options.scratch, source);
        let mut entries = Sorter::new((self.options.memory / MEMORY_PART) as usize, &self.options.scratch);
        for class in CLASSES {
            let Some(table) = directory.number(&format!("DDT-{checksum}-zap-{class}"))?.map(ObjectId) else { continue };
            for entry in mos.object(table)?.zap()?.iter() {
                let entry = entry?;
                let (words, _) = entry.name.as_chunks();
                let mut key = Key::default();
                key.iter_mut().zip(words).for_each(|(key, word)| *key = u64::from_be_bytes(*word));
                match ddt::zap_records(&entry.bytes().unwrap_or_default(), flat) {
                    Ok(records) => entries.extend(&logged(key, ZAP, &records)).map_err(failed)?,
                    Err(fault) => batch.finding(Kind::References, Some(table), fault),
                }
            }
        }
        for number in 0..2 {
            if let Some(log) = directory.number(&format!("DDT-log-{checksum}-{number}"))? {
                self.dedup_log(mos, ObjectId(log), flat, &mut entries, batch)?;
            }
        }
        let mut sorted = entries.sorted().map_err(failed)?;
        let mut last: Option<[u64; 6]> = None;
        while let Some([k0, k1, k2, k3, k4, from, place, offset, references]) = sorted.next().map_err(failed)? {
            let is_newest = last.is_none_or(|last| last[..5] != [k0, k1, k2, k3, k4] || last[5] == from);
            if is_newest {
                last = Some([k0, k1, k2, k3, k4, from]);
                say_at(place, offset, references, batch);
            }
            self.hand_on(batch);
        }
        Ok(())
    }

    fn dedup_log(
        &self,
        mos: &ObjectSet,
        id: ObjectId,
        flat: bool,
        entries: &mut Sorter<9>,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        let object = mos.object(id)?;
        let header = LogHeader::read(&object.bonus()).map_err(Error::truncated("header of a log"))?;
        if header.version != 1 {
            let message = format!("the log is of version {}, expected 1", header.version);
            batch.finding(Kind::References, Some(id), message);
            return Ok(());
        }
        let from = if header.flags & ddt::LOG_FLUSHING != 0 { FLUSHING_LOG } else { ACTIVE_LOG };
        let flushed = (header.flags & ddt::LOG_CHECKPOINT != 0).then_some(header.checkpoint);
        let mut left = u64::from(u32::MAX) << 16;
        for found in object.blocks() {
            let (number, pointer) = found?;
            if number.saturating_mul(object.dnode().data_block_size() as u64) >= header.length {
                break;
            }
            let contents = object.read_block(number)?;
            let mut failed = None;
            let result = ddt::log_entries(&View::new(&contents, order_of(&pointer)), flat, |key, records| {
                left -= 1;
                if flushed.is_none_or(|flushed| key > flushed) {
                    failed = entries.extend(&logged(key, from | left, &records)).err().or(failed.take());
                }
            });
            if let Some(source) = failed {
                return Err(Error::scratch(&self.options.scratch, source));
            }
            if let Err(fault) = result {
                batch.finding(Kind::References, Some(id), format!("block {number} of the log: {fault}"));
            }
        }
        Ok(())
    }

    /// Hands on what was gathered, when it is much.
    pub(super) fn hand_on(&self, batch: &mut Batch) {
        if batch.claims.len() >= PART {
            let mut done = Batch::new(SPACE, MOS);
            std::mem::swap(&mut done.claims, &mut batch.claims);
            self.merge(done);
        }
    }
}

/// What is said of a key. One that says nothing takes the place of older ones, too.
fn logged(key: Key, from: u64, records: &[Record]) -> Vec<Logged> {
    let [k0, k1, k2, k3, k4] = key;
    let of = |record: &Record| {
        let place = u64::from(record.first.vdev) << 32 | record.first.asize >> 9;
        [k0, k1, k2, k3, k4, from, place, record.first.offset, record.references]
    };
    records.iter().map(of).collect()
}

fn say(first: Dva, references: u64, batch: &mut Batch) {
    say_at(u64::from(first.vdev) << 32 | first.asize >> 9, first.offset, references, batch);
}

fn say_at(place: u64, offset: u64, references: u64, batch: &mut Batch) {
    let size = (place & 0xffff_ffff) << 9;
    if size == 0 || references == 0 {
        return;
    }
    let owner = Owner { set: MOS_SET, object: ObjectId(references) };
    let said = Said { vdev: (place >> 32) as u32, offset, size, source: Source::DedupTable, owner };
    batch.claims.extend(said.pack());
}
