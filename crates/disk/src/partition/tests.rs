use flate2::Crc;
use proptest::prelude::*;

use super::*;

const DISK: usize = 4 << 20;
const ZFS: [u8; 16] = [0xba, 0x7c, 0x6e, 0x51, 0xcf, 0x6e, 0xd6, 0x11, 0x8f, 0xf8, 0x00, 0x02, 0x2d, 0x09, 0x71, 0x2b];

fn put(disk: &mut [u8], at: usize, bytes: &[u8]) {
    disk[at..at + bytes.len()].copy_from_slice(bytes);
}

fn crc(bytes: &[u8]) -> [u8; 4] {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum().to_le_bytes()
}

/// Writes a header of a GPT; the entries are there already.
fn put_header(disk: &mut [u8], sector: usize, at: u64, other: u64, entries: u64) {
    let array = entries as usize * sector;
    let entries_crc = crc(&disk[array..array + 128 * 128]);
    let start = at as usize * sector;
    put(disk, start, b"EFI PART");
    put(disk, start + 8, &0x0001_0000u32.to_le_bytes());
    put(disk, start + 12, &92u32.to_le_bytes());
    put(disk, start + 24, &at.to_le_bytes());
    put(disk, start + 32, &other.to_le_bytes());
    put(disk, start + 72, &entries.to_le_bytes());
    put(disk, start + 80, &128u32.to_le_bytes());
    put(disk, start + 84, &128u32.to_le_bytes());
    put(disk, start + 88, &entries_crc);
    put(disk, start + 16, &[0; 4]);
    let header_crc = crc(&disk[start..start + 92]);
    put(disk, start + 16, &header_crc);
}

/// A disk with a GPT of partitions from and to these sectors.
fn gpt(sector: usize, partitions: &[(u64, u64)]) -> Vec<u8> {
    let mut disk = vec![0; DISK];
    let last = (DISK / sector - 1) as u64;
    let backup = last - (128 * 128 / sector) as u64;
    for entries in [2, backup] {
        for (index, (first, end)) in partitions.iter().enumerate() {
            let at = entries as usize * sector + index * 128;
            put(&mut disk, at, &ZFS);
            put(&mut disk, at + 16, &[index as u8 + 1; 16]);
            put(&mut disk, at + 32, &first.to_le_bytes());
            put(&mut disk, at + 40, &end.to_le_bytes());
            put(&mut disk, at + 56, &[b'z', 0, b'f', 0, b's', 0]);
        }
    }
    put_header(&mut disk, sector, 1, last, 2);
    put_header(&mut disk, sector, last, 1, backup);
    put_mbr(&mut disk, 0, &[(0xee, 1, u32::MAX)]);
    disk
}

/// Writes a boot record with partitions of type, first sector and sectors.
fn put_mbr(disk: &mut [u8], sector: usize, partitions: &[(u8, u32, u32)]) {
    for (index, (kind, first, count)) in partitions.iter().enumerate() {
        let at = sector * 512 + 446 + index * 16;
        disk[at + 4] = *kind;
        put(disk, at + 8, &first.to_le_bytes());
        put(disk, at + 12, &count.to_le_bytes());
    }
    put(disk, sector * 512 + 510, &[0x55, 0xaa]);
}

/// Writes a disklabel into the slice at a sector; partitions of first sector and sectors.
fn put_label(disk: &mut [u8], slice: usize, partitions: &[(u32, u32)]) {
    let at = (slice + 1) * 512;
    let end = at + 148 + partitions.len() * 16;
    disk[at..end].fill(0);
    put(disk, at, &0x8256_4557u32.to_le_bytes());
    put(disk, at + 132, &0x8256_4557u32.to_le_bytes());
    put(disk, at + 40, &512u32.to_le_bytes());
    put(disk, at + 138, &(partitions.len() as u16).to_le_bytes());
    for (index, (first, count)) in partitions.iter().enumerate() {
        put(disk, at + 148 + index * 16, &count.to_le_bytes());
        put(disk, at + 152 + index * 16, &first.to_le_bytes());
        disk[at + 160 + index * 16] = 27;
    }
    let sum = disk[at..end].chunks_exact(2).fold(0, |sum, word| sum ^ u16::from_le_bytes([word[0], word[1]]));
    put(disk, at + 136, &sum.to_le_bytes());
}

fn found(disk: &Vec<u8>) -> Vec<(String, u64, u64)> {
    let table = read(disk).unwrap().expect("a table");
    table.partitions.into_iter().map(|found| (found.name, found.start, found.size)).collect()
}

fn expected(partitions: &[(&str, u64, u64)]) -> Vec<(String, u64, u64)> {
    partitions.iter().map(|(name, start, size)| ((*name).to_owned(), *start, *size)).collect()
}

#[test]
fn a_gpt_is_read_in_sectors_of_either_size() {
    for sector in [512, 4096] {
        let disk = gpt(sector, &[(100, 199), (200, 200)]);
        let size = sector as u64;
        assert_eq!(found(&disk), expected(&[("p1", 100 * size, 100 * size), ("p2", 200 * size, size)]));
        let table = read(&disk).unwrap().unwrap();
        assert_eq!((table.scheme, table.sector_size, table.warnings.len()), (Scheme::Gpt, size, 0));
        assert_eq!((table.partitions[0].kind, &table.partitions[0].label[..]), (Kind::Gpt(Guid(ZFS)), "zfs"));
    }
}

#[test]
fn the_last_copy_of_a_gpt_stands_in_for_the_first() {
    for sector in [512, 4096] {
        let sound = gpt(sector, &[(100, 199)]);
        // In the header, in the entries, and everything at the start of the disk.
        for damage in [sector + 60..sector + 61, 2 * sector..2 * sector + 1, 0..32 << 10] {
            let mut disk = sound.clone();
            disk[damage].fill(0x33);
            assert_eq!(found(&disk), found(&sound));
            let warnings = read(&disk).unwrap().unwrap().warnings;
            assert_eq!(warnings, ["the first copy of the GPT is damaged, the last one was taken"]);
        }
    }
}

#[test]
fn a_damaged_gpt_without_a_sound_copy_is_none() {
    let mut disk = gpt(512, &[(100, 199)]);
    disk[512 + 60] ^= 1;
    disk[DISK - 512 + 60] ^= 1;
    // What is left is the protective MBR, which protects the whole disk.
    assert_eq!(read(&disk).unwrap().unwrap().scheme, Scheme::Mbr);
}

#[test]
fn of_a_hybrid_mbr_the_gpt_is_taken() {
    let mut disk = gpt(512, &[(100, 199)]);
    put_mbr(&mut disk, 0, &[(0xa5, 100, 100), (0xee, 1, 99)]);
    assert_eq!(found(&disk), expected(&[("p1", 51200, 51200)]));
}

#[test]
fn an_mbr_that_does_not_announce_a_gpt_has_replaced_it() {
    let mut disk = gpt(512, &[(100, 199)]);
    put_mbr(&mut disk, 0, &[(0x83, 300, 10)]);
    assert_eq!(found(&disk), expected(&[("s1", 300 * 512, 10 * 512)]));
}

#[test]
fn a_partition_ends_where_the_disk_does() {
    let end = DISK as u64 / 512;
    let disk = gpt(512, &[(end - 10, end + 10), (end + 20, end + 30), (9, 3)]);
    let table = read(&disk).unwrap().unwrap();
    assert_eq!(found(&disk), expected(&[("p1", (end - 10) * 512, 5120)]));
    assert_eq!(table.warnings.len(), 3);
}

#[test]
fn logical_partitions_are_followed() {
    let mut disk = vec![0; DISK];
    put_mbr(&mut disk, 0, &[(0x83, 10, 10), (0x0f, 1000, 5000)]);
    put_mbr(&mut disk, 1000, &[(0x83, 1, 50), (0x05, 100, 60)]);
    put_mbr(&mut disk, 1100, &[(0x83, 2, 50)]);
    assert_eq!(found(&disk), expected(&[("s1", 5120, 5120), ("s5", 1001 * 512, 25600), ("s6", 1102 * 512, 25600)]));
}

#[test]
fn a_chain_of_logical_partitions_that_leads_back_comes_to_an_end() {
    let mut disk = vec![0; DISK];
    put_mbr(&mut disk, 0, &[(0x05, 1000, 5000)]);
    put_mbr(&mut disk, 1000, &[(0x83, 1, 50), (0x05, 100, 60)]);
    put_mbr(&mut disk, 1100, &[(0x83, 1, 50), (0x05, 100, 60)]);
    let table = read(&disk).unwrap().unwrap();
    assert_eq!(table.warnings, ["the chain of logical partitions leads back to sector 1100"]);
    assert_eq!(table.partitions.len(), 2);
}

#[test]
fn a_disklabel_divides_a_slice() {
    // The first sectors count from the slice, or from the disk: partition c tells.
    for base in [0, 100] {
        let mut disk = vec![0; DISK];
        put_mbr(&mut disk, 0, &[(0xa5, 100, 4000)]);
        put_label(&mut disk, 100, &[(base + 16, 1000), (base + 1016, 500), (base, 4000), (base + 5000, 10)]);
        let slice = ("s1", 51200, 4000 * 512);
        assert_eq!(found(&disk), expected(&[slice, ("s1a", 116 * 512, 512_000), ("s1b", 1116 * 512, 256_000)]));
        assert_eq!(read(&disk).unwrap().unwrap().warnings, ["partition s1d is not in its slice"]);
    }
}

#[test]
fn a_disklabel_divides_a_whole_disk() {
    let mut disk = vec![0; DISK];
    put_label(&mut disk, 0, &[(16, 1000)]);
    assert_eq!(found(&disk), expected(&[("a", 16 * 512, 512_000)]));
    disk[512 + 148] ^= 1;
    assert_eq!(read(&disk).unwrap(), None);
}

#[test]
fn neither_an_empty_disk_nor_a_boot_sector_has_a_table() {
    assert_eq!(read(&vec![0; DISK]).unwrap(), None);
    assert_eq!(read(&Vec::new()).unwrap(), None);
    assert_eq!(read(&vec![0x55; 700]).unwrap(), None);
    let mut disk = vec![0xeb; DISK];
    put(&mut disk, 510, &[0x55, 0xaa]);
    assert_eq!(read(&disk).unwrap(), None);
}

proptest! {
    #[test]
    fn damaged_tables_are_read_or_refused(
        which in 0..3,
        damage in proptest::collection::vec((0usize..6000, any::<u8>()), 1..20),
    ) {
        let mut disk = match which {
            0 => gpt(512, &[(100, 199), (200, 300)]),
            1 => gpt(4096, &[(100, 199)]),
            _ => {
                let mut disk = vec![0; DISK];
                put_mbr(&mut disk, 0, &[(0xa5, 2, 4000), (0x05, 4, 100)]);
                put_label(&mut disk, 2, &[(16, 1000), (0, 10), (0, 4000)]);
                put_mbr(&mut disk, 4, &[(0xa5, 1, 50), (0x05, 2, 60)]);
                disk
            }
        };
        for (at, byte) in damage {
            disk[at] = byte;
        }
        for partition in read(&disk).unwrap().into_iter().flat_map(|table| table.partitions) {
            prop_assert!(partition.start + partition.size <= DISK as u64);
        }
    }
}

#[test]
fn a_partition_whose_end_has_no_number_is_left_out_or_cut() {
    let whole = |start, size| {
        let mut table = Table::new(Scheme::Gpt, 512);
        let partition = Partition {
            name: "p1".to_owned(),
            start,
            size,
            kind: Kind::Mbr(0),
            label: String::new(),
            id: Guid::default(),
            attributes: 0,
        };
        table.push(1 << 20, partition);
        (table.partitions.first().map(|partition| (partition.start, partition.size)), table.warnings.len())
    };
    assert_eq!(whole(u64::MAX - 511, u64::MAX), (None, 1));
    assert_eq!(whole(512, u64::MAX), (Some((512, (1 << 20) - 512)), 1));
    assert_eq!(whole(1 << 20, 0), (None, 1));
    assert_eq!(whole(0, 1 << 20), (Some((0, 1 << 20)), 0));
}

mod written {
    use std::sync::Arc;

    use super::super::*;
    use crate::error::Error;

    fn slot(kind: Type, label: &str, size: u64) -> Slot {
        Slot { kind, label: label.to_owned(), size, attributes: 0, contents: None }
    }

    fn layout(scheme: Scheme) -> Layout {
        let mut layout = Layout::new(scheme, b"seed");
        layout.slots.push(Slot { contents: Some(Arc::new(vec![7; 1000])), ..slot(Type::EFI, "efiesp", 33 << 20) });
        layout.slots.push(Slot { attributes: 0x80, ..slot(Type::FREEBSD, "rootfs", (64 << 20) + 1) });
        layout
    }

    #[test]
    fn a_gpt_is_read_as_it_was_written() {
        let disk = layout(Scheme::Gpt).disk().unwrap();
        assert_eq!(disk.size() % (1 << 20), 0);
        let table = read(&disk).unwrap().unwrap();
        assert_eq!((table.scheme, table.warnings.len(), table.id.is_zero()), (Scheme::Gpt, 0, false));
        let [efi, root] = &table.partitions[..] else { panic!("{table:?}") };
        assert_eq!((efi.start, efi.size, &efi.label[..]), (1 << 20, 33 << 20, "efiesp"));
        assert_eq!((root.start, root.size, root.attributes), (34 << 20, (64 << 20) + 512, 0x80));
        assert_eq!((efi.kind.to_string(), root.kind.to_string()), ("efi".into(), "freebsd".into()));
        let mut bytes = [0; 1001];
        disk.read_exact_at(&mut bytes, efi.start).unwrap();
        assert_eq!((bytes[0], bytes[999], bytes[1000]), (7, 7, 0));
    }

    #[test]
    fn the_second_copy_of_a_gpt_stands_in_for_the_first() {
        let disk = layout(Scheme::Gpt).disk().unwrap();
        let mut bytes = vec![0; disk.size() as usize];
        disk.read_exact_at(&mut bytes, 0).unwrap();
        let table = read(&bytes).unwrap().unwrap();
        bytes[512..1024].fill(0);
        let second = read(&bytes).unwrap().unwrap();
        assert_eq!((second.partitions, second.warnings.len()), (table.partitions, 1));
    }

    #[test]
    fn an_mbr_is_read_as_it_was_written() {
        let mut layout = layout(Scheme::Mbr);
        layout.boot_code = vec![0x90; 512];
        let disk = layout.disk().unwrap();
        let table = read(&disk).unwrap().unwrap();
        let found: Vec<_> = table.partitions.iter().map(|part| (part.kind.to_string(), part.attributes)).collect();
        assert_eq!((table.scheme, found), (Scheme::Mbr, vec![("efi".to_owned(), 0), ("freebsd".to_owned(), 0x80)]));
        let mut sector = [0; 512];
        disk.read_exact_at(&mut sector, 0).unwrap();
        assert_eq!((sector[439], &sector[510..]), (0x90, &[0x55, 0xaa][..]));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |change: &dyn Fn(&mut Layout), scheme| {
            let mut layout = layout(scheme);
            change(&mut layout);
            matches!(layout.disk(), Err(Error::Impossible(_)))
        };
        assert!(refused(&|layout| layout.size = Some(50 << 20), Scheme::Gpt));
        assert!(refused(&|layout| layout.slots[0].contents = Some(Arc::new(vec![1; 34 << 20])), Scheme::Gpt));
        assert!(refused(&|layout| layout.slots[0].label = "x".repeat(37), Scheme::Gpt));
        assert!(refused(&|layout| layout.slots[1].size = u64::MAX, Scheme::Gpt));
        assert!(refused(&|layout| layout.slots[0].kind = Type::FREEBSD_SWAP, Scheme::Mbr));
        assert!(refused(&|layout| layout.slots[1].size = 3 << 40, Scheme::Mbr));
        assert!(refused(&|layout| layout.slots.extend(vec![slot(Type::EFI, "", 1); 3]), Scheme::Mbr));
        // Room for the table behind the last partition, where the disk's size is given.
        assert!(refused(&|layout| layout.size = Some((98 << 20) + 512), Scheme::Gpt));
        assert!(!refused(&|layout| layout.size = Some((98 << 20) + 512 + 33 * 512), Scheme::Gpt));
    }

    #[test]
    fn types_have_names_as_gpart_has_them() {
        for name in ["freebsd-zfs", "efi", "freebsd-boot", "!165", "516e7cba-6ecf-11d6-8ff8-00022d09712b"] {
            let kind: Type = name.parse().unwrap();
            assert_eq!(kind.to_string().trim_start_matches('!'), name.trim_start_matches('!'));
        }
        assert_eq!(Type::FREEBSD_ZFS.guid().unwrap().to_string(), "516e7cba-6ecf-11d6-8ff8-00022d09712b");
        assert!("freebsd-zsf".parse::<Type>().is_err());
    }
}
