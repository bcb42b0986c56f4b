//! `tine pool inspect spacemap`: the metaslabs of vdevs, and the entries of their space maps.

use zfs_ondisk::bytes::{ByteOrder, View};
use zfs_ondisk::object::ObjectId;
use zfs_ondisk::spacemap::{self, Change};
use zfs_pool::{Error, ObjectSet, Pool, SpaceMap, Vdev};

use super::dump::{Dump, left, right};
use super::shown::Shown;
use crate::failure::Failure;

/// OpenZFS does not make more (`zfs_vdev_ms_count_limit`).
const MAX_METASLABS: u64 = 131_072;
/// Characters of the longest bar of a histogram.
const BAR: u64 = 40;

/// Dumps the metaslabs of a pool: of all its vdevs or one, and of that all or one.
pub(crate) fn dump(
    dump: &mut Dump,
    pool: &Pool,
    vdev: Option<u64>,
    metaslab: Option<u64>,
    all: bool,
) -> Result<(), Failure> {
    let mos = pool.mos()?;
    if let Some(wanted) = vdev
        && !pool.vdevs().any(|vdev| vdev.id == wanted)
    {
        return Err(Failure::Work(format!("pool '{}' has no top-level vdev {wanted}", pool.name())));
    }
    if let Some(wanted) = metaslab
        && let Some(vdev) = pool.vdevs().find(|found| Some(found.id) == vdev)
        && wanted >= count(vdev)
    {
        return Err(Failure::Work(format!("vdev {} has {} metaslabs, from 0 on", vdev.id, count(vdev))));
    }
    dump.list("vdevs", |dump| {
        for found in pool.vdevs().filter(|found| vdev.is_none_or(|wanted| found.id == wanted)) {
            dump.item(format_args!("vdev {}", found.id), |dump| {
                if let Err(error) = one_vdev(dump, &mos, found, metaslab, all) {
                    dump.fault("metaslabs", error);
                }
            });
        }
    });
    Ok(())
}

fn count(vdev: &Vdev) -> u64 {
    let shift = u32::try_from(vdev.metaslab_shift).unwrap_or(u32::MAX);
    vdev.asize.checked_shr(shift).unwrap_or(0).min(MAX_METASLABS)
}

fn one_vdev(dump: &mut Dump, mos: &ObjectSet, vdev: &Vdev, metaslab: Option<u64>, all: bool) -> Result<(), Error> {
    if dump.is_json() {
        dump.field("vdev", vdev.id);
    }
    dump.field("guid", Shown::guid(vdev.guid));
    if vdev.metaslab_array == 0 || vdev.metaslab_shift >= 64 {
        dump.text("it has no metaslabs");
        return Ok(());
    }
    let size = 1u64 << vdev.metaslab_shift;
    dump.field("metaslab array", Shown::from(vdev.metaslab_array).note("object of the MOS"));
    dump.field("metaslab count", count(vdev));
    dump.field("metaslab size", Shown::size(size));
    dump.field("unit", Shown::size(1 << vdev.ashift.min(63)).note("sector of the vdev"));
    let maps = words(mos, ObjectId(vdev.metaslab_array), count(vdev))?;
    let flushed = unflushed_txgs(mos, vdev)?;
    let wanted = |index: u64| metaslab.is_none_or(|wanted| wanted == index);
    let columns = [
        right("metaslab", 8),
        right("offset", 12),
        right("space map", 9),
        right("size", 8),
        right("allocated", 9),
        right("free", 8),
        right("used", 5),
        right("fragmentation", 13),
        right("entries", 9),
        right("unflushed txg", 13),
    ];
    dump.table("metaslabs", &columns, |table| {
        for (index, &object) in (0..).zip(&maps).filter(|&(index, _)| wanted(index)) {
            let row = Row::read(mos, object, vdev.ashift as u32);
            let row = match row {
                Ok(row) => row,
                Err(error) => {
                    table.fault(format_args!("metaslab {index}: {error}"));
                    continue;
                }
            };
            let allocated = row.allocated.clamp(0, size as i64) as u64;
            let percent = allocated.saturating_mul(100) / size;
            table.row([
                index.into(),
                Shown::offset(vdev.metaslab_start(index)),
                if object == 0 { Shown::none() } else { object.into() },
                Shown::short_size(size),
                Shown::short_size(allocated),
                Shown::short_size(size - allocated),
                Shown::new(format!("{percent}%"), percent),
                row.fragmentation.map_or(Shown::none(), |percent| Shown::new(format!("{percent}%"), percent)),
                row.words.into(),
                flushed.get(index as usize).map_or(Shown::none(), |&txg| txg.into()),
            ]);
        }
    });
    dump.list("histograms", |dump| {
        for (index, &object) in (0..).zip(&maps).filter(|&(index, &object)| wanted(index) && object != 0) {
            // The table has told of those that cannot be read.
            let Ok(row) = Row::read(mos, object, vdev.ashift as u32) else { continue };
            if metaslab.is_none() && !all && !dump.is_json() {
                continue;
            }
            dump.item(format_args!("metaslab {index}"), |dump| {
                if dump.is_json() {
                    dump.field("metaslab", index);
                }
                histogram(dump, &row, vdev);
                if all {
                    entries(dump, mos, object, vdev, index);
                }
            });
        }
    });
    Ok(())
}

/// What a metaslab's space map says in its header.
struct Row {
    allocated: i64,
    words: u64,
    histogram: Option<[u64; spacemap::HISTOGRAM_SIZE]>,
    fragmentation: Option<u64>,
}

impl Row {
    fn read(mos: &ObjectSet, object: u64, shift: u32) -> Result<Self, Error> {
        // A metaslab that was never used has no space map.
        if object == 0 {
            return Ok(Self { allocated: 0, words: 0, histogram: None, fragmentation: Some(0) });
        }
        let map = SpaceMap::open(&mos.object(ObjectId(object))?)?;
        let histogram = map.histogram();
        Ok(Self {
            allocated: map.header().allocated,
            words: map.header().length / 8,
            fragmentation: histogram.and_then(|histogram| spacemap::fragmentation(&histogram, shift)),
            histogram,
        })
    }
}

fn histogram(dump: &mut Dump, row: &Row, vdev: &Vdev) {
    let Some(buckets) = row.histogram else {
        return dump.field("free regions", Shown::new("the space map has no histogram", serde_json::Value::Null));
    };
    let Some(last) = buckets.iter().rposition(|&count| count != 0) else {
        return dump.field("free regions", Shown::new("none", serde_json::json!([])));
    };
    let most = buckets.iter().copied().max().unwrap_or(1);
    let columns = [right("from", 8), right("free regions", 12), left("", BAR as isize)];
    dump.table("free regions", &columns, |table| {
        for (index, &count) in buckets.iter().enumerate().take(last + 1) {
            let size = 1u64.checked_shl(index as u32 + vdev.ashift as u32).unwrap_or(u64::MAX);
            let bar = (u128::from(count) * u128::from(BAR)).div_ceil(u128::from(most)) as usize;
            table.row([Shown::short_size(size), count.into(), Shown::new("*".repeat(bar), serde_json::Value::Null)]);
        }
    });
}

fn entries(dump: &mut Dump, mos: &ObjectSet, object: u64, vdev: &Vdev, metaslab: u64) {
    let map = match mos.object(ObjectId(object)).and_then(|object| SpaceMap::open(&object)) {
        Ok(map) => map,
        Err(error) => return dump.fault("entries", error),
    };
    let start = vdev.metaslab_start(metaslab);
    let bytes = |units: u64| units.saturating_mul(1 << vdev.ashift.min(63));
    let columns = [left("change", 9), right("offset", 14), right("length", 10), left("vdev", 4)];
    dump.table("entries", &columns, |table| {
        for entry in map {
            match entry {
                _ if !table.is_read() => return,
                Ok(entry) => table.row([
                    Shown::from(if entry.change == Change::Allocated { "allocated" } else { "freed" }),
                    Shown::offset(bytes(entry.offset).saturating_add(start)),
                    Shown::offset(bytes(entry.length)),
                    entry.vdev.map_or(Shown::new("", serde_json::Value::Null), |vdev| u64::from(vdev).into()),
                ]),
                Err(error) => table.fault(error),
            }
        }
    });
}

/// By metaslab, the transaction group from which on changes are in the logs of the whole pool only.
fn unflushed_txgs(mos: &ObjectSet, vdev: &Vdev) -> Result<Vec<u64>, Error> {
    if vdev.top_zap == 0 {
        return Ok(Vec::new());
    }
    let mut zap = mos.object(ObjectId(vdev.top_zap))?.zap()?;
    match zap.number("com.delphix:ms_unflushed_phys_txgs")? {
        Some(object) => words(mos, ObjectId(object), count(vdev)),
        None => Ok(Vec::new()),
    }
}

/// The first words of an object.
fn words(mos: &ObjectSet, object: ObjectId, count: u64) -> Result<Vec<u64>, Error> {
    let object = mos.object(object)?;
    let order = match object.block_pointer(0)?.is_little_endian() {
        false if !object.block_pointer(0)?.is_hole() => ByteOrder::Big,
        _ => ByteOrder::Little,
    };
    let mut bytes = vec![0; count as usize * 8];
    object.read_at(0, &mut bytes)?;
    let view = View::new(&bytes, order);
    Ok((0..count as usize).filter_map(|index| view.u64(index * 8).ok()).collect())
}
