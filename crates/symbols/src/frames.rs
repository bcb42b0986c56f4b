//! Call frame information: how a function's caller is found (DWARF 5, 6.4; `.eh_frame` of the Linux Standard Base).

use gimli::{
    BaseAddresses, CfaRule, CieOrFde, DebugFrame, EhFrame, EndianSlice, RegisterRule, RunTimeEndian, UnwindContext,
    UnwindSection, UnwindTableRow,
};

use crate::elf::Elf;
use crate::file::Bytes;
use crate::ranges::Ranges;

type Slice<'a> = EndianSlice<'a, RunTimeEndian>;

/// One section of call frame information, indexed by address.
#[derive(Debug)]
pub(crate) struct FrameTable {
    bytes: Bytes,
    endian: RunTimeEndian,
    word: u8,
    /// `.eh_frame`, with its address; otherwise `.debug_frame`.
    eh: Option<u64>,
    text: u64,
    /// Offsets of entries by the addresses that they cover, as linked.
    entries: Ranges<usize>,
}

/// How one register is found again.
#[derive(Debug, Clone)]
pub(crate) enum Rule {
    Undefined,
    Same,
    /// Saved so far from the canonical frame address.
    At(i64),
    /// Is so far from it.
    Is(i64),
    Register(u16),
    /// Saved where an expression says, or is what it says. Its bytes.
    AtExpression(Vec<u8>),
    IsExpression(Vec<u8>),
}

/// The rules at one address.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) cfa: Cfa,
    pub(crate) rules: Vec<(u16, Rule)>,
    /// Column of the return address.
    pub(crate) return_address: u16,
    /// The function was not called: its caller was interrupted (`S` of the augmentation).
    pub(crate) signal: bool,
    pub(crate) encoding: gimli::Encoding,
}

#[derive(Debug, Clone)]
pub(crate) enum Cfa {
    Register(u16, i64),
    Expression(Vec<u8>),
}

impl FrameTable {
    /// The tables of a file. `address` tells where a section was linked for.
    pub(crate) fn read(elf: &Elf, address: &dyn Fn(usize) -> Option<u64>) -> Vec<Self> {
        let text = elf.section(".text").and_then(|(index, _)| address(index)).unwrap_or_default();
        let names = [(".debug_frame", false), (".zdebug_frame", false), (".eh_frame", true)];
        let tables = names.into_iter().filter_map(|(name, eh)| {
            let (index, section) = elf.section(name)?;
            if !section.has_bytes() || section.size == 0 {
                return None;
            }
            let bytes = elf.relocated(index, address).ok()?;
            let eh = if eh { Some(address(index)?) } else { None };
            let word = if elf.is_64 { 8 } else { 4 };
            let endian = elf.gimli_endian();
            let mut table = Self { bytes, endian, word, eh, text, entries: Ranges::new([]) };
            table.entries = match table.eh {
                Some(_) => table.index(&table.eh_frame()),
                None => table.index(&table.debug_frame()),
            };
            (!table.entries.is_empty()).then_some(table)
        });
        tables.collect()
    }

    fn eh_frame(&self) -> EhFrame<Slice<'_>> {
        let mut frame = EhFrame::new(&self.bytes, self.endian);
        frame.set_address_size(self.word);
        frame
    }

    fn debug_frame(&self) -> DebugFrame<Slice<'_>> {
        let mut frame = DebugFrame::new(&self.bytes, self.endian);
        frame.set_address_size(self.word);
        frame
    }

    fn bases(&self) -> BaseAddresses {
        BaseAddresses::default().set_eh_frame(self.eh.unwrap_or_default()).set_text(self.text)
    }

    fn index<'a, S: UnwindSection<Slice<'a>>>(&self, section: &S) -> Ranges<usize> {
        let bases = self.bases();
        let mut entries = section.entries(&bases);
        let mut found = Vec::new();
        let mut known: Option<(S::Offset, gimli::CommonInformationEntry<Slice<'a>>)> = None;
        // What is behind a damaged entry cannot be found.
        while let Ok(Some(entry)) = entries.next() {
            let CieOrFde::Fde(partial) = entry else { continue };
            let parsed = partial.parse(|section, bases, offset| match &known {
                Some((cached, cie)) if *cached == offset => Ok(cie.clone()),
                _ => {
                    let cie = section.cie_from_offset(bases, offset)?;
                    known = Some((offset, cie.clone()));
                    Ok(cie)
                }
            });
            let Ok(fde) = parsed else { continue };
            if fde.initial_address() != 0 {
                found.push((fde.initial_address(), fde.end_address(), fde.offset()));
            }
        }
        Ranges::new(found)
    }

    /// The rules at an address, as linked.
    pub(crate) fn row(&self, address: u64) -> Option<Row> {
        let offset = self.entries.find(address)?;
        match self.eh {
            Some(_) => self.row_of(&self.eh_frame(), gimli::EhFrameOffset(offset), address),
            None => self.row_of(&self.debug_frame(), gimli::DebugFrameOffset(offset), address),
        }
    }

    fn row_of<'a, S: UnwindSection<Slice<'a>>>(&self, section: &S, offset: S::Offset, address: u64) -> Option<Row> {
        let bases = self.bases();
        let fde = section.fde_from_offset(&bases, offset, S::cie_from_offset).ok()?;
        let mut context = UnwindContext::new();
        let row: &UnwindTableRow<usize> = fde.unwind_info_for_address(section, &bases, &mut context, address).ok()?;
        let bytes = |expression: gimli::UnwindExpression<usize>| {
            expression.get(section).map(|expression| expression.0.slice().to_vec()).ok()
        };
        let cfa = match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => Cfa::Register(register.0, *offset),
            CfaRule::Expression(expression) => Cfa::Expression(bytes(*expression)?),
        };
        let mut rules = Vec::new();
        for (register, rule) in row.registers() {
            let rule = match rule {
                RegisterRule::Undefined => Rule::Undefined,
                RegisterRule::SameValue => Rule::Same,
                RegisterRule::Offset(offset) => Rule::At(*offset),
                RegisterRule::ValOffset(offset) => Rule::Is(*offset),
                RegisterRule::Register(register) => Rule::Register(register.0),
                RegisterRule::Expression(expression) => Rule::AtExpression(bytes(*expression)?),
                RegisterRule::ValExpression(expression) => Rule::IsExpression(bytes(*expression)?),
                // Pointer authentication's state, and what no compiler writes.
                _ => continue,
            };
            rules.push((register.0, rule));
        }
        Some(Row {
            cfa,
            rules,
            return_address: fde.cie().return_address_register().0,
            signal: fde.is_signal_trampoline(),
            encoding: fde.cie().encoding(),
        })
    }

    pub(crate) fn endian(&self) -> RunTimeEndian {
        self.endian
    }
}
