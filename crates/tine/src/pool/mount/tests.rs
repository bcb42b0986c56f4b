//! The view of a small pool, without FUSE.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use tree::{Builder, Options};
use zfs_image::{DatasetSpec, PoolSpec, Resources, Silent, SnapshotSpec, build};
use zfs_pool::fs::FileType;
use zfs_pool::{Device, Pool};

use super::inode::ROOT;
use super::view::{Listed, Trouble, View};

const SIZE: usize = 64 << 20;
/// Names in the largest directory: more than a micro ZAP holds.
const MANY: usize = 3000;

struct Memory(Mutex<Vec<u8>>);

impl zfs_image::Device for Memory {
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), zfs_image::Error> {
        let mut memory = self.0.lock().expect("no thread panicked");
        memory[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn set_size(&self, _size: u64) -> Result<(), zfs_image::Error> {
        Ok(())
    }
}

/// `tank` with a directory, `tank/home` and `tank/home/user`, and a snapshot of each.
fn pool() -> Pool {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let write = |path: &str, contents: &[u8]| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("a directory can be made");
        fs::write(path, contents).expect("a file can be written");
    };
    write("etc/rc.conf", b"hostname=x\n");
    write("home/user/file", b"of a dataset");
    let mut sparse = vec![0; 600 << 10];
    sparse[300 << 10..301 << 10].fill(7);
    write("sparse", &sparse);
    (0..MANY).for_each(|number| write(&format!("many/{number:08}-{}", "n".repeat(60)), b""));
    let mut builder = Builder::new(Options::default()).expect("options are valid");
    builder.add_directory(folder.path()).expect("it can be read");
    let tree = builder.finish().expect("it is whole");
    let mut spec = PoolSpec::new("tank");
    spec.size = Some(SIZE as u64);
    let datasets = ["tank;mountpoint=/", "tank/home;mountpoint=/home", "tank/home/user;mountpoint=/home/user"];
    spec.datasets = datasets.iter().map(|text| DatasetSpec::parse(text).expect("it is valid")).collect();
    spec.snapshots = vec![SnapshotSpec::parse("@one").expect("it is valid")];
    let memory = Memory(Mutex::new(vec![0; SIZE]));
    let resources = Resources { threads: 1, memory: 256 << 20 };
    build(&tree, &spec, resources, &memory, &Silent).expect("the pool can be built");
    Pool::open(vec![Device::new("memory", memory.0.into_inner().expect("no thread panicked"))]).expect("it is sound")
}

/// All names of a directory, a few at a time.
fn list(view: &View, number: u64, at_once: usize) -> Vec<Listed> {
    let mut listed: Vec<Listed> = Vec::new();
    loop {
        let place = listed.last().map_or(0, |last| last.next);
        let more = view.list(number, place, at_once).expect("it can be listed");
        assert!(more.len() <= at_once);
        if more.is_empty() {
            return listed;
        }
        listed.extend(more);
    }
}

fn walk(view: &View, path: &str) -> Result<u64, Trouble> {
    let names = path.split('/').filter(|name| !name.is_empty());
    names.into_iter().try_fold(ROOT, |parent, name| Ok(view.lookup(parent, name.as_bytes())?.number))
}

fn names(listed: &[Listed]) -> Vec<String> {
    let mut names: Vec<_> = listed.iter().map(|listed| String::from_utf8_lossy(&listed.name).into_owned()).collect();
    names.sort();
    names
}

#[test]
fn datasets_lie_in_each_other_by_their_names() {
    let view = View::new(&pool(), "tank").expect("there is such a dataset");
    view.check().expect("its root can be read");
    assert_eq!(names(&list(&view, ROOT, 3)), [".", "..", "etc", "home", "many", "sparse"]);
    let file = walk(&view, "home/user/file").expect("it is there");
    let open = view.open(file).expect("it can be read");
    assert_eq!(open.read(0, 100).expect("it is sound"), b"of a dataset");
    assert_eq!(open.read(3, 4).expect("it is sound"), b"a da");
    assert!(matches!(walk(&view, "home/none"), Err(Trouble::Missing)));
    assert!(matches!(walk(&view, "sparse/x"), Err(Trouble::NotADirectory)));
    assert!(matches!(view.open(ROOT), Err(Trouble::IsADirectory)));
}

#[test]
fn snapshots_are_found_though_not_listed() {
    let view = View::new(&pool(), "tank").expect("there is such a dataset");
    let snapshots = walk(&view, "home/.zfs/snapshot").expect("it is there");
    let listed = list(&view, snapshots, 10);
    assert_eq!(names(&listed), [".", "..", "one"]);
    let now = walk(&view, "home/user/file").expect("it is there");
    let then = walk(&view, "home/user/.zfs/snapshot/one/file").expect("it is there");
    assert_ne!(now, then, "numbers tell datasets apart");
    assert!(matches!(walk(&view, "home/.zfs/snapshot/one/.zfs"), Err(Trouble::Missing)));
    let up: Vec<_> = listed.iter().filter(|listed| listed.name == b"..").map(|listed| listed.number).collect();
    assert_eq!(up, [walk(&view, "home/.zfs").expect("it is there")]);
}

#[test]
fn numbers_are_the_same_whatever_is_mounted() {
    let pool = pool();
    let all = View::new(&pool, "tank").expect("there is such a dataset");
    let part = View::new(&pool, "tank/home").expect("there is such a dataset");
    assert_eq!(walk(&all, "home/user/file").expect("it is there"), walk(&part, "user/file").expect("it is there"));
    let up = list(&part, ROOT, 10).into_iter().find(|listed| listed.name == b"..").map(|listed| listed.number);
    assert_eq!(up, Some(ROOT), "nothing is above the root");
    let snapshot = View::new(&pool, "tank/home/user@one").expect("there is such a snapshot");
    assert_eq!(names(&list(&snapshot, ROOT, 10)), [".", "..", "file"]);
}

#[test]
fn a_large_directory_is_listed_in_parts_of_any_size() {
    let view = View::new(&pool(), "tank").expect("there is such a dataset");
    let many = walk(&view, "many").expect("it is there");
    let whole = list(&view, many, usize::MAX);
    assert_eq!(whole.len(), MANY + 2);
    for at_once in [1, 7, 512] {
        assert_eq!(list(&view, many, at_once), whole, "{at_once} at once");
    }
    let distinct: BTreeSet<_> = whole.iter().map(|listed| &listed.name).collect();
    assert_eq!(distinct.len(), whole.len());
    assert!(whole.iter().skip(2).all(|listed| listed.file_type == Some(FileType::Regular)));
    // A listing goes on from any place that it gave.
    let rest = view.list(many, whole[1000].next, usize::MAX).expect("it can be listed");
    assert_eq!(rest, whole[1001..]);
}

#[test]
fn holes_and_data_are_told_apart() {
    let view = View::new(&pool(), "tank").expect("there is such a dataset");
    let open = view.open(walk(&view, "sparse").expect("it is there")).expect("it can be read");
    let (record, end) = (128 << 10, 600 << 10);
    assert_eq!(open.data_from(0).expect("it is sound"), Some(2 * record));
    assert_eq!(open.hole_from(0).expect("it is sound"), Some(0));
    assert_eq!(open.data_from(300 << 10).expect("it is sound"), Some(300 << 10));
    assert_eq!(open.hole_from(300 << 10).expect("it is sound"), Some(3 * record));
    assert_eq!(open.data_from(3 * record).expect("it is sound"), None);
    assert_eq!(open.hole_from(end).expect("it is sound"), None);
    assert_eq!(open.read(end - 5, 100).expect("it is sound"), [0; 5]);
    assert_eq!(open.read(end + 5, 100).expect("it is sound"), [0; 0]);
}
