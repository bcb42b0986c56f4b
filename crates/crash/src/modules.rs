//! Files that the kernel has loaded: itself and its modules (`sys/linker.h`, `linker_files`).

use std::sync::Arc;

use serde::Serialize;
use symbols::{Image, Placement, Value};

use crate::dump::Crash;
use crate::error::Result;
use crate::kernel::Places;
use crate::queue;

/// Longest name of a file.
const NAME: usize = 1024;
/// More sections than these no module has.
const MAX_SECTIONS: u64 = 4096;

/// A file that the kernel has loaded.
#[derive(Clone, Debug, Serialize)]
pub struct Module {
    /// Its number, as `kldstat` shows it.
    pub id: i64,
    /// How many refer to it.
    pub references: i64,
    /// Where it begins.
    #[serde(serialize_with = "crate::hex::word")]
    pub address: u64,
    /// How many bytes it takes.
    pub size: u64,
    /// Its name.
    pub name: String,
    /// Whether its symbols were found.
    pub symbols: bool,
}

/// The files that the kernel has loaded, the kernel first.
///
/// # Errors
/// If the list of them is not there.
pub fn modules(crash: &Crash) -> Result<Vec<Module>> {
    let known = |name: &str| crash.program().images().iter().any(|image| image.name() == name);
    let files = queue::elements(&crash.program().variable("linker_files")?, "link")?;
    let modules = files.elements.iter().enumerate().map(|(number, file)| -> Result<Module> {
        let name = file.field("filename")?.string(NAME)?;
        Ok(Module {
            id: file.field("id")?.integer()? as i64,
            references: file.field("refs")?.integer()? as i64,
            address: file.field("address")?.unsigned()?,
            size: file.field("size")?.unsigned()?,
            symbols: number == 0 || known(&name),
            name,
        })
    });
    // What cannot be read is left out.
    Ok(modules.filter_map(Result::ok).collect())
}

/// Modules that were found.
#[derive(Default)]
pub(crate) struct Loaded {
    pub(crate) images: Vec<Arc<Image>>,
    pub(crate) notes: Vec<String>,
}

/// The modules whose files are found, at their addresses.
pub(crate) fn images(crash: &Crash, places: &Places) -> Loaded {
    let mut loaded = Loaded::default();
    let files = crash.program().variable("linker_files").map_err(Into::into);
    let Ok(files) = files.and_then(|head| queue::elements(&head, "link")) else { return loaded };
    for file in files.elements.iter().skip(1) {
        let Ok(name) = file.field("filename").and_then(|name| name.string(NAME)) else { continue };
        let Some(path) = places.module(&name) else {
            loaded.notes.push(format!("module {name} was loaded, but its file was not found"));
            continue;
        };
        match place(crash, file).and_then(|placement| places.image(&name, &path, placement)) {
            Ok(image) => loaded.images.push(Arc::new(image)),
            Err(error) => loaded.notes.push(format!("module {name}: {error}")),
        }
    }
    loaded
}

/// Where a module lies: its sections one by one if it is an object file, as on amd64, or as a whole.
fn place(crash: &Crash, file: &Value) -> Result<Placement> {
    let program = crash.program();
    let by_section = program.variable_of("link_elf_obj.c", "link_elf_class");
    let ops = |value: &Value| value.path("ops").and_then(|ops| ops.unsigned());
    let class = by_section.ok().zip(file.field("ops").ok());
    let is_object = class.is_some_and(|(class, own)| match own.unsigned() {
        Ok(own) => class.address() == Some(own) || ops(&class).is_ok_and(|ops| ops == own),
        Err(_) => false,
    });
    let elf = program.ty("struct elf_file")?;
    let address = file.field("address")?.unsigned()?;
    let Some(at) = file.address().filter(|_| elf.has_field("progtab") || is_object) else {
        return Ok(Placement::Slide(address));
    };
    let elf = program.value(&elf, at);
    let count = elf.field("nprogtab")?.unsigned()?.min(MAX_SECTIONS);
    let table = elf.field("progtab")?;
    let sections = (0..count).filter_map(|index| {
        let entry = table.element(index.into()).ok()?;
        let name = entry.field("name").ok()?.string(NAME).ok()?;
        Some((name, entry.field("addr").ok()?.unsigned().ok()?))
    });
    Ok(Placement::Sections(sections.collect()))
}
