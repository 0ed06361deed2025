//! Small files by digest, in a folder that several processes share: what a cache keeps.
//!
//! A file is complete or not there, and what it holds is checked when it is read, so nothing is ever locked. Nothing here
//! knows what is kept.

use std::fs::{self, DirEntry, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use blake3::Hash;

use super::TemporaryFile;

/// What each file begins with. Another layout gets another word.
const MAGIC: &[u8; 8] = b"svdkit1\n";

/// Before what is kept: the word, the key, and a hash of the key and of what is kept.
const HEADER: usize = 8 + 32 + 32;

/// A larger file is none of ours.
const LARGEST: u64 = 1 << 26;

/// The folder of all files; another layout gets another name.
const NAME: &str = "spectra-1";

/// What backup programs look for (bford.info/cachedir).
const TAG: &str =
    "Signature: 8a477f597d28d172789f06886806bc55\n# Made by svdkit. It can be deleted at any time.\n";

/// An unfinished file that is older was left behind by a process that was killed.
const LEFT_BEHIND: Duration = Duration::from_hours(24);

/// A folder of small files.
#[derive(Debug)]
pub struct Shelf {
    folder: PathBuf,
}

/// What is on a shelf.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Shelf {
    /// The shelf in `folder`, whether or not anything is there.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.join(NAME) }
    }

    fn path(&self, key: &Hash) -> PathBuf {
        let name = key.to_hex();
        self.folder.join(&name[..2]).join(&name[2..])
    }

    /// What is kept under `key`; none if it is not there, damaged, or was kept under another key.
    pub fn get(&self, key: &Hash) -> Option<Vec<u8>> {
        let path = self.path(key);
        // A pipe in its place would be waited for.
        let regular = |metadata: &Metadata| metadata.is_file() && metadata.len() <= LARGEST;
        if !fs::symlink_metadata(&path).is_ok_and(|metadata| regular(&metadata)) {
            return None;
        }
        let mut bytes = vec![];
        File::open(&path).ok()?.take(LARGEST).read_to_end(&mut bytes).ok()?;
        let (header, kept) = bytes.split_at_checked(HEADER)?;
        (header == Self::header(key, kept)).then(|| bytes.split_off(HEADER))
    }

    fn header(key: &Hash, kept: &[u8]) -> [u8; HEADER] {
        let sum = blake3::Hasher::new().update(key.as_bytes()).update(kept).finalize();
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(MAGIC);
        header[8..40].copy_from_slice(key.as_bytes());
        header[40..].copy_from_slice(sum.as_bytes());
        header
    }

    /// Keeps `what` under `key`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn put(&self, key: &Hash, what: &[u8]) -> io::Result<()> {
        let path = self.path(key);
        let folder = path.parent().unwrap_or(&self.folder);
        let file = match TemporaryFile::new_in(folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.make(folder)?;
                TemporaryFile::new_in(folder)?
            }
            made => made?,
        };
        file.write(&path, |out| {
            out.write_all(&Self::header(key, what))?;
            out.write_all(what)
        })
    }

    /// Makes a folder that only its owner may look into, and the shelf around it.
    fn make(&self, folder: &Path) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
        let tag = self.folder.join("CACHEDIR.TAG");
        if tag.exists() { Ok(()) } else { fs::write(tag, TAG) }
    }

    /// Shows all files in the folders of the shelf, one after the other: a list of them takes more memory than they do.
    fn each(&self, see: &mut dyn FnMut(&DirEntry, &Metadata)) {
        let list = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
        for folder in list(&self.folder).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            for file in list(&folder.path()) {
                if let Ok(metadata) = file.metadata() {
                    see(&file, &metadata);
                }
            }
        }
    }

    /// What is on the shelf.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        self.each(&mut |_, metadata| {
            usage.files += 1;
            usage.bytes += metadata.len();
        });
        usage
    }

    /// Removes the oldest files until all of them take at most `most` bytes, and what killed processes left behind.
    pub fn trim(&self, most: u64) {
        let now = SystemTime::now();
        let written = |metadata: &Metadata| metadata.modified().unwrap_or(now);
        let left_behind =
            |metadata: &Metadata| now.duration_since(written(metadata)).is_ok_and(|age| age > LEFT_BEHIND);
        let (mut bytes, mut files) = (0, vec![]);
        self.each(&mut |file, metadata| {
            let name = file.file_name();
            if !name.to_string_lossy().starts_with('.') {
                bytes += metadata.len();
            } else if left_behind(metadata) {
                let _ = fs::remove_file(file.path());
            }
        });
        if bytes <= most {
            return;
        }
        self.each(&mut |file, metadata| {
            files.extend(key_of(file).map(|key| (written(metadata), *key.as_bytes(), metadata.len())));
        });
        files.sort_unstable();
        for (_, key, length) in files {
            if bytes <= most {
                break;
            }
            // Another process may have removed it; then it takes no room either.
            let _ = fs::remove_file(self.path(&Hash::from_bytes(key)));
            bytes = bytes.saturating_sub(length);
        }
    }

    /// Removes all of it, and says what was there.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn clear(&self) -> io::Result<Usage> {
        /// Another process may put a file into a folder that is being removed.
        const ATTEMPTS: usize = 10;
        let usage = self.usage();
        let mut removed = Ok(());
        for _ in 0..ATTEMPTS {
            removed = match fs::remove_dir_all(&self.folder) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            };
            if removed.is_ok() {
                break;
            }
        }
        removed.map(|()| usage)
    }
}

/// The key that a file is kept under; none of a file that is not one of ours.
fn key_of(file: &DirEntry) -> Option<Hash> {
    let (path, name) = (file.path(), file.file_name());
    let folder = path.parent()?.file_name()?.to_string_lossy().into_owned();
    Hash::from_hex(folder + &name.to_string_lossy()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(word: &str) -> Hash {
        blake3::hash(word.as_bytes())
    }

    #[test]
    fn what_was_put_comes_back_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let shelf = Shelf::new(&folder.path().join("new"));
        assert_eq!((shelf.get(&key("a")), shelf.usage()), (None, Usage::default()));
        shelf.put(&key("a"), b"one").expect("written");
        shelf.put(&key("b"), b"two").expect("written");
        shelf.put(&key("b"), b"three").expect("written again");
        assert_eq!(shelf.get(&key("a")).as_deref(), Some(&b"one"[..]));
        assert_eq!(shelf.get(&key("b")).as_deref(), Some(&b"three"[..]));
        assert_eq!(shelf.usage(), Usage { files: 2, bytes: 2 * HEADER as u64 + 8 });
        // Swapped, cut short, longer, another byte.
        let sound = fs::read(shelf.path(&key("a"))).expect("there");
        fs::copy(shelf.path(&key("a")), shelf.path(&key("b"))).expect("copied");
        assert_eq!(shelf.get(&key("b")), None);
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 1;
            for bytes in [&sound[..at], &damaged] {
                fs::write(shelf.path(&key("a")), bytes).expect("written");
                assert_eq!(shelf.get(&key("a")), None, "{at}");
            }
        }
        fs::write(shelf.path(&key("a")), [&sound[..], b"!"].concat()).expect("written");
        assert_eq!(shelf.get(&key("a")), None);
        assert_eq!(shelf.clear().expect("removed").files, 2);
        assert!(folder.path().join("new").exists() && shelf.clear().expect("nothing there").files == 0);
    }

    #[test]
    fn the_oldest_go_first() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let shelf = Shelf::new(folder.path());
        for (age, word) in ["old", "middle", "new"].iter().enumerate() {
            shelf.put(&key(word), &[0; 100]).expect("written");
            let file = File::options().write(true).open(shelf.path(&key(word))).expect("there");
            let time = SystemTime::now() - Duration::from_secs(60 * (3 - age as u64));
            file.set_modified(time).expect("a time");
        }
        shelf.trim(2 * (100 + HEADER as u64));
        let kept = ["old", "middle", "new"].map(|word| shelf.get(&key(word)).is_some());
        assert_eq!(kept, [false, true, true]);
        shelf.trim(0);
        assert_eq!(shelf.usage().files, 0);
    }
}
