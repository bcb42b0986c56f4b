//! Damaged pools are opened, or refused with the reason; nothing panics or hangs.
//!
//! Checksums keep most damage from the code that reads structures. So part of
//! these tests leaves checksums out, as if whoever did the damage had made them
//! right again.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use zfs_ondisk::blkptr::BlockPointer;

use crate::check::{Kind, Options, Report, Silent, check, check_with};
use crate::device::{Device, ReadAt};
use crate::error::Error;
use crate::fs::{File, FileSystem, FileType};
use crate::pool::{OpenOptions, Pool};
use crate::space::allocated;
use crate::support;
use crate::walk::Walk;

/// Where the allocatable space of a device begins.
const START: u64 = zfs_ondisk::label::START_SIZE;

/// An image of which some bytes are other ones.
#[derive(Clone)]
struct Damaged {
    image: Arc<Vec<u8>>,
    bytes: BTreeMap<u64, u8>,
}

impl ReadAt for Damaged {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.image.read_exact_at(buf, offset)?;
        for (&at, &byte) in self.bytes.range(offset..offset + buf.len() as u64) {
            buf[(at - offset) as usize] = byte;
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.image.len() as u64
    }
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

struct Subject {
    sound: Damaged,
    /// Allocated ranges of the image in bytes.
    ranges: Vec<Range<u64>>,
}

impl Subject {
    fn new(test: &str, name: &str) -> Option<Self> {
        let unpacked = support::unpack(test, name)?;
        let image = Arc::new(std::fs::read(&unpacked.images[0]).unwrap());
        let sound = Damaged { image, bytes: BTreeMap::new() };
        let pool = open(&sound, true).unwrap();
        let allocated = allocated(&pool).unwrap();
        let ranges = allocated.vdevs[&0].iter().map(|range| range.start + START..range.end + START).collect();
        Some(Self { sound, ranges })
    }

    /// A place in the allocated space.
    fn place(&self, numbers: &mut Numbers) -> u64 {
        let total = self.ranges.iter().map(|range| range.end - range.start).sum();
        let mut at = numbers.below(total);
        for range in &self.ranges {
            let length = range.end - range.start;
            if at < length {
                return range.start + at;
            }
            at -= length;
        }
        unreachable!("the place is below the total")
    }

    fn flip(&self, places: impl IntoIterator<Item = u64>, mask: u8) -> Damaged {
        let mut damaged = self.sound.clone();
        for place in places {
            damaged.bytes.insert(place, self.sound.image[place as usize] ^ mask);
        }
        damaged
    }
}

fn open(image: &Damaged, verifies: bool) -> Result<Pool, Error> {
    Pool::open_verifying(vec![Device::new("image", image.clone())], &OpenOptions::default(), verifies)
}

/// Reads whatever can be read, and no more of each file than a little.
fn read_everything(pool: &Pool) -> usize {
    let mut read = 0;
    let Ok(datasets) = pool.datasets() else { return 0 };
    for dataset in &datasets {
        let _ = dataset.properties();
        let Ok(fs) = FileSystem::open(dataset) else { continue };
        let Ok(root) = fs.root() else { continue };
        let mut seen = HashSet::new();
        let mut queue = vec![root];
        while let Some(file) = queue.pop() {
            if seen.insert(file.object().id()) {
                read += read_file(&file);
                queue.extend(children(&file));
            }
        }
    }
    read
}

fn read_file(file: &File) -> usize {
    let mut buf = vec![0; 300_000];
    let _ = file.xattrs();
    let _ = file.acl();
    let _ = file.extents().take(1000).last();
    if file.attributes().file_type() == Some(FileType::Symlink) {
        let _ = file.link_target();
    }
    file.read_at(0, &mut buf).unwrap_or(0)
}

fn children(file: &File) -> Vec<File> {
    let Ok(mut directory) = file.directory() else { return Vec::new() };
    let entries: Vec<_> = directory.entries().take(10_000).flatten().collect();
    entries.iter().filter_map(|entry| file.file_system().file(entry.object).ok()).collect()
}

/// The pointers to all blocks that are stored, once each.
fn all_pointers(pool: &Pool) -> Vec<BlockPointer> {
    let mut sets = vec![pool.mos().unwrap()];
    sets.extend(pool.all_datasets().unwrap().iter().filter_map(|dataset| dataset.objects().unwrap()));
    let mut pointers = Vec::new();
    for set in &sets {
        pointers.push(*set.pointer());
        let inner = std::iter::once(set.meta()).chain(set.accounting().into_iter().flatten());
        for object in inner.chain(set.objects().map(Result::unwrap)) {
            pointers.extend(Walk::new(&object, 0).map(|visit| visit.unwrap().pointer));
            pointers.extend(object.dnode().spill);
        }
    }
    let mut seen = HashSet::new();
    pointers.retain(|pointer| pointer.dvas().next().is_some() && seen.insert(*pointer));
    pointers
}

/// Where the stored bytes of each copy of a block are in the image.
fn places_of(pointer: &BlockPointer) -> Vec<Range<u64>> {
    let size = pointer.physical_size() as u64;
    pointer.dvas().map(|dva| dva.offset + START..dva.offset + START + size).collect()
}

/// Places in the image that findings say are bad.
fn places_found(report: &Report) -> HashSet<u64> {
    let copies = report.findings.iter().flat_map(|finding| &finding.copies);
    copies.filter_map(|copy| copy.device.as_ref().map(|(_, offset)| *offset)).collect()
}

fn check_of(image: &Damaged) -> Result<Report, Error> {
    check(&open(image, true)?)
}

#[test]
fn every_flipped_byte_that_is_allocated_is_found() {
    let Some(subject) = Subject::new("flipped bytes", "xattr") else { return };
    let mut numbers = Numbers(1);
    for _ in 0..16 {
        let place = subject.place(&mut numbers);
        match check_of(&subject.flip([place], 0x10)) {
            Ok(report) => assert!(!report.findings.is_empty(), "byte {place:#x}"),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

#[test]
fn a_flipped_byte_in_any_copy_of_any_block_is_found_where_it_is() {
    for name in ["xattr", "default"] {
        let Some(subject) = Subject::new("flipped copies", name) else { return };
        let pointers = all_pointers(&open(&subject.sound, true).unwrap());
        assert!(pointers.len() > 100, "{} blocks", pointers.len());
        let mut numbers = Numbers(5);
        let mut at = |range: &Range<u64>| range.start + numbers.below(range.end - range.start);
        // One copy of each block that has several; nothing gets unreadable.
        for copy in 0..3 {
            let several = pointers.iter().map(places_of).filter(|places| places.len() > 1);
            let flipped: Vec<Range<u64>> = several.filter_map(|places| places.get(copy).cloned()).collect();
            let report = check_of(&subject.flip(flipped.iter().map(&mut at), 0x20)).unwrap();
            let found = places_found(&report);
            let missed: Vec<_> = flipped.iter().filter(|range| !found.contains(&range.start)).collect();
            assert!(missed.is_empty(), "{name}, copy {copy}: {missed:x?} of {} were not found", flipped.len());
        }
        // The contents of files that there is one copy of.
        let lone = pointers.iter().filter(|pointer| pointer.level() == 0 && !pointer.object_type().is_metadata());
        let lone: Vec<Range<u64>> = lone.map(places_of).filter(|places| places.len() == 1).flatten().collect();
        let report = check_of(&subject.flip(lone.iter().map(&mut at), 0x04)).unwrap();
        let found = places_found(&report);
        let missed: Vec<_> = lone.iter().filter(|range| !found.contains(&range.start)).collect();
        assert!(missed.is_empty(), "{name}, files: {missed:x?} of {} were not found", lone.len());
    }
}

#[test]
fn ranges_that_were_overwritten_are_found() {
    let Some(subject) = Subject::new("overwritten ranges", "xattr") else { return };
    let pointers = all_pointers(&open(&subject.sound, true).unwrap());
    let places: Vec<Range<u64>> = pointers.iter().flat_map(places_of).collect();
    let mut numbers = Numbers(11);
    for round in 0..30 {
        let (start, length) = (subject.place(&mut numbers) & !511, 512 << (round % 6));
        let from = subject.place(&mut numbers) & !511;
        let mut damaged = subject.sound.clone();
        for index in 0..length {
            let byte = match round % 3 {
                0 => 0,
                1 => numbers.below(256) as u8,
                // What another block has.
                _ => subject.sound.image[((from + index) as usize).min(subject.sound.image.len() - 1)],
            };
            if subject.sound.image.get((start + index) as usize).is_some_and(|&before| before != byte) {
                damaged.bytes.insert(start + index, byte);
            }
        }
        let is_hit = places.iter().any(|range| damaged.bytes.range(range.clone()).next().is_some());
        match check_of(&damaged) {
            Ok(report) => assert!(!is_hit || !report.findings.is_empty(), "round {round}: {start:#x}, {length} bytes"),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

#[test]
fn the_report_does_not_depend_on_the_number_of_threads() {
    let Some(subject) = Subject::new("threads", "snap") else { return };
    let mut numbers = Numbers(3);
    let places: Vec<u64> = (0..40).map(|_| subject.place(&mut numbers)).collect();
    let damaged = subject.flip(places, 0x40);
    let report = |threads, memory| {
        let pool = open(&damaged, true).unwrap();
        let options = Options { threads, memory, ..Options::default() };
        let report = check_with(&pool, &options, &Silent).unwrap();
        let findings: Vec<String> = report.findings.iter().map(|finding| format!("{finding:?}")).collect();
        (findings, report.blocks, report.bytes, report.allocated)
    };
    let alone = report(1, 256 << 20);
    assert!(!alone.0.is_empty());
    assert_eq!(report(3, 256 << 20), alone);
    // So little memory that everything is sorted in a file.
    assert_eq!(report(2, 0), alone);
}

#[test]
fn damage_in_a_file_is_reported_with_its_path() {
    let Some(subject) = Subject::new("damaged file", "xattr") else { return };
    let pool = open(&subject.sound, true).unwrap();
    let fs = FileSystem::open(&pool.dataset("xattr/sa-auto").unwrap()).unwrap();
    let file = fs.lookup(b"text-5k").unwrap();
    let pointer = file.object().block_pointer(0).unwrap();
    let place = pointer.dvas().next().unwrap().offset + START;
    let report = check_of(&subject.flip([place], 1)).unwrap();
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    let finding = &report.findings[0];
    assert_eq!((finding.kind, finding.path.as_deref()), (Kind::Unreadable, Some("/text-5k")));
    assert_eq!((finding.dataset.as_deref(), finding.object), (Some("xattr/sa-auto"), Some(file.object().id())));
}

#[test]
fn a_bad_copy_beside_a_good_one_does_not_stop_reading() {
    let Some(subject) = Subject::new("bad copy", "xattr") else { return };
    let pool = open(&subject.sound, true).unwrap();
    let root = pool.uberblock().root;
    let place = root.dvas().next().unwrap().offset + START;
    let report = check_of(&subject.flip([place], 1)).unwrap();
    let kinds: Vec<Kind> = report.findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [Kind::BadCopy]);
}

#[test]
fn a_pool_opens_as_long_as_one_label_is_left() {
    let Some(subject) = Subject::new("labels", "tree") else { return };
    let in_labels: Vec<u64> =
        (0..4).map(|index| zfs_ondisk::label::offset(index, subject.sound.size()) + 0x4100).collect();
    let report = check_of(&subject.flip(in_labels[..3].iter().copied(), 1)).unwrap();
    let kinds: Vec<Kind> = report.findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [Kind::Label; 3]);
    let error = open(&subject.flip(in_labels, 1), true).unwrap_err();
    assert!(error.to_string().starts_with("image is no member of a ZFS pool: "), "{error}");
}

#[test]
fn a_truncated_pool_is_opened_or_refused() {
    let Some(subject) = Subject::new("truncated pool", "tree") else { return };
    for size in [0, 1, 100_000, 300_000, 5 << 20, 40 << 20] {
        let image = subject.sound.image[..size].to_vec();
        match Pool::open(vec![Device::new("image", image)]) {
            Ok(pool) => assert!(!check(&pool).unwrap().findings.is_empty(), "{size} bytes"),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

#[test]
fn damaged_structures_with_good_checksums_do_not_panic_or_hang() {
    for name in ["tree", "xattr"] {
        let Some(subject) = Subject::new("damaged structures", name) else { return };
        assert!(read_everything(&open(&subject.sound, false).unwrap()) > 0 || name == "tree");
        let mut numbers = Numbers(7);
        for round in 0..30 {
            let places: Vec<u64> = (0..200).map(|_| subject.place(&mut numbers)).collect();
            let damaged = subject.flip(places, 1 << (round % 8));
            if let Ok(pool) = open(&damaged, false) {
                read_everything(&pool);
                let _ = check(&pool);
            }
        }
    }
}
