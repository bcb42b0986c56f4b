//! The file of the kernel that made a dump: where it usually is, and whether it is the one.

use std::path::{Path, PathBuf};

use symbols::{Image, ObjectFile, Placement};
use vmcore::memory::VirtualMemory;
use vmcore::{Dump, Header};

use crate::dump::Options;
use crate::error::{Error, Result};

/// Bytes of text that are compared at one place.
const SAMPLE: usize = 64;
/// Places at which text is compared.
const SAMPLES: u64 = 64;
/// Longest version text that is compared.
const VERSION: usize = 1024;

/// Folders in which files of a kernel are looked for.
pub(crate) struct Places {
    kernel: Option<PathBuf>,
    /// Where kernels and modules are.
    binaries: Vec<PathBuf>,
    /// Where debug files are.
    debug: Vec<PathBuf>,
}

impl Places {
    /// The places for a dump, or for a kernel that was named.
    pub(crate) fn of(dump: &Path, options: &Options) -> Self {
        let beside = dump.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut roots = vec![beside.to_owned()];
        let mut kernel = options.kernel.clone();
        if let Some(folder) = options.kernel.as_ref().filter(|path| path.is_dir()) {
            // A sysroot, or the folder that the kernel is in.
            roots.insert(0, folder.clone());
            kernel = None;
        }
        let mut binaries: Vec<PathBuf> =
            kernel.iter().filter_map(|kernel| kernel.parent()).map(Path::to_owned).collect();
        let mut debug = options.debug.clone();
        for root in roots.iter().chain(&options.debug) {
            binaries.extend(["", "boot/kernel", "boot/modules", "boot/kernel.old"].map(|folder| root.join(folder)));
            debug.extend(
                ["", "usr/lib/debug", "boot/kernel", "usr/lib/debug/boot/kernel"].map(|folder| root.join(folder)),
            );
        }
        for folder in binaries.iter().filter_map(|folder| folder.ancestors().nth(2)) {
            debug.extend(["usr/lib/debug", "usr/lib/debug/boot/kernel"].map(|name| folder.join(name)));
        }
        Self { kernel, binaries, debug }
    }

    /// The kernel of a dump: the one that was named, or the first that is found whose version is the dump's, or, where
    /// the header does not tell a version, the first that is found.
    pub(crate) fn kernel(&self, dump: &Path, header: Option<&Header>) -> Result<PathBuf> {
        if let Some(kernel) = &self.kernel {
            return Ok(kernel.clone());
        }
        let names = ["kernel", "kernel.full", "kernel.debug"];
        let candidates = self.binaries.iter().flat_map(|folder| names.map(|name| folder.join(name)));
        let found: Vec<PathBuf> = candidates.filter(|path| path.is_file()).collect();
        let is_same = |path: &&PathBuf| {
            let wanted = header.map(|header| header.version_string.as_str());
            let version = || version_of(&ObjectFile::open(path).ok().and_then(as_linked)?);
            wanted.is_some_and(|wanted| version().is_some_and(|version| is_beginning(wanted, &version)))
        };
        let kernel = found.iter().find(is_same).or(found.first());
        kernel.cloned().ok_or_else(|| {
            let looked: Vec<String> =
                self.binaries.iter().map(|folder| folder.join("kernel").display().to_string()).collect();
            Error::NoKernel { dump: dump.to_owned(), looked: looked.join(", ") }
        })
    }

    /// An image of this file, with its debug information where that is in another one.
    pub(crate) fn image(&self, name: &str, path: &Path, placement: Placement) -> Result<Image> {
        self.image_of(name, ObjectFile::open(path)?, placement)
    }

    /// The same of a file that is open.
    pub(crate) fn image_of(&self, name: &str, main: ObjectFile, placement: Placement) -> Result<Image> {
        let debug = if main.has_debug_info() { None } else { main.find_debug(&self.debug) };
        Ok(Image::new(name, main, debug, placement)?)
    }

    /// The file of a module.
    pub(crate) fn module(&self, name: &str) -> Option<PathBuf> {
        // What the kernel says is not to lead out of the folders.
        let name = Path::new(name).file_name()?;
        self.binaries.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
    }
}

/// How a kernel differs from the one that made the dump; `None` if it does not as far as can be seen.
pub(crate) fn difference(image: &Image, dump: &Dump) -> Option<String> {
    let ours = version_of(image);
    if let (Some(header), Some(ours)) = (dump.header(), &ours) {
        let theirs = &header.version_string;
        if !theirs.is_empty() && !is_beginning(theirs, ours) {
            return Some(format!("the dump is of {:?}, the kernel is {:?}", theirs.trim(), ours.trim()));
        }
    }
    let place = image.symbol("version").ok().flatten();
    if let (Some(symbol), Some(ours)) = (place, &ours)
        && let Ok(theirs) = dump.memory.read_cstr(symbol.address, VERSION)
        && theirs != ours.as_bytes()
    {
        return Some(format!("where the kernel has {:?} the dump has something else", ours.trim()));
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
