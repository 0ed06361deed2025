//! Models of the Hugging Face hub that are read where they lie: headers first, then one tensor at a time.
//!
//! A folder with the settings and indices of the model, and with the headers of its weights in files of their names,
//! stands for the repository while it is open. What reads names and headers reads that folder; only the bytes of
//! tensors come over the network.

mod client;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::address::Address;
use super::header::{self, Header};
use super::stored::{Part, WeightFile};
use super::{MatrixSource, Opening, Stage, TemporaryFolder, folder, foreign, input, probe, safetensors};
use crate::error::{Error, brief};
use client::{Client, encoded};

/// Where the hub is and how to ask it.
#[derive(Clone)]
pub struct Hub {
    /// Its address, as in `https://huggingface.co`.
    pub endpoint: String,
    /// What proves who asks; sent to the endpoint alone.
    pub token: Option<String>,
    /// Whether the user wants to stop.
    pub is_interrupted: fn() -> bool,
}

/// Settings and indices longer than this are not fetched, nor is a longer list of files.
const LONGEST_TEXT: u64 = 100_000_000;
/// What is fetched of a file to find its header; that of most shards is shorter.
const HEAD: usize = 1 << 16;

/// A repository at one commit.
pub struct Remote {
    address: Address,
    commit: String,
    client: Client,
    /// Settings, indices and headers, under the names they have in the repository.
    shadow: TemporaryFolder,
}

/// A weight file of a repository.
#[derive(Clone)]
pub(super) struct RemoteFile {
    remote: Arc<Remote>,
    url: String,
    bytes: u64,
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
    /// Asks the hub for what `address` names, and fetches its settings.
    ///
    /// # Errors
    /// When the hub does not answer, does not have it, or wants to know who asks.
    pub fn find(address: &Address, hub: &Hub) -> Result<Self, Error> {
        let home = std::env::temp_dir();
        let shadow = TemporaryFolder::new_in(&home).map_err(|e| Error::io(&home, "cannot write", e))?;
        let client = Client::new(hub);
        let revision = address.revision.as_deref().unwrap_or("main").replace('/', "%2F");
        let url = format!("{}/api/models/{}/revision/{revision}", client.endpoint(), address.repository);
        let refuse = |why: String| Error::Usage(format!("`{}`: {why}", told(address)));
        let answer = client.text(&url, LONGEST_TEXT).map_err(|problem| problem.error(refuse))?;
        let listing: Listing = serde_json::from_slice(&answer)
            .map_err(|e| refuse(format!("the hub's list of its files is not understood: {e}")))?;
        // The commit becomes a part of addresses.
        if listing.sha.is_empty() || !listing.sha.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(refuse("the hub names no commit".to_owned()));
        }
        let remote = Self { address: address.clone(), commit: listing.sha, client, shadow };
        for Sibling { rfilename } in &listing.siblings {
            // Names that could not be asked for could only do harm.
            if Address::is_path(rfilename) {
                remote.place(rfilename)?;
            }
        }
        if remote.path().symlink_metadata().is_err() {
            return Err(refuse("has no such file or folder".to_owned()));
        }
        Ok(remote)
    }

    /// What stands for it on this disk.
    pub fn path(&self) -> PathBuf {
        let root = self.shadow.path();
        self.address.path.as_ref().map_or_else(|| root.to_owned(), |path| root.join(path))
    }

    /// The commit it is of.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// An error for what needs all its files on this machine.
    pub fn not_here(&self) -> Error {
        let (name, command) = (told(&self.address), self.address.download());
        Error::Usage(format!("`{name}` has to be on this machine for that; fetch it with `{command}`"))
    }

    /// Opens it, reading headers alone.
    ///
    /// # Errors
    /// As [`super::open_with`].
    pub fn open(
        self: &Arc<Self>,
        opening: &Opening<'_>,
    ) -> Result<(&'static str, Arc<dyn MatrixSource>), Error> {
        let path = self.path();
        let streamed = if path.is_dir() {
            folder::holds(&path, &safetensors::FAMILY, &opening.choice)
        } else {
            [".safetensors", ".index.json"].iter().any(|ending| path.to_string_lossy().ends_with(ending))
        };
        let open = || {
            if !streamed {
                let reason = "holds no safetensors, which alone are read over the network";
                return Err(Error::malformed(
                    &path,
                    format!("{reason}; fetch it with `{}`", self.address.download()),
                ));
            }
            foreign::refuse_slices(&path)?;
            if opening.base.is_none() {
                super::applies(&path, &safetensors::FORMAT, &opening.choice)?;
            }
            let one = |file: &Path| self.one(file);
            let parts = folder::open_all(&path, &safetensors::FAMILY, &opening.choice, &one)?;
            super::assembled(&path, (safetensors::FORMAT.name, parts), opening, Stage::Trained)
        };
        open().map_err(|error| self.renamed(error))
    }

    /// Puts a file into the folder: whole where it is settings of what is opened, else empty.
    fn place(&self, name: &str) -> Result<(), Error> {
        let path = self.shadow.path().join(name);
        let failed = |e| Error::io(&path, "cannot write", e);
        let opened = self.path();
        let beside = path.parent().is_some_and(|parent| parent == opened || Some(parent) == opened.parent());
        let wanted = ["config.json", "adapter_config.json", "model_index.json"];
        let wanted = wanted.iter().any(|known| path.ends_with(known)) || name.ends_with(".index.json");
        let content = if beside && wanted {
            let fetched = self.client.text(&self.url(name), LONGEST_TEXT);
            fetched.map_err(|problem| problem.error(|why| Error::malformed(&self.shown(&path), why)))?
        } else {
            vec![]
        };
        fs::create_dir_all(path.parent().unwrap_or(&path)).map_err(failed)?;
        fs::write(&path, content).map_err(failed)
    }

    /// One weight file and the tensors its header lists.
    fn one(self: &Arc<Self>, path: &Path) -> Result<Part, Error> {
        let name = path.strip_prefix(self.shadow.path()).unwrap_or(path).to_string_lossy().into_owned();
        let url = self.url(&name);
        let wrong = |why: String| Error::malformed(path, why);
        let mut start = vec![0; HEAD];
        let fetch = |offset: usize, out: &mut [u8]| {
            self.client.fill(&url, offset as u64, out).map_err(|problem| problem.error(wrong))
        };
        let (came, bytes) = fetch(0, &mut start)?;
        start.truncate(came);
        if let Some(length) = start.first_chunk::<8>().map(|length| u64::from_le_bytes(*length)) {
            let end = length.saturating_add(8);
            if length <= header::LONGEST && end <= bytes && end > came as u64 {
                start.resize(end as usize, 0);
                fetch(came, &mut start[came..])?;
            }
        }
        fs::write(path, &start).map_err(|e| Error::io(path, "cannot write", e))?;
        if start.get(8) != Some(&b'{') {
            probe::refuse_foreign(path)?;
        }
        let file = RemoteFile { remote: Arc::clone(self), url, bytes };
        let file = WeightFile::remote(self.shown(path), bytes, file);
        let handle = input::open(path)?;
        let Header { tensors, settings } = header::read(&handle, &file)?;
        Ok(Part { file, tensors, readings: BTreeMap::new(), notes: vec![], quantization: None, settings })
    }

    fn url(&self, name: &str) -> String {
        let path: Vec<String> = name.split('/').map(encoded).collect();
        let (endpoint, repository) = (self.client.endpoint(), &self.address.repository);
        format!("{endpoint}/{repository}/resolve/{}/{}", self.commit, path.join("/"))
    }

    /// A file of the folder as a person knows it.
    fn shown(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("hf://{}", self.address.repository));
        match path.strip_prefix(self.shadow.path()) {
            // To join nothing would add a slash.
            Ok(name) if name.as_os_str().is_empty() => root,
            Ok(name) => root.join(name),
            Err(_) => path.to_owned(),
        }
    }

    /// `error`, with the names a person knows in place of the folder's.
    fn renamed(&self, error: Error) -> Error {
        let words = |text: String| {
            let here = self.shadow.path().to_string_lossy().into_owned();
            text.replace(&here, &format!("hf://{}", self.address.repository))
        };
        match error {
            Error::Io { path, action, source } => Error::Io { path: self.shown(&path), action, source },
            Error::Malformed { path, reason } => {
                Error::Malformed { path: self.shown(&path), reason: words(reason) }
            }
            Error::Tensor { path, tensor, reason } => {
                Error::Tensor { path: self.shown(&path), tensor, reason: words(reason) }
            }
            other => other,
        }
    }
}

impl RemoteFile {
    /// Fills `out` from position `offset` of the file.
    pub(super) fn read_exact_at(&self, out: &mut [u8], offset: u64) -> std::io::Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let (came, bytes) = self.remote.client.fill(&self.url, offset, out).map_err(std::io::Error::other)?;
        if bytes != self.bytes || came != out.len() {
            return Err(std::io::Error::other("the file changed while it was read"));
        }
        Ok(())
    }
}

impl std::fmt::Debug for RemoteFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.url)
    }
}

/// An address as it may be typed.
fn told(address: &Address) -> String {
    let at = address.revision.as_deref().map_or_else(String::new, |revision| format!("@{revision}"));
    let path = address.path.as_deref().map_or_else(String::new, |path| format!("/{path}"));
    brief(&format!("{}{at}{path}", address.repository))
}
