//! Converted dumps: what was in the dump is in the core, at both its addresses, and nothing else is.

use std::io::Read;
use std::sync::Arc;

use vmcore::Architecture;
use vmcore::convert::{self, CoreOptions, Flavour, Registers, SparseFile, Stream, Summary, Thread};
use vmcore::forge::{Forge, Golden, Kind, golden};
use vmcore::memory::{Fault, Form, Memory, Options, VirtualMemory};
use vmcore::ranges::Ranges;

fn open(bytes: Vec<u8>) -> Memory {
    Memory::open(Arc::new(bytes)).unwrap()
}

fn to_core(memory: &Memory, options: &CoreOptions) -> (Vec<u8>, Summary) {
    let mut out = Stream(Vec::new());
    let summary = convert::core(memory, options, &mut out).unwrap();
    assert_eq!(summary.length, out.0.len() as u64);
    (out.0, summary)
}

fn reads(memory: &Memory, golden: &Golden) {
    for (address, text) in &golden.texts {
        let read = memory.read_cstr(*address, 100).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        assert_eq!(String::from_utf8_lossy(&read), *text);
    }
    if let Some(address) = golden.forge.direct(golden.direct_only.0) {
        assert_eq!(memory.read_cstr(address, 100).unwrap(), golden.direct_only.1.as_bytes());
    }
    let buffer = memory.message_buffer_at(golden.message_buffer).unwrap();
    assert_eq!(String::from_utf8_lossy(&buffer.text), golden.messages);
    assert!(matches!(memory.read_u64(golden.absent), Err(Fault::NotMapped { .. })));
    assert!(matches!(memory.read_u64(golden.unmapped), Err(Fault::NotMapped { .. })));
}

#[test]
fn a_core_has_the_memory_of_the_minidump_and_no_more() {
    for kind in Kind::ALL.into_iter().filter(|kind| !kind.hashed) {
        let golden = golden(kind);
        for flavour in [Flavour::Linux, Flavour::FreeBsd] {
            let threads = vec![Thread { id: 100, registers: Registers::new() }];
            let (core, summary) = to_core(&open(golden.forge.minidump()), &CoreOptions { flavour, threads });
            let core = open(core);
            assert_eq!((core.architecture(), core.form()), (kind.architecture, Form::Core), "{kind:?}");
            reads(&core, &golden);
            let again: u64 = core.physical_ranges().map(|range| range.length).sum();
            assert_eq!((again, summary.missing_tables), (summary.memory, 0), "{kind:?}");
            // Without a direct map one page is out of sight.
            let unmapped = if core.direct_map().is_none() && golden.forge.direct(golden.direct_only.0).is_none() {
                kind.page_size()
            } else {
                0
            };
            assert_eq!(summary.unmapped, unmapped, "{kind:?}");
        }
    }
}

#[test]
fn a_core_is_made_of_a_full_dump_as_well() {
    let golden = golden(Kind::AMD64);
    let (core, summary) = to_core(&open(golden.forge.full()), &CoreOptions::default());
    let core = open(core);
    for (address, text) in &golden.texts {
        assert_eq!(core.read_cstr(*address, 100).unwrap(), text.as_bytes());
    }
    assert!(summary.memory < 64 << 20, "only what is mapped: {summary:?}");
}

#[test]
fn a_dump_whose_page_tables_are_not_found_has_no_core() {
    let memory = open(Forge::new(Kind::ARM64).full());
    let error = convert::core(&memory, &CoreOptions::default(), &mut Stream(Vec::new())).unwrap_err();
    assert!(error.to_string().contains("give the physical address of their root"), "{error}");
}

#[test]
fn a_sparse_file_has_the_same_bytes_as_a_stream() {
    let golden = golden(Kind::AMD64);
    let memory = open(golden.forge.minidump());
    let (streamed, _) = to_core(&memory, &CoreOptions::default());
    let mut file = SparseFile::new(tempfile::tempfile().unwrap());
    convert::core(&memory, &CoreOptions::default(), &mut file).unwrap();
    let mut file = file.finish().unwrap();
    let mut read = Vec::new();
    std::io::Seek::rewind(&mut file).unwrap();
    file.read_to_end(&mut read).unwrap();
    assert!(read == streamed);
    let allocated = std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap()) * 512;
    assert!(allocated < streamed.len() as u64, "{allocated} of {}", streamed.len());
}

#[test]
fn raw_memory_lies_at_its_own_addresses() {
    let golden = golden(Kind::AMD64);
    let mut out = Stream(Vec::new());
    let had = convert::raw(&open(golden.forge.minidump()), &mut out).unwrap();
    let (at, text) = &golden.direct_only;
    assert_eq!(&out.0[*at as usize..*at as usize + text.len()], text.as_bytes());
    for (address, text) in &golden.texts {
        let at = golden.forge.translate(*address).unwrap() as usize;
        let length = text.len().min(4096 - at % 4096);
        assert_eq!(&out.0[at..at + length], &text.as_bytes()[..length]);
    }
    assert!(had < out.0.len() as u64);
}

#[test]
fn more_segments_than_sixteen_bits_count_are_written_and_read() {
    let mut forge = Forge::new(Kind::AMD64);
    let base = forge.kernel_base();
    // The same two pages again and again: no range is longer than one.
    for page in 0..70_000 {
        forge.map(base + page * 4096, 0x20_0000 + page % 2 * 0x2000, 12);
    }
    forge.write(base + 8, b"even");
    forge.write(base + 4096 + 8, b"odd");
    let (core, summary) = to_core(&open(forge.minidump()), &CoreOptions::default());
    assert!(summary.segments > 70_000);
    assert_eq!(&core[56..58], &[0xff, 0xff]);
    let core = open(core);
    assert_eq!(core.read_cstr(base + 69_998 * 4096 + 8, 10).unwrap(), b"even");
    assert_eq!(core.read_cstr(base + 69_999 * 4096 + 8, 10).unwrap(), b"odd");
}

#[test]
fn what_never_arrived_is_in_no_range_and_in_no_core() {
    let golden = golden(Kind::AMD64);
    let bytes = golden.forge.minidump();
    // Of the page with the first text a byte is missing.
    let (address, _) = golden.texts[0];
    let whole = open(bytes.clone());
    let needle = b"small page 0";
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap() as u64;
    let mut there = Ranges::new();
    there.insert(0..at + 2000);
    there.insert(at + 2001..bytes.len() as u64);
    let options = Options { there: Some(there), ..Options::default() };
    let memory = Memory::open_with(Arc::new(bytes), &options).unwrap();
    let (before, after) = (whole.statistics().unwrap(), memory.statistics().unwrap());
    assert_eq!((before.lost, after.lost, before.present - after.present), (0, 1, 1));
    assert!(memory.virtual_ranges().flatten().any(|range| range.address == address & !4095 && !range.present));
    assert!(!memory.is_present(golden.forge.translate(address).unwrap()));
    let (core, summary) = to_core(&memory, &CoreOptions::default());
    assert_eq!(summary.memory, to_core(&whole, &CoreOptions::default()).1.memory - 4096);
    let core = open(core);
    assert!(core.read_u8(address).is_err());
    assert_eq!(core.read_cstr(golden.texts[1].0, 100).unwrap(), golden.texts[1].1.as_bytes());
}

#[test]
fn gaps_are_found_by_reading_where_nothing_says_where_they_are() {
    struct Gap(Vec<u8>, u64);
    impl disk::ReadAt for Gap {
        fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
            if (offset..offset + buf.len() as u64).contains(&self.1) {
                return Err(std::io::Error::other(vmcore::Missing { offset: self.1 }));
            }
            self.0.read_exact_at(buf, offset)
        }
        fn size(&self) -> u64 {
            self.0.size()
        }
    }
    let golden = golden(Kind::AMD64);
    let bytes = golden.forge.minidump();
    let needle = b"small page 0";
    let gap = bytes.windows(needle.len()).position(|window| window == needle).unwrap() as u64 + 3000;
    let physical = golden.forge.translate(golden.texts[0].0).unwrap();
    let mut memory = Memory::open(Arc::new(Gap(bytes, gap))).unwrap();
    assert_eq!(memory.statistics().unwrap().lost, 0);
    let fault = memory.read_physical(physical + 2998, &mut [0; 6]).unwrap_err();
    assert!(matches!(fault, Fault::Lost { .. }), "{fault:?}");
    // What is beside the gap can be read.
    memory.read_physical(physical, &mut [0; 100]).unwrap();
    memory.find_gaps().unwrap();
    assert_eq!(memory.statistics().unwrap().lost, 1);
    assert!(!memory.is_present(physical));
    assert!(memory.is_present(golden.forge.translate(golden.texts[1].0).unwrap()));
}

/// A machine of two processors that stopped, with their registers where kernels leave them.
fn stopped() -> (Forge, [u64; 3]) {
    let mut forge = golden(Kind::AMD64).forge;
    let kernel = 0xffff_ffff_8020_0000u64;
    let stack = forge.kernel_base() + 0x50 * 4096;
    forge.map(stack, 0x60_0000, 12);
    let mut block = |at: u64, rip: u64, rbp: u64| {
        let words = [1, 2, 3, 4, rbp, rbp - 0x80, 7, rip, 0, 0, 0, 0x8005_0033, 0, 0x1000, 0x6a0];
        for (index, word) in words.iter().enumerate() {
            forge.write(at + index as u64 * 8, &u64::to_le_bytes(*word));
        }
    };
    let (first, second, third) = (stack + 0x100, stack + 0x400, stack + 0x800);
    // Across a border of pages, as it may be.
    block(kernel + 0x10_0fd0, kernel + 0x6000, second);
    block(kernel + 0x10_2000, kernel + 0x5000, first);
    block(kernel + 0x10_3000, kernel + 0x6000, third);
    for frame in [first, second, third] {
        forge.write(frame, &u64::to_le_bytes(frame + 0x40));
        forge.write(frame + 8, &u64::to_le_bytes(kernel + 0x7000));
        forge.write(frame + 0x40, &[0; 16]);
    }
    (forge, [first, second, third])
}

#[test]
fn registers_are_found_without_symbols_the_dumping_processor_first() {
    let (forge, frames) = stopped();
    let memory = open(forge.minidump());
    let found = convert::find_registers(&memory);
    let frame = |at: usize| found[at].get("rbp").unwrap();
    assert_eq!(found.len(), 3);
    // The one whose instruction no other shares.
    assert_eq!(frame(0), frames[0]);
    assert_eq!((found[0].get("rip"), found[0].get("rbx")), (Some(0xffff_ffff_8020_5000), Some(7)));
    let named = Registers::from_pcb(&memory, 0xffff_ffff_8030_2000).unwrap();
    assert_eq!(named, found[0]);
}

#[test]
fn registers_of_an_architecture_whose_layout_changed_need_debug_information() {
    let memory = open(golden(Kind::ARM64).forge.minidump());
    assert_eq!(convert::find_registers(&memory), []);
    let error = Registers::from_pcb(&memory, memory.direct_map().unwrap().start).unwrap_err();
    assert!(error.to_string().contains("debug information"), "{error}");
    assert_eq!(memory.architecture(), Architecture::Arm64);
}
