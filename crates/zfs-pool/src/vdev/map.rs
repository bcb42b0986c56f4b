//! Where the bytes of a block are, and which bytes they may be.
//!
//! Whatever the vdev, a block is *rows* of *columns*. A column is on one device,
//! or with the same contents on several ones: the sides of a mirror. A row may
//! have parity columns, from which others can be computed. So a plain disk has one
//! row of one column, a mirror the same in several places, raidz a row with
//! parity or, once it was expanded, many of them; and a block that was moved when
//! its device was removed has the rows of all its parts.

use std::cell::RefCell;

use zfs_ondisk::raidz::parity;

use super::Vdev;

/// How many bytes are checked in search of columns that fit together, in whole
/// blocks, [`LEAST_ATTEMPTS`] of them at least.
const SEARCH_BYTES: usize = 2 << 30;
const LEAST_ATTEMPTS: usize = 512;

/// Where the bytes of a block are.
#[derive(Debug, Default)]
pub(crate) struct Map<'a> {
    pub(super) rows: Vec<Row<'a>>,
    /// Widths that an expanded raidz vdev had before.
    pub(super) old_widths: Vec<u64>,
}

/// Columns with their common parity.
#[derive(Debug)]
pub(super) struct Row<'a> {
    /// How many of the columns, the first ones, are parity.
    pub(super) parity: usize,
    pub(super) columns: Vec<Column<'a>>,
}

/// A part of a block on a device.
#[derive(Debug)]
pub(super) struct Column<'a> {
    /// Where it is: nowhere, if it is empty.
    pub(super) places: Vec<Place<'a>>,
    /// Which child of the vdev has it.
    pub(super) child: u64,
    /// Where the bytes belong in the block, in a data column.
    pub(super) at: usize,
    /// How many bytes of the block, or of parity, it has.
    pub(super) length: usize,
    /// How many zeros follow on the device.
    pub(super) padding: usize,
    /// The sector of the vdev at which it begins, counted along the rows.
    pub(super) sector: u64,
}

/// A place on a leaf.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) leaf: &'a Vdev,
    /// In bytes from the start of the device.
    pub(super) offset: u64,
}

/// A place on a device, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePlace {
    /// GUID of the leaf vdev.
    pub guid: u64,
    /// The name of the device that was given, or else the path under which the
    /// pool knows it.
    pub name: String,
    /// Offset in bytes from the start of the device, its front labels included.
    pub offset: u64,
}

/// A part of a block as it lies on devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockPart {
    /// Where its bytes belong in the block; `None` for parity.
    pub at: Option<usize>,
    /// How many bytes of the block, or of parity, it has.
    pub length: usize,
    /// Where it is: in each of these places, with the same contents.
    pub places: Vec<DevicePlace>,
}

/// What is wrong with a part of a block.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) place: Option<DevicePlace>,
    pub(crate) what: String,
}

/// Contents that were found for a column, and where.
type Version<'a> = (Vec<u8>, Vec<Place<'a>>);

/// By row and column, the different contents that were found.
type Found<'a> = Vec<Vec<Vec<Version<'a>>>>;

impl Place<'_> {
    fn read(&self, buf: &mut [u8]) -> Result<(), Fault> {
        self.leaf.read_leaf(buf, self.offset).map_err(|what| self.fault(what))
    }

    fn fault(&self, what: String) -> Fault {
        Fault { place: Some(self.named()), what }
    }

    fn named(&self) -> DevicePlace {
        let name = match self.leaf.device() {
            Some(device) => device.name(),
            None => self.leaf.path().unwrap_or("?"),
        };
        DevicePlace { guid: self.leaf.guid, name: name.to_owned(), offset: self.offset }
    }
}

impl<'a> Row<'a> {
    fn data(&self) -> &[Column<'a>] {
        self.columns.get(self.parity..).unwrap_or_default()
    }

    /// How many more columns than those of which nothing was `found` can be
    /// computed.
    fn redundancy(&self, found: &[Vec<Version<'a>>]) -> Option<usize> {
        let missing = self.columns.iter().zip(found).filter(|(column, found)| column.length > 0 && found.is_empty());
        self.parity.checked_sub(missing.count())
    }
}

impl Column<'_> {
    /// Its part of a block that goes on with zeros.
    fn of<'b>(&self, block: &'b [u8]) -> &'b [u8] {
        let end = block.len().min(self.at + self.length);
        block.get(self.at..end).unwrap_or_default()
    }
}

impl<'a> Map<'a> {
    /// Bytes of the block, in whole sectors where the vdev has no others.
    fn size(&self) -> usize {
        self.rows.iter().flat_map(Row::data).map(|column| column.at + column.length).max().unwrap_or(0)
    }

    /// Adds the rows of another part of the block, which begins `at` there.
    pub(super) fn append(&mut self, part: Map<'a>, at: usize) {
        self.rows.extend(part.rows.into_iter().map(|mut row| {
            row.columns.iter_mut().for_each(|column| column.at += at);
            row
        }));
        self.old_widths.extend(part.old_widths);
    }

    /// The columns that are not empty, row by row.
    pub(crate) fn parts(&self) -> Vec<BlockPart> {
        let columns = self.rows.iter().flat_map(|row| {
            let is_parity = |index: usize| index < row.parity;
            row.columns.iter().enumerate().map(move |(index, column)| (is_parity(index), column))
        });
        columns
            .filter(|(_, column)| column.length > 0)
            .map(|(is_parity, column)| BlockPart {
                at: (!is_parity).then_some(column.at),
                length: column.length,
                places: column.places.iter().map(Place::named).collect(),
            })
            .collect()
    }

    /// Makes `block` what the first device of each column has.
    pub(crate) fn read(&self, block: &mut Vec<u8>) -> Result<(), Fault> {
        block.resize(self.size(), 0);
        for column in self.rows.iter().flat_map(Row::data).filter(|column| column.length > 0) {
            let buf = &mut block[column.at..column.at + column.length];
            match column.places.first() {
                Some(place) => place.read(buf)?,
                None => return Err(Fault { place: None, what: "it is on no device".into() }),
            }
        }
        Ok(())
    }

    /// Makes `block` what `check` accepts, out of all copies and parities that
    /// there are.
    ///
    /// Columns that cannot be read are computed from the others. If that is not
    /// enough, one device after the other is taken to be silently wrong, then two
    /// of them, and so on, up to as many as there are parities.
    pub(crate) fn search(
        &self,
        block: &mut Vec<u8>,
        check: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), Vec<Fault>> {
        let (found, mut faults) = self.read_all();
        let choices: Vec<usize> = found.iter().flatten().map(|versions| versions.len().max(1)).collect();
        let redundancy = self.rows.iter().zip(&found).map(|(row, found)| row.redundancy(found));
        // A row that lacks too much decides alone, else the one that lacks least.
        let Some(most) = redundancy.collect::<Option<Vec<_>>>().map(|all| all.into_iter().max().unwrap_or(0)) else {
            faults.push(Fault { place: None, what: "too few devices can be read".into() });
            return Err(faults);
        };
        let mut left = (SEARCH_BYTES / self.size().max(1)).max(LEAST_ATTEMPTS);
        let mut first_fault = None;
        // What was wrong on a device before raidz was expanded has been copied to
        // several ones since.
        for width in std::iter::once(None).chain(self.old_widths.iter().copied().map(Some)) {
            let mut children: Vec<u64> =
                self.rows.iter().flat_map(|row| &row.columns).map(|c| c.child(width)).collect();
            children.sort_unstable();
            children.dedup();
            for suspects in subsets(&children, most) {
                for choice in products(&choices) {
                    if left == 0 {
                        faults.push(Fault { place: None, what: "too many combinations of columns to try all".into() });
                        return Err(faults);
                    }
                    left -= 1;
                    if self.assemble(&found, &choice, |column| suspects.contains(&column.child(width)), block).is_none()
                    {
                        continue;
                    }
                    let Err(what) = check(block) else { return Ok(()) };
                    match (&*self.rows, &*found) {
                        // With a single column, it is known what is wrong.
                        ([row], [versions]) if row.columns.len() == 1 => {
                            let bad = versions.first().and_then(|versions| versions.get(*choice.first()?));
                            faults.extend(bad.iter().flat_map(|bad| &bad.1).map(|place| place.fault(what.clone())));
                        }
                        _ => _ = first_fault.get_or_insert(what),
                    }
                }
            }
        }
        if let Some(what) = first_fault {
            faults.push(Fault { place: None, what: format!("no combination of columns fits: {what}") });
        }
        Err(faults)
    }

    /// Compares everything that is on the devices with the block: copies, parity,
    /// padding. What [`Map::read`] has read `already` is not read again.
    /// Devices that are missing are passed over.
    pub(crate) fn compare(&self, block: &[u8], already: bool) -> Vec<Fault> {
        let mut faults = Vec::new();
        SCRATCH.with_borrow_mut(|[found, computed]| {
            for row in &self.rows {
                for column in row.data() {
                    let expected = column.of(block);
                    let is_whole = expected.len() == column.length && column.padding == 0;
                    let known = usize::from(already && is_whole);
                    column.compare(column.places.get(known..).unwrap_or_default(), expected, found, &mut faults);
                }
                for (index, column) in row.columns.iter().take(row.parity).enumerate() {
                    computed.resize(column.length, 0);
                    parity::compute(index, row.data().iter().map(|column| column.of(block)), computed);
                    column.compare(&column.places, computed, found, &mut faults);
                }
            }
        });
        faults
    }

    /// Reads all columns from everywhere: for each the different contents that
    /// there are. Also gives what cannot be read.
    fn read_all(&self) -> (Found<'a>, Vec<Fault>) {
        let mut faults = Vec::new();
        let mut read = |column: &Column<'a>| {
            let mut versions: Vec<Version<'a>> = Vec::new();
            for &place in column.places.iter().filter(|_| column.length > 0) {
                let mut contents = vec![0; column.length];
                if let Err(fault) = place.read(&mut contents) {
                    faults.push(fault);
                    continue;
                }
                match versions.iter_mut().find(|version| version.0 == contents) {
                    Some(version) => version.1.push(place),
                    None => versions.push((contents, vec![place])),
                }
            }
            versions
        };
        let found = self.rows.iter().map(|row| row.columns.iter().map(&mut read).collect()).collect();
        (found, faults)
    }

    /// Puts the block together from the versions chosen for the columns, and from
    /// parity for those that are not there or `suspect`. `None` if too many of
    /// them are.
    fn assemble(
        &self,
        found: &Found<'a>,
        mut choice: &[usize],
        suspect: impl Fn(&Column<'a>) -> bool,
        block: &mut Vec<u8>,
    ) -> Option<()> {
        block.resize(self.size(), 0);
        for (row, found) in self.rows.iter().zip(found) {
            let (chosen, rest) = choice.split_at_checked(row.columns.len())?;
            choice = rest;
            let contents: Vec<Option<&[u8]>> = row
                .columns
                .iter()
                .zip(found.iter().zip(chosen))
                .map(|(column, (versions, &version))| match versions.get(version) {
                    _ if column.length == 0 => Some(&[][..]),
                    Some((contents, _)) if !suspect(column) => Some(contents.as_slice()),
                    _ => None,
                })
                .collect();
            let (parities, data) = contents.split_at_checked(row.parity)?;
            for (column, contents) in row.data().iter().zip(data) {
                if let Some(contents) = contents {
                    block[column.at..column.at + column.length].copy_from_slice(contents);
                }
            }
            let missing: Vec<usize> = (0..data.len()).filter(|&index| data[index].is_none()).collect();
            if missing.is_empty() {
                continue;
            }
            let parities: Vec<(usize, &[u8])> =
                parities.iter().enumerate().filter_map(|(index, parity)| Some((index, (*parity)?))).collect();
            let data: Vec<&[u8]> = data.iter().map(|contents| contents.unwrap_or_default()).collect();
            for (&index, contents) in missing.iter().zip(parity::reconstruct(&missing, &data, &parities)?) {
                let column = row.data().get(index)?;
                block[column.at..column.at + column.length].copy_from_slice(contents.get(..column.length)?);
            }
        }
        Some(())
    }
}

impl<'a> Column<'a> {
    /// Which device it was on when the vdev had that many, or is on.
    fn child(&self, width: Option<u64>) -> u64 {
        width.map_or(self.child, |width| self.sector % width)
    }

    /// Compares what is in `places` with what is `expected`, and zeros after it.
    fn compare(&self, places: &[Place<'a>], expected: &[u8], found: &mut Vec<u8>, faults: &mut Vec<Fault>) {
        found.resize(self.length + self.padding, 0);
        for place in places.iter().filter(|place| place.leaf.device().is_some()) {
            if let Err(fault) = place.read(found) {
                faults.push(fault);
                continue;
            }
            let (contents, rest) = found.split_at(expected.len());
            if contents == expected && rest.iter().all(|&byte| byte == 0) {
                continue;
            }
            let same = |(index, &byte): (usize, &u8)| byte == expected.get(index).copied().unwrap_or(0);
            let first = found.iter().enumerate().take_while(|&byte| same(byte)).count();
            let at = place.offset.saturating_add(first as u64);
            faults.push(place.fault(format!("wrong contents from byte {at} on")));
        }
    }
}

thread_local! {
    /// Buffers for what is compared.
    static SCRATCH: RefCell<[Vec<u8>; 2]> = RefCell::default();
}

/// All subsets of at most `most` of the `elements`, the small ones first.
fn subsets(elements: &[u64], most: usize) -> impl Iterator<Item = Vec<u64>> {
    (0..=most.min(elements.len())).flat_map(move |size| {
        let mut indices: Option<Vec<usize>> = Some((0..size).collect());
        std::iter::from_fn(move || {
            let current = indices.take()?;
            // The last index that can move on does, and those behind it follow.
            indices = (0..size).rev().find(|&at| current[at] + size < elements.len() + at).map(|at| {
                let mut next = current.clone();
                for (offset, index) in next[at..].iter_mut().enumerate() {
                    *index = current[at] + 1 + offset;
                }
                next
            });
            Some(current.into_iter().map(|index| elements[index]).collect())
        })
    })
}

/// All ways to choose a number below each of `counts`; the first is all zeros.
fn products(counts: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    let mut next = Some(vec![0; counts.len()]);
    std::iter::from_fn(move || {
        let current = next.take()?;
        let mut following = current.clone();
        for (digit, &count) in following.iter_mut().zip(counts) {
            *digit += 1;
            if *digit < count {
                next = Some(following);
                break;
            }
            *digit = 0;
        }
        Some(current)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_come_by_size() {
        let found: Vec<Vec<u64>> = subsets(&[1, 2, 3, 4], 2).collect();
        let pairs = [[1, 2], [1, 3], [1, 4], [2, 3], [2, 4], [3, 4]].map(Vec::from);
        assert_eq!(found[..5], [vec![], vec![1], vec![2], vec![3], vec![4]]);
        assert_eq!(found[5..], pairs);
        assert_eq!(subsets(&[], 3).count(), 1);
        assert_eq!(subsets(&[7], 3).count(), 2);
    }

    #[test]
    fn products_are_all_combinations() {
        let found: Vec<Vec<usize>> = products(&[2, 1, 2]).collect();
        assert_eq!(found, [[0, 0, 0], [1, 0, 0], [0, 0, 1], [1, 0, 1]].map(Vec::from));
        assert_eq!(products(&[]).count(), 1);
    }
}
