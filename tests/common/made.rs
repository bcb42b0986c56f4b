//! Pools that `tests/vm/jobs/make-variety.sh` has made, and what the kernel said of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use zfs_ondisk::object::ObjectId;
use zfs_pool::{Dataset, Error, FileSystem, ObjectSet, Pool, Secret};

use super::described;

/// A pool in a folder of its own.
pub struct Made {
    folder: PathBuf,
    /// What sort of pool it is.
    pub kind: String,
}

/// Properties of the system that has imported a pool, and those of the pool that are not
/// known, or 0, where it has imported it for reading only.
const NOT_IN_THE_POOL: [&str; 15] = [
    "altroot",
    "cachefile",
    "readonly",
    "mounted",
    "keystatus",
    // What is in it is compressed, by another zlib than ours.
    "receive_resume_token",
    "load_guid",
    "health",
    "allocated",
    "free",
    "capacity",
    "fragmentation",
    "expandsize",
    "dedup_table_size",
    "version",
];

/// What is not as the kernel said, in lines to be read.
pub type Differences = Vec<String>;

impl Made {
    /// The pool of a kind below `folder`, if it is there.
    pub fn find(folder: &Path, kind: &str) -> Option<Self> {
        let folder = folder.join(kind);
        folder.join("list.txt").is_file().then(|| Self { folder, kind: kind.to_owned() })
    }

    /// Where its devices and texts are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its devices, by name.
    pub fn images(&self) -> Vec<PathBuf> {
        self.files("", "img")
    }

    /// The options that give `tine pool` all its keys.
    pub fn key_options(&self) -> Vec<String> {
        let option = |path: &PathBuf| match path.extension() {
            Some(word) if word == "pass" => format!("--passphrase-file={}", path.display()),
            _ => format!("--key-file={}", path.display()),
        };
        ["pass", "key"].iter().flat_map(|ending| self.files("keys", ending)).map(|path| option(&path)).collect()
    }

    /// All its pass phrases and keys.
    pub fn secrets(&self) -> Vec<Secret> {
        let contents = |ending| self.files("keys", ending).into_iter().map(|path| fs::read(path).expect("a key"));
        let phrases = contents("pass").map(|bytes| Secret::passphrase_in(&bytes));
        phrases.chain(contents("key").map(|bytes| Secret::key_in(&bytes).expect("a key"))).collect()
    }

    /// A text that came with it; empty if it did not.
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    /// The lines of a text, split at tabs.
    pub fn table(&self, name: &str) -> Vec<Vec<String>> {
        self.text(name).lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
    }

    /// The parts of a text that begin with `## NAME`, by that name.
    pub fn sections(&self, name: &str) -> BTreeMap<String, Vec<String>> {
        let mut sections = BTreeMap::<String, Vec<String>>::new();
        let mut current = String::new();
        for line in self.text(name).lines() {
            match line.strip_prefix("## ") {
                Some(title) => {
                    title.clone_into(&mut current);
                    sections.insert(current.clone(), Vec::new());
                }
                None => sections.entry(current.clone()).or_default().push(line.to_owned()),
            }
        }
        sections
    }

    fn files(&self, below: &str, ending: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.folder.join(below)) else { return Vec::new() };
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
        files.retain(|path| path.extension().is_some_and(|found| found == ending));
        files.sort();
        files
    }

    /// Compares the names, numbers and sizes of all datasets and snapshots.
    pub fn compare_datasets(&self, pool: &Pool) -> Result<Differences, Error> {
        // Name, type, used, available, referenced, mountpoint, origin, creation, createtxg, guid.
        let meant = self.table("list.txt").into_iter().filter(|row| row[1] != "bookmark");
        let meant =
            meant.map(|row| (row[0].clone(), [&row[4], &row[7], &row[8], &row[9]].map(String::clone))).collect();
        let row = |found: &Dataset| {
            let record = &found.dataset;
            [record.referenced_bytes, record.creation_time, record.creation_txg, record.guid]
                .map(|word| word.to_string())
        };
        let found = pool.datasets()?.iter().map(|dataset| (dataset.name.clone(), row(dataset))).collect();
        let columns = ["referenced", "creation", "createtxg", "guid"];
        Ok(differences(&meant, &found, &|name, meant, found| {
            let of_column = |(column, (meant, found)): (&str, (&String, &String))| {
                (meant != found).then(|| format!("{name}: {column} is {meant}, found {found}"))
            };
            columns.into_iter().zip(meant.iter().zip(found)).filter_map(of_column).collect()
        }))
    }

    /// Compares every file of every file system and snapshot that the kernel mounted.
    pub fn compare_files(&self, pool: &Pool) -> Result<Differences, Error> {
        let (meant, holes) = (self.sections("manifest.txt"), self.sections("holes.txt"));
        let mut differences = Differences::new();
        for (name, lines) in &meant {
            let described = pool
                .dataset(name)
                .and_then(|dataset| FileSystem::open(&dataset))
                .and_then(|fs| Ok((described::manifest(&fs)?, described::holes(&fs)?)));
            match described {
                Ok((files, found_holes)) => {
                    differences.extend(compare_lines(name, lines, &files));
                    let meant_holes = holes.get(name).map(Vec::as_slice).unwrap_or_default();
                    // To the kernel, what a redacted send left out is a hole.
                    if !lines.iter().any(|line| line.contains("\tunreadable\t")) {
                        differences.extend(compare_holes(name, meant_holes, &found_holes));
                    }
                }
                Err(error) => differences.push(format!("{name}: {error}")),
            }
        }
        Ok(differences)
    }

    /// Compares what `tine pool get -rH --parsable all` printed of the datasets with what
    /// `zfs` did.
    pub fn compare_properties(&self, printed: &str) -> Differences {
        // The pool's own come with the topmost dataset's.
        let is_of_pool = properties(&self.text("pool.txt"));
        let meant = properties(&self.text("properties.txt"));
        let mut found = properties(printed);
        found.retain(|name, _| meant.contains_key(name) || !is_of_pool.contains_key(name));
        compare_properties(&meant, &found)
    }

    /// Compares what `tine pool get -H --parsable --pool all` printed with what `zpool` did.
    pub fn compare_pool_properties(&self, printed: &str) -> Differences {
        compare_properties(&properties(&self.text("pool.txt")), &properties(printed))
    }

    /// Compares the number of objects of each dataset with what `zdb -d` printed.
    pub fn compare_counts(&self, pool: &Pool, printed: &str) -> Result<Differences, Error> {
        let count = |line: &str| -> Option<(String, u64)> {
            let (name, rest) = line.strip_prefix("Dataset ")?.split_once(" [")?;
            let count = rest.split(", ").find_map(|part| part.strip_suffix(" objects"))?;
            Some((name.to_owned(), count.parse().ok()?))
        };
        let meant: BTreeMap<String, u64> = printed.lines().filter_map(count).collect();
        let mut differences = Differences::new();
        for dataset in pool.datasets()? {
            // zdb does not open what was not received whole.
            if dataset.dataset.flags & zfs_ondisk::dsl::DATASET_FLAG_INCONSISTENT != 0 {
                continue;
            }
            let found = match dataset.objects()? {
                Some(objects) => objects.objects().collect::<Result<Vec<_>, _>>()?.len() as u64,
                None => 0,
            };
            let meant = meant.get(&dataset.name);
            if meant != Some(&found) {
                differences.push(format!("{}: {meant:?} objects by zdb, found {found}", dataset.name));
            }
        }
        Ok(differences)
    }

    /// Compares the contents of the volumes.
    pub fn compare_volumes(&self, pool: &Pool) -> Result<Differences, Error> {
        let mut differences = Differences::new();
        for row in self.table("volumes.txt") {
            let dataset = pool.dataset(&row[0])?;
            let found = match dataset.objects()? {
                Some(objects) => volume_digest(&objects),
                None => Err(Error::NotA("volume")),
            };
            match found {
                Ok((size, sum)) if [size.to_string(), sum.clone()] == row[1..] => {}
                found => differences.push(format!("{} is {:?}, found {found:?}", row[0], &row[1..])),
            }
        }
        Ok(differences)
    }
}

fn volume_digest(objects: &ObjectSet) -> Result<(u64, String), Error> {
    const DATA: ObjectId = ObjectId(1);
    const PROPERTIES: ObjectId = ObjectId(2);
    let mut properties = objects.object(PROPERTIES)?.zap()?;
    let size = properties.number("size")?.ok_or(Error::NotA("volume"))?;
    let data = objects.object(DATA)?;
    let mut contents = vec![0; size as usize];
    data.read_at(0, &mut contents)?;
    Ok((size, described::sha256(&contents)))
}

/// Value and source by property and dataset.
fn properties(text: &str) -> BTreeMap<String, [String; 2]> {
    let row = |line: &str| -> Option<(String, [String; 2])> {
        let mut fields = line.split('\t').map(str::to_owned);
        let (name, property) = (fields.next()?, fields.next()?);
        Some((format!("{property} of {name}"), [fields.next()?, fields.next()?]))
    };
    text.lines().filter_map(row).collect()
}

/// Those that both sides have, and those that only the kernel has.
fn compare_properties(meant: &BTreeMap<String, [String; 2]>, found: &BTreeMap<String, [String; 2]>) -> Differences {
    let property = |name: &str| name.split(' ').next().unwrap_or_default().to_owned();
    let mut lines = Differences::new();
    for (name, meant) in meant.iter().filter(|(name, _)| !NOT_IN_THE_POOL.contains(&&*property(name))) {
        match found.get(name) {
            None => lines.push(format!("{name} is {meant:?}, and missing")),
            Some(found) if same_value(&property(name), &meant[0], &found[0]) && meant[1] == found[1] => {}
            Some(found) => lines.push(format!("{name} is {meant:?}, found {found:?}")),
        }
    }
    lines
}

/// Whether values are the same, but for how the pool was imported and what OpenZFS 2.3 calls
/// `on` where `sa` is set.
fn same_value(property: &str, meant: &str, found: &str) -> bool {
    let in_order = |text: &str| {
        let mut words: Vec<String> = text.split(',').map(str::to_owned).collect();
        words.sort();
        words
    };
    match (property, meant, found) {
        ("mountpoint", ..) => {
            meant == found
                || meant.strip_prefix("/mnt/pool").is_some_and(|rest| found == if rest.is_empty() { "/" } else { rest })
        }
        ("xattr", "on", "sa") => true,
        ("clones", ..) => in_order(meant) == in_order(found),
        _ => meant == found,
    }
}

fn differences<V: PartialEq>(
    meant: &BTreeMap<String, V>,
    found: &BTreeMap<String, V>,
    explain: &dyn Fn(&str, &V, &V) -> Vec<String>,
) -> Differences {
    let mut differences = Differences::new();
    for (name, value) in meant {
        match found.get(name) {
            Some(found) => differences.extend(explain(name, value, found)),
            None => differences.push(format!("{name} is missing")),
        }
    }
    let more = found.keys().filter(|name| !meant.contains_key(*name));
    differences.extend(more.map(|name| format!("{name} is not in the kernel's list")));
    differences
}

fn compare_lines(name: &str, meant: &[String], found: &[String]) -> Differences {
    const FIELDS: [&str; 10] =
        ["path", "type", "mode", "owner", "links", "size", "time", "contents", "first name", "attributes"];
    let by_path = |lines: &[String]| -> BTreeMap<String, Vec<String>> {
        let fields = |line: &String| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
        lines.iter().map(fields).map(|fields| (fields[0].clone(), fields)).collect()
    };
    let found = differences(&by_path(meant), &by_path(found), &|path, meant, found| {
        let pairs = FIELDS.iter().zip(meant.iter().zip(found));
        let differ = pairs.filter(|(_, (meant, found))| meant != found);
        differ
            .map(|(field, (meant, found))| format!("{path}: {field} is {}, found {}", cut(meant), cut(found)))
            .collect()
    });
    found.into_iter().map(|line| format!("{name}:/{line}")).collect()
}

/// Holes of files of which both sides speak; see [`described::holes`].
fn compare_holes(name: &str, meant: &[String], found: &described::Holes) -> Differences {
    let mut by_path = BTreeMap::<&str, Vec<(u64, u64)>>::new();
    for line in meant {
        let mut fields = line.split('\t');
        let path = fields.next().unwrap_or_default();
        let mut number = || fields.next().and_then(|word| word.parse().ok()).unwrap_or(u64::MAX);
        by_path.entry(path).or_default().push((number(), number()));
    }
    let differ =
        found.iter().filter(|(path, holes)| by_path.get(path.as_str()).map_or(&[][..], Vec::as_slice) != **holes);
    differ
        .map(|(path, holes)| format!("{name}:/{path}: holes are {:?}, found {holes:?}", by_path.get(path.as_str())))
        .collect()
}

fn cut(text: &str) -> String {
    let start: String = text.chars().take(100).collect();
    if start.len() < text.len() { format!("{start}... ({} characters)", text.len()) } else { start }
}
