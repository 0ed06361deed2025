//! The address of a checkpoint on the Hugging Face hub: `ORG/NAME@REV/PATH`, `hf://…`, or a web address.
//!
//! It only parses text. Every part of a parsed address is safe as a part of a path: no `..`, no empty name, no control
//! character.

use std::fmt;

use crate::error::{Error, brief};

/// The hub's own host.
const HOST: &str = "huggingface.co";

/// A repository of the hub, or a part of it, at some revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Owner and name: `ORG/NAME`.
    pub repository: String,
    /// A branch, a tag or a commit; the main branch where none is named.
    pub revision: Option<String>,
    /// A file or a folder in it.
    pub path: Option<String>,
}

impl Address {
    /// The address that `text` spells; none if it may only be a path of this machine.
    ///
    /// # Errors
    /// If it has the form of an address but is not a model's.
    pub fn parse(text: &str) -> Result<Option<Self>, Error> {
        let refuse = |why: &str| Err(Error::Usage(format!("`{}`: {why}", brief(text))));
        if let Some(rest) = text.strip_prefix("hf://") {
            let rest = rest.strip_prefix("models/").unwrap_or(rest);
            if ["datasets/", "spaces/", "buckets/"].iter().any(|kind| rest.starts_with(kind)) {
                return refuse("is not a model; an address is hf://ORG/NAME[@REV][/PATH]");
            }
            return match Self::parts(rest) {
                Some(address) => Ok(Some(address)),
                None => refuse("is not an address of a model; write hf://ORG/NAME[@REV][/PATH]"),
            };
        }
        if let Some((_, rest)) = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) {
            let page = rest.strip_prefix(HOST).and_then(|rest| rest.strip_prefix('/'));
            return match (page, page.and_then(Self::of_page)) {
                (_, Some(address)) => Ok(Some(address)),
                (Some(_), None) => refuse("is not a page of a model, as in https://huggingface.co/ORG/NAME"),
                (None, _) => refuse("is on another host; download it, or name a model of huggingface.co"),
            };
        }
        Ok(Self::parts(text))
    }

    /// `ORG/NAME[@REV][/PATH]`.
    fn parts(text: &str) -> Option<Self> {
        let (owner, rest) = text.split_once('/')?;
        let end = rest.find(['/', '@']).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let (revision, path) = match rest.strip_prefix('@') {
            Some(rest) => {
                let end = revision_end(rest);
                (Some(rest[..end].replace("%2F", "/")), &rest[end..])
            }
            None => (None, rest),
        };
        Self::new(owner, name, revision, path)
    }

    /// `ORG/NAME[/(blob|tree|resolve)/REV[/PATH]]`, with the suffixes that a browser adds.
    fn of_page(text: &str) -> Option<Self> {
        let text = text.split(['?', '#']).next()?;
        let (owner, rest) = text.split_once('/')?;
        let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
        if rest.is_empty() {
            return Self::new(owner, name, None, "");
        }
        let (kind, rest) = rest.split_once('/')?;
        let end = revision_end(rest);
        let revision = rest[..end].replace("%2F", "/");
        let known = ["blob", "tree", "resolve", "raw"].contains(&kind);
        known.then(|| Self::new(owner, name, Some(revision), &rest[end..])).flatten()
    }

    fn new(owner: &str, name: &str, revision: Option<String>, path: &str) -> Option<Self> {
        let path = path.trim_matches('/');
        let sound = [owner, name].into_iter().all(is_name)
            && revision.as_deref().is_none_or(|revision| revision.split('/').all(is_name))
            && (path.is_empty() || path.split('/').all(is_part));
        let path = (!path.is_empty()).then(|| path.to_owned());
        sound.then(|| Self { repository: format!("{owner}/{name}"), revision, path })
    }

    /// Whether `text` may be the path of a file in a repository.
    #[cfg(feature = "hub")]
    pub(super) fn is_path(text: &str) -> bool {
        text.split('/').all(is_part)
    }

    /// An error for an operation that needs all files on this machine.
    pub fn not_here(&self) -> Error {
        let command = self.download();
        Error::Remote(format!("`{self}` has to be on this machine for that; fetch it with `{command}`"))
    }

    /// The command that fetches it.
    pub fn download(&self) -> String {
        let mut command = format!("hf download {}", self.repository);
        if let Some(path) = &self.path {
            let is_file = path.rsplit('/').next().is_some_and(|name| name.contains('.'));
            let path = if is_file { path.clone() } else { format!("{path}/*") };
            command.push_str(if is_file { " " } else { " --include " });
            command.push_str(&quoted(&path));
        }
        if let Some(revision) = &self.revision {
            command.push_str(" --revision ");
            command.push_str(revision);
        }
        command
    }
}

/// As it may be typed.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.revision.as_deref().map_or_else(String::new, |revision| format!("@{revision}"));
        let path = self.path.as_deref().map_or_else(String::new, |path| format!("/{path}"));
        f.write_str(&brief(&format!("{}{at}{path}", self.repository)))
    }
}

/// The end of a revision at the start of `text`: the first `/`, except for the hub's revisions that contain slashes.
fn revision_end(text: &str) -> usize {
    let mut slashes = text.match_indices('/').map(|(at, _)| at);
    let special = ["refs/pr/", "refs/convert/"].iter().any(|start| text.starts_with(start));
    let end = if special { slashes.nth(2) } else { slashes.next() };
    end.unwrap_or(text.len())
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+')
}

/// Whether `text` may be a name on the hub.
fn is_name(text: &str) -> bool {
    !text.starts_with('.')
        && !text.is_empty()
        && text.len() <= 200
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// Whether `text` may be a part of a path inside a repository.
fn is_part(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && !text.contains('\\') && !text.chars().any(char::is_control)
}

/// `text` as a shell takes it for one word.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, repository: &str, revision: Option<&str>, path: Option<&str>) {
        let address = Address::parse(text).expect("an address").expect("an address");
        let got = (address.repository.as_str(), address.revision.as_deref(), address.path.as_deref());
        assert_eq!(got, (repository, revision, path), "{text}");
    }

    #[test]
    fn every_spelling_of_an_address_is_understood() {
        let (name, file) = ("org/some-model_1.5", Some("unet/a.safetensors"));
        check("org/some-model_1.5", name, None, None);
        check("org/some-model_1.5@v1.0", name, Some("v1.0"), None);
        check("org/some-model_1.5@v1.0/unet/a.safetensors", name, Some("v1.0"), file);
        check("hf://org/some-model_1.5", name, None, None);
        check("hf://models/org/some-model_1.5/unet/a.safetensors", name, None, file);
        check("hf://org/some-model_1.5@refs/pr/12/unet/a.safetensors", name, Some("refs/pr/12"), file);
        check("hf://org/some-model_1.5@refs%2Fpr%2F12", name, Some("refs/pr/12"), None);
        check("https://huggingface.co/org/some-model_1.5/", name, None, None);
        check("https://huggingface.co/org/some-model_1.5/tree/main", name, Some("main"), None);
        check(
            "https://huggingface.co/org/some-model_1.5/resolve/main/unet/a.safetensors?download=true",
            name,
            Some("main"),
            file,
        );
        check(
            "https://huggingface.co/org/some-model_1.5/blob/abc/unet/a.safetensors#x",
            name,
            Some("abc"),
            file,
        );
    }

    fn check_path(text: &str) {
        assert_eq!(Address::parse(text).expect("no address at all"), None, "{text}");
    }

    #[test]
    fn what_may_be_a_path_is_no_address() {
        for text in ["model", "/org/name", "./org/name", "../org", "org/", "org//name", "org/na me"] {
            check_path(text);
        }
        for text in ["org/name@../../etc", "org/name@..", "org/name/../x", "org/name@", "org/na\u{7}me"] {
            check_path(text);
        }
    }

    fn check_refused(text: &str, expected: &str) {
        let said = Address::parse(text).expect_err(text).to_string();
        assert!(said.contains(expected), "{text}: {said}");
    }

    #[test]
    fn what_claims_to_be_an_address_and_is_none_is_refused() {
        check_refused("hf://datasets/org/name", "is not a model");
        check_refused("hf://org", "is not an address of a model");
        check_refused("hf://org/name@../../x", "is not an address of a model");
        check_refused("hf://org/name/../../x", "is not an address of a model");
        check_refused("https://huggingface.co/org/name/discussions/3", "is not a page of a model");
        check_refused("https://example.org/org/name", "is on another host");
        check_refused("s3://bucket/name", "is on another host");
    }

    #[test]
    fn the_command_that_fetches_it_names_what_is_wanted() {
        let command = |text| Address::parse(text).expect("an address").expect("an address").download();
        assert_eq!(command("a/b"), "hf download a/b");
        assert_eq!(command("a/b@v1/x y.safetensors"), "hf download a/b 'x y.safetensors' --revision v1");
        assert_eq!(command("a/b/unet"), "hf download a/b --include 'unet/*'");
    }
}
