//! A small pool whose blocks are neither compressed nor protected by checksums: whatever is changed in it is
//! believed, so that damage gets past the checksums to the code that reads structures.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::{Arc, LazyLock, Mutex};

use tree::Tree;
use zfs_image::{CrossLinks, DatasetSpec, PoolSpec, Resources, Silent, SnapshotSpec, build};
use zfs_ondisk::blkptr::{self, BlockPointer, Dva, Fields, Kind};
use zfs_ondisk::bytes::{ByteOrder, View};
use zfs_ondisk::checksum::Checksum;
use zfs_ondisk::checksum::embedded::{self, Verifier};
use zfs_ondisk::compress::Function;
use zfs_ondisk::object::ObjectType;
use zfs_ondisk::{dnode, label};
use zfs_pool::fs::{File, FileType};
use zfs_pool::{Device, FileSystem, History, Pool, ReadAt, SpaceMap};

/// The binary logarithm of the sector size.
const ASHIFT: u32 = 9;
/// Bytes of the header of a gang block.
const GANG_HEADER: usize = 512;
/// Datasets, files and entries beyond these are not looked at.
const MOST: usize = 200;

static SOUND: LazyLock<Image> = LazyLock::new(|| flatten(&original()));

/// A device with a pool on it: the first of its labels, the blocks, and what has been changed in them.
#[derive(Clone)]
pub struct Image {
    label: Arc<Vec<u8>>,
    blocks: Arc<Vec<u8>>,
    patches: BTreeMap<usize, [u8; 8]>,
    /// Offsets of the words in `blocks` that are not zero.
    words: Arc<Vec<usize>>,
    /// The headers of gang blocks.
    gangs: Arc<Vec<Verifier>>,
    size: u64,
}

impl Image {
    /// The pool as it was built.
    pub fn sound() -> &'static Image {
        &SOUND
    }

    /// The pool with patches. Each replaces a word that is not zero in the sound pool: the word's number in two bytes,
    /// what becomes of it in a byte, and an operand of one to eight.
    pub fn damaged(mut patches: &[u8]) -> Image {
        let sound = Image::sound();
        let mut image = sound.clone();
        while let [low, high, change, rest @ ..] = patches {
            let length = usize::from(change >> 4 & 7) + 1;
            let Some((operand, rest)) = rest.split_at_checked(length) else { break };
            patches = rest;
            let (at, mut word) = sound.word(u16::from_le_bytes([*low, *high]));
            match change & 0xf {
                // The operand, from one of the word's bytes on.
                first @ 0..8 => {
                    let to = &mut word[usize::from(first)..];
                    let length = length.min(to.len());
                    to[..length].copy_from_slice(&operand[..length]);
                }
                // Another word of the pool.
                8..12 => word = sound.word(u16::from_le_bytes([operand[0], operand[length - 1]])).1,
                // A number near by.
                _ => word = u64::from_le_bytes(word).wrapping_add(operand[0] as i8 as u64).to_le_bytes(),
            }
            image.patches.insert(at, word);
        }
        image.seal();
        image
    }

    /// Makes the headers of gang blocks right again, which have checksums of their own.
    fn seal(&mut self) {
        for place in &*self.gangs.clone() {
            let Verifier::Gang { offset, .. } = *place else { continue };
            let mut header = [0; GANG_HEADER];
            self.read_exact_at(&mut header, label::START_SIZE + offset).expect("it is on the device");
            embedded::seal(&mut header, place).expect("a trailer fits");
            for (index, &word) in header.as_chunks().0.iter().enumerate().skip((GANG_HEADER - embedded::TRAILER) / 8) {
                self.patches.insert(offset as usize + index * 8, word);
            }
        }
    }

    /// Examples for [`Image::damaged`].
    pub fn patches() -> Vec<Vec<u8>> {
        vec![vec![0, 0, 15, 0], vec![100, 0, 0, 1, 200, 1, 24, 9, 44, 250, 1, 12, 255]]
    }

    /// Word `number` of those that are not zero, counted round and round: its offset in the blocks, and its bytes.
    fn word(&self, number: u16) -> (usize, [u8; 8]) {
        let at = self.words[usize::from(number) % self.words.len()];
        (at, self.blocks.as_chunks().0[at / 8])
    }

    /// The configuration in the label, packed.
    pub fn config(&self) -> Vec<u8> {
        let pool = self.open().expect("the pool is sound");
        pool.labels()[0].config.to_xdr().expect("it was packed before")
    }

    /// The uberblock in the label.
    pub fn uberblock(&self) -> Vec<u8> {
        let mut bytes = vec![0; 512];
        self.open().expect("the pool is sound").uberblock().write(&mut bytes);
        bytes
    }

    /// The pool with another label.
    pub fn with_label(&self, config: &[u8], uberblock: &[u8]) -> Image {
        let room = config.len().min(label::CONFIG_SIZE - 40);
        let write = |slot: &mut [u8]| slot[..uberblock.len()].copy_from_slice(uberblock);
        let label = label::build(0, &config[..room], ASHIFT, 0, write).expect("the configuration fits");
        Image { label: label.into(), ..self.clone() }
    }

    /// Opens the pool.
    ///
    /// # Errors
    /// If it is damaged too much.
    pub fn open(&self) -> Result<Pool, zfs_pool::Error> {
        Pool::open(vec![Device::new("image", self.clone())])
    }
}

impl ReadAt for Image {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buf.fill(0);
        copy(buf, offset, 0, &self.label);
        copy(buf, offset, label::START_SIZE, &self.blocks);
        for (&at, word) in &self.patches {
            copy(buf, offset, label::START_SIZE + at as u64, word);
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.size
    }
}

/// Copies into `buf`, which begins at `offset`, what it has in common with `part`, which begins at `start`.
fn copy(buf: &mut [u8], offset: u64, start: u64, part: &[u8]) {
    let from = offset.max(start);
    let to = (offset + buf.len() as u64).min(start + part.len() as u64);
    if from < to {
        let part = &part[(from - start) as usize..(to - start) as usize];
        buf[(from - offset) as usize..][..part.len()].copy_from_slice(part);
    }
}

/// Reads all that can be read of a pool, and a little of each file.
pub fn walk(pool: &Pool) {
    let _ = zfs_pool::space::allocated(pool);
    let _ = (
        zfs_pool::capacity::Capacity::of(pool),
        pool.checkpoint(),
        pool.history().map(|history| history.map(Iterator::last)),
    );
    structures(pool);
    let Ok(datasets) = pool.datasets() else { return };
    for dataset in datasets.iter().take(MOST) {
        let _ = (dataset.properties(), dataset.bookmarks(), dataset.encryption(), pool.dataset(&dataset.name));
        let Ok(fs) = FileSystem::open(dataset) else { continue };
        let Ok(root) = fs.root() else { continue };
        let _ = (fs.lookup(b"d/text"), fs.lookup(b"d/../symlink/x"));
        let mut seen = HashSet::new();
        let mut queue = vec![root];
        while let Some(file) = queue.pop() {
            if seen.len() < MOST && seen.insert(file.object().id()) {
                look(&file);
                queue.extend(children(&file));
            }
        }
    }
}

/// Looks at the structures of the meta object set, whatever its objects say that they are.
fn structures(pool: &Pool) {
    let Ok(mos) = pool.mos() else { return };
    for object in mos.objects().take(MOST).flatten() {
        let _ = object.walk().take(MOST).last();
        let _ = SpaceMap::open(&object).map(|map| (map.histogram(), map.take(MOST).last()));
        let _ = History::open(object.clone()).map(|history| history.take(MOST).last());
        let Ok(mut zap) = object.zap() else { continue };
        let _ = (zap.structure(), zap.count(), zap.iter().take(MOST).last());
        let mut index = 0;
        for _ in 0..MOST {
            let Ok(Some((_, next))) = zap.leaf(index) else { break };
            assert!(next > index);
            index = next;
        }
    }
}

fn look(file: &File) {
    let mut buf = [0; 4096];
    let _ = (file.xattrs(), file.acl(), file.extents().take(MOST).last());
    if file.attributes().file_type() == Some(FileType::Symlink) {
        let _ = file.link_target();
    }
    let size = file.attributes().size;
    for offset in [0, size / 2, size.saturating_sub(100)] {
        let _ = file.read_at(offset, &mut buf);
    }
}

fn children(file: &File) -> Vec<File> {
    let Ok(mut directory) = file.directory() else { return Vec::new() };
    let _ = directory.lookup(b"no such name");
    let mut place = 0;
    for _ in 0..MOST {
        let Ok(found) = directory.entries_from(place, 3) else { break };
        let Some((_, next)) = found.last() else { break };
        assert!(*next > place);
        place = *next;
    }
    let _ = directory.entries_from(place / 2 + 1, 1);
    let entries: Vec<_> = directory.entries().take(MOST).flatten().collect();
    entries.iter().filter_map(|entry| file.file_system().file(entry.object).ok()).collect()
}

/// The pool as it comes from the builder.
fn original() -> Pool {
    let tree: Tree = crate::trees::tree();
    let mut spec = PoolSpec::new("pool");
    spec.ashift = ASHIFT;
    spec.size = Some(label::MIN_DEVICE_SIZE);
    let datasets = ["pool;mountpoint=/;compression=off", "pool/d;mountpoint=/d;compression=lz4;org.example:key=value"];
    spec.datasets = datasets.iter().map(|text| DatasetSpec::parse(text).expect("it is valid")).collect();
    spec.cross_links = CrossLinks::Copy;
    spec.snapshots = vec![SnapshotSpec::parse("@snapshot").expect("it is valid")];
    let memory = Memory(Mutex::new(vec![0; label::MIN_DEVICE_SIZE as usize]));
    let resources = Resources { threads: 1, memory: 256 << 20 };
    build(&tree, &spec, resources, &memory, &Silent).expect("the pool can be built");
    let bytes = memory.0.into_inner().expect("no thread panicked");
    Pool::open(vec![Device::new("original", bytes)]).expect("the pool is sound")
}

struct Memory(Mutex<Vec<u8>>);

impl zfs_image::Device for Memory {
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), zfs_image::Error> {
        self.0.lock().expect("no thread panicked")[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn set_size(&self, _size: u64) -> Result<(), zfs_image::Error> {
        Ok(())
    }
}

fn flatten(pool: &Pool) -> Image {
    let mut uberblock = pool.uberblock().clone();
    let mut flat = Flat { pool, blocks: Vec::new(), gangs: Vec::new(), done: HashMap::new() };
    uberblock.root = flat.block(&uberblock.root);
    let (blocks, gangs) = (flat.blocks, flat.gangs);
    let words = blocks.as_chunks::<8>().0;
    let words = words.iter().enumerate().filter(|(_, word)| **word != [0; 8]).map(|(number, _)| number * 8);
    let config = pool.labels()[0].config.to_xdr().expect("it was packed before");
    let label = label::build(0, &config, ASHIFT, uberblock.txg, |slot| uberblock.write(slot)).expect("it fits");
    Image {
        label: label.into(),
        patches: BTreeMap::new(),
        gangs: gangs.into(),
        words: words.collect::<Vec<_>>().into(),
        blocks: blocks.into(),
        size: label::MIN_DEVICE_SIZE,
    }
}

/// A pool being copied, block by block from the leaves up.
struct Flat<'a> {
    pool: &'a Pool,
    blocks: Vec<u8>,
    gangs: Vec<Verifier>,
    done: HashMap<BlockPointer, BlockPointer>,
}

impl Flat<'_> {
    fn block(&mut self, pointer: &BlockPointer) -> BlockPointer {
        let small = pointer.kind() == Kind::Embedded && !pointer.object_type().is_metadata();
        if pointer.is_hole() || small {
            return *pointer;
        }
        if let Some(&copy) = self.done.get(pointer) {
            return copy;
        }
        let mut contents = self.pool.read_block(pointer).expect("the pool is sound");
        match pointer.object_type() {
            _ if pointer.level() > 0 => {
                (0..contents.len()).step_by(blkptr::SIZE).for_each(|at| self.pointer(&mut contents, at));
            }
            ObjectType::DNODE => self.dnodes(&mut contents),
            ObjectType::OBJSET => [0, 1024, 1536, 2048].into_iter().for_each(|at| self.dnode(&mut contents, at)),
            _ => {}
        }
        let gang = pointer.object_type() == ObjectType::PLAIN_FILE_CONTENTS && pointer.level() == 0;
        let copy = match contents.split_at_checked(512) {
            Some((head, tail)) if gang && !tail.is_empty() => self.gang(pointer, head, tail),
            _ => self.store(pointer, &contents),
        };
        self.done.insert(*pointer, copy);
        copy
    }

    /// Stores a block in two parts and a gang header.
    fn gang(&mut self, pointer: &BlockPointer, head: &[u8], tail: &[u8]) -> BlockPointer {
        let mut header = vec![0; GANG_HEADER];
        self.store(pointer, head).write(&mut header, 0);
        self.store(pointer, tail).write(&mut header, blkptr::SIZE);
        let (offset, txg) = (self.blocks.len() as u64, pointer.birth());
        let place = Verifier::Gang { vdev: 0, offset, txg };
        embedded::seal(&mut header, &place).expect("a trailer fits");
        self.gangs.push(place);
        self.blocks.append(&mut header);
        self.pointer_to(pointer, head.len() + tail.len(), Dva { vdev: 0, offset, asize: 512, gang: true })
    }

    fn store(&mut self, pointer: &BlockPointer, contents: &[u8]) -> BlockPointer {
        let offset = self.blocks.len() as u64;
        self.blocks.extend(contents);
        self.pointer_to(pointer, contents.len(), Dva { vdev: 0, offset, asize: contents.len() as u64, gang: false })
    }

    fn pointer_to(&self, original: &BlockPointer, size: usize, dva: Dva) -> BlockPointer {
        BlockPointer::data(&Fields {
            dvas: [dva, Dva::default(), Dva::default()],
            level: original.level(),
            object_type: original.object_type(),
            logical_size: size,
            physical_size: size,
            compression: Function::Off.number(),
            checksum: Checksum::Off.number(),
            birth: original.birth(),
            fill: original.fill(),
            digest: [0; 4],
        })
    }

    fn pointer(&mut self, contents: &mut [u8], at: usize) {
        let pointer = BlockPointer::read(&View::new(contents, ByteOrder::Little), at).expect("it is there");
        self.block(&pointer).write(contents, at);
    }

    fn dnodes(&mut self, contents: &mut [u8]) {
        let mut at = 0;
        while at < contents.len() {
            self.dnode(contents, at);
            at += (1 + usize::from(contents[at + 12])) * dnode::SLOT_SIZE;
        }
    }

    /// The pointers of the dnode at `at`, if there is one.
    fn dnode(&mut self, contents: &mut [u8], at: usize) {
        let head = contents.get(at..).unwrap_or_default();
        let &[kind, _, _, pointers, bonus, _, _, flags, _, _, _, _, extra, ..] = head else { return };
        if ObjectType(kind) == ObjectType::NONE {
            return;
        }
        let end = at + (1 + usize::from(extra)) * dnode::SLOT_SIZE;
        let bonus_at = at + 64 + usize::from(pointers) * blkptr::SIZE;
        (at + 64..bonus_at).step_by(blkptr::SIZE).for_each(|at| self.pointer(contents, at));
        if flags & dnode::FLAG_SPILL_BLKPTR != 0 {
            self.pointer(contents, end - blkptr::SIZE);
        }
        if ObjectType(bonus) == ObjectType::DSL_DATASET {
            self.pointer(contents, bonus_at + 128);
        }
    }
}
