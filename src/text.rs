//! Names that many hold: one copy of a text in memory, however many structures have it or a part of it.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that is cheap to clone, and whose parts are.
#[derive(Clone)]
pub struct Text {
    whole: Arc<str>,
    /// Bytes of `whole`, on boundaries of characters.
    start: u32,
    end: u32,
}

impl Text {
    /// `part` without a copy of it, where it is a piece of this very text in memory.
    #[must_use]
    pub fn part(&self, part: &str) -> Self {
        let start = (part.as_ptr() as usize).wrapping_sub(self.whole.as_ptr() as usize);
        let end = start.wrapping_add(part.len());
        // Empty texts may point anywhere.
        let inside = start < end && self.whole.get(start..end).is_some_and(|piece| std::ptr::eq(piece, part));
        if inside {
            Self { whole: Arc::clone(&self.whole), start: start as u32, end: end as u32 }
        } else {
            part.into()
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.whole[self.start as usize..self.end as usize]
    }
}

impl From<Arc<str>> for Text {
    fn from(whole: Arc<str>) -> Self {
        let end = u32::try_from(whole.len()).expect("no name has four gigabytes");
        Self { whole, start: 0, end }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Arc::<str>::from(text).into()
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Arc::<str>::from(text).into()
    }
}

impl From<&Text> for String {
    fn from(text: &Text) -> Self {
        text.as_str().to_owned()
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        Self::from(&text)
    }
}

impl Default for Text {
    fn default() -> Self {
        "".into()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl PartialEq<String> for Text {
    fn eq(&self, other: &String) -> bool {
        **self == **other
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_shares_the_memory_of_its_text() {
        let text = Text::from("model.σ.weight");
        let bare = text.part(text.strip_suffix(".weight").expect("its end"));
        assert_eq!((&*bare, Arc::ptr_eq(&bare.whole, &text.whole)), ("model.σ", true));
        let inner = bare.part(&bare[6..]);
        assert_eq!((&*inner, Arc::ptr_eq(&inner.whole, &text.whole)), ("σ", true));
    }

    #[test]
    fn another_text_is_copied() {
        let text = Text::from("model");
        let equal = "model".to_owned();
        let other = text.part(&equal);
        assert_eq!((&other, Arc::ptr_eq(&other.whole, &text.whole)), (&text, false));
        assert_eq!(text.part(&text[5..]), "");
    }
}
