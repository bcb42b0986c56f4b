//! Tests of the functions as block pointers hold their results, and of the
//! labels of real pools.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::embedded::{Error as EmbeddedError, Verifier, verify};
use super::*;

const SALT: Salt = [7; 32];

#[test]
fn numbers_and_names_are_those_of_openzfs() {
    for (number, name) in [(2, "off"), (4, "gang_header"), (7, "fletcher4"), (9, "zilog2"), (14, "blake3")] {
        let checksum = Checksum::from_number(number).unwrap();
        assert_eq!((checksum.number(), checksum.name()), (number, name));
    }
    assert_eq!(Checksum::from_number(15), None);
}

#[test]
fn the_property_takes_what_it_lists_and_nothing_else() {
    for name in Checksum::ACCEPTED.split(", ") {
        assert_eq!(name.parse::<Checksum>().unwrap().to_string(), name);
    }
    for name in ["", "label", "zilog2", "inherit", "md5"] {
        let error = name.parse::<Checksum>().unwrap_err().to_string();
        assert!(error.contains(&format!("'{name}'")) && error.contains("fletcher4"), "{error}");
    }
    assert_eq!(Checksum::On.resolve(), Checksum::Fletcher4);
}

/// FIPS 180-4's example "abc".
#[test]
fn sha256_words_are_big_endian_in_either_order() {
    let expected = [0xba78_16bf_8f01_cfea, 0x4141_40de_5dae_2223, 0xb003_61a3_9617_7a9c, 0xb410_ff61_f200_15ad];
    for order in [ByteOrder::Little, ByteOrder::Big] {
        assert_eq!(Checksum::Sha256.compute(order, None, b"abc"), Ok(expected));
        assert_eq!(Checksum::Label.compute(order, None, b"abc"), Ok(expected));
    }
}

/// FIPS 180-4's example "abc" of SHA-512/256.
#[test]
fn sha512_words_are_in_the_byte_order_of_the_pool() {
    let big = [0x5304_8e26_8194_1ef9, 0x9b2e_29b7_6b4c_7dab, 0xe4c2_d0c6_34fc_6d46, 0xe0e2_f131_07e7_af23];
    assert_eq!(Checksum::Sha512.compute(ByteOrder::Big, None, b"abc"), Ok(big));
    assert_eq!(Checksum::Sha512.compute(ByteOrder::Little, None, b"abc"), Ok(big.map(u64::swap_bytes)));
}

/// The first of BLAKE3's official vectors: keyed hash of nothing.
#[test]
fn blake3_is_keyed_with_the_salt() {
    let key = *b"whats the Elvish word for friend";
    let expected = [0x92b2_b756_04ed_3c76, 0x1f9d_6f62_392c_8a92, 0x27ad_0ea3_f095_73e7, 0x83f1_498a_4ed6_0d26];
    assert_eq!(Checksum::Blake3.compute(ByteOrder::Big, Some(&key), b""), Ok(expected));
}

#[test]
fn salted_functions_depend_on_the_salt_and_need_it() {
    for checksum in Checksum::ALL.into_iter().filter(|c| c.is_salted()) {
        let with = |salt| checksum.compute(ByteOrder::Little, Some(salt), &[1; 512]).unwrap();
        assert_ne!(with(&SALT), with(&[8; 32]), "{checksum}");
        assert_eq!(checksum.compute(ByteOrder::Little, None, &[1; 512]), Err(Error::NoSalt(checksum)));
    }
}

/// Words that OpenZFS 2.3.2's own code (libzpool) makes of the same bytes.
#[test]
fn a_record_has_the_words_that_openzfs_gives_it() {
    let record: Vec<u8> = (0..131_072).map(|i| (i % 251) as u8).collect();
    let cases = [
        (
            Checksum::Fletcher2,
            ByteOrder::Little,
            [0x53af_0968_c924_702c, 0x6bcc_2782_de38_884a, 0x78f2_a82b_2864_5282, 0x65dc_d67b_ac0f_aece],
        ),
        (
            Checksum::Fletcher2,
            ByteOrder::Big,
            [0xda7f_23c9_6a09_9ea5, 0xf899_38dd_8226_bcbe, 0x127e_963d_ce8d_65cf, 0x9c35_e6e3_8ae4_c6b0],
        ),
        (
            Checksum::Fletcher4,
            ByteOrder::Little,
            [0x3eb9_66d8_0a05, 0x0fad_2cb3_71b2_f829, 0xaf02_d25a_4eb9_5cec, 0x7bcd_c773_5e92_e566],
        ),
        (
            Checksum::Skein,
            ByteOrder::Big,
            [0xbeab_7bca_bbd3_213a, 0xca43_ba72_45a7_0d7a, 0x6730_c083_b4a9_0b10, 0x77ce_282f_c450_1d84],
        ),
        (
            Checksum::Edonr,
            ByteOrder::Big,
            [0x5323_3c7d_8a11_632b, 0x6a18_ca2a_e0a5_f456, 0xc60c_f2ba_3d9c_bf8c, 0x42c5_6e36_4d93_3524],
        ),
        (
            Checksum::Blake3,
            ByteOrder::Big,
            [0x8150_0143_86a9_b54f, 0xc07e_1714_3bb6_db9e, 0x939f_a21e_e9d4_3943, 0x3abd_18d8_ec59_74a1],
        ),
    ];
    for (checksum, order, words) in cases {
        assert_eq!(checksum.compute(order, Some(&SALT), &record), Ok(words), "{checksum}, {order:?}");
    }
}

#[test]
fn hashes_of_a_big_endian_pool_are_swapped() {
    for checksum in [Checksum::Sha512, Checksum::Skein, Checksum::Edonr, Checksum::Blake3] {
        let little = checksum.compute(ByteOrder::Little, Some(&SALT), &[3; 1024]).unwrap();
        let big = checksum.compute(ByteOrder::Big, Some(&SALT), &[3; 1024]).unwrap();
        assert_eq!(little.map(u64::swap_bytes), big, "{checksum}");
    }
}

#[test]
fn what_cannot_be_computed_is_an_error() {
    let compute = |checksum: Checksum, data: &[u8]| checksum.compute(ByteOrder::Little, None, data);
    assert_eq!(compute(Checksum::On, &[]), Err(Error::Function(Checksum::On)));
    assert_eq!(compute(Checksum::Off, &[1, 2, 3]), Ok([0; 4]));
    assert!(matches!(compute(Checksum::Fletcher4, &[0; 510]), Err(Error::Length { unit: 4, length: 510, .. })));
    assert!(matches!(compute(Checksum::Fletcher2, &[0; 24]), Err(Error::Length { unit: 16, length: 24, .. })));
}

const KIB: usize = 1024;
/// The length of a vdev label: padding, boot environment, name-value list and
/// uberblock ring, which start at these offsets.
const LABEL: usize = 256 * KIB;
const BOOT_ENV: usize = 8 * KIB;
const NVLIST: usize = 16 * KIB;
const RING: usize = 128 * KIB;

#[test]
fn labels_of_real_pools_verify() {
    let pools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/pools");
    let Ok(entries) = pools.read_dir() else {
        println!("skipped: labels_of_real_pools_verify: there is no corpus at {}", pools.display());
        return;
    };
    let mut images: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    images.retain(|path| path.extension().is_some_and(|extension| extension == "zst"));
    assert!(!images.is_empty());
    for image in images {
        let labels = labels(&image);
        assert_eq!(labels.len(), 4, "{}", image.display());
        for (start, label) in labels {
            let part = |at: usize, length: usize| {
                verify(&label[at..at + length], &Verifier::Label { offset: start + at as u64 })
            };
            let place = format!("label at {start:#x} of {}", image.display());
            assert_eq!(part(BOOT_ENV, NVLIST - BOOT_ENV), Ok(ByteOrder::Little), "{place}");
            assert_eq!(part(NVLIST, RING - NVLIST), Ok(ByteOrder::Little), "{place}");
            // The slots of the ring are as long as a sector, 1 to 8 KiB.
            let written = [1, 2, 4, 8].map(|size| {
                let slots = (RING..LABEL).step_by(size * KIB);
                slots.map(|at| part(at, size * KIB)).filter(Result::is_ok).count()
            });
            assert!(written.iter().any(|&count| count > 0), "{place}: no uberblock verifies");
            let moved = Verifier::Label { offset: start + 8 };
            let moved = verify(&label[NVLIST..RING], &moved);
            assert!(matches!(moved, Err(EmbeddedError::Mismatch { .. })), "{place}");
        }
    }
}

/// The labels of a compressed image with their offsets.
fn labels(image: &Path) -> Vec<(u64, Vec<u8>)> {
    let mut device = ::zstd::Decoder::new(File::open(image).unwrap()).unwrap();
    let mut chunks: Vec<(u64, Vec<u8>)> = Vec::new();
    for start in (0..).step_by(LABEL) {
        let mut chunk = vec![0; LABEL];
        if device.read_exact(&mut chunk).is_err() {
            break;
        }
        // Two labels at the start, two at the end.
        if chunks.len() == 4 {
            chunks.remove(2);
        }
        chunks.push((start, chunk));
    }
    chunks
}
