//! Models of the Hugging Face hub, read where they lie: their files are listed once, and only the bytes that are asked
//! for come over the network.

mod client;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

use super::memory::below;
use super::{Address, Entry, Listed, Location, ReadAt, Refusal, Stamp, Store, Version};
use crate::error::{Error, brief};
use client::{Client, Problem, encoded};

/// Where the hub is and how to ask it.
#[derive(Clone)]
pub struct Hub {
    /// Its address, as in `https://huggingface.co`.
    pub endpoint: String,
    /// The user's token; sent only to the endpoint.
    pub token: Option<String>,
    /// Whether the user wants to stop.
    pub is_interrupted: fn() -> bool,
}

/// A longer list of files is not fetched.
const LONGEST_LIST: u64 = 100_000_000;
/// Texts of at most so many bytes are kept: settings are read more than once.
const LONGEST_KEPT: usize = 1_000_000;
/// Bytes fetched when a file is opened: most headers are shorter.
const HEAD: usize = 1 << 16;

/// A repository at one commit.
pub struct Remote {
    address: Address,
    commit: String,
    client: Arc<Client>,
    files: BTreeSet<PathBuf>,
    /// Texts that were fetched.
    texts: Mutex<BTreeMap<PathBuf, Arc<[u8]>>>,
    /// The file that was opened last: its first bytes are read again with its header.
    latest: Mutex<Option<(PathBuf, RemoteFile)>>,
}

/// A file of a repository, with as much of its start as was fetched.
#[derive(Clone)]
struct RemoteFile {
    client: Arc<Client>,
    url: String,
    length: u64,
    head: Arc<[u8]>,
}

#[derive(Deserialize)]
struct Listing {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Remote {
    /// Asks the hub for the files of `address` and its commit.
    ///
    /// # Errors
    /// When the hub does not answer, does not have it, or wants to know who asks.
    pub fn find(address: &Address, hub: &Hub) -> Result<(Location, String), Error> {
        let client = Client::new(hub);
        let revision = address.revision.as_deref().unwrap_or("main").replace('/', "%2F");
        let url = format!("{}/api/models/{}/revision/{revision}", client.endpoint(), address.repository);
        let refuse = |why: String| Error::Remote(format!("`{address}`: {why}"));
        let answer = client.text(&url, LONGEST_LIST).map_err(|problem| problem.error(refuse))?;
        let answer = answer.ok_or_else(|| refuse("the hub's list of its files is too long".to_owned()))?;
        let listing: Listing = serde_json::from_slice(&answer)
            .map_err(|e| refuse(format!("the hub's list of its files is not understood: {e}")))?;
        // The commit becomes a part of addresses.
        if listing.sha.is_empty() || !listing.sha.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(refuse("the hub names no commit".to_owned()));
        }
        // Names that could not be asked for could only do harm.
        let names = listing.siblings.into_iter().map(|sibling| sibling.rfilename);
        let files = names.filter(|name| Address::is_path(name)).map(PathBuf::from).collect();
        let commit = listing.sha;
        let remote = Self {
            address: address.clone(),
            commit: commit.clone(),
            client: Arc::new(client),
            files,
            texts: Mutex::default(),
            latest: Mutex::default(),
        };
        let location = Location::new(Arc::new(remote), address.path.clone().unwrap_or_default());
        if location.exists() {
            return Ok((location, commit));
        }
        Err(refuse("has no such file or folder".to_owned()))
    }

    fn url(&self, path: &Path) -> String {
        let parts: Vec<String> = path.iter().map(|part| encoded(&part.to_string_lossy())).collect();
        let (endpoint, repository) = (self.client.endpoint(), &self.address.repository);
        format!("{endpoint}/{repository}/resolve/{}/{}", self.commit, parts.join("/"))
    }

    /// The file at `path`, if the repository has it, without its start.
    fn file(&self, path: &Path, length: u64) -> io::Result<RemoteFile> {
        if !self.files.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (client, url) = (Arc::clone(&self.client), self.url(path));
        Ok(RemoteFile { client, url, length, head: Arc::default() })
    }
}

impl Store for Remote {
    fn stamp(&self, path: &Path, version: &Version) -> Option<Stamp> {
        // A commit never changes.
        Some(Stamp { mark: format!("{} {}", self.url(path), version.length), is_settled: true })
    }

    fn entry(&self, path: &Path) -> io::Result<Entry> {
        Ok(if self.files.contains(path) {
            Entry::File(None)
        } else if self.files.iter().any(|file| file.starts_with(path)) {
            Entry::Folder
        } else {
            Entry::Absent
        })
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Listed>> {
        Ok(below(self.files.iter(), folder))
    }

    fn open(&self, path: &Path) -> io::Result<(Box<dyn ReadAt>, Version)> {
        let opened = self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let known = opened.filter(|(latest, _)| latest == path).map(|(_, file)| file);
        let file = match known {
            Some(file) => file,
            None => {
                let mut file = self.file(path, 0)?;
                let mut head = vec![0; HEAD];
                let (came, length) = self.client.fill(&file.url, 0, &mut head)?;
                head.truncate(came);
                (file.length, file.head) = (length, head.into());
                let latest = Some((path.to_owned(), file.clone()));
                *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = latest;
                file
            }
        };
        let version = Version { length: file.length, modified: None };
        Ok((Box::new(file), version))
    }

    fn reopen(&self, path: &Path, version: &Version) -> Result<Box<dyn ReadAt>, String> {
        self.file(path, version.length)
            .map(|file| Box::new(file) as Box<dyn ReadAt>)
            .map_err(|e| e.to_string())
    }

    fn whole(&self, path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
        let known = self.texts.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        if let Some(text) = known.filter(|text| text.len() as u64 <= most) {
            return Ok(Some(text.to_vec()));
        }
        let text = self.client.text(&self.file(path, 0)?.url, most)?;
        if let Some(text) = text.as_ref().filter(|text| text.len() <= LONGEST_KEPT) {
            let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
            texts.insert(path.to_owned(), text.as_slice().into());
        }
        Ok(text)
    }

    fn describe(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("hf://{}", self.address.repository));
        // To join nothing would add a slash.
        if path.as_os_str().is_empty() { root } else { root.join(path) }
    }

    fn is_remote(&self) -> bool {
        true
    }
}

impl ReadAt for RemoteFile {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let known = usize::try_from(offset).ok().and_then(|at| self.head.get(at..)).unwrap_or_default();
        let (first, rest) = out.split_at_mut(known.len().min(out.len()));
        first.copy_from_slice(&known[..first.len()]);
        if rest.is_empty() {
            return Ok(());
        }
        let (came, length) = self.client.fill(&self.url, offset + first.len() as u64, rest)?;
        if length != self.length || came != rest.len() {
            return Err(Refusal::Because("the file changed while it was read".to_owned()).into());
        }
        Ok(())
    }
}

impl From<Problem> for io::Error {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Interrupted => Refusal::Interrupted,
            Problem::Refused(why) | Problem::Passing(why, _) => Refusal::Because(why),
        }
        .into()
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&brief(&self.address.repository))
    }
}
