//! Encrypted datasets of a pool that OpenZFS made (tests/vm/jobs/make-encrypted.sh):
//! each suite, each form of key, a child, a clone, snapshots, a raw copy, a key that
//! was changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};
use zfs_ondisk::blkptr::BlockPointer;
use zfs_ondisk::object::{ObjectId, ObjectType};
use zfs_ondisk::objset::Kind;

use crate::crypt::{Access, Secret, verify_pointers};
use crate::device::{Device, ReadAt};
use crate::error::Error;
use crate::fs::FileSystem;
use crate::object::ObjectSet;
use crate::pool::Pool;

const KEYS: [&str; 2] = ["raw", "hex"];
const PASSPHRASES: [&str; 2] = ["pass", "changed"];

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/encrypted")
}

fn text(name: &str) -> String {
    fs::read_to_string(data().join(name)).unwrap()
}

#[derive(Clone)]
struct Image(Arc<Vec<u8>>);

impl ReadAt for Image {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    fn size(&self) -> u64 {
        self.0.len() as u64
    }
}

fn locked() -> Pool {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    let image = IMAGE.get_or_init(|| {
        let packed = fs::File::open(data().join("encrypted.img.zst")).unwrap();
        Image(Arc::new(zstd::decode_all(packed).unwrap()))
    });
    Pool::open(vec![Device::new("encrypted.img", image.clone())]).unwrap()
}

fn key(name: &str) -> Secret {
    Secret::key_in(&fs::read(data().join(name)).unwrap()).unwrap()
}

fn passphrase(name: &str) -> Secret {
    Secret::passphrase_in(&fs::read(data().join(name)).unwrap())
}

fn unlocked() -> Pool {
    let pool = locked();
    PASSPHRASES.into_iter().for_each(|name| pool.add_secret(passphrase(name)));
    KEYS.into_iter().for_each(|name| pool.add_secret(key(name)));
    pool
}

fn objects(pool: &Pool, name: &str) -> ObjectSet {
    pool.dataset(name).unwrap().objects().unwrap().unwrap()
}

fn file_system(pool: &Pool, name: &str) -> Result<FileSystem, Error> {
    FileSystem::open(&pool.dataset(name)?)
}

fn contents(fs: &FileSystem, path: &str) -> Vec<u8> {
    let file = fs.lookup(path.as_bytes()).unwrap();
    let mut contents = vec![0; file.attributes().size as usize];
    assert_eq!(file.read_at(0, &mut contents).unwrap(), contents.len());
    let mut ahead = vec![0; contents.len()];
    for piece in file.contents().pieces(2) {
        ahead[piece.range.start as usize..piece.range.end as usize].copy_from_slice(&piece.bytes.unwrap());
    }
    assert!(contents == ahead, "{path}: read at once and ahead");
    contents
}

/// All pointers to blocks of an object set that have a MAC: its root, and those
/// of its objects, indirect ones among them.
fn pointers(set: &ObjectSet) -> Vec<BlockPointer> {
    let inner = [Some(set.meta())].into_iter().chain(set.accounting()).flatten();
    let mut pointers = vec![*set.pointer()];
    for object in inner.chain(set.objects().map(Result::unwrap)) {
        pointers.extend(crate::walk::Walk::new(&object, 0).map(|visit| visit.unwrap().pointer));
        pointers.extend(object.dnode().spill);
    }
    pointers.retain(|pointer| pointer.uses_crypt() && !pointer.is_hole());
    pointers
}

#[test]
fn every_file_is_what_was_written() {
    let pool = unlocked();
    let mut compared = 0;
    let sums = text("sums");
    // The raw copy of a snapshot is the same as that.
    let copy = sums.lines().filter(|line| line.starts_with("enc/ccm256@one "));
    let copy: Vec<String> = copy.map(|line| line.replace("enc/ccm256@one", "enc/received")).collect();
    for line in sums.lines().chain(copy.iter().map(String::as_str)) {
        let mut words = line.split(' ');
        let (name, sum, path) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let found = Sha256::digest(contents(&file_system(&pool, name).unwrap(), path));
        assert_eq!(found.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), sum, "{name} {path}");
        compared += 1;
    }
    assert!(compared > 250, "{compared} files");
}

#[test]
fn attributes_in_bonus_buffers_spill_blocks_and_directories_are_read() {
    let pool = unlocked();
    let numbers = |separator: &str, last: u32| {
        (1..=last).map(|number| number.to_string()).collect::<Vec<_>>().join(separator).into_bytes()
    };
    for name in ["gcm256", "gcm192", "gcm128", "ccm256", "ccm192", "ccm128@one", "clone"] {
        let fs = file_system(&pool, &format!("enc/{name}")).unwrap();
        let xattr = |path: &str| fs.lookup(path.as_bytes()).unwrap().xattrs().unwrap();
        assert!(xattr("short").contains(&(b"user.small".to_vec(), b"value".to_vec())), "{name}");
        assert!(xattr("empty").contains(&(b"user.large".to_vec(), numbers(",", 200))), "{name}");
        assert_eq!(fs.lookup(b"link").unwrap().link_target().unwrap(), numbers("/", 60), "{name}");
    }
}

#[test]
fn every_mac_of_the_pool_holds() {
    let pool = unlocked();
    let mut kinds = [0; 5];
    for dataset in pool.datasets().unwrap() {
        let Some(set) = dataset.objects().unwrap() else { continue };
        for pointer in pointers(&set) {
            assert_eq!(set.verify_block(&pointer).unwrap(), [], "{}", dataset.name);
            kinds[match (pointer.level(), pointer.object_type()) {
                (1.., _) => 0,
                (_, ObjectType::OBJSET) => 1,
                (_, ObjectType::DNODE) => 2,
                _ if pointer.is_encrypted() => 3,
                _ => 4,
            }] += 1;
        }
    }
    assert!(kinds.into_iter().all(|count| count > 5), "{kinds:?}");
}

#[test]
fn the_check_finds_nothing_that_has_to_do_with_encryption() {
    for pool in [unlocked(), locked()] {
        let report = crate::check::check(&pool).unwrap();
        let findings = report.findings.iter().map(|finding| finding.to_string());
        // Without keys it says that not everything was examined.
        let others: Vec<String> = findings.filter(|finding| !finding.contains(" is encrypted, and ")).collect();
        assert!(others.iter().all(|finding| finding.contains("GUID is that of")), "{others:#?}");
    }
}

#[test]
fn properties_of_encryption_are_those_that_openzfs_shows() {
    let pool = locked();
    for line in text("list").lines() {
        let words: Vec<&str> = line.split('\t').collect();
        let found = pool.dataset(words[0]).unwrap().encryption().unwrap();
        let Some(found) = found else {
            assert_eq!(words[1], "off", "{line}");
            continue;
        };
        assert_eq!((found.suite.name(), found.root.as_str()), (words[1], words[2]));
        // OpenZFS does not show them for snapshots.
        if !words[0].contains('@') {
            assert_eq!((found.format.name(), found.iterations.to_string().as_str()), (words[3], words[4]), "{line}");
        }
    }
}

#[test]
fn without_a_key_everything_but_secrets_is_read() {
    let pool = locked();
    for dataset in pool.datasets().unwrap() {
        let set = dataset.objects().unwrap().unwrap();
        if dataset.encryption().unwrap().is_none() {
            assert_eq!(set.lock(), None);
            continue;
        }
        assert!(set.lock().is_some());
        for pointer in pointers(&set) {
            assert_eq!(set.verify_block(&pointer).unwrap(), []);
        }
        for object in set.objects() {
            let object = object.unwrap();
            assert!(object.bonus().is_empty() || !object.dnode().bonus_type.is_encrypted());
        }
        // The master node of a file system, the properties of a volume: only authenticated.
        let object = if set.kind() == Some(Kind::Volume) { ObjectId(2) } else { ObjectId(1) };
        assert!(set.object(object).unwrap().zap().unwrap().count().unwrap() > 0);
    }
    let error = file_system(&pool, "enc/gcm256/child@one").err().unwrap();
    assert_eq!(
        error.cause().to_string(),
        "enc/gcm256/child@one is encrypted, and the passphrase of its encryption root enc/gcm256 was not given"
    );
    let error = file_system(&pool, "enc/ccm128").err().unwrap();
    assert_eq!(error.cause().to_string(), "enc/ccm128 is encrypted, and its key was not given");
    let root = pool.dataset("enc/ccm128").unwrap().dataset.root;
    let object = ObjectSet::open(&pool, "?", &root).unwrap().object(ObjectId(1)).unwrap_err();
    assert!(matches!(object.cause(), Error::Encrypted(_)), "{object}");
}

#[test]
fn a_wrong_key_is_said_with_the_encryption_root() {
    let pool = locked();
    let error = |name: &str| file_system(&pool, name).err().unwrap().cause().to_string();
    pool.add_secret(Secret::passphrase_in(b"not this"));
    assert_eq!(error("enc/gcm256/child"), "the passphrase is wrong for enc/gcm256");
    assert_eq!(error("enc/clone"), "the passphrase is wrong for enc/gcm256");
    pool.add_secret(Secret::passphrase_in(b"nor this"));
    assert_eq!(error("enc/gcm256/child"), "each of the 2 passphrases is wrong for enc/gcm256");
    // A passphrase is not tried where a key is needed.
    assert_eq!(error("enc/ccm128"), "enc/ccm128 is encrypted, and its key was not given");
    pool.add_secret(Secret::key_in(&[7; 32]).unwrap());
    assert_eq!(error("enc/ccm128"), "the key is wrong for enc/ccm128");
    assert_eq!(error("enc/received"), "the key is wrong for enc/received");
}

#[test]
fn a_key_that_was_changed_is_not_valid_any_more() {
    let pool = locked();
    pool.add_secret(key("raw"));
    assert!(file_system(&pool, "enc/ccm256").is_ok());
    let error = file_system(&pool, "enc/gcm192").err().unwrap();
    assert_eq!(error.cause().to_string(), "enc/gcm192 is encrypted, and its passphrase was not given");
    pool.add_secret(passphrase("changed"));
    assert!(file_system(&pool, "enc/gcm192@one").is_ok());
}

#[test]
fn what_was_read_without_a_key_does_not_stand_for_what_is_read_with_it() {
    let pool = locked();
    let before = objects(&pool, "enc/gcm256");
    assert_eq!(before.objects().filter(|object| object.is_err()).count(), 0);
    pool.add_secret(passphrase("pass"));
    assert_eq!(contents(&file_system(&pool, "enc/gcm256").unwrap(), "short"), b"changed\n");
    assert_eq!(contents(&file_system(&pool, "enc/clone").unwrap(), "new"), b"cloned\n");
    // What is locked stays so, whatever is in the cache.
    let error = FileSystem::from_objects(before).err().unwrap();
    assert!(matches!(error.cause(), Error::Locked(_)), "{error}");
}

#[test]
fn changes_that_pass_the_checksum_are_noticed_by_the_mac() {
    let pool = unlocked();
    let mut noticed = 0;
    for name in ["enc/gcm256", "enc/ccm192", "enc/gcm128/volume"] {
        let dataset = pool.dataset(name).unwrap();
        let set = dataset.objects().unwrap().unwrap();
        let access = dataset.access().unwrap();
        for pointer in pointers(&set) {
            let stored = pool.read_stored(&pointer).unwrap();
            let places: &[usize] = match (pointer.level(), pointer.object_type()) {
                // The MAC of the first child: what else the MAC covers takes decompressing.
                (1.., _) => {
                    let mut contents = set.read_block(&pointer).unwrap();
                    contents[112] ^= 1;
                    assert!(matches!(verify_pointers(&pointer, &contents), Err(Error::Crypt { .. })));
                    continue;
                }
                // Type and pointer of the array of dnodes, type, portable MAC.
                (_, ObjectType::OBJSET) => &[0, 64 + 48, 64 + 112, 710, 720, 751],
                // Fixed part and bonus buffer of a dnode.
                (_, ObjectType::DNODE) => &[512, 512 + 16, 1023],
                _ => &[0, 100, 511],
            };
            for &at in places.iter().filter(|&&at| at < stored.len()) {
                let mut changed = stored.clone();
                changed[at] ^= 1;
                let result = pool.unpack(&pointer, &mut changed, &mut Vec::new(), &access);
                assert!(matches!(result, Err(Error::Crypt { .. })), "{name} {pointer:?} byte {at}");
                noticed += 1;
            }
        }
    }
    assert!(noticed > 100, "{noticed}");
}

#[test]
fn a_block_of_another_dataset_is_refused() {
    let pool = unlocked();
    let set = objects(&pool, "enc/ccm256");
    let pointer = set.object(ObjectId(2)).unwrap().block_pointer(0).unwrap();
    assert!(pointer.is_encrypted());
    assert!(set.read_block(&pointer).is_ok());
    // The raw copy has the same key; another dataset with the same wrapping key has not.
    assert!(objects(&pool, "enc/received").read_block(&pointer).is_ok());
    let error = objects(&pool, "enc/ccm128").block(&pointer).unwrap_err();
    assert!(error.to_string().ends_with("it was changed, moved, or encrypted with another key"), "{error}");
    // Blocks without a MAC cannot be smuggled into an encrypted dataset.
    let plain = *pool.mos().unwrap().pointer();
    let error = set.read_block(&plain).unwrap_err();
    assert!(error.to_string().ends_with("it has no MAC, as every block of an encrypted dataset must"), "{error}");
    let unpacked = pool.unpack(&plain, &mut [], &mut Vec::new(), &Access::Plain);
    assert!(matches!(unpacked, Err(Error::Decompress { .. })));
}
