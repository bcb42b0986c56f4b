//! The file of the kernel that made a dump: where it usually is, and whether it is the one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use symbols::{Image, ObjectFile, Placement};
use vmcore::memory::VirtualMemory;
use vmcore::{Dump, Header};

use crate::archive::{self, Archive};
use crate::cache::Cache;
use crate::dump::Options;
use crate::error::{Error, Result};
use crate::pack::{Pack, Role};

/// Bytes of text that are compared at one place.
const SAMPLE: usize = 64;
/// Places at which text is compared.
const SAMPLES: u64 = 64;
/// Longest version text that is compared.
const VERSION: usize = 1024;

/// Folders and archives in which files of a kernel are looked for.
#[derive(Default)]
pub(crate) struct Places {
    kernel: Option<PathBuf>,
    /// Where kernels and modules are.
    binaries: Vec<PathBuf>,
    /// Where debug files are.
    debug: Vec<PathBuf>,
    /// Archives of kernels and modules.
    archives: Vec<Archive>,
    /// Archives of debug files.
    debug_archives: Vec<Archive>,
    /// The pack that has them all.
    pub(crate) pack: Option<Arc<Pack>>,
    /// Set when memory is to be read no more.
    pub(crate) stop: Option<Arc<AtomicBool>>,
}

impl Places {
    /// The places for a dump, or for a kernel that was named.
    pub(crate) fn of(dump: &Path, options: &Options) -> Self {
        let beside = dump.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut roots = vec![beside.to_owned()];
        // Where savecore(8) puts dumps, in a running system or a copy of one.
        if let Ok(folder) = beside.canonicalize()
            && folder.ends_with("var/crash")
        {
            roots.extend(folder.ancestors().nth(2).map(Path::to_owned));
        }
        let mut places = Self::default();
        let archive = |path: PathBuf| Archive { path, cache: options.cache.clone().map(Cache) };
        match &options.kernel {
            // A sysroot, or the folder that the kernel is in.
            Some(folder) if folder.is_dir() => roots.insert(0, folder.clone()),
            Some(path) if archive::is_archive(path) => {
                places.archives.push(archive(path.clone()));
                roots = path.parent().map(Path::to_owned).into_iter().collect();
            }
            kernel => {
                places.kernel = kernel.clone();
                places.binaries.extend(kernel.as_ref().and_then(|kernel| kernel.parent()).map(Path::to_owned));
            }
        }
        for given in &options.debug {
            match archive::is_archive(given) {
                true => places.debug_archives.push(archive(given.clone())),
                false => {
                    places.debug.push(given.clone());
                    roots.push(given.clone());
                }
            }
        }
        // Of a kernel out of an archive the modules are there, too.
        let is_packed = !places.archives.is_empty();
        for root in &roots {
            let binaries = ["", "boot/kernel", "boot/modules", "boot/kernel.old"].map(|folder| root.join(folder));
            places.binaries.extend(binaries.into_iter().filter(|_| !is_packed));
            let debug = ["", "usr/lib/debug", "boot/kernel", "usr/lib/debug/boot/kernel"];
            places.debug.extend(debug.map(|folder| root.join(folder)));
            let there = |names: &[&str]| -> Vec<Archive> {
                names.iter().map(|name| root.join(name)).filter(|path| path.is_file()).map(archive).collect()
            };
            places.archives.extend(there(&archive::KERNEL).into_iter().filter(|_| !is_packed));
            places.debug_archives.extend(there(&archive::DEBUG));
        }
        let above: Vec<PathBuf> =
            places.binaries.iter().filter_map(|folder| folder.ancestors().nth(2)).map(Path::to_owned).collect();
        for folder in above {
            places.debug.extend(["usr/lib/debug", "usr/lib/debug/boot/kernel"].map(|name| folder.join(name)));
        }
        places.stop.clone_from(&options.stop);
        places
    }

    /// The kernel of a dump: the one that was named, or the first that is found whose version is the dump's, or, where
    /// the header does not tell a version, the first that is found.
    pub(crate) fn kernel(&self, dump: &Path, header: Option<&Header>) -> Result<ObjectFile> {
        if let Some(kernel) = &self.kernel {
            return Ok(ObjectFile::open(kernel)?);
        }
        if let Some(pack) = &self.pack {
            let kernel = pack.file("kernel", Role::Image).cloned();
            return kernel.ok_or_else(|| Error::absent(format!("{} has no kernel in it", dump.display())));
        }
        let names = ["kernel", "kernel.full", "kernel.debug"];
        let candidates = self.binaries.iter().flat_map(|folder| names.map(|name| folder.join(name)));
        let found: Vec<PathBuf> = candidates.filter(|path| path.is_file()).collect();
        let is_same = |file: ObjectFile| {
            let wanted = header.map(|header| header.version_string.as_str());
            let version = || version_of(&as_linked(file)?);
            wanted.is_some_and(|wanted| version().is_some_and(|version| is_beginning(wanted, &version)))
        };
        let same = found.iter().find(|path| ObjectFile::open(path).is_ok_and(is_same));
        if let Some(path) = same.or(found.first().filter(|_| self.archives.is_empty())) {
            return Ok(ObjectFile::open(path)?);
        }
        for archive in &self.archives {
            if let Some(kernel) = archive.files(&["kernel".to_owned()])?.remove("kernel") {
                return Ok(kernel);
            }
        }
        match found.first() {
            Some(path) => Ok(ObjectFile::open(path)?),
            None => Err(Error::NoKernel { dump: dump.to_owned(), looked: self.looked() }),
        }
    }

    /// Where a kernel was looked for.
    fn looked(&self) -> String {
        let folders = self.binaries.iter().map(|folder| folder.join("kernel").display().to_string());
        let archives = self.archives.iter().map(|archive| archive.path.display().to_string());
        folders.chain(archives).collect::<Vec<_>>().join(", ")
    }

    /// An image of this file, with its debug information where that is in another one.
    pub(crate) fn image(&self, name: &str, main: ObjectFile, placement: Placement) -> Result<Image> {
        let debug = if main.has_debug_info() { None } else { self.debug_of(name, &main) };
        Ok(Image::new(name, main, debug, placement)?.with_split_folders(self.debug.iter().cloned()))
    }

    fn debug_of(&self, name: &str, main: &ObjectFile) -> Option<ObjectFile> {
        if let Some(pack) = &self.pack {
            return pack.file(name, Role::Debug).cloned();
        }
        if let Some(found) = main.find_debug(&self.debug) {
            return Some(found);
        }
        let name = main.debug_link().map_or(format!("{name}.debug"), |(name, _)| name);
        self.archives.iter().chain(&self.debug_archives).find_map(|archive| {
            let file = archive.files(std::slice::from_ref(&name)).ok()?.remove(&name)?;
            (file.has_debug_info() && file.check_debug_of(main).is_ok()).then_some(file)
        })
    }

    /// The files of modules, by name, those that are found.
    pub(crate) fn modules(&self, names: &[String]) -> BTreeMap<String, ObjectFile> {
        if let Some(pack) = &self.pack {
            let file = |name: &String| Some((name.clone(), pack.file(name, Role::Image)?.clone()));
            return names.iter().filter_map(file).collect();
        }
        let mut found = BTreeMap::new();
        for name in names {
            // What the kernel says is not to lead out of the folders.
            let Some(own) = Path::new(name).file_name() else { continue };
            let path = self.binaries.iter().map(|folder| folder.join(own)).find(|path| path.is_file());
            if let Some(file) = path.and_then(|path| ObjectFile::open(&path).ok()) {
                found.insert(name.clone(), file);
            }
        }
        for archive in &self.archives {
            let missing: Vec<String> = names.iter().filter(|name| !found.contains_key(*name)).cloned().collect();
            if missing.is_empty() {
                break;
            }
            found.extend(archive.files(&missing).unwrap_or_default());
        }
        found
    }
}

/// How a kernel differs from the one that made the dump; `None` if it does not as far as can be seen.
pub(crate) fn difference(image: &Image, dump: &Dump) -> Option<String> {
    let (ours, theirs) = (image.architecture(), dump.memory.architecture());
    if !is_same_machine(ours, theirs) {
        return Some(format!("the dump is of {theirs}, the kernel of another architecture"));
    }
    if let Some(ours) = version_of(image)
        && let Some(reason) = version_differs(&ours, image, dump)
    {
        return Some(reason);
    }
    let build_id = image.file().sections().into_iter().find(|section| section.name == ".note.gnu.build-id");
    if let Some(section) = build_id
        && let Ok(ours) = image.file().section_bytes(".note.gnu.build-id")
    {
        let mut theirs = vec![0; ours.len()];
        if dump.memory.read_exact(section.address, &mut theirs).is_ok() && theirs != ours {
            return Some("the build ids differ".to_owned());
        }
    }
    text_differs(image, dump).then(|| "the kernel's code in the dump is another".to_owned())
}

fn is_same_machine(ours: symbols::Architecture, theirs: vmcore::Architecture) -> bool {
    use symbols::Architecture::{Amd64, Arm64, I386, Riscv64};
    use vmcore::Architecture as Dumped;
    match ours {
        Amd64 => theirs == Dumped::Amd64,
        Arm64 => theirs == Dumped::Arm64,
        I386 => theirs == Dumped::I386,
        Riscv64 => theirs == Dumped::Riscv64,
    }
}

/// How the version differs from the dump's. The header and the memory have it both, and either may be another's or
/// damaged: a drill sends a header of its own. That one of them agrees is enough, as the code is compared as well.
fn version_differs(ours: &str, image: &Image, dump: &Dump) -> Option<String> {
    let told = dump.header().map(|header| header.version_string.as_str()).filter(|told| !told.is_empty());
    let symbol = image.symbol("version").ok().flatten();
    let found = symbol.and_then(|symbol| dump.memory.read_cstr(symbol.address, VERSION).ok());
    let found = found.filter(|found| !found.is_empty());
    if told.is_some_and(|told| is_beginning(told, ours)) || found.as_ref().is_some_and(|found| found == ours.as_bytes())
    {
        return None;
    }
    match (told, found) {
        (Some(told), _) => Some(format!("the dump is of {:?}, the kernel is {:?}", told.trim(), ours.trim())),
        (None, Some(_)) => Some(format!("where the kernel has {:?} the dump has something else", ours.trim())),
        (None, None) => None,
    }
}

/// Whether most of the code is another. Some of it is: kernels patch themselves when they start.
fn text_differs(image: &Image, dump: &Dump) -> bool {
    let Some(text) = image.file().sections().into_iter().find(|section| section.name == ".text") else { return false };
    let (mut same, mut compared) = (0, 0);
    for number in 0..SAMPLES {
        let address = text.address + (text.size / SAMPLES).saturating_mul(number);
        let mut theirs = [0; SAMPLE];
        let Some(ours) = image.read(address, SAMPLE) else { continue };
        if dump.memory.read_exact(address, &mut theirs).is_ok() {
            compared += 1;
            same += u32::from(ours == theirs);
        }
    }
    compared > 0 && same * 2 < compared
}

/// The kernel's variable `version` (`sys/conf/newvers.sh`), out of its file.
fn version_of(image: &Image) -> Option<String> {
    let symbol = image.symbol("version").ok()??;
    let size = usize::try_from(symbol.size).ok().filter(|size| (1..=VERSION).contains(size))?;
    let bytes = image.read(symbol.address, size)?;
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    Some(String::from_utf8_lossy(bytes.get(..end)?).into_owned())
}

/// The header has room for 192 bytes of a version, of which the last is NUL (`sys/kerneldump.h`).
fn is_beginning(header: &str, version: &str) -> bool {
    version.trim_end().starts_with(header.trim_end())
}

fn as_linked(file: ObjectFile) -> Option<Image> {
    Image::new("kernel", file, None, Placement::AsLinked).ok()
}
