//! Sorting more records than memory has room for.
//!
//! Records are kept in memory up to a limit, then sorted and written as a run to a
//! temporary file that has no name. In the end the runs are merged. Memory is bounded by the limit; while runs are
//! merged, by a buffer for each of them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of a run that are read at a time.
const READ: usize = 64 << 10;
/// More runs than these are merged into one first.
const MOST_RUNS: usize = 256;

/// Records of `N` words, to be sorted.
pub(crate) struct Sorter<const N: usize> {
    records: Vec<[u64; N]>,
    /// Records that are kept in memory.
    limit: usize,
    spilled: Option<Spilled>,
    folder: PathBuf,
    runs: Vec<Run>,
}

struct Spilled {
    file: File,
    end: u64,
}

#[derive(Clone, Copy)]
struct Run {
    offset: u64,
    records: u64,
}

impl<const N: usize> Sorter<N> {
    /// A sorter that takes about `memory` bytes, and puts what is more than that into a file in `folder`.
    pub(crate) fn new(memory: usize, folder: &Path) -> Self {
        let limit = (memory / (N * 8)).max(1024);
        Self { records: Vec::new(), limit, spilled: None, folder: folder.to_owned(), runs: Vec::new() }
    }

    /// Adds records.
    pub(crate) fn extend(&mut self, records: &[[u64; N]]) -> io::Result<()> {
        for part in records.chunks(self.limit) {
            if self.records.len() + part.len() > self.limit {
                self.spill()?;
            }
            self.records.extend_from_slice(part);
        }
        Ok(())
    }

    /// All records in order.
    pub(crate) fn sorted(mut self) -> io::Result<Sorted<N>> {
        self.records.sort_unstable();
        while self.runs.len() > MOST_RUNS {
            self.merge_some()?;
        }
        let mut streams: Vec<Stream<N>> = self.runs.iter().map(|&run| Stream::of_run(run)).collect();
        streams.push(Stream { ready: self.records, next: 0, rest: Run { offset: 0, records: 0 } });
        Sorted::new(self.spilled.map(|spilled| spilled.file), streams)
    }

    fn spill(&mut self) -> io::Result<()> {
        self.records.sort_unstable();
        let records = std::mem::take(&mut self.records);
        let run = self.write(records.iter())?;
        self.runs.push(run);
        self.records = records;
        self.records.clear();
        Ok(())
    }

    fn write<'a>(&mut self, records: impl Iterator<Item = &'a [u64; N]>) -> io::Result<Run> {
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            none => none.insert(Spilled { file: tempfile::tempfile_in(&self.folder)?, end: 0 }),
        };
        let mut run = Run { offset: spilled.end, records: 0 };
        let mut bytes = Vec::with_capacity(READ + N * 8);
        for record in records {
            bytes.extend(record.iter().flat_map(|word| word.to_ne_bytes()));
            run.records += 1;
            if bytes.len() >= READ {
                spilled.file.write_all_at(&bytes, spilled.end)?;
                spilled.end += bytes.len() as u64;
                bytes.clear();
            }
        }
        spilled.file.write_all_at(&bytes, spilled.end)?;
        spilled.end += bytes.len() as u64;
        Ok(run)
    }

    /// Merges the first runs into one. Their room in the file is not used again.
    fn merge_some(&mut self) -> io::Result<()> {
        let first: Vec<Run> = self.runs.drain(..MOST_RUNS).collect();
        let Some(spilled) = &self.spilled else { return Ok(()) };
        let file = spilled.file.try_clone()?;
        let mut merged = Sorted::new(Some(file), first.into_iter().map(Stream::of_run).collect())?;
        let (mut runs, mut part) = (Run { offset: spilled.end, records: 0 }, Vec::new());
        while let Some(record) = merged.next()? {
            part.push(record);
            if part.len() * N * 8 >= READ {
                runs.records += self.write(std::mem::take(&mut part).iter())?.records;
            }
        }
        runs.records += self.write(part.iter())?.records;
        self.runs.push(runs);
        Ok(())
    }
}

/// Records in order.
pub(crate) struct Sorted<const N: usize> {
    file: Option<File>,
    streams: Vec<Stream<N>>,
    /// The next record of every stream that has one.
    heads: BinaryHeap<Reverse<([u64; N], usize)>>,
}

struct Stream<const N: usize> {
    ready: Vec<[u64; N]>,
    next: usize,
    /// What has not been read yet.
    rest: Run,
}

impl<const N: usize> Sorted<N> {
    fn new(file: Option<File>, streams: Vec<Stream<N>>) -> io::Result<Self> {
        let mut sorted = Self { file, streams, heads: BinaryHeap::new() };
        for index in 0..sorted.streams.len() {
            sorted.advance(index)?;
        }
        Ok(sorted)
    }

    /// The next record.
    pub(crate) fn next(&mut self) -> io::Result<Option<[u64; N]>> {
        let Some(Reverse((record, index))) = self.heads.pop() else { return Ok(None) };
        self.advance(index)?;
        Ok(Some(record))
    }

    /// The next record, which stays the next one.
    pub(crate) fn peek(&self) -> Option<&[u64; N]> {
        self.heads.peek().map(|Reverse((record, _))| record)
    }

    fn advance(&mut self, index: usize) -> io::Result<()> {
        let stream = &mut self.streams[index];
        if stream.next == stream.ready.len() && stream.rest.records > 0 {
            let Some(file) = &self.file else { return Ok(()) };
            stream.read(file)?;
        }
        if let Some(&record) = stream.ready.get(stream.next) {
            stream.next += 1;
            self.heads.push(Reverse((record, index)));
        }
        Ok(())
    }
}

impl<const N: usize> Stream<N> {
    fn of_run(run: Run) -> Self {
        Self { ready: Vec::new(), next: 0, rest: run }
    }

    fn read(&mut self, file: &File) -> io::Result<()> {
        let records = (READ / (N * 8)).min(usize::try_from(self.rest.records).unwrap_or(usize::MAX));
        let mut bytes = vec![0; records * N * 8];
        file.read_exact_at(&mut bytes, self.rest.offset)?;
        let (words, _) = bytes.as_chunks::<8>();
        self.ready.clear();
        self.ready
            .extend(words.chunks_exact(N).map(|words| std::array::from_fn(|index| u64::from_ne_bytes(words[index]))));
        self.next = 0;
        self.rest.offset += bytes.len() as u64;
        self.rest.records -= records as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sorted(limit: usize, parts: &[Vec<[u64; 2]>]) -> Vec<[u64; 2]> {
        let mut sorter = Sorter::new(0, &std::env::temp_dir());
        sorter.limit = limit;
        for part in parts {
            sorter.extend(part).unwrap();
        }
        let mut sorted = sorter.sorted().unwrap();
        let mut all = Vec::new();
        while let Some(record) = sorted.next().unwrap() {
            all.push(record);
        }
        all
    }

    #[test]
    fn many_runs_are_merged_in_several_steps() {
        let records: Vec<[u64; 2]> = (0..2000).rev().map(|number| [number, 1]).collect();
        let expected: Vec<[u64; 2]> = (0..2000).map(|number| [number, 1]).collect();
        assert_eq!(sorted(3, &[records]), expected);
    }

    proptest! {
        #[test]
        fn what_is_spilled_comes_back_in_order(
            limit in 1usize..50,
            parts in proptest::collection::vec(proptest::collection::vec(any::<[u64; 2]>(), 0..60), 0..10),
        ) {
            let mut expected: Vec<[u64; 2]> = parts.iter().flatten().copied().collect();
            expected.sort_unstable();
            prop_assert_eq!(sorted(limit, &parts), expected);
        }
    }
}
