//! Gang blocks as every version makes them are read; those that lead in circles come to an end.

use std::io;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use zfs_ondisk::blkptr::{BlockPointer, Dva, Fields, SIZE};
use zfs_ondisk::checksum::Checksum;
use zfs_ondisk::checksum::embedded::{Verifier, seal};
use zfs_ondisk::label;
use zfs_ondisk::object::ObjectType;

use crate::block::GANG_HEADER_SIZE;
use crate::device::{Device, ReadAt};
use crate::error::Error;
use crate::pool::Pool;
use crate::support;

/// Where the headers are: in space that the pool has not allocated.
const START: u64 = 40 << 20;
const TXG: u64 = 7;

/// An image with other bytes from [`START`] on.
struct Crafted {
    image: Vec<u8>,
    headers: Vec<u8>,
}

impl ReadAt for Crafted {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let start = START + label::START_SIZE;
        match offset.checked_sub(start).filter(|&at| at + buf.len() as u64 <= self.headers.len() as u64) {
            Some(at) => self.headers.read_exact_at(buf, at),
            None => self.image.read_exact_at(buf, offset),
        }
    }

    fn size(&self) -> u64 {
        self.image.size()
    }
}

/// The place of header `number`.
fn place(number: u64) -> Dva {
    Dva { vdev: 0, offset: START + number * 4096, asize: 4096, gang: true }
}

/// A pointer with three copies of a gang block, all in the same place.
fn pointer(dva: Dva, size: usize) -> BlockPointer {
    pointer_with(dva, size, Checksum::Fletcher4)
}

fn pointer_with(dva: Dva, size: usize, checksum: Checksum) -> BlockPointer {
    BlockPointer::data(&Fields {
        dvas: [dva; 3],
        level: 0,
        object_type: ObjectType::PLAIN_FILE_CONTENTS,
        logical_size: size,
        physical_size: size,
        compression: 2,
        checksum: checksum.number(),
        birth: TXG,
        fill: 1,
        digest: [1, 2, 3, 4],
    })
}

fn header(number: u64, parts: &[BlockPointer]) -> Vec<u8> {
    header_of(GANG_HEADER_SIZE, number, parts)
}

fn header_of(size: usize, number: u64, parts: &[BlockPointer]) -> Vec<u8> {
    let mut header = vec![0; size];
    parts.iter().enumerate().for_each(|(index, part)| part.write(&mut header, index * SIZE));
    seal(&mut header, &Verifier::Gang { vdev: 0, offset: place(number).offset, txg: TXG }).unwrap();
    header.resize(4096, 0);
    header
}

/// The header as a machine of the other byte order writes it.
fn big_endian(number: u64, parts: &[BlockPointer]) -> Vec<u8> {
    let mut words = [0u64; GANG_HEADER_SIZE / 8];
    for (words, part) in words.chunks_mut(SIZE / 8).zip(parts) {
        words.copy_from_slice(part.words());
    }
    // The trailer: magic number, and in place of the checksum where it belongs.
    words[59..].copy_from_slice(&[0x0210_da7a_b10c_7a11, 0, place(number).offset, TXG, 0]);
    let sum = Sha256::digest(words.map(u64::to_be_bytes).concat());
    let mut header = words.map(u64::to_be_bytes).concat();
    header[60 * 8..].copy_from_slice(&sum);
    header.resize(4096, 0);
    header
}

fn pool(test: &str, headers: Vec<Vec<u8>>) -> Option<Pool> {
    let unpacked = support::unpack(test, "tree")?;
    let image = std::fs::read(&unpacked.images[0]).unwrap();
    Some(Pool::open(vec![Device::new("image", Crafted { image, headers: headers.concat() })]).unwrap())
}

fn expect_unreadable(pool: &Pool, pointer: &BlockPointer, fault: &str) {
    let start = Instant::now();
    for result in [pool.read_block(pointer).map(drop), pool.verify_block(pointer).map(drop)] {
        let Err(Error::Unreadable { copies, .. }) = result else { panic!("{result:?}") };
        assert!((1..=96).contains(&copies.len()), "{} faults", copies.len());
        assert!(copies.iter().any(|copy| copy.fault.contains(fault)), "{copies:?}");
    }
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
fn the_header_of_a_gang_block_is_read_in_its_byte_order() {
    // Blocks of one sector without a checksum, where the headers 1 and 2 would be.
    let part = |number| pointer_with(Dva { gang: false, ..place(number) }, 512, Checksum::Off);
    let whole = pointer_with(place(0), 1024, Checksum::Off);
    let contents = [vec![b'a'; 4096], vec![b'b'; 4096]].concat();
    for header in [header(0, &[part(1), part(2)]), big_endian(0, &[part(1), part(2)])] {
        let Some(pool) = pool("gang byte order", vec![header, contents.clone()]) else { return };
        assert_eq!(pool.read_block(&whole).unwrap(), [[b'a'; 512], [b'b'; 512]].concat());
        assert_eq!(pool.verify_block(&whole).unwrap(), []);
    }
}

#[test]
fn a_gang_block_that_leads_back_to_itself_is_unreadable() {
    let size = 8192;
    let Some(pool) = pool("gang to itself", vec![header(0, &[pointer(place(0), size)])]) else { return };
    expect_unreadable(&pool, &pointer(place(0), size), "lead in a circle");
}

#[test]
fn parts_of_a_gang_block_may_be_of_any_size() {
    let part = |number, size| pointer_with(Dva { gang: false, ..place(number) }, size, Checksum::Off);
    let headers = vec![header(0, &[part(1, 3584), part(2, 512)]), vec![b'a'; 4096], vec![b'b'; 4096]];
    let Some(pool) = pool("unequal gang parts", headers) else { return };
    let whole = pointer_with(place(0), 4096, Checksum::Off);
    assert_eq!(pool.read_block(&whole).unwrap(), [&[b'a'; 3584][..], &[b'b'; 512]].concat());
}

#[test]
fn the_header_of_a_gang_block_may_fill_what_is_allocated_for_it() {
    let size = 4096;
    let parts: Vec<BlockPointer> =
        (1..=5).map(|number| pointer_with(Dva { gang: false, ..place(number) }, 512, Checksum::Off)).collect();
    // What a part leaves of its sector is zeros.
    let contents = (b'a'..=b'e').map(|byte| [[byte; 512].as_slice(), &[0; 3584]].concat());
    let headers = [header_of(size, 0, &parts)].into_iter().chain(contents).collect();
    let Some(pool) = pool("large gang header", headers) else { return };
    let pool = pool.with_ashift(12);
    let whole = pointer_with(place(0), 5 * 512, Checksum::Off);
    let expected: Vec<u8> = (b'a'..=b'e').flat_map(|byte| [byte; 512]).collect();
    assert_eq!(pool.read_block(&whole).unwrap(), expected);
    assert_eq!(pool.verify_block(&whole).unwrap(), []);
}

#[test]
fn a_gang_block_whose_parts_fan_out_is_given_up() {
    // Every header leads twice to the next one, in three copies each: without a
    // limit, six to the power of eleven reads of what is no block in the end.
    let size = |number: u64| (1 << 20) >> number;
    let headers = (0..11).map(|number| header(number, &[pointer(place(number + 1), size(number + 1)); 2]));
    let Some(pool) = pool("gang fan", headers.collect()) else { return };
    expect_unreadable(&pool, &pointer(place(0), size(0)), "more headers than sectors");
}
