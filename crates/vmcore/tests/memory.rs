//! What was forged is read back: every architecture, every version, every kind of page.

use std::sync::Arc;

use proptest::prelude::*;
use vmcore::forge::{Forge, Golden, Kind, golden};
use vmcore::memory::{Fault, Form, Memory, Paging, Via, VirtualMemory};
use vmcore::{Architecture, ByteOrder};

fn open(bytes: Vec<u8>) -> Memory {
    Memory::open(Arc::new(bytes)).unwrap()
}

/// Kinds whose page tables are walked.
fn walked() -> impl Iterator<Item = Kind> {
    Kind::ALL.into_iter().filter(|kind| !kind.hashed)
}

/// Kinds that full dumps are read of, one for each way of paging.
fn full() -> impl Iterator<Item = Kind> {
    let mut seen = Vec::new();
    walked().filter(move |kind| {
        let known = matches!(kind.architecture, Architecture::Amd64 | Architecture::Arm64 | Architecture::I386);
        let new = known && !seen.contains(&kind.paging);
        seen.push(kind.paging);
        new
    })
}

fn reads_texts(memory: &Memory, golden: &Golden, what: &dyn std::fmt::Debug) {
    for (address, text) in &golden.texts {
        let read = memory.read_cstr(*address, 100).unwrap_or_else(|fault| panic!("{what:?}: {text}: {fault}"));
        assert_eq!(String::from_utf8_lossy(&read), *text, "{what:?}");
    }
}

#[test]
fn minidumps_of_every_architecture_and_version_are_read() {
    for kind in walked() {
        let golden = golden(kind);
        let memory = open(golden.forge.minidump());
        assert_eq!(memory.architecture(), kind.architecture);
        assert_eq!(memory.form(), Form::Minidump { version: kind.version });
        assert_eq!((memory.byte_order(), memory.page_size()), (kind.order, kind.page_size()));
        reads_texts(&memory, &golden, &kind);
    }
}

#[test]
fn pages_that_only_the_direct_map_shows_are_there() {
    for kind in Kind::ALL {
        let golden = golden(kind);
        let memory = open(golden.forge.minidump());
        let (physical, text) = &golden.direct_only;
        let mut read = vec![0; text.len()];
        memory.read_physical(*physical, &mut read).unwrap();
        assert_eq!(read, text.as_bytes(), "{kind:?}");
        if let Some(address) = golden.forge.direct(*physical) {
            assert_eq!(memory.read_cstr(address, 100).unwrap(), text.as_bytes(), "{kind:?}");
            assert_eq!(memory.translate(address).unwrap(), *physical);
            let direct = memory.direct_map().unwrap();
            assert_eq!(direct.address_of(*physical), Some(address));
        }
    }
}

#[test]
fn missing_memory_is_an_error_with_its_address_and_never_zeros() {
    for kind in walked() {
        let golden = golden(kind);
        let memory = open(golden.forge.minidump());
        let mapped_to = golden.forge.translate(golden.absent).unwrap();
        match memory.read_u64(golden.absent + 4) {
            Err(Fault::NotPresent { address, physical }) => {
                assert_eq!((address, physical), (Some(golden.absent + 4), mapped_to + 4), "{kind:?}");
            }
            other => panic!("{kind:?}: {other:?}"),
        }
        match memory.read_u8(golden.unmapped) {
            Err(Fault::NotMapped { address }) => assert_eq!(address, golden.unmapped),
            other => panic!("{kind:?}: {other:?}"),
        }
        assert!(memory.read_u8(0).is_err(), "{kind:?}");
        assert!(memory.read_u8(u64::MAX).is_err(), "{kind:?}");
        assert!(memory.read_u64(u64::MAX - 3).is_err(), "{kind:?}");
        assert!(memory.read_physical(u64::MAX - 3, &mut [0; 8]).is_err(), "{kind:?}");
    }
}

#[test]
fn what_is_in_front_of_a_hole_is_read() {
    let mut forge = Forge::new(Kind::AMD64);
    let base = forge.kernel_base();
    forge.map(base, 0x20_0000, 12);
    forge.write(base + 4090, b"before");
    let memory = open(forge.minidump());
    let mut buf = [0; 100];
    let (done, fault) = memory.read(base + 4090, &mut buf);
    assert_eq!((&buf[..done], fault.unwrap().to_string()), {
        (&b"before"[..], format!("virtual address {:#x} is not mapped", base + 4096))
    });
    assert!(memory.read_cstr(base + 4090, 6).is_ok());
    assert!(memory.read_cstr(base + 4090, 7).is_err());
}

#[test]
fn the_message_buffer_is_in_order_and_its_unread_part_is_known() {
    for kind in Kind::ALL {
        let golden = golden(kind);
        let memory = open(golden.forge.minidump());
        let own = memory.message_buffer().unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&own.text), golden.messages, "{kind:?}");
        assert_eq!(String::from_utf8_lossy(own.unread_text()), golden.unread, "{kind:?}");
        assert!(own.ordered);
        let by_address = memory.message_buffer_at(golden.message_buffer).unwrap();
        assert_eq!(by_address, own, "{kind:?}");
        let wrong = memory.message_buffer_at(golden.message_buffer - 8).unwrap_err().to_string();
        assert!(wrong.contains("there is no message buffer at virtual address"), "{wrong}");
    }
}

#[test]
fn hash_page_tables_are_recognised_and_said_so() {
    let kind = Kind::ALL.into_iter().find(|kind| kind.hashed).unwrap();
    let golden = golden(kind);
    let memory = open(golden.forge.minidump());
    let fault = memory.read_u64(golden.texts[0].0).unwrap_err().to_string();
    assert!(fault.contains("hash page tables"), "{fault}");
}

#[test]
fn full_dumps_are_read_through_a_root_that_is_given() {
    for kind in full() {
        let golden = golden(kind);
        let mut memory = open(golden.forge.full());
        assert_eq!((memory.architecture(), memory.form()), (kind.architecture, Form::Full));
        memory.set_kernel_root(kind.paging, golden.forge.root());
        reads_texts(&memory, &golden, &kind);
        assert!(matches!(memory.read_u8(golden.unmapped), Err(Fault::NotMapped { .. })));
        assert!(matches!(memory.read_u8(golden.absent), Err(Fault::NotPresent { .. })));
        if kind.architecture == Architecture::I386 {
            let buffer = memory.message_buffer_at(golden.message_buffer).unwrap();
            assert_eq!(String::from_utf8_lossy(&buffer.text), golden.messages);
        }
        let (physical, text) = &golden.direct_only;
        let mut read = vec![0; text.len()];
        memory.read_physical(*physical, &mut read).unwrap();
        assert_eq!(read, text.as_bytes());
    }
}

#[test]
fn the_root_is_found_in_a_full_dump_of_amd64_and_arm64() {
    for kind in full().filter(|kind| kind.architecture != Architecture::I386) {
        let mut golden = golden(kind);
        // Pages that look like a root, in front of the real one.
        let decoy = kind.ram_base() + 0x11_0000;
        golden.forge.write_entry(decoy, 256, decoy | 0x63);
        golden.forge.write_entry(decoy, 0, (decoy + 0x2_0000) | 3);
        let memory = open(golden.forge.full());
        assert_eq!(memory.kernel_root(), Some((kind.paging, golden.forge.root())), "{kind:?}");
        reads_texts(&memory, &golden, &kind);
    }
}

#[test]
fn without_a_root_a_full_dump_says_what_it_needs() {
    let memory = open(Forge::new(Kind::ARM64).full());
    let fault = memory.read_u64(0xffff_0000_0000_0000).unwrap_err().to_string();
    assert!(fault.contains("give the physical address of their root"), "{fault}");
}

#[test]
fn a_process_is_read_through_its_own_root() {
    for kind in full() {
        let mut forge = golden(kind).forge;
        let root = forge.new_root();
        let ram = kind.ram_base();
        forge.map_in(root, 0x40_0000, ram + 0x60_0000, kind.page_shift());
        forge.write_physical(ram + 0x60_0000, b"a process");
        let memory = open(forge.full());
        // As a register has it, with bits that are not of the address.
        let register = match kind.architecture {
            Architecture::Amd64 => root | 1 << 63 | 0x12,
            Architecture::Arm64 => root | 0x17 << 48 | 1,
            _ => root,
        };
        let space = memory.address_space(kind.paging, register);
        assert_eq!(space.read_cstr(0x40_0000, 20).unwrap(), b"a process", "{kind:?}");
        assert!(matches!(space.read_u8(0x50_0000), Err(Fault::NotMapped { address: 0x50_0000 })));
        let ranges: Vec<_> = space.virtual_ranges().map(|range| range.unwrap().address).collect();
        assert_eq!(ranges, [0x40_0000], "{kind:?}");
    }
}

#[test]
fn integers_are_read_in_the_order_of_the_dump() {
    for kind in walked() {
        let mut forge = Forge::new(kind);
        let base = forge.kernel_base();
        forge.map(base, kind.ram_base() + 0x20_0000, kind.page_shift());
        forge.write(base, &[1, 2, 3, 4, 5, 6, 7, 8]);
        let memory = open(forge.minidump());
        let little = kind.order == ByteOrder::Little;
        assert_eq!(memory.read_u8(base).unwrap(), 1);
        assert_eq!(memory.read_u16(base).unwrap(), if little { 0x0201 } else { 0x0102 });
        assert_eq!(memory.read_u32(base).unwrap(), if little { 0x0403_0201 } else { 0x0102_0304 });
        let eight = if little { 0x0807_0605_0403_0201 } else { 0x0102_0304_0506_0708 };
        assert_eq!(memory.read_u64(base).unwrap(), eight);
        let pointer = if kind.architecture.pointer_size() == 4 { eight & 0xffff_ffff } else { eight };
        assert_eq!(memory.read_pointer(base).unwrap(), pointer);
    }
}

#[test]
fn ranges_say_what_is_mapped_and_what_of_it_is_there() {
    for kind in walked() {
        let golden = golden(kind);
        let memory = open(golden.forge.minidump());
        let ranges: Vec<_> = memory.virtual_ranges().collect::<Result<_, _>>().unwrap();
        let tables: Vec<_> = ranges.iter().filter(|range| range.via == Via::Tables).collect();
        assert!(tables.windows(2).all(|pair| pair[0].address + pair[0].length <= pair[1].address), "{kind:?}");
        let mapped: u64 = tables.iter().map(|range| range.length).sum();
        let forged: u64 = golden.forge.maps().map(|(_, _, shift)| 1 << shift).sum();
        assert_eq!(mapped, forged, "{kind:?}");
        for range in &tables {
            for page in (0..range.length).step_by(kind.page_size() as usize) {
                assert_eq!(golden.forge.translate(range.address + page), Some(range.physical + page), "{kind:?}");
                assert_eq!(memory.is_present(range.physical + page), range.present, "{kind:?}");
            }
        }
        let direct: u64 = ranges.iter().filter(|range| range.via == Via::DirectMap).map(|range| range.length).sum();
        let present: u64 = memory.physical_ranges().map(|range| range.length).sum();
        assert_eq!(direct, if memory.direct_map().is_some() { present } else { 0 }, "{kind:?}");
    }
}

#[test]
fn pages_are_counted() {
    for kind in walked() {
        let golden = golden(kind);
        let bytes = golden.forge.minidump();
        let memory = open(bytes.clone());
        let counted = memory.statistics().unwrap();
        let present: u64 = memory.physical_ranges().map(|range| range.length / kind.page_size()).sum();
        assert_eq!(counted.present, present, "{kind:?}");
        assert_eq!((counted.absent, counted.missing_tables), (2, 0), "{kind:?}");
        assert_eq!(counted.mapped + counted.direct_only, present);
        assert!(counted.mapped > 5 && counted.direct_only > 0, "{kind:?}: {counted:?}");
        let zeros = memory.zero_pages().unwrap();
        let pages = &bytes[bytes.len() - (present * kind.page_size()) as usize..];
        let expected =
            pages.chunks(kind.page_size() as usize).filter(|page| page.iter().all(|&byte| byte == 0)).count();
        assert_eq!(zeros, expected as u64, "{kind:?}");
    }
}

#[test]
fn the_map_of_itself_is_not_walked_for_ever() {
    let golden = golden(Kind::AMD64);
    let memory = open(golden.forge.full());
    let ranges: Vec<_> = memory.virtual_ranges().collect::<Result<_, _>>().unwrap();
    assert!(ranges.len() < 100, "{}", ranges.len());
}

#[test]
fn tables_that_refer_to_each_other_without_end_are_called_absurd() {
    for paging in [Paging::Amd64, Paging::Amd64La57] {
        let kind = Kind { paging, ..Kind::AMD64 };
        let mut forge = Forge::new(kind);
        // Five tables, each of whose entries refer to all of them.
        let tables = [0x20_0000u64, 0x20_1000, 0x20_2000, 0x20_3000, 0x20_4000, 0x20_5000, 0x20_6000, 0x20_7000];
        for table in tables {
            for entry in 0..512 {
                forge.write_entry(table, entry, tables[entry as usize % tables.len()] | 0x63);
            }
        }
        let mut memory = open(forge.full());
        memory.set_kernel_root(paging, tables[0]);
        let last = memory.virtual_ranges().last().unwrap();
        assert!(matches!(last, Err(Fault::Absurd { .. })), "{last:?}");
        assert!(matches!(memory.statistics(), Err(Fault::Absurd { .. })));
        memory.read_u64(0xffff_8000_0000_0000).unwrap();
    }
}

#[test]
fn a_dump_that_ends_early_has_lost_what_was_behind() {
    let golden = golden(Kind::AMD64);
    let mut bytes = golden.forge.minidump();
    let last = open(bytes.clone()).physical_ranges().last().unwrap();
    let physical = last.address + last.length - 4096;
    bytes.truncate(bytes.len() - 100);
    let memory = open(bytes);
    assert!(!memory.is_present(physical));
    memory.read_physical(physical, &mut [0; 8]).unwrap();
    let physical = physical + 4090;
    let fault = memory.read_physical(physical, &mut [0; 8]).unwrap_err();
    assert!(matches!(fault, Fault::Lost { address: None, .. }), "{fault:?}");
    let address = golden.forge.direct(physical).unwrap();
    match memory.read_u64(address) {
        Err(Fault::Lost { address: Some(found), .. }) => assert_eq!(found, address),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_page_map_that_never_arrived_is_said_to_be_missing() {
    struct Gap(Vec<u8>, std::ops::Range<u64>);
    impl disk::ReadAt for Gap {
        fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
            if offset < self.1.end && self.1.start < offset + buf.len() as u64 {
                return Err(std::io::Error::other(vmcore::Missing { offset: self.1.start }));
            }
            self.0.read_exact_at(buf, offset)
        }
        fn size(&self) -> u64 {
            self.0.size()
        }
    }
    let golden = golden(Kind::ARM64);
    let bytes = golden.forge.minidump();
    let (pages, total) = (open(bytes.clone()).statistics().unwrap().present, bytes.len() as u64);
    let page_map_end = total - pages * 4096;
    let memory = Memory::open(Arc::new(Gap(bytes, page_map_end - 4096..page_map_end))).unwrap();
    // The last page of the map is for the large page.
    let (address, _) = golden.texts.iter().find(|(_, text)| text == "large page").unwrap();
    match memory.read_u8(*address) {
        Err(Fault::LostPart { address: Some(found), .. }) => assert_eq!(found, *address),
        other => panic!("{other:?}"),
    }
    assert_eq!(memory.read_cstr(golden.texts[0].0, 100).unwrap(), golden.texts[0].1.as_bytes());
    assert!(memory.statistics().unwrap().missing_tables > 0);
}

#[test]
fn headers_that_lie_are_refused_with_a_reason() {
    let good = golden(Kind::AMD64).forge.minidump();
    let refused = |at: usize, value: u32, expected: &str| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let error = Memory::open(Arc::new(bytes)).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(expected), "byte {at}: {error}");
    };
    refused(24, 9, "version 9; versions 1 to 3 are known");
    refused(28, u32::MAX, "size of the message buffer");
    refused(32, 0, "size of the bitmap");
    refused(32, u32::MAX, "size of the bitmap");
    refused(36, u32::MAX, "size of the page map");
    refused(40, 0x1000, "kernbase");
    refused(64, u32::MAX, "size of dump_avail");
    let error = |bytes: &[u8]| Memory::open(Arc::new(bytes.to_vec())).err().map(|error| error.to_string());
    assert!(error(b"minidump FreeBSD/vax\0").unwrap().contains("architecture 'vax'"));
    assert!(
        error(b"Hello, world, this is no dump").unwrap().contains("no kernel dump: it begins with 'Hello, world, th")
    );
    assert!(error(b"").unwrap().contains("begins with nothing"));
    assert!(error(b"\x7fELF").unwrap().contains("ELF header: class"));
}

#[test]
fn a_core_that_claims_more_than_it_can_have_is_counted_without_memory_for_it() {
    let good = golden(Kind::AMD64).forge.full();
    let field = |at: usize, value: u64| {
        let mut bytes = good.clone();
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        Memory::open(Arc::new(bytes))
    };
    // The length of the last segment: far behind the end of the file.
    let memory = field(64 + 56 + 32, 1 << 55).unwrap();
    let counted = memory.statistics().unwrap();
    assert!(counted.present < 1 << 14 && counted.lost > 1 << 40, "{counted:?}");
    assert!(memory.physical_ranges().map(|range| range.length).sum::<u64>() <= good.len() as u64);
    // Both segments at the same place of the file.
    let offset = u64::from_le_bytes(good[64 + 8..64 + 16].try_into().unwrap());
    let error = field(64 + 56 + 8, offset).err().unwrap().to_string();
    assert!(error.contains("place in the file"), "{error}");
}

#[test]
fn memory_is_read_by_several_threads() {
    let golden = golden(Kind::AMD64);
    let memory = open(golden.forge.minidump());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..200).for_each(|_| reads_texts(&memory, &golden, &"threads")));
        }
    });
}

/// Pages of several sizes at several places, none overlapping another.
fn layouts() -> impl Strategy<Value = (usize, Vec<(u8, u16, u16)>, u64)> {
    let kinds = walked().count();
    (0..kinds, proptest::collection::vec((any::<u8>(), 0u16..1024, 0u16..512), 1..40), any::<u64>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_was_forged_is_read_back((kind, maps, seed) in layouts()) {
        let kind = walked().nth(kind).unwrap();
        let ram = kind.ram_base();
        let mut forge = Forge::new(kind);
        let base = forge.kernel_base();
        let mut mapped: Vec<(u64, u64, u32)> = Vec::new();
        for (size, place, frame) in maps {
            // Small pages mostly; large ones up to 4 MB.
            let shifts: Vec<u32> = kind.page_shifts().iter().copied().filter(|&shift| shift <= 22).collect();
            let shift = if size % 4 == 0 { shifts[size as usize / 4 % shifts.len()] } else { shifts[0] };
            let unit = 1u64 << shift;
            let address = base + ((u64::from(place) << 14) & !(unit - 1));
            let physical = ram + 0x40_0000 + ((u64::from(frame) << kind.page_shift() & 0x1ff_ffff) & !(unit - 1));
            let overlaps = |&(other, _, shift): &(u64, u64, u32)| {
                address < other + (1 << shift) && other < address + unit
            };
            if physical + unit <= ram + 0x240_0000 && !mapped.iter().any(overlaps) {
                forge.map(address, physical, shift);
                mapped.push((address, physical, shift));
            }
        }
        for &(_, physical, shift) in &mapped {
            for at in (0..1u64 << shift).step_by(1000) {
                forge.write_physical(physical + at, &(physical + at).wrapping_mul(seed | 1).to_le_bytes()[..4]);
            }
        }
        let memory = open(forge.minidump());
        for &(address, physical, shift) in &mapped {
            let mut read = vec![0; 1 << shift];
            let mut expected = read.clone();
            memory.read_exact(address, &mut read).unwrap();
            forge.read_physical(physical, &mut expected);
            prop_assert!(read == expected, "{kind:?}: {address:#x}");
            prop_assert_eq!(memory.translate(address + (1 << shift) - 1).unwrap(), physical + (1 << shift) - 1);
        }
        let outside = base + (1 << 24) + 5;
        prop_assert!(memory.translate(outside).is_err());
        memory.statistics().unwrap();
    }

    #[test]
    fn damage_is_survived(kind in 0..Kind::ALL.len(), flips in proptest::collection::vec((0usize..300_000, any::<u8>()), 1..20), cut in 0usize..2_000_000) {
        let kind = Kind::ALL[kind];
        let mut forge = Forge::new(kind);
        let base = forge.kernel_base();
        let ram = kind.ram_base();
        for page in 0..20u64 {
            forge.map(base + page * kind.page_size(), ram + 0x20_0000 + page * 3 * kind.page_size(), kind.page_shift());
        }
        forge.message_buffer(ram + 0x50_0000, base + 0x40 * kind.page_size(), 5000);
        let mut bytes = forge.minidump();
        for (at, value) in flips {
            let length = bytes.len();
            bytes[at % length] = value;
        }
        if cut < bytes.len() {
            bytes.truncate(cut);
        }
        let Ok(memory) = Memory::open(Arc::new(bytes)) else { return Ok(()) };
        for page in 0..20 {
            let _ = memory.read_u64(base + page * kind.page_size());
        }
        let _ = memory.virtual_ranges().take(10_000).count();
        let _ = memory.physical_ranges().take(10_000).count();
        let _ = memory.message_buffer();
        let _ = memory.statistics();
    }
}

#[test]
fn pages_of_one_gigabyte_and_sections_are_walked_from_a_root() {
    for kind in full().chain(walked().filter(|kind| kind.architecture == Architecture::Armv7).take(1)) {
        let ram = kind.ram_base();
        for &shift in kind.page_shifts() {
            let mut forge = Forge::new(kind);
            let unit = 1u64 << shift;
            // Memory is smaller than some pages: it is in one that begins below it.
            let physical = (ram + 0x80_0000) & !(unit - 1);
            let address = if forge.kernel_base() > u64::from(u32::MAX) { forge.kernel_base() } else { 0xd000_0000 };
            let address = address & !(unit - 1);
            forge.map(address, physical, shift);
            let inside = ram + 0x80_0000 - physical;
            forge.write_physical(ram + 0x80_0000, b"inside a page");
            let mut memory = open(forge.full());
            memory.set_kernel_root(kind.paging, forge.root());
            assert_eq!(memory.read_cstr(address + inside, 20).unwrap(), b"inside a page", "{kind:?} {shift}");
            assert_eq!(memory.translate(address + unit - 1).unwrap(), physical + unit - 1);
            assert!(memory.translate(address + unit).is_err(), "{kind:?} {shift}");
        }
    }
}
