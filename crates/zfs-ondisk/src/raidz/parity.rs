//! Parity of raidz and draid: sums over the field of 256 elements.
//!
//! The columns of a row are the digits of a number in base 1, 2 and 4; what each
//! of these numbers is, digit by digit of the field, are the parity columns P, Q
//! and R (`sys/vdev_raidz_impl.h`). Columns that are shorter go on with zeros.

/// The most parity columns that a row has.
pub const MAX: usize = 3;
/// The polynomial of the field, without its highest term (`VDEV_RAIDZ_MUL_2`).
const POLYNOMIAL: u8 = 0x1d;

/// Powers of 2, which are all elements but 0, and the exponents that lead to
/// them.
const POWERS: ([u8; 255], [u8; 256]) = {
    let (mut powers, mut exponents) = ([0; 255], [0; 256]);
    let (mut power, mut exponent) = (1u8, 0);
    while exponent < 255 {
        powers[exponent] = power;
        exponents[power as usize] = exponent as u8;
        power = double(power);
        exponent += 1;
    }
    (powers, exponents)
};

const fn double(a: u8) -> u8 {
    a << 1 ^ if a & 0x80 != 0 { POLYNOMIAL } else { 0 }
}

/// 2 to the power of `exponent`.
fn power(exponent: usize) -> u8 {
    POWERS.0[exponent % 255]
}

fn multiply(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 {
        return 0;
    }
    power(usize::from(POWERS.1[usize::from(a)]) + usize::from(POWERS.1[usize::from(b)]))
}

/// The inverse of `a`, which is not 0.
fn inverse(a: u8) -> u8 {
    power(255 - usize::from(POWERS.1[usize::from(a)]))
}

fn add(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to ^= from;
    }
}

fn add_multiple(to: &mut [u8], from: &[u8], factor: u8) {
    let multiples: [u8; 256] = std::array::from_fn(|byte| multiply(byte as u8, factor));
    for (to, &from) in to.iter_mut().zip(from) {
        *to ^= multiples[usize::from(from)];
    }
}

/// Makes `parity` the parity column `index` (0 is P) of the data `columns`.
pub fn compute<'a>(index: usize, columns: impl IntoIterator<Item = &'a [u8]>, parity: &mut [u8]) {
    parity.fill(0);
    for column in columns {
        for _ in 0..index {
            for byte in parity.iter_mut() {
                // Without a branch, so that it is done for many bytes at once.
                *byte = *byte << 1 ^ (POLYNOMIAL & ((*byte as i8) >> 7) as u8);
            }
        }
        add(parity, column);
    }
}

/// The `missing` ones of the data `columns`, which are empty there, from as many
/// `parities`, given by index. `None` if these are too few, or do not determine
/// them.
pub fn reconstruct(missing: &[usize], columns: &[&[u8]], parities: &[(usize, &[u8])]) -> Option<Vec<Vec<u8>>> {
    let count = missing.len();
    let parities = parities.get(..count)?;
    // What each parity says of the missing columns alone.
    let rest: Vec<Vec<u8>> = parities
        .iter()
        .map(|&(index, parity)| {
            let mut rest = vec![0; parity.len()];
            compute(index, columns.iter().copied(), &mut rest);
            add(&mut rest, parity);
            rest
        })
        .collect();
    let mut factors = [[0; MAX]; MAX];
    for (factors, &(index, _)) in factors.iter_mut().zip(parities) {
        for (factor, &column) in factors.iter_mut().zip(missing) {
            *factor = power(index * (columns.len() - 1 - column));
        }
    }
    let inverse = invert(factors, count)?;
    let solve = |factors: &[u8; MAX]| {
        let mut column = vec![0; rest.first().map_or(0, Vec::len)];
        for (rest, &factor) in rest.iter().zip(factors) {
            add_multiple(&mut column, rest, factor);
        }
        column
    };
    Some(inverse.iter().take(count).map(solve).collect())
}

/// The inverse of the matrix in the first `count` rows and columns, by
/// elimination.
fn invert(mut matrix: [[u8; MAX]; MAX], count: usize) -> Option<[[u8; MAX]; MAX]> {
    let mut result: [[u8; MAX]; MAX] = std::array::from_fn(|row| std::array::from_fn(|column| u8::from(row == column)));
    for pivot in 0..count {
        let row = (pivot..count).find(|&row| matrix[row][pivot] != 0)?;
        matrix.swap(pivot, row);
        result.swap(pivot, row);
        let factor = inverse(matrix[pivot][pivot]);
        for side in [&mut matrix, &mut result] {
            side[pivot] = side[pivot].map(|element| multiply(element, factor));
        }
        for row in (0..count).filter(|&row| row != pivot) {
            let factor = matrix[row][pivot];
            for side in [&mut matrix, &mut result] {
                let from = side[pivot];
                add_multiple(&mut side[row], &from, factor);
            }
        }
    }
    Some(result)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parity_is_what_openzfs_computes() {
        // Columns of one byte: Q is 2 * (2 * 1 + 2) + 0x80, R the same with 4.
        let columns: [&[u8]; 3] = [&[1], &[2], &[0x80]];
        let parity = |index| {
            let mut parity = [0xff];
            compute(index, columns, &mut parity);
            parity[0]
        };
        assert_eq!([parity(0), parity(1), parity(2)], [0x83, 0x80, 0x98]);
        assert_eq!(double(0x80), 0x1d);
    }

    #[test]
    fn every_element_but_zero_has_an_inverse() {
        for a in 1..=255 {
            assert_eq!(multiply(a, inverse(a)), 1);
        }
    }

    proptest! {
        #[test]
        fn lost_columns_come_back_from_any_parities(
            columns in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..8), 1..40),
            lost in proptest::collection::vec(any::<prop::sample::Index>(), 1..=3),
            parities in proptest::sample::subsequence(vec![0, 1, 2], 3..=3).prop_shuffle(),
        ) {
            let mut lost: Vec<usize> = lost.iter().map(|index| index.index(columns.len())).collect();
            lost.sort_unstable();
            lost.dedup();
            let parities: Vec<(usize, Vec<u8>)> = parities.into_iter().map(|index| {
                let mut parity = vec![0; 8];
                compute(index, columns.iter().map(Vec::as_slice), &mut parity);
                (index, parity)
            }).collect();
            let parities: Vec<(usize, &[u8])> = parities.iter().map(|(index, parity)| (*index, &parity[..])).collect();
            let left: Vec<&[u8]> =
                columns.iter().enumerate().map(|(i, column)| if lost.contains(&i) { &[][..] } else { column }).collect();
            let found = reconstruct(&lost, &left, &parities).unwrap();
            for (&index, mut found) in lost.iter().zip(found) {
                prop_assert!(found[columns[index].len()..].iter().all(|&byte| byte == 0));
                found.truncate(columns[index].len());
                prop_assert_eq!(&found, &columns[index]);
            }
        }
    }
}
