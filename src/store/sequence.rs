//! Sequential reading from the start of a file, for formats whose layout is only known while reading.

use std::io;

use super::ReadAt;

/// The first piece that is fetched.
const SHORTEST: usize = 1 << 16;
/// The longest: pieces double, so that a long header on a server takes few round trips.
const LONGEST: usize = 1 << 22;

/// A file that is read from front to back; skipped bytes are not fetched.
pub struct Sequence<'f> {
    file: &'f dyn ReadAt,
    length: u64,
    position: u64,
    piece: Vec<u8>,
    /// Where the piece lies in the file.
    start: u64,
    next: usize,
}

impl<'f> Sequence<'f> {
    /// The start of a file of `length` bytes.
    pub fn new(file: &'f dyn ReadAt, length: u64) -> Self {
        Self { file, length, position: 0, piece: vec![], start: 0, next: SHORTEST }
    }

    /// Where the next byte lies.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Passes over `count` bytes.
    pub fn skip(&mut self, count: u64) {
        self.position = self.position.saturating_add(count);
    }

    /// Fills `out` with the next bytes.
    ///
    /// # Errors
    /// When the file ends before, or cannot be read.
    pub fn take(&mut self, mut out: &mut [u8]) -> io::Result<()> {
        while !out.is_empty() {
            let at = self.position.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
            let rest = at.and_then(|at| self.piece.get(at..)).unwrap_or_default();
            let count = rest.len().min(out.len());
            if count == 0 {
                self.fetch()?;
                continue;
            }
            let (filled, empty) = out.split_at_mut(count);
            filled.copy_from_slice(&rest[..count]);
            self.position += count as u64;
            out = empty;
        }
        Ok(())
    }

    /// Fetches the piece that begins at the position.
    fn fetch(&mut self) -> io::Result<()> {
        let left = self.length.saturating_sub(self.position);
        if left == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.piece.resize(self.next.min(usize::try_from(left).unwrap_or(usize::MAX)), 0);
        self.start = self.position;
        self.file.read_at(&mut self.piece, self.start).inspect_err(|_| self.piece.clear())?;
        self.next = (self.next * 2).min(LONGEST);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A file of zeros that counts its readers.
    struct Zeros(AtomicUsize);

    impl ReadAt for Zeros {
        fn read_at(&self, out: &mut [u8], _: u64) -> io::Result<()> {
            self.0.fetch_add(1, Ordering::Relaxed);
            out.fill(0);
            Ok(())
        }
    }

    #[test]
    fn a_long_header_takes_few_reads() {
        let file = Zeros(AtomicUsize::new(0));
        let mut sequence = Sequence::new(&file, 12_000_000);
        (0..1_500_000).for_each(|_| sequence.take(&mut [0; 8]).expect("there"));
        assert!(file.0.into_inner() < 10);
    }

    #[test]
    fn what_is_taken_in_any_steps_is_the_file() {
        let bytes: Vec<u8> = (0..400_000u32).map(|i| (i % 251) as u8).collect();
        let file: Arc<[u8]> = bytes.clone().into();
        let mut sequence = Sequence::new(&file, bytes.len() as u64);
        let mut expected = 0;
        for step in [1, 7, 70_000, 3, 200_000] {
            let mut out = vec![0; step];
            sequence.take(&mut out).expect("there");
            assert_eq!(out, bytes[expected..expected + step]);
            sequence.skip(11);
            expected += step + 11;
            assert_eq!(sequence.position(), expected as u64);
        }
        sequence.skip(1 << 40);
        assert_eq!(sequence.take(&mut [0]).expect_err("behind it").kind(), io::ErrorKind::UnexpectedEof);
    }
}
