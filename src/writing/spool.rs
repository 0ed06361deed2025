//! Products of thin factors that a run needs again at its end, on disk meanwhile: memory holds one at a time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::Error;
use crate::low_rank::LowRank;

/// Products by name, in a file without a name that the system removes with the process.
#[derive(Debug)]
pub struct Spool {
    /// What they are for, in messages.
    path: PathBuf,
    file: Mutex<(File, BTreeMap<String, Place>)>,
}

/// Where a product begins, and what it takes to read it.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: u64,
    shape: (usize, usize),
    rank: usize,
}

impl Spool {
    /// An empty one on the disk that `out` is to be written to.
    ///
    /// # Errors
    /// When no file can be made there.
    pub fn beside(out: &Path) -> Result<Self, Error> {
        let there = out.ancestors().skip(1).find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
        let file = tempfile::tempfile_in(there).map_err(|e| Error::io(out, "cannot create", e))?;
        Ok(Self { path: out.to_owned(), file: Mutex::new((file, BTreeMap::new())) })
    }

    /// Keeps `product` under `name`.
    ///
    /// # Errors
    /// When the disk takes no more.
    pub fn put(&self, name: &str, product: &LowRank) -> Result<(), Error> {
        let bytes: Vec<u8> =
            product.left().iter().chain(product.right()).flat_map(|x| x.to_le_bytes()).collect();
        self.with(|file, places| {
            let start = file.seek(SeekFrom::End(0))?;
            file.write_all(&bytes)?;
            let place = Place { start, shape: (product.rows(), product.cols()), rank: product.rank() };
            places.insert(name.to_owned(), place);
            Ok(())
        })
        .map_err(|e| Error::io(&self.path, "cannot write", e))
    }

    /// The product that is kept under `name`, if one is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn get(&self, name: &str) -> Result<Option<LowRank>, Error> {
        let read = self.with(|file, places| {
            let Some(place) = places.get(name).copied() else { return Ok(None) };
            let (rows, cols) = place.shape;
            let mut bytes = vec![0; (rows + cols) * place.rank * size_of::<f64>()];
            file.seek(SeekFrom::Start(place.start))?;
            file.read_exact(&mut bytes)?;
            Ok(Some((place, bytes)))
        });
        let Some((place, bytes)) = read.map_err(|e| Error::io(&self.path, "cannot read", e))? else {
            return Ok(None);
        };
        let (numbers, _) = bytes.as_chunks::<8>();
        let mut left: Vec<f64> = numbers.iter().map(|number| f64::from_le_bytes(*number)).collect();
        let right = left.split_off(place.shape.0 * place.rank);
        LowRank::new(place.shape, place.rank, left, right).map(Some)
    }

    /// Whether something is kept under `name`.
    pub fn has(&self, name: &str) -> bool {
        self.with(|_, places| Ok(places.contains_key(name))).is_ok_and(|has| has)
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&mut File, &mut BTreeMap<String, Place>) -> io::Result<T>,
    ) -> io::Result<T> {
        // A product is known once all of it was written, so nothing can have been left half changed.
        let mut locked = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, places) = &mut *locked;
        work(file, places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_given_back() {
        let spool = Spool::beside(Path::new("copy")).expect("the working directory can be written to");
        let product = |x: f64| {
            LowRank::new((2, 3), 1, vec![x, -x], vec![1.0, f64::MIN_POSITIVE, x]).expect("two and three")
        };
        for (name, x) in [("a", 0.1), ("b", 7.0), ("a", 3.0)] {
            spool.put(name, &product(x)).expect("there is room");
        }
        assert_eq!(spool.get("a").expect("readable"), Some(product(3.0)));
        assert_eq!(spool.get("b").expect("readable"), Some(product(7.0)));
        assert_eq!((spool.get("c").expect("readable"), spool.has("b"), spool.has("c")), (None, true, false));
    }
}
