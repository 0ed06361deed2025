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

            /// The one of that code.
            pub fn of_code(code: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.code() == code)
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{Flag, MissingReason};

    #[test]
    fn a_code_stands_for_one_thing() {
        let reasons = MissingReason::ALL.iter().map(|reason| reason.code());
        assert_eq!(reasons.collect::<BTreeSet<_>>().len(), MissingReason::ALL.len());
        let flags = Flag::ALL.iter().map(|flag| flag.code());
        assert_eq!(flags.collect::<BTreeSet<_>>().len(), Flag::ALL.len());
    }

    #[test]
    fn what_has_a_code_is_found_by_it() {
        for reason in MissingReason::ALL {
            assert_eq!(MissingReason::of_code(reason.code()), Some(*reason));
        }
        for flag in Flag::ALL {
            assert_eq!(Flag::of_code(flag.code()), Some(*flag));
        }
        assert_eq!((MissingReason::of_code("zero"), Flag::of_code("low")), (None, None));
    }
}
