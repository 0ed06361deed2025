//! Codes for programs, words for people: enums whose codes in reports never change, while their words may.

/// An enum whose variants each have a code and words.
macro_rules! coded {
    (
        $(#[$outer:meta])*
        pub enum $name:ident {
            $($(#[$inner:meta])* $variant:ident = $code:literal, $text:literal;)+
        }
    ) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$inner])* $variant,)+
        }

        impl $name {
            /// Every one, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The code in reports and settings; it does not change.
            pub fn code(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)+
                }
            }

            /// The first of that code.
            pub fn of_code(code: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.code() == code)
            }
        }

        /// Code and words, as in `{"code": "no_tail", "text": "no candidate tail can be fitted"}`; a number where nobody
        /// reads it.
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct;
                if !serializer.is_human_readable() {
                    return serializer.serialize_u8(*self as u8);
                }
                let mut object = serializer.serialize_struct(stringify!($name), 2)?;
                object.serialize_field("code", self.code())?;
                object.serialize_field("text", &self.to_string())?;
                object.end()
            }
        }

        /// By the code; the words only distinguish reasons that share a code.
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if !deserializer.is_human_readable() {
                    let at = u8::deserialize(deserializer)?;
                    let known = Self::ALL.get(usize::from(at)).copied();
                    return known.ok_or_else(|| serde::de::Error::custom(format!("no code has the number {at}")));
                }
                let $crate::report::coded::Coded { code, text } = serde::Deserialize::deserialize(deserializer)?;
                let same = |known: &Self| known.code() == code && Some(known.to_string()) == text;
                let known = Self::ALL.iter().copied().find(same).or_else(|| Self::of_code(&code));
                known.ok_or_else(|| serde::de::Error::custom(format!("no code is called `{code}`")))
            }
        }

        /// The words, which may change.
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self {
                    $(Self::$variant => $text,)+
                })
            }
        }
    };
}

pub(super) use coded;

/// A code and its words as they are read back.
#[derive(serde::Deserialize)]
pub(super) struct Coded {
    pub(super) code: String,
    pub(super) text: Option<String>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{Flag, MissingReason};

    #[test]
    fn a_code_stands_for_one_thing() {
        let reasons = MissingReason::ALL.iter().map(|reason| reason.code());
        // Both floors have one.
        assert_eq!(reasons.collect::<BTreeSet<_>>().len(), MissingReason::ALL.len() - 1);
        let flags = Flag::ALL.iter().map(|flag| flag.code());
        assert_eq!(flags.collect::<BTreeSet<_>>().len(), Flag::ALL.len());
    }

    #[test]
    fn what_has_a_code_is_found_by_it() {
        for reason in MissingReason::ALL {
            assert_eq!(MissingReason::of_code(reason.code()).map(MissingReason::code), Some(reason.code()));
        }
        for flag in Flag::ALL {
            assert_eq!(Flag::of_code(flag.code()), Some(*flag));
        }
        assert_eq!((MissingReason::of_code("zero"), Flag::of_code("low")), (None, None));
    }
}
