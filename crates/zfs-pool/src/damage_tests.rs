//! Damaged pools are opened, or refused with the reason; nothing panics or hangs.
//!
//! Checksums keep most damage from the code that reads structures. So part of
//! these tests leaves checksums out, as if whoever did the damage had made them
//! right again.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::check::{Kind, Report, check};
use crate::device::{Device, ReadAt};
use crate::error::Error;
use crate::fs::{File, FileSystem, FileType};
use crate::pool::{OpenOptions, Pool};
use crate::space::allocated;
use crate::support;

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
