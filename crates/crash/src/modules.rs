//! Files that the kernel has loaded: itself and its modules (`sys/linker.h`, `linker_files`).

use std::sync::Arc;

use serde::Serialize;
use symbols::{Image, ObjectFile, Placement, Value};

use crate::dump::Crash;
use crate::error::{Error, Result};
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
    let named: Vec<(String, &Value)> = (files.elements.iter().skip(1))
        .filter_map(|file| Some((file.field("filename").ok()?.string(NAME).ok()?, file)))
        .collect();
    let names: Vec<String> = named.iter().map(|(name, _)| name.clone()).collect();
    let mut found = places.modules(&names);
    for (name, file) in named {
        let Some(own) = found.remove(&name) else {
            loaded.notes.push(format!("module {name} was loaded, but its file was not found"));
            continue;
        };
        match place(crash, file, &own).and_then(|placement| places.image(&name, own, placement)) {
            Ok(image) => loaded.images.push(Arc::new(image)),
            Err(error) => loaded.notes.push(format!("module {name}: {error}")),
        }
    }
    loaded
}

/// Where a module lies: its sections one by one if it is an object file, as on amd64, or as a whole.
fn place(crash: &Crash, file: &Value, own: &ObjectFile) -> Result<Placement> {
    if !own.is_relocatable() {
        return Ok(Placement::Slide(file.field("address")?.unsigned()?));
    }
    let program = crash.program();
    // `link_elf.c` has another structure of the same name.
    let ty = program.ty_of("link_elf_obj.c", "struct elf_file")?;
    let loaded = program.value(&ty, file.address().unwrap_or(0));
    let count = loaded.field("nprogtab")?.unsigned()?.min(MAX_SECTIONS);
    let table = loaded.field("progtab")?;
    let mut sections = Vec::new();
    let all = own.sections();
    for index in 0..count {
        let entry = table.element(index.into())?;
        let (name, address) = (entry.field("name")?.string(NAME)?, entry.field("addr")?.unsigned()?);
        let (number, size) = (entry.field("sec")?.unsigned()?, entry.field("size")?.unsigned()?);
        let ours = usize::try_from(number).ok().and_then(|number| all.get(number));
        let ours = ours.filter(|section| section.size == size);
        let Some(ours) = ours else {
            return Err(Error::absent(format!(
                "{} is not the file that was loaded: its section {number} is not {name} with {size} bytes",
                own.name()
            )));
        };
        sections.push((ours.name.clone(), address));
    }
    Ok(Placement::Sections(sections))
}
