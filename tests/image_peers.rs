//! Images of many trees and options before those who must get along with them: `zdb`,
//! GRUB, and a kernel with OpenZFS.

mod common;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::command::{self, Ran};
use common::peer::{self, Peer};
use common::source_tree::Recipe;
use common::vm::{Job, Vm};
use common::zdb::Zdb;
use tempfile::TempDir;

const TINE: &str = env!("CARGO_BIN_EXE_tine");
const LIMIT: Duration = Duration::from_secs(120);
const POOL: &str = "tank";

/// Properties that bear upon how files are stored, with sizes of files that the usual
/// ones do not cover. Each dataset inherits `recordsize=4k`.
const STORAGE: [(&str, &str, &[usize]); 42] = [
    ("off", "compression=off", &[]),
    ("on", "compression=on", &[]),
    ("lz4", "compression=lz4", &[]),
    ("zle", "compression=zle", &[]),
    ("lzjb", "compression=lzjb", &[]),
    ("gzip-1", "compression=gzip-1", &[]),
    ("gzip", "compression=gzip;recordsize=128k", &[]),
    ("gzip-9", "compression=gzip-9", &[]),
    ("zstd-1", "compression=zstd-1", &[]),
    ("zstd", "compression=zstd;recordsize=128k", &[400_000]),
    ("zstd-19", "compression=zstd-19;recordsize=128k", &[]),
    ("zstd-fast", "compression=zstd-fast", &[]),
    ("zstd-fast-1000", "compression=zstd-fast-1000", &[]),
    ("fletcher2", "checksum=fletcher2", &[]),
    ("fletcher4", "checksum=fletcher4", &[]),
    ("unchecked", "checksum=off", &[]),
    ("sha256", "checksum=sha256", &[]),
    ("sha512", "checksum=sha512", &[]),
    ("skein", "checksum=skein", &[]),
    ("edonr", "checksum=edonr", &[]),
    ("blake3", "checksum=blake3", &[]),
    ("records-512", "recordsize=512", &[100_000]),
    ("records-16k", "recordsize=16k", &[16_383, 16_384, 16_385]),
    ("records-1m", "recordsize=1m;compression=off", &[1 << 20, (1 << 20) + 1, 2_500_000]),
    ("records-16m", "recordsize=16m", &[9_000_000, 17_000_000]),
    ("dnodes-auto", "dnodesize=auto", &[]),
    ("dnodes-1k", "dnodesize=1k;xattr=dir", &[]),
    ("dnodes-2k", "dnodesize=2k", &[]),
    ("dnodes-4k", "dnodesize=4k", &[]),
    ("dnodes-8k", "dnodesize=8k", &[]),
    ("dnodes-16k", "dnodesize=16k", &[]),
    ("xattrs", "xattr=dir", &[]),
    ("two", "copies=2", &[]),
    ("three", "copies=3;compression=zstd;recordsize=1m", &[1_100_000]),
    ("most", "redundant_metadata=most", &[]),
    ("some", "redundant_metadata=some", &[]),
    ("none", "redundant_metadata=none;copies=2", &[]),
    ("insensitive", "casesensitivity=insensitive", &[]),
    ("mixed", "casesensitivity=mixed", &[]),
    ("composed", "normalization=formD", &[]),
    ("utf8", "utf8only=on", &[]),
    ("all-names", "casesensitivity=insensitive;normalization=formKC;utf8only=on", &[]),
];

/// What is set on the datasets of [`installed`], and what `zfs get -p` is to say of it.
const PROPERTIES: [(&str, &str, &str, &str); 12] = [
    ("home", "quota", "1g", "1073741824"),
    ("home", "refquota", "900m", "943718400"),
    ("home", "filesystem_limit", "20", "20"),
    ("home", "snapshot_limit", "30", "30"),
    ("home", "org.example:owner", "ci, \"quoted\"", "ci, \"quoted\""),
    ("var/log", "reservation", "4m", "4194304"),
    ("var/log", "refreservation", "6m", "6291456"),
    ("var/log", "compression", "gzip-9", "gzip-9"),
    ("var/tmp", "sync", "disabled", "disabled"),
    ("usr/src", "recordsize", "1m", "1048576"),
    ("usr/src", "primarycache", "metadata", "metadata"),
    ("tmp", "logbias", "throughput", "throughput"),
];

/// A folder with a tree, and images in folders of their own.
struct Workshop(TempDir);

impl Workshop {
    /// With a tree that `make` makes at the path it is given.
    fn new(make: impl FnOnce(&Path)) -> Self {
        let workshop = Self(tempfile::tempdir().expect("a temporary folder"));
        make(&workshop.tree());
        workshop
    }

    /// With a tree that has a file of every kind, for blocks of 16 KiB.
    fn general() -> Self {
        Self::new(|tree| general(tree, 300))
    }

    fn tree(&self) -> PathBuf {
        self.0.path().join("tree")
    }

    /// Builds the pool [`POOL`] from the tree, mounted at `/`.
    #[track_caller]
    fn build(&self, options: &[&str]) -> Image {
        let (folder, mut paths) = self.build_all(1, POOL, options);
        Image { folder, path: paths.remove(0) }
    }

    /// Builds a pool of so many images, which are in a folder of their own.
    #[track_caller]
    fn build_all(&self, images: usize, pool: &str, options: &[&str]) -> (TempDir, Vec<PathBuf>) {
        let folder = tempfile::tempdir_in(self.0.path()).expect("a temporary folder");
        let paths: Vec<PathBuf> = (0..images).map(|number| folder.path().join(format!("pool{number}.img"))).collect();
        let mut command = Command::new(TINE);
        command.args(["image", "build", "--quiet", "--pool", pool, "--root-path", "/"]);
        for path in &paths {
            command.arg("--output").arg(path);
        }
        command.args(options).arg(self.tree());
        command::run(&mut command, LIMIT).succeeds();
        (folder, paths)
    }
}

/// Pools of several images: the type of their vdevs, how many of these there are, images of
/// each and of these how many can be lost, and further options.
const SEVERAL: [(&str, usize, usize, usize, &[&str]); 4] = [
    ("mirror", 2, 2, 1, &["--ashift=9", "--dataset=POOL;copies=2"]),
    ("raidz1", 2, 3, 1, &["--dataset=POOL;recordsize=16k;compression=zstd", "--snapshot=@a"]),
    ("raidz2", 1, 5, 2, &["--ashift=9", "--dataset=POOL;recordsize=1m;compression=off"]),
    ("raidz3", 1, 4, 3, &["--ashift=13"]),
];

/// Each of [`SEVERAL`], with its name.
fn several(workshop: &Workshop) -> Vec<(String, TempDir, Vec<PathBuf>)> {
    let build = |(number, (kind, vdevs, children, _, more)): (usize, (&str, usize, usize, usize, &[&str]))| {
        let name = format!("pool{number}");
        let mut options = vec![format!("--vdev={kind}"); vdevs];
        options.extend(more.iter().map(|option| option.replace("POOL", &name)));
        let (folder, paths) = workshop.build_all(vdevs * children, &name, &as_words(&options));
        (name, folder, paths)
    };
    SEVERAL.into_iter().enumerate().map(build).collect()
}

/// An image in a folder of its own.
struct Image {
    folder: TempDir,
    path: PathBuf,
}

impl Image {
    /// Whether `zdb` finds every block, and nothing else, where it should be.
    #[track_caller]
    fn is_sound(&self, zdb: &Option<Zdb>) {
        if let Some(zdb) = zdb {
            zdb.blocks().expect("a pool without leaks");
        }
    }

    #[track_caller]
    fn zdb(&self, test: &str) -> Option<Zdb> {
        Zdb::find(test, self.folder.path(), POOL)
    }

    fn enlarge(&self, bytes: u64) -> u64 {
        let file = File::options().write(true).open(&self.path).expect("the image is there");
        let size = file.metadata().expect("it is a file").len() + bytes;
        file.set_len(size).expect("it can grow");
        size
    }
}

fn general(tree: &Path, many: usize) {
    let recipe = Recipe { block_sizes: vec![16 << 10], many, ..Recipe::default() };
    recipe.make(tree).expect("the tree can be made");
}

/// A tree for the datasets of [`STORAGE`], which are mounted on its directories.
fn stored(tree: &Path) {
    fs::create_dir(tree).expect("a new folder");
    for (seed, (name, _, sizes)) in (1..).zip(STORAGE) {
        let recipe = Recipe { seed, block_sizes: vec![4096], many: 40, largest_hole: 1 << 30, ..Recipe::default() };
        let folder = tree.join(name);
        recipe.make_small(&folder).expect("the tree can be made");
        for size in sizes {
            fs::write(folder.join(size.to_string()), noise(*size)).expect("a file can be written");
        }
    }
}

/// The options for a pool with the datasets of [`STORAGE`].
fn storage_options() -> Vec<String> {
    let mut options = vec!["--compatibility=openzfs-2.2-linux".to_owned(), "--snapshot=@built".to_owned()];
    options.push(format!("--dataset={POOL};recordsize=4k"));
    options.extend(STORAGE.map(|(name, properties, _)| format!("--dataset={POOL}/{name};{properties}")));
    options
}

/// A tree with files in every dataset that FreeBSD's installer makes.
fn installed(tree: &Path) {
    general(tree, 300);
    fs::create_dir(tree.join(POOL)).expect("a folder can be made");
    for (seed, folder) in
        (2..).zip(["home", "tmp", "usr/src", "usr/ports", "var/audit", "var/crash", "var/log", "var/mail", "var/tmp"])
    {
        let folder = tree.join(folder);
        fs::create_dir_all(folder.parent().expect("it is below the tree")).expect("a folder can be made");
        let recipe = Recipe { seed, block_sizes: vec![4096], many: 20, largest_hole: 1 << 20, ..Recipe::default() };
        recipe.make_small(&folder).expect("the tree can be made");
    }
}

/// The options for a pool with the datasets of FreeBSD's installer and [`PROPERTIES`].
fn installed_options() -> Vec<String> {
    let mut options = vec!["--layout=bsdinstall".to_owned(), "--pool-property=comment=made by a test".to_owned()];
    for dataset in ["home", "var/log", "var/tmp", "usr/src", "tmp"] {
        let own = PROPERTIES.iter().filter(|(name, ..)| *name == dataset);
        let set: Vec<String> = own.map(|(_, property, value, _)| format!("{property}={value}")).collect();
        options.push(format!("--dataset={POOL}/{dataset};{}", set.join(";")));
    }
    for snapshot in ["@install".to_owned(), format!("{POOL}/home@one"), format!("{POOL}/home@two")] {
        options.push(format!("--snapshot={snapshot}"));
    }
    options
}

fn as_words(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let words = (1u64..).map(|index| (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index << 7).to_le_bytes());
    words.take(length.div_ceil(8)).flatten().take(length).collect()
}

#[test]
fn zdb_finds_nothing_to_complain_of_whatever_the_options() {
    let test = "zdb_finds_nothing_to_complain_of_whatever_the_options";
    let general_tree = Workshop::general();
    let (stored, installed) = (Workshop::new(stored), Workshop::new(installed));
    let large = Workshop::new(|tree| {
        fs::create_dir(tree).expect("a new folder");
        for number in 0..50_000 {
            let name = format!("{number}{}", "n".repeat(number % 150));
            File::create(tree.join(name)).expect("an empty file can be made");
        }
    });
    let (stored_options, installed_options) = (storage_options(), installed_options());
    let images = [
        stored.build(&as_words(&stored_options)),
        installed.build(&as_words(&installed_options)),
        large.build(&[]),
        large.build(&["--compatibility=legacy", "--ashift=9"]),
        general_tree.build(&["--compatibility=legacy", "--snapshot=@one", "--snapshot=@two"]),
        general_tree.build(&["--compatibility=grub2"]),
        general_tree.build(&["--compatibility=openzfs-2.3", "--compression=zstd", "--verify-on-import"]),
        general_tree.build(&["--ashift=9", "-s", "10g"]),
        general_tree.build(&["--ashift=13", "--dataset=tank;copies=2;recordsize=16k"]),
        general_tree.build(&["--ashift=16", "--dataset=tank;recordsize=512", "--metaslab-size=16m"]),
    ];
    // zdb waits more than it works.
    thread::scope(|scope| {
        for image in &images {
            scope.spawn(move || {
                let Some(zdb) = image.zdb(test) else { return };
                let blocks = zdb.blocks().expect("a pool without leaks");
                assert!(blocks.pointers > 100, "{blocks:?}");
                let objects = zdb.objects().expect("objects that can be read");
                assert!(objects.contains("ZFS plain file"), "no files in {objects}");
            });
        }
    });
}

#[test]
fn grub_reads_the_legacy_profile() {
    let test = "grub_reads_the_legacy_profile";
    let Some(grub) = Peer::find(test, "grub-fstest") else { return };
    let workshop = Workshop::new(|tree| {
        general(tree, 3000);
        fs::create_dir_all(tree.join("boot/kernel")).expect("a folder can be made");
        // Three levels of blocks.
        fs::write(tree.join("boot/kernel/kernel"), noise(5_000_000)).expect("a file can be written");
    });
    let boot = format!("--dataset={POOL}/ROOT/default;mountpoint=/;recordsize=4k");
    let root = format!("--dataset={POOL}/ROOT;mountpoint=none");
    let pool = format!("--dataset={POOL};mountpoint=/{POOL}");
    let image = workshop.build(&["--compatibility=legacy", &pool, &root, &boot, "--snapshot=@install"]);
    let ask = |verb: &str, path: &str| {
        let mut command = grub.command();
        command.arg(&image.path).args([verb, &format!("(loop0)/{path}")]);
        command::run(&mut command, LIMIT).succeeds()
    };

    let mut files = vec!["boot/kernel/kernel".to_owned(), "deep/d/d/d/d/d/d/d/d/file".to_owned()];
    for folder in ["sizes-16384", "holes"] {
        for entry in fs::read_dir(workshop.tree().join(folder)).expect("a folder") {
            let name = entry.expect("an entry").file_name();
            files.push(format!("{folder}/{}", name.to_str().expect("ASCII")));
        }
    }
    // It is 3 GiB long.
    files.retain(|file| file != "holes/largest");
    for file in &files {
        let meant = fs::read(workshop.tree().join(file)).expect("a file of the tree");
        for dataset in ["ROOT/default@", "ROOT/default@install"] {
            let ran = ask("cat", &format!("{dataset}/{file}"));
            assert!(ran.stdout == meant, "{dataset}/{file} is read wrong");
        }
    }
    let listed = ask("ls", "ROOT/default@/many/").text();
    assert_eq!(listed.split_whitespace().count(), 3000);
    assert_eq!(ask("cat", "ROOT/default@/links/relative").text(), "one file, three names\n");
}

/// The kernel and an image, with what it should find there.
struct Trial {
    vm: Vm,
    zdb: Option<Zdb>,
    image: Image,
    share: PathBuf,
    dataset: String,
}

impl Trial {
    /// Of the jobs on `image`, made from the tree of `workshop`; `dataset` is what jobs
    /// change that change one only.
    fn new(vm: Vm, test: &str, workshop: &Workshop, image: Image, dataset: &str) -> Self {
        let share = image.folder.path().join("share");
        fs::create_dir(&share).expect("a new folder");
        vm.describe(&workshop.tree(), &share);
        Self { vm, zdb: image.zdb(test), image, share, dataset: dataset.to_owned() }
    }

    /// Job `name`, with a blank second disk of `spare` bytes, as far as `change` does not
    /// change it; what it leaves must be sound.
    #[track_caller]
    fn job(&self, name: &str, spare: u64, change: impl FnOnce(Job) -> Job) -> Ran {
        let blank = tempfile::NamedTempFile::new_in(self.image.folder.path()).expect("a temporary file");
        blank.as_file().set_len(spare).expect("a sparse file");
        let job = self.vm.job(name, &self.share).disk(&self.image.path).disk(blank.path());
        let job = job.set("POOL", POOL).set("DATASET", &self.dataset).set("MANIFEST", "/share/manifest");
        let ran = change(job).run().succeeds();
        self.image.is_sound(&self.zdb);
        ran
    }

    #[track_caller]
    fn verify(&self, properties: &str) -> Ran {
        fs::write(self.share.join("properties"), properties).expect("the share can be written to");
        self.job("verify", 64 << 20, |job| {
            job.set("HOLES", "/share/holes").set("OBJECTS", "yes").set("PROPERTIES", "/share/properties")
        })
    }

    #[track_caller]
    fn modify(&self) -> Ran {
        self.job("modify", 64 << 20, |job| job)
    }

    #[track_caller]
    fn manage(&self) -> Ran {
        self.job("manage", 512 << 20, |job| job)
    }

    #[track_caller]
    fn erase(&self) -> Ran {
        self.job("erase", 64 << 20, |job| job)
    }
}

#[test]
fn a_kernel_finds_every_file_as_it_was_whatever_the_options_of_its_dataset() {
    let test = "a_kernel_finds_every_file_as_it_was_whatever_the_options_of_its_dataset";
    let Some(vm) = Vm::find(test) else { return };
    let workshop = Workshop::new(stored);
    let image = workshop.build(&as_words(&storage_options()));
    let trial = Trial::new(vm, test, &workshop, image, POOL);
    let given = ["off", "lz4", "zstd-19"].map(|name| format!("{POOL}/{name}\tcompression\t{name}\n"));
    trial.verify(&(given.concat() + &format!("{POOL}/three\tcopies\t3\n{POOL}/records-16m\trecordsize\t16777216\n")));
}

#[test]
fn a_kernel_goes_on_with_the_datasets_of_freebsds_installer() {
    let test = "a_kernel_goes_on_with_the_datasets_of_freebsds_installer";
    let Some(vm) = Vm::find(test) else { return };
    let workshop = Workshop::new(installed);
    let options = installed_options();
    let image = workshop.build(&[&as_words(&options)[..], &["-s", "320m"]].concat());
    let trial = Trial::new(vm, test, &workshop, image, &format!("{POOL}/home"));
    let mut properties =
        format!("{POOL}\tcomment\tmade by a test\n{POOL}\tbootfs\t{POOL}/ROOT/default\n{POOL}\tatime\toff\n");
    for (dataset, property, _, value) in PROPERTIES {
        properties += &format!("{POOL}/{dataset}\t{property}\t{value}\n");
    }
    trial.verify(&properties);
    trial.erase();
}

#[test]
fn a_kernel_manages_and_upgrades_a_pool_without_features() {
    let test = "a_kernel_manages_and_upgrades_a_pool_without_features";
    let Some(vm) = Vm::find(test) else { return };
    let workshop = Workshop::general();
    let properties = format!("--dataset={POOL};recordsize=16k");
    let image = workshop.build(&["--compatibility=legacy", "--verify-on-import", &properties, "-s", "256m"]);
    let trial = Trial::new(vm, test, &workshop, image, POOL);
    trial.job("verify", 64 << 20, |job| job.set("HOLES", "/share/holes"));
    // Not `modify`: OpenZFS 2.3.2 itself leaks a block when it destroys the clones of a
    // pool without features, of one that it made, too.
    trial.manage();
}

#[test]
fn a_kernel_changes_manages_and_grows_a_pool() {
    let test = "a_kernel_changes_manages_and_grows_a_pool";
    let Some(vm) = Vm::find(test) else { return };
    let workshop = Workshop::general();
    let properties = format!("--dataset={POOL};recordsize=16k;dnodesize=auto;compression=zstd");
    let image = workshop.build(&[&properties, "--snapshot=@install", "-s", "256m"]);
    let trial = Trial::new(vm, test, &workshop, image, POOL);
    trial.modify();
    trial.manage();
    let size = trial.image.enlarge(256 << 20);
    // More than fitted before.
    trial.job("grow", size, |job| job.set("FILL", "250"));
    trial.erase();
}

#[test]
fn a_kernel_unlocks_what_is_encrypted_and_goes_on_with_boot_environments() {
    let test = "a_kernel_unlocks_what_is_encrypted_and_goes_on_with_boot_environments";
    let Some(vm) = Vm::find(test) else { return };
    let suites = ["aes-128-ccm", "aes-192-ccm", "aes-256-ccm", "aes-128-gcm", "aes-192-gcm", "aes-256-gcm"];
    let workshop = Workshop::new(|tree| {
        let recipe = Recipe { many: 20, largest_hole: 1 << 20, ..Recipe::default() };
        let general = Recipe { block_sizes: vec![16 << 10], ..recipe.clone() };
        general.make(tree).expect("the tree can be made");
        for (seed, folder) in (2..).zip(["home", "home/below"].into_iter().chain(suites)) {
            let small = Recipe { seed, block_sizes: vec![4096], ..recipe.clone() };
            small.make_small(&tree.join(folder)).expect("the tree can be made");
        }
    });
    let keys = workshop.0.path();
    fs::write(keys.join("passphrase"), "correct horse battery staple\n").expect("a file can be written");
    fs::write(keys.join("raw"), noise(32)).expect("a file can be written");
    fs::write(keys.join("hex"), "00112233445566778899aabbccddeeff".repeat(2)).expect("a file can be written");
    let encrypted = |name: &str, suite: &str, format: &str, key: &str, more: &str| {
        let path = keys.join(key);
        [
            format!(
                "--dataset={POOL}/{name};encryption={suite};keyformat={format};keylocation=file:///share/{key};{more}"
            ),
            format!("--key={POOL}/{name}={}", path.display()),
        ]
    };
    let mut options = vec![
        "--compatibility=openzfs-2.2-linux".to_owned(),
        format!("--dataset={POOL};mountpoint=none"),
        format!("--dataset={POOL}/ROOT;mountpoint=none"),
        format!("--dataset={POOL}/home/below;encryption=aes-128-ccm;dnodesize=1k"),
        format!("--bootfs={POOL}/ROOT/default"),
        format!("--snapshot={POOL}/ROOT/default@install"),
        format!("--snapshot={POOL}/home@install"),
        format!("--snapshot={POOL}/home/below@install"),
        "--be=next".to_owned(),
        "--be=other".to_owned(),
    ];
    options.extend(encrypted("ROOT/default", "on", "raw", "raw", "mountpoint=/;canmount=noauto;recordsize=16k"));
    options.extend(encrypted("home", "on", "passphrase", "passphrase", "mountpoint=/home;pbkdf2iters=100000"));
    let properties = [
        "copies=2",
        "recordsize=512",
        "checksum=edonr;recordsize=4k",
        "checksum=sha256;xattr=dir",
        "compression=zstd;recordsize=1m",
        "compression=off;checksum=off;recordsize=4k",
    ];
    for (suite, more) in suites.into_iter().zip(properties) {
        options.extend(encrypted(suite, suite, "hex", "hex", &format!("mountpoint=/{suite};{more}")));
    }
    let image = workshop.build(&[&as_words(&options)[..], &["-s", "320m"]].concat());
    let trial = Trial::new(vm, test, &workshop, image, &format!("{POOL}/home"));
    trial.image.is_sound(&trial.zdb);
    for key in ["passphrase", "raw", "hex"] {
        fs::copy(keys.join(key), trial.share.join(key)).expect("the share can be written to");
    }
    trial.verify(&format!(
        "{POOL}/home/below\tencryption\taes-128-ccm\n{POOL}/home/below\tencryptionroot\t{POOL}/home\n\
         {POOL}/home\tpbkdf2iters\t100000\n{POOL}/ROOT/next\tencryptionroot\t{POOL}/ROOT/default\n"
    ));
    trial.job("unlock", 128 << 20, |job| job.set("ROOT", &format!("{POOL}/ROOT/default")));
}

#[test]
fn pools_of_several_disks_are_sound_and_a_kernel_does_without_some() {
    let test = "pools_of_several_disks_are_sound_and_a_kernel_does_without_some";
    let workshop = Workshop::new(|tree| {
        let recipe = Recipe { block_sizes: vec![16 << 10], many: 20, largest_hole: 1 << 20, ..Recipe::default() };
        recipe.make(tree).expect("the tree can be made");
    });
    let pools = several(&workshop);
    let are_sound = || {
        thread::scope(|scope| {
            for (name, folder, _) in &pools {
                scope.spawn(move || {
                    let Some(zdb) = Zdb::find(test, folder.path(), name) else { return };
                    zdb.blocks().expect("a pool without leaks");
                });
            }
        });
    };
    are_sound();
    let Some(vm) = Vm::find(test) else { return };
    let share = workshop.0.path().join("share");
    fs::create_dir(&share).expect("a new folder");
    vm.describe(&workshop.tree(), &share);
    let mut letters = 'a'..='z';
    let mut job = vm.job("degrade", &share).set("MANIFEST", "/share/manifest");
    let mut lines = Vec::new();
    for ((name, _, paths), (_, _, children, lost, _)) in pools.iter().zip(SEVERAL) {
        let disks: Vec<String> = letters.by_ref().take(paths.len()).map(|letter| format!("/dev/vd{letter}")).collect();
        lines.push(format!("{name} {} {children} {lost}", disks.join(",")));
        for path in paths {
            job = job.disk(path);
        }
    }
    job.set("POOLS", &lines.join("\n")).run().succeeds();
    are_sound();
}

#[test]
fn several_images_are_imported_together() {
    let test = "several_images_are_imported_together";
    let Some(vm) = Vm::find(test) else { return };
    let workshop = Workshop::new(|tree| {
        fs::create_dir(tree).expect("a new folder");
        fs::write(tree.join("file"), "the same in both\n").expect("a file can be written");
    });
    let (one, other) = (workshop.build(&[]), workshop.build(&["--compression=off"]));
    let script = workshop.0.path().join("import.sh");
    // Both pools have one name; the second gets another. Neither has one GUID.
    fs::write(
        &script,
        ". /rig/lib.sh
        must zpool import -R /mnt/one -d /dev/vda tank
        must zpool import -R /mnt/other -d /dev/vdb tank another
        must cmp /mnt/one/file /mnt/other/file
        zpool list -H -o name,guid,health",
    )
    .expect("a job script");
    let ran = vm.script(&script, workshop.0.path()).disk(&one.path).disk(&other.path).run().succeeds();
    let text = ran.text();
    let pools: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    assert!(
        matches!(&pools[..], [a, b] if a[0] == "another" && b[0] == "tank" && a[1] != b[1]),
        "two pools were expected:\n{ran}"
    );
}

#[test]
fn a_build_that_is_killed_leaves_what_was_there_or_the_whole_image() {
    let workshop = Workshop::new(|tree| {
        fs::create_dir(tree).expect("a new folder");
        for number in 0..400 {
            fs::write(tree.join(number.to_string()), noise(100_000 + number)).expect("a file can be written");
        }
    });
    let output = workshop.0.path().join("pool.img");
    let build = || {
        let mut command = Command::new(TINE);
        command.args(["image", "build", "--quiet", "--force", "--compression=zstd-9", "--output"]);
        command.arg(&output).arg(workshop.tree());
        command
    };
    let began = Instant::now();
    command::run(&mut build(), LIMIT).succeeds();
    let (takes, whole) = (began.elapsed(), fs::read(&output).expect("an image"));

    const MOMENTS: u32 = 12;
    let mut killed = 0;
    for moment in 0..MOMENTS {
        fs::remove_file(&output).expect("it is there");
        if moment % 2 == 1 {
            fs::write(&output, "old").expect("a file can be written");
        }
        let mut child = build().stdin(Stdio::null()).spawn().expect("it starts");
        thread::sleep(takes * moment / MOMENTS);
        child.kill().expect("it is ours");
        killed += u32::from(!child.wait().expect("it is ours").success());
        match fs::read(&output) {
            Ok(bytes) if bytes == b"old" => assert!(moment % 2 == 1, "who wrote it?"),
            Ok(bytes) => assert!(bytes == whole, "a part of an image has its name after moment {moment}"),
            Err(error) => {
                assert!(moment % 2 == 0 && error.kind() == std::io::ErrorKind::NotFound, "{error}");
                File::create(&output).expect("a file can be made");
            }
        }
    }
    assert!(killed > MOMENTS / 2, "only {killed} of {MOMENTS} builds were still under way");
}

#[test]
fn a_full_file_system_is_told_of_and_left_empty() {
    let test = "a_full_file_system_is_told_of_and_left_empty";
    let workshop = Workshop::new(|tree| {
        fs::create_dir(tree).expect("a new folder");
        fs::write(tree.join("large"), noise(12 << 20)).expect("a file can be written");
    });
    let full = workshop.0.path().join("full");
    fs::create_dir(&full).expect("a new folder");
    // In a name space of its own, the mount goes with the last process there.
    let script = "mount -t tmpfs -o size=8m none \"$1\" || exit 77
        \"$0\" image build --quiet --output \"$1/pool.img\" \"$2\"
        echo \"$? $(ls -A \"$1\")\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "bash", "-c", script, TINE]).arg(&full).arg(workshop.tree());
    let ran = command::run(&mut command, LIMIT);
    if ran.errors().starts_with("unshare:") || ran.code() == 77 {
        return peer::say(test, "a file system cannot be mounted here");
    }
    assert_eq!(ran.text(), "3 \n", "{ran}");
    assert!(ran.errors().contains("pool.img"), "{ran}");
}
