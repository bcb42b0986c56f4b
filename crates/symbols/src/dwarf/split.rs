//! Split DWARF: units whose bulk lies in other files (DWARF 5, 3.1.2 and 7.3.2; before that, GNU's extension).

use std::path::{Path, PathBuf};

use super::{DebugInfo, Entry, Sections, Unit, index_of};
use crate::elf::Elf;
use crate::error::Result;
use crate::file::Source;

/// Where split units are looked for, besides the place that the compiler wrote them to.
#[derive(Debug, Clone, Default)]
pub(crate) struct SplitSearch {
    /// Packages (`.dwp`), tried first.
    pub(crate) packages: Vec<PathBuf>,
    /// Folders of `.dwo` files.
    pub(crate) folders: Vec<PathBuf>,
}

/// A unit that refers to another file.
#[derive(Debug)]
pub(super) struct Split {
    pub(super) unit: u32,
    id: u64,
    name: String,
    folder: Option<String>,
}

impl Split {
    pub(super) fn of<'a>(info: &DebugInfo, unit: &Unit<'a>, root: &Entry<'a>) -> Option<Self> {
        let id = unit.unit.dwo_id?.0;
        let name = [gimli::DW_AT_dwo_name, gimli::DW_AT_GNU_dwo_name];
        let name = name.into_iter().find_map(|name| info.string(unit, root, name))?;
        let folder = info.string(unit, root, gimli::DW_AT_comp_dir);
        Some(Self { unit: unit.index, id, name, folder })
    }
}

impl DebugInfo {
    /// Opens the files of split units and registers what is in them; those not found are remembered.
    pub(super) fn open_split(&mut self, splits: Vec<Split>, search: &SplitSearch) -> Result<()> {
        let mut packages = Vec::new();
        for path in search.packages.iter().filter(|path| path.is_file()) {
            packages.push(index_of(self.files.len()));
            self.files.push(Sections::read_split(Elf::read(Source::open(path)?)?));
        }
        for split in splits {
            let skeleton = Some((split.unit, split.id));
            let first = self.units.len();
            let packaged = packages.iter().any(|&file| self.add_units(file, skeleton).is_ok());
            if !packaged && !self.open_object(&split, search) {
                self.missing.push(split.name);
                continue;
            }
            // Type units may follow; the compilation unit is the one that carries the identifier.
            for index in first..self.units.len() {
                if self.has_id(index, split.id) {
                    self.split_units.insert(split.unit, index_of(index));
                }
            }
        }
        Ok(())
    }

    fn open_object(&mut self, split: &Split, search: &SplitSearch) -> bool {
        let written = Path::new(split.folder.as_deref().unwrap_or_default()).join(&split.name);
        let beside = search.folders.iter().flat_map(|folder| {
            let name = Path::new(&split.name);
            [Some(folder.join(name)), name.file_name().map(|name| folder.join(name))].into_iter().flatten()
        });
        for path in beside.chain([written]).filter(|path| path.is_file()) {
            let Ok(elf) = Source::open(&path).and_then(Elf::read) else { continue };
            let file = index_of(self.files.len());
            let first = self.units.len();
            self.files.push(Sections::read_split(elf));
            let skeleton = Some((split.unit, split.id));
            let belongs = self.add_units(file, skeleton).is_ok()
                && (first..self.units.len()).any(|index| self.has_id(index, split.id));
            if belongs {
                return true;
            }
            // Of another build.
            self.files.pop();
            self.units.truncate(first);
            self.by_offset.truncate(file as usize);
        }
        false
    }

    fn has_id(&self, unit: usize, id: u64) -> bool {
        self.unit(index_of(unit)).is_ok_and(|unit| unit.unit.dwo_id == Some(gimli::DwoId(id)))
    }
}
