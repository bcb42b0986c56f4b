//! The trace of the boot that a kernel with `options TSLOG` keeps (`sys/kern/kern_tslog.c`), as the text that
//! `sysctl debug.tslog` and `debug.tslog_user` print.

use std::collections::HashMap;

use symbols::{Architecture, Symbol};

use crate::dump::Crash;
use crate::error::{Error, Result};

/// Bytes of a `struct timestamp`: thread, kind (and room), function, text, time: a word or 8 bytes each.
const RECORD: u64 = 40;
/// Bytes of a `struct procdata`: parent (and room), times of fork and exit, two texts, a flag (and room).
const PROCESS: u64 = 48;
/// The largest table that is read.
const MOST: u64 = 1 << 30;
/// Longest name of a function, and longest text.
const TEXT: usize = 4096;
/// The most bytes of a loader's trace that are read.
const LOADER: u64 = 64 << 20;
/// Bytes of what the loader says about itself and its files that are looked through.
const METADATA: usize = 1 << 20;

/// A trace.
#[derive(Clone, Debug, Default)]
pub struct Tslog {
    /// What `sysctl debug.tslog` prints: the loader's records, then the kernel's.
    pub kernel: Vec<u8>,
    /// What `sysctl debug.tslog_user` prints; `None` of kernels that do not keep it (before FreeBSD 13.1).
    pub user: Option<Vec<u8>>,
    /// How many times a second the clock of the trace counts.
    pub frequency: Option<u64>,
    /// Records for which the kernel had no room: they are not in the trace.
    pub lost: u64,
    /// What could not be read, in sentences.
    pub problems: Vec<String>,
}

/// The trace of the boot. No debug information is needed.
///
/// # Errors
/// If the kernel keeps none, or not that of a 64-bit machine, or it cannot be read.
pub fn text(crash: &Crash) -> Result<Tslog> {
    let program = crash.program();
    if program.architecture().word() != 8 {
        return Err(Error::absent("the trace of a 32-bit kernel cannot be read"));
    }
    let table = symbol(crash, "timestamps", RECORD).ok_or_else(|| {
        Error::absent("not in this kernel: it was made without options TSLOG, so it keeps no trace of its boot")
    })?;
    let count = program.read_word(program.symbol("nrecs")?.address)?;
    let room = table.size / RECORD;
    let mut strings = Strings { crash, known: HashMap::new() };
    let mut log = Tslog { lost: count.saturating_sub(room), frequency: frequency(crash), ..Tslog::default() };
    log.kernel = loader(crash).unwrap_or_default();
    for record in read(crash, table.address, count.min(room) * RECORD)?.chunks_exact(RECORD as usize) {
        strings.record(record, &mut log.kernel);
    }
    if let Some(table) = symbol(crash, "procs", PROCESS) {
        let bytes = read(crash, table.address, table.size / PROCESS * PROCESS);
        match bytes {
            Ok(bytes) => log.user = Some(strings.processes(&bytes)),
            Err(error) => log.problems.push(format!("the trace of user programs: {error}")),
        }
    }
    Ok(log)
}

/// A table of at least one record.
fn symbol(crash: &Crash, name: &str, record: u64) -> Option<Symbol> {
    // Names as common as these may be others', too.
    let of_trace = crash.program().variable_of("kern_tslog.c", name).ok().and_then(|value| value.address());
    let symbol = crash.program().symbol(name).ok()?;
    let is_table = symbol.size >= record && of_trace.is_none_or(|address| address == symbol.address);
    is_table.then_some(symbol)
}

fn read(crash: &Crash, address: u64, size: u64) -> Result<Vec<u8>> {
    if size > MOST {
        return Err(Error::absent(format!("the trace has {size} bytes, more than {MOST}, which cannot be")));
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    crash.program().read(address, &mut bytes).map_err(symbols::Error::from)?;
    Ok(bytes)
}

fn word(bytes: &[u8], index: usize) -> u64 {
    let word = bytes.get(index * 8..index * 8 + 8).and_then(|word| word.try_into().ok());
    word.map_or(0, u64::from_le_bytes)
}

/// The texts that records point to, of which many are the same.
struct Strings<'c> {
    crash: &'c Crash,
    known: HashMap<u64, Vec<u8>>,
}

impl Strings<'_> {
    fn at(&mut self, address: u64) -> &[u8] {
        let program = self.crash.program();
        self.known.entry(address).or_insert_with(|| program.read_string(address, TEXT).unwrap_or_else(|_| b"?".into()))
    }

    fn record(&mut self, record: &[u8], out: &mut Vec<u8>) {
        // `TS_ENTER` and the others of `sys/tslog.h`.
        let kind = match word(record, 1) as u32 {
            0 => " ENTER",
            1 => " EXIT",
            2 => " THREAD",
            3 => " EVENT",
            _ => "",
        };
        match word(record, 0) {
            0 => out.push(b'0'),
            thread => out.extend(format!("{thread:#x}").bytes()),
        }
        out.extend(format!(" {}{kind} ", word(record, 4)).bytes());
        match word(record, 2) {
            0 => out.extend(b"(null)"),
            name => out.extend(self.at(name)),
        }
        if let text @ 1.. = word(record, 3) {
            out.push(b' ');
            out.extend(self.at(text));
        }
        out.push(b'\n');
    }

    fn processes(&mut self, table: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for (pid, process) in table.chunks_exact(PROCESS as usize).enumerate() {
            let parent = i64::from(word(process, 0) as i32) as u64;
            out.extend(format!("{pid} {parent} {} {} ", word(process, 1), word(process, 2)).bytes());
            for (index, end) in [(3, b' '), (4, b'\n')] {
                out.push(b'"');
                if let text @ 1.. = word(process, index) {
                    out.extend(self.at(text));
                }
                out.extend([b'"', end]);
            }
        }
        out
    }
}

/// The frequency of what `get_cyclecount()` reads.
fn frequency(crash: &Crash) -> Option<u64> {
    let program = crash.program();
    let found = match program.architecture() {
        Architecture::Amd64 | Architecture::I386 => program.read_word(program.symbol("tsc_freq").ok()?.address).ok(),
        Architecture::Arm64 => program.variable("arm_tmr_sc").ok()?.field("clkfreq").ok()?.unsigned().ok(),
        Architecture::Riscv64 => program.variable("riscv_timer_sc").ok()?.field("clkfreq").ok()?.unsigned().ok(),
    };
    found.filter(|frequency| *frequency != 0)
}

/// What the loader has logged and handed over (`sys/linker.h`: the kernel's metadata, a list of kinds, sizes and values).
fn loader(crash: &Crash) -> Option<Vec<u8>> {
    const TYPE: u32 = 2;
    const ADDRESS: u32 = 3;
    const SIZE: u32 = 4;
    const NAME: u32 = 1;
    let program = crash.program();
    let mut at = program.read_word(program.symbol("preload_metadata").ok()?.address).ok().filter(|at| *at != 0)?;
    let moved = program.symbol("preload_addr_relocate").and_then(|symbol| program.read_word(symbol.address));
    let (mut is_trace, mut address, mut size) = (false, None, None);
    let mut left = METADATA;
    loop {
        let kind = program.read_unsigned(at, 4).ok()? as u32;
        let length = program.read_unsigned(at.checked_add(4)?, 4).ok()?;
        let value = at.checked_add(8)?;
        if kind == NAME || (kind, length) == (0, 0) {
            if let (true, Some(address), Some(size)) = (is_trace, address, size) {
                return read(crash, address, u64::min(size, LOADER)).ok();
            }
            (is_trace, address, size) = (false, None, None);
        }
        match kind {
            0 if length == 0 => return None,
            TYPE => is_trace = program.read_string(value, 64).ok()? == b"TSLOG data",
            ADDRESS => address = Some(program.read_word(value).ok()?.wrapping_add(*moved.as_ref().unwrap_or(&0))),
            SIZE => size = Some(program.read_word(value).ok()?),
            _ => {}
        }
        let step = usize::try_from(length).ok()?.checked_add(8)?.next_multiple_of(8);
        left = left.checked_sub(step)?;
        at = at.checked_add(step as u64)?;
    }
}
