//! The base's distributions on disk: for each scored position the whole vocabulary's logarithms of probabilities.
//!
//! They are too many for memory (a text of 32 chunks over a vocabulary of 128,000: 2 GB) and are needed once for each file that
//! is compared. The file is made anew by each run and has no version.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::row::CODE_BYTES;

/// A chunk's place begins with the hash of its tokens, and is written last; 0 where the chunk was not written.
const HASH_BYTES: u64 = 8;

/// The numbers that decide the file's layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoreShape {
    /// Tokens of the vocabulary.
    pub n_vocab: usize,
    /// Scored positions of a chunk.
    pub n_scored: usize,
}

impl StoreShape {
    /// Bytes of a position's distribution.
    pub(crate) fn row_bytes(self) -> usize {
        self.n_vocab * CODE_BYTES
    }

    /// Bytes of a chunk.
    fn chunk_bytes(self) -> u64 {
        HASH_BYTES + self.n_scored as u64 * self.row_bytes() as u64
    }

    /// Bytes of a file with this many chunks.
    pub(crate) fn file_bytes(self, n_chunks: u32) -> u64 {
        self.chunk_bytes().saturating_mul(n_chunks.into())
    }
}

/// The file, open for writing or for reading.
#[derive(Debug)]
pub(crate) struct DistributionStore {
    file: File,
    shape: StoreShape,
}

impl DistributionStore {
    /// Opens the file to write chunks into, and makes it where it is not there.
    pub(crate) fn create(path: &Path, shape: StoreShape) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false);
        Ok(Self {
            file: file.open(path)?,
            shape,
        })
    }

    /// Opens the file to read.
    pub(crate) fn open(path: &Path, shape: StoreShape) -> io::Result<Self> {
        Ok(Self {
            file: File::open(path)?,
            shape,
        })
    }

    fn seek(&mut self, chunk: u32, offset: u64) -> io::Result<()> {
        let at = self.shape.file_bytes(chunk) + offset;
        self.file.seek(SeekFrom::Start(at)).map(drop)
    }

    /// Writes a chunk's rows, one after the other.
    pub(crate) fn write(&mut self, chunk: u32, hash: u64, rows: &[u8]) -> io::Result<()> {
        self.seek(chunk, HASH_BYTES)?;
        self.file.write_all(rows)?;
        self.seek(chunk, 0)?;
        self.file.write_all(&hash.to_le_bytes())
    }

    /// The hash of a chunk's tokens; `None` where the chunk was not written.
    pub(crate) fn hash_of(&mut self, chunk: u32) -> io::Result<Option<u64>> {
        self.seek(chunk, 0)?;
        let mut bytes = [0; HASH_BYTES as usize];
        match self.file.read_exact(&mut bytes) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let hash = u64::from_le_bytes(bytes);
        Ok((hash != 0).then_some(hash))
    }

    /// Reads a chunk's rows.
    pub(crate) fn read(&mut self, chunk: u32, rows: &mut [u8]) -> io::Result<()> {
        self.seek(chunk, HASH_BYTES)?;
        self.file.read_exact(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_found_again_whatever_their_order() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("base");
        let shape = StoreShape {
            n_vocab: 3,
            n_scored: 2,
        };
        let mut store = DistributionStore::create(&path, shape).expect("writable");
        let rows = |n: u8| vec![n; 2 * shape.row_bytes()];
        store.write(2, 7, &rows(2)).expect("room");
        store.write(0, 5, &rows(9)).expect("room");
        // A resumed run opens the same file.
        let mut store = DistributionStore::create(&path, shape).expect("writable");
        store.write(0, 6, &rows(1)).expect("room");
        let mut store = DistributionStore::open(&path, shape).expect("there");
        let hashes: Vec<_> = (0..4)
            .map(|c| store.hash_of(c).expect("readable"))
            .collect();
        assert_eq!(hashes, [Some(6), None, Some(7), None]);
        for (chunk, expected) in [(0, rows(1)), (2, rows(2))] {
            let mut read = rows(0);
            store.read(chunk, &mut read).expect("written");
            assert_eq!(read, expected);
        }
        assert_eq!(shape.file_bytes(3), 3 * (8 + 12));
        let length = path.metadata().expect("there").len();
        assert_eq!(length, shape.file_bytes(3));
    }
}
