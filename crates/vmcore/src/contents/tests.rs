use std::fs;
use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::header::Compression;
use crate::names::{Kind, Names};
use crate::store::{self, Outcome, Writer};

/// Something that is neither random nor dull, with runs of zeros.
fn plain(size: usize) -> Vec<u8> {
    let mut state = 1u32;
    (0..size)
        .map(|at| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match at >> 14 & 3 {
                0 => 0,
                1 => (at >> 8) as u8,
                2 => (state >> 28) as u8,
                _ => (state >> 24) as u8,
            }
        })
        .collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::GzBuilder::new().filename("vmcore").write(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// One frame without its size, as a stream has it.
fn stream(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ::zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn open(name: &str, bytes: &[u8]) -> (Contents, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(name), bytes).unwrap();
    let contents = Contents::open(&directory.path().join(name), &Options::default()).unwrap();
    (contents, directory)
}

fn read(data: &dyn ReadAt, offset: usize, size: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; size];
    data.read_exact_at(&mut bytes, offset as u64)?;
    Ok(bytes)
}

#[test]
fn compressed_data_are_read_at_any_place() {
    const SIZE: usize = 9_000_000;
    let plain = plain(SIZE);
    let two = SIZE / 2;
    let members = [gzip(&plain[..two]), gzip(&plain[two..])].concat();
    let frames = [stream(&plain[..two]), stream(&plain[two..])].concat();
    for (layer, bytes) in
        [(Layer::Gzip, gzip(&plain)), (Layer::Gzip, members), (Layer::Zstd, stream(&plain)), (Layer::Zstd, frames)]
    {
        let (contents, _directory) = open("core", &bytes);
        assert_eq!(contents.layers, [layer]);
        let data = &*contents.data;
        for (offset, size) in [(0, 10), (4_000_000, 70_000), (100, 4096), (8_999_990, 10), (two - 5, 10), (262_140, 8)]
        {
            assert!(read(data, offset, size).unwrap() == plain[offset..offset + size], "{layer} {offset}");
        }
        assert_eq!(data.size(), SIZE as u64);
        assert!(read(data, 0, SIZE).unwrap() == plain);
        assert_eq!(read(data, SIZE - 5, 6).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(read(data, usize::MAX - 2, 6).is_err());
    }
}

#[test]
fn an_index_has_few_checkpoints_however_long_the_file_is() {
    let plain = vec![7; 600 << 20];
    let data: Arc<dyn ReadAt> = Arc::new(gzip(&plain));
    let gzip = gzip::Gzip::new(data);
    assert_eq!(gzip.size(), plain.len() as u64);
    assert_eq!(read(&gzip, 300 << 20, 5).unwrap(), [7; 5]);
    assert!(gzip.checkpoints() <= 256);
}

#[test]
fn damaged_data_are_read_up_to_the_damage() {
    let plain = plain(3_000_000);
    for bytes in [gzip(&plain), stream(&plain)] {
        for cut in [bytes.len() / 2, bytes.len() - 9] {
            let (contents, _directory) = open("core", &bytes[..cut]);
            let data = &*contents.data;
            assert!(read(data, 0, 1_000_000).unwrap() == plain[..1_000_000]);
            let end = data.size() as usize;
            if cut == bytes.len() / 2 {
                assert!((1_000_000..2_999_999).contains(&end), "{end}");
                let error = read(data, end, 1).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
            }
            assert!(read(data, end - 10, 10).unwrap() == plain[end - 10..end]);
        }
    }
}

#[test]
fn temporary_space_is_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vmcore.0.zst");
    fs::write(&path, stream(&vec![1; 10 << 20])).unwrap();
    let options = Options { scratch: 1 << 20, ..Options::default() };
    let contents = Contents::open(&path, &options).unwrap();
    assert_eq!(read(&*contents.data, 0, 100).unwrap(), [1; 100]);
    assert_eq!(read(&*contents.data, 5 << 20, 100).unwrap_err().kind(), io::ErrorKind::StorageFull);
}

/// Stores what there is of `bytes`, and opens it.
fn stored(bytes: &[u8], gap: std::ops::Range<usize>, compress: Option<i32>) -> (Contents, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let options = store::Options { compress, ..store::Options::default() };
    let names = Names::reserve(directory.path(), Some("box")).unwrap();
    let mut writer = Writer::create(names, options).unwrap();
    writer.write_at(&bytes[..gap.start], 0).unwrap();
    writer.write_at(&bytes[gap.end..], gap.end as u64).unwrap();
    let length = bytes.len() as u64;
    let (source, kind) = ("box".into(), Kind::Core);
    let header = Header {
        dump_length: length,
        dump_extent: length,
        compression: Compression::None,
        ..crate::header::tests::header()
    };
    let status = crate::info::Status::Good;
    let header = Some(header);
    let outcome = Outcome { source, header, status, key: None, kind, suffix_encrypted: true, finished: true };
    let stored = writer.finish(outcome).unwrap();
    let contents = Contents::open(&stored.data, &Options::default()).unwrap();
    (contents, directory)
}

#[test]
fn bytes_that_never_came_are_an_error_and_all_others_are_there() {
    let plain = plain(5_000_000);
    for compress in [None, Some(1)] {
        let (contents, _directory) = stored(&plain, 2_000_000..2_000_100, compress);
        let data = &*contents.data;
        assert_eq!(contents.header.as_ref().unwrap().dump_length, 5_000_000);
        assert!(read(data, 0, 2_000_000).unwrap() == plain[..2_000_000]);
        assert!(read(data, 2_000_100, 2_999_900).unwrap() == plain[2_000_100..]);
        let error = read(data, 1_999_999, 5).unwrap_err();
        assert_eq!(missing(&error), Some(&Missing { offset: 2_000_000 }));
        assert_eq!(missing(&read(data, 2_000_050, 5).unwrap_err()).unwrap().offset, 2_000_050);
    }
}

#[test]
fn what_the_kernel_compressed_is_read_up_to_what_is_missing() {
    let plain = plain(5_000_000);
    for bytes in [gzip(&plain), stream(&plain)] {
        let half = bytes.len() / 2;
        let (contents, _directory) = stored(&bytes, half..half + 1448, None);
        let data = &*contents.data;
        let end = data.size() as usize;
        assert!((1_000_000..5_000_000).contains(&end));
        assert!(read(data, 0, end).unwrap() == plain[..end]);
        for _ in 0..2 {
            assert_eq!(missing(&read(data, end, 1).unwrap_err()), Some(&Missing { offset: half as u64 }));
        }
    }
}

#[test]
fn a_copy_of_a_partition_is_a_dump_without_other_files() {
    let plain = plain(100_000);
    let header = Header {
        dump_length: 100_000,
        dump_extent: 200_000,
        block_size: 4096,
        compression: Compression::None,
        ..crate::header::tests::header()
    };
    let mut bytes = header.build().unwrap().to_vec();
    bytes.resize(4096, 0);
    bytes.extend_from_slice(&plain);
    bytes.resize(4096 + 200_000, 0xee);
    bytes.extend_from_slice(&header.build().unwrap());
    let (contents, _directory) = open("slice.img", &bytes);
    assert_eq!(contents.data.size(), 100_000);
    assert!(read(&*contents.data, 0, 100_000).unwrap() == plain);
    assert_eq!(contents.header.unwrap().hostname, header.hostname);
}

#[test]
fn a_vmcore_without_a_header_is_still_opened() {
    let (contents, _directory) = open("vmcore.3", b"minidump FreeBSD/amd64\0");
    assert!(contents.header.is_none() && contents.layers.is_empty());
    assert_eq!(read(&*contents.data, 0, 8).unwrap(), b"minidump");
}

#[test]
fn a_bare_header_beside_a_dump_is_used_and_a_foreign_info_file_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
    write("vmcore.3", b"minidump FreeBSD/amd64\0");
    write("info.3", b"notes of somebody\n");
    write("header.3", &crate::header::tests::header().build().unwrap());
    let files = Files::find(&directory.path().join("vmcore.3")).unwrap();
    assert_eq!(files.header.map(|header| header.hostname), Some(crate::header::tests::header().hostname));
    assert!(files.problems.is_empty() && files.notes.len() == 1, "{:?}", files.notes);
}

#[test]
fn a_dump_that_is_called_encrypted_lacks_its_key_and_is_not_taken_for_nonsense() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vmcore_encrypted.3");
    fs::write(&path, plain(100_000).split_off(70_000)).unwrap();
    let error = Contents::open(&path, &Options::default()).err().unwrap().to_string();
    assert!(error.contains("the file with its key") && error.contains("key.3"), "{error}");
    fs::write(&path, b"minidump FreeBSD/amd64\0").unwrap();
    assert!(Contents::open(&path, &Options::default()).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_bytes_do_any_harm(magic in 0..3usize, tail in proptest::collection::vec(any::<u8>(), 0..300), at in 0..5000usize) {
        let start: &[u8] = [&b""[..], &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], &[0x28, 0xb5, 0x2f, 0xfd]][magic];
        let data: Arc<dyn ReadAt> = Arc::new([start, &tail].concat());
        if let Ok(Some((_, inner))) = unpacked(&data, &Options::default()) {
            let size = inner.data.size();
            let _ = read(&*inner.data, at, 100);
            prop_assert!(size < 1 << 40);
        }
    }

    #[test]
    fn a_flipped_byte_is_an_error_or_changes_what_is_read_and_no_more(at in 0..200_000usize, gz in any::<bool>()) {
        let plain = plain(400_000);
        let mut bytes = if gz { gzip(&plain) } else { stream(&plain) };
        let at = at % bytes.len();
        bytes[at] ^= 0x40;
        let data: Arc<dyn ReadAt> = Arc::new(bytes);
        if let Ok(Some((_, inner))) = unpacked(&data, &Options::default()) {
            let size = inner.data.size();
            prop_assert!(size <= 1 << 30);
            prop_assert!(size == 0 || read(&*inner.data, 0, size.min(1 << 20) as usize).is_ok());
        }
    }
}
