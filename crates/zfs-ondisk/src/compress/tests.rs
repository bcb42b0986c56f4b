//! Tests of all functions together.

use proptest::prelude::*;

use super::*;

/// One setting per function and per kind of encoder within it.
const SETTINGS: [&str; 18] = [
    "lz4",
    "lzjb",
    "zle",
    "gzip-1",
    "gzip-2",
    "gzip-4",
    "gzip",
    "gzip-9",
    "zstd",
    "zstd-1",
    "zstd-4",
    "zstd-6",
    "zstd-9",
    "zstd-13",
    "zstd-16",
    "zstd-19",
    "zstd-fast",
    "zstd-fast-1000",
];

const FUNCTIONS: [Function; 6] =
    [Function::Lzjb, Function::Gzip1, Function::Gzip9, Function::Zle, Function::Lz4, Function::Zstd];

fn setting(name: &str) -> Compression {
    name.parse().unwrap()
}

/// Bytes that look random and are the same every time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Text of few words, with a run of zeros and some noise in it.
fn mixture(length: usize) -> Vec<u8> {
    let words = ["pool", "vdev", "uberblock", "txg", "dnode", "object set", "space map", "\n"];
    let mut data: Vec<u8> = noise(length).iter().flat_map(|&n| words[usize::from(n) % words.len()].bytes()).collect();
    data.truncate(length);
    let part = length / 8;
    data[3 * part..4 * part].fill(0);
    data[6 * part..7 * part].copy_from_slice(&noise(part));
    data
}

/// Compresses and decompresses; the bytes as stored.
fn round_trip<'a>(compressor: &'a mut Compressor, setting: Compression, data: &[u8]) -> Stored<'a> {
    let stored = compressor.compress_block(setting, 512, true, data);
    if let Stored::Compressed(function, out) | Stored::Embedded(function, out) = stored {
        assert_eq!(function, setting.function());
        let mut back = vec![0xAA; data.len()];
        decompress(function, out, &mut back).unwrap();
        assert!(back == data, "{setting}: {} bytes came back different", data.len());
    }
    stored
}

#[test]
fn blocks_of_every_size_come_back() {
    let mut compressor = Compressor::new();
    for name in SETTINGS {
        for size in [512, 1024, 1536, 4096, 65024, 65536, 66048, 131_072, 1_048_576] {
            if size == 131_072 && !name.ends_with("1000") && name != "zle" {
                let stored = round_trip(&mut compressor, setting(name), &mixture(size));
                let Stored::Compressed(function, out) = stored else { panic!("{name}: {stored:?}") };
                assert_eq!(function, setting(name).function());
                assert!(out.len() <= size * 7 / 8 && out.len() % 512 == 0);
            } else {
                round_trip(&mut compressor, setting(name), &mixture(size));
            }
            // A single byte in a row of zeros is the easiest there is.
            let mut sparse = vec![0; size];
            sparse[size / 2] = 1;
            let easy = round_trip(&mut compressor, setting(name), &sparse);
            if size >= 4096 {
                assert_ne!(easy, Stored::Plain, "{name}, {size}");
            }
        }
    }
}

#[test]
fn compressors_move_between_threads() {
    let mut compressor = Compressor::new();
    let data = mixture(65536);
    let mut stay = Compressor::new();
    let here = round_trip(&mut stay, setting("zstd"), &data);
    round_trip(&mut compressor, setting("zstd"), &data);
    let there =
        std::thread::scope(|scope| scope.spawn(|| round_trip(&mut compressor, setting("zstd"), &data)).join().unwrap());
    assert!(here == there);
}

#[test]
fn what_cannot_be_compressed_stays_as_it_is() {
    let mut compressor = Compressor::new();
    for name in SETTINGS {
        for size in [512, 4096, 131_072] {
            let noise = noise(size);
            let stored = compressor.compress_block(setting(name), 512, true, &noise);
            assert_eq!(stored, Stored::Plain, "{name}, {size}");
        }
    }
    assert_eq!(compressor.compress_block(Compression::Off, 512, true, &[0; 4096]), Stored::Plain);
}

#[test]
fn the_result_does_not_depend_on_what_was_compressed_before() {
    // Data that does not fit stops the encoders midway: zlib-rs 0.6.8 made
    // unreadable streams after that.
    let blocks = [noise(131_072), mixture(131_072), noise(4096), mixture(8192), noise(65536), mixture(131_072)];
    for name in SETTINGS {
        let mut used = Compressor::new();
        for block in &blocks {
            let mut fresh = Compressor::new();
            assert!(
                round_trip(&mut used, setting(name), block) == round_trip(&mut fresh, setting(name), block),
                "{name}, {} bytes",
                block.len()
            );
        }
    }
}

#[test]
fn a_block_is_padded_with_zeros_to_whole_allocations() {
    let data = mixture(131_072);
    for min_alloc in [512, 4096, 16384] {
        let mut compressor = Compressor::new();
        let stored = compressor.compress_block(Compression::Lz4, min_alloc, false, &data);
        let Stored::Compressed(Function::Lz4, out) = stored else { panic!("{stored:?}") };
        assert_eq!(out.len() % min_alloc, 0);
        let length = 4 + u32::from_be_bytes(out[..4].try_into().unwrap()) as usize;
        assert_eq!(length.next_multiple_of(min_alloc), out.len());
        assert!(is_zero(&out[length..]));
    }
}

#[test]
fn a_block_of_one_allocation_is_embedded_or_stays_as_it_is() {
    let mut small = vec![0; 4096];
    small[17] = 1;
    let mut compressor = Compressor::new();
    let stored = compressor.compress_block(Compression::Lz4, 4096, true, &small);
    let Stored::Embedded(Function::Lz4, out) = stored else { panic!("{stored:?}") };
    assert!(out.len() <= EMBEDDED_MAX);
    let mut back = vec![0; 4096];
    decompress(Function::Lz4, out, &mut back).unwrap();
    assert_eq!(back, small);

    assert_eq!(compressor.compress_block(Compression::Lz4, 4096, false, &small), Stored::Plain);
}

#[test]
fn the_header_of_zstd_tells_length_level_and_version() {
    let data = mixture(131_072);
    for (name, number) in [("zstd", 3), ("zstd-19", 19), ("zstd-fast-500", 122)] {
        let mut out = vec![0; data.len()];
        let length = Compressor::new().compress(setting(name), &data, &mut out).unwrap();
        assert_eq!(out[..4], u32::try_from(length - 8).unwrap().to_be_bytes());
        assert_eq!(out[4], number);
        assert_eq!(out[5], 0);
        // The magic number of a frame, 0xFD2FB528, is left out.
        assert_ne!(out[8..12], [0x28, 0xB5, 0x2F, 0xFD]);
    }
}

#[test]
fn gzip_is_a_zlib_stream() {
    let data = mixture(4096);
    let mut out = vec![0; 4096];
    Compressor::new().compress(setting("gzip-9"), &data, &mut out).unwrap();
    assert_eq!(out[0], 0x78);
    assert_eq!(u16::from_be_bytes([out[0], out[1]]) % 31, 0);
}

#[test]
fn zle_and_lzjb_blocks_are_read_as_they_are_defined() {
    let mut four = [0xAA; 4];
    decompress(Function::Zle, &[1, 7, 8, 65, 0, 0], &mut four).unwrap();
    assert_eq!(four, [7, 8, 0, 0]);
    // One literal, then a match of nine bytes at distance 1.
    let mut ten = [0; 10];
    decompress(Function::Lzjb, &[0b10, b'x', 6 << 2, 1, 0, 0], &mut ten).unwrap();
    assert_eq!(ten, [b'x'; 10]);
}

#[test]
fn errors_say_what_is_wrong() {
    let mut block = vec![0; 4096];
    let message = |function, src: &[u8], dst: &mut [u8]| decompress(function, src, dst).unwrap_err().to_string();
    assert_eq!(
        message(Function::Lz4, &[0, 0, 2, 0, 1], &mut block),
        "lz4 block of 5 bytes is cut short: at least 516 bytes expected"
    );
    assert_eq!(
        message(Function::Lzjb, &[1, 0, 5], &mut block),
        "lzjb block is damaged: a match reaches back before the block"
    );
    assert_eq!(
        message(Function::Zle, &[255; 4096], &mut block),
        "zle block is damaged: a run goes past the end of the block"
    );
    assert_eq!(message(Function::Gzip6, &[7; 512], &mut block), "gzip-6 block is damaged: it is no zlib stream");
    assert_eq!(
        message(Function::Off, &[0; 512], &mut block),
        "uncompressed block of 512 bytes is cut short: at least 4096 bytes expected"
    );
    assert_eq!(message(Function::On, &[0; 512], &mut block), "a block cannot be stored with compression function 'on'");
}

#[test]
fn a_block_of_another_length_is_refused() {
    let data = mixture(8192);
    for name in SETTINGS {
        let mut out = vec![0; 2 * data.len()];
        let length = Compressor::new().compress(setting(name), &data, &mut out).unwrap();
        out.truncate(length);
        let function = setting(name).function();
        assert!(decompress(function, &out, &mut [0; 8192 + 512]).is_err(), "{name}");
        // Neither zle nor lzjb holds its length: what is left over may be padding.
        if !matches!(function, Function::Zle | Function::Lzjb) {
            assert!(decompress(function, &out, &mut [0; 8192 - 512]).is_err(), "{name}");
        }
        assert!(decompress(function, &out[..length / 2], &mut [0; 8192]).is_err(), "{name}");
        assert!(decompress(function, &[], &mut [0; 8192]).is_err(), "{name}");
    }
}

#[test]
fn zeros_are_found_at_any_length() {
    for length in [0, 1, 255, 256, 257, 4096] {
        let mut data = vec![0; length];
        assert!(is_zero(&data));
        for at in [0, length / 2, length.saturating_sub(1)] {
            if let Some(byte) = data.get_mut(at) {
                *byte = 128;
                assert!(!is_zero(&data));
                data[at] = 0;
            }
        }
    }
}

#[test]
fn numbers_and_names_of_functions_are_those_of_openzfs() {
    for (number, name) in [(0, "inherit"), (2, "uncompressed"), (5, "gzip-1"), (14, "zle"), (16, "zstd")] {
        let function = Function::from_number(number).unwrap();
        assert_eq!((function.number(), function.name()), (number, name));
    }
    assert_eq!(Function::from_number(17), None);
}

/// Bytes of a few values in runs, as all of the functions like them.
fn runs() -> impl Strategy<Value = Vec<u8>> {
    let run = (0..4u8, any::<u8>(), 1..200usize).prop_map(|(kind, byte, length)| match kind {
        0 => vec![0; length],
        1 => vec![byte; length],
        _ => (0..length).map(|i| byte.wrapping_mul(i as u8 | 1)).collect(),
    });
    prop::collection::vec(run, 1..200).prop_map(|runs| {
        let mut data = runs.concat();
        data.resize(data.len().next_multiple_of(512), 0);
        data
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_block_comes_back(data in runs(), at in 0..SETTINGS.len()) {
        round_trip(&mut Compressor::new(), setting(SETTINGS[at]), &data);
    }

    #[test]
    fn garbage_is_refused_without_a_panic(
        mut garbage in prop::collection::vec(any::<u8>(), 0..2048),
        size in 1..20usize,
    ) {
        let mut block = vec![0; size * 512];
        for function in FUNCTIONS {
            let _ = decompress(function, &garbage, &mut block);
        }
        // With headers that hold, the garbage gets further.
        if let Some(length) = garbage.len().checked_sub(4) {
            garbage[..4].copy_from_slice(&(length as u32).to_be_bytes());
            let _ = decompress(Function::Lz4, &garbage, &mut block);
        }
        if let Some(length) = garbage.len().checked_sub(8) {
            garbage[..4].copy_from_slice(&(length as u32).to_be_bytes());
            let _ = decompress(Function::Zstd, &garbage, &mut block);
        }
        if garbage.len() > 2 {
            garbage[..2].copy_from_slice(&[0x78, 0x9c]);
            let _ = decompress(Function::Gzip6, &garbage, &mut block);
        }
    }

    #[test]
    fn a_damaged_block_never_panics(data in runs(), places in prop::collection::vec((any::<u16>(), any::<u8>()), 1..8)) {
        for name in ["lz4", "lzjb", "zle", "gzip", "zstd"] {
            let mut compressor = Compressor::new();
            let mut out = match compressor.compress_block(setting(name), 512, true, &data) {
                Stored::Compressed(_, out) | Stored::Embedded(_, out) => out.to_vec(),
                Stored::Plain => continue,
            };
            for &(at, byte) in &places {
                let at = usize::from(at) % out.len();
                out[at] ^= byte;
            }
            let _ = decompress(setting(name).function(), &out, &mut vec![0; data.len()]);
        }
    }
}
