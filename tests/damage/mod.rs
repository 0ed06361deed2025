//! Seeded damage to the bytes of a file, for the tests that hand it to the library and to the program.

use std::env;

/// xorshift64*: small, seeded, the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`; 0 if there is none.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() >> 16) as usize % end }
    }

    pub(crate) fn pick<'t, T: ?Sized>(&mut self, of: &[&'t T]) -> &'t T {
        of[self.below(of.len())]
    }
}

/// Where damage tells most: the first kilobytes hold a header or a pickle, the last ones a zip directory.
fn position(bytes: &[u8], random: &mut Random) -> usize {
    match random.below(4) {
        0 => random.below(bytes.len()),
        1 => bytes.len().saturating_sub(1 + random.below(1200)),
        _ => random.below(bytes.len().min(2000)),
    }
}

const NUMBERS: &[&str] = &[
    "0",
    "-1",
    "1",
    "2",
    "1e3",
    "0.5",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e400",
    "null",
    "true",
    "\"1\"",
    "[]",
    "{}",
    "[1,2]",
];

const TOKENS: &[&str] = &[
    "\"F32\"",
    "\"F64\"",
    "\"BF16\"",
    "\"F4\"",
    "\"F8_E4M3\"",
    "\"I64\"",
    "\"\"",
    "\"__metadata__\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"shape\"",
    "\"dtype\"",
    "\"data_offsets\"",
    "\"weight_map\"",
    "\"..\"",
    "\"/\"",
    "\"model-00001-of-00003.safetensors\"",
    ",",
    ":",
    "[",
    "]",
    "{",
    "}",
    " ",
];

const BYTES: &[u8] = b"\0\x01\x7f\x80\xff0\"}.(qhRb\x85";

const WORDS: &[u64] = &[
    0,
    1,
    7,
    8,
    0x7f,
    0x80,
    0xff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0xffff_ffff,
    100_000_000,
    100_000_001,
    1 << 40,
    u64::MAX >> 1,
    u64::MAX,
];

/// Damages `bytes` once.
pub(crate) fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        return;
    }
    let at = position(bytes, random);
    let end = bytes.len();
    match random.below(12) {
        0 | 1 => bytes[at] ^= 1 << random.below(8),
        2 => bytes[at] = BYTES[random.below(BYTES.len())],
        3 => bytes[at] = random.next() as u8,
        4 => bytes.truncate(at),
        5 => {
            let word = WORDS[random.below(WORDS.len())].to_le_bytes();
            let width = [2, 4, 8][random.below(3)].min(end - at);
            bytes[at..at + width].copy_from_slice(&word[..width]);
        }
        // The header's length, or whatever the first eight bytes are.
        6 => {
            let word = match random.below(2) {
                0 => WORDS[random.below(WORDS.len())],
                _ => (end as u64).wrapping_add(random.next() % 32).wrapping_sub(16),
            };
            let width = end.min(8);
            bytes[..width].copy_from_slice(&word.to_le_bytes()[..width]);
        }
        // In an archive every position counts from the start, so pieces are copied over others and none is moved.
        7 | 8 if bytes.starts_with(b"PK") => {
            let length = random.below(end - at).min(64);
            let from = position(bytes, random).min(end - length);
            bytes.copy_within(from..from + length, at);
        }
        _ if bytes.starts_with(b"PK") => {
            const OPERATIONS: &[u8] = b".(NKMJGXcqrhjt)]}QRbase\x80\x81\x85\x86\x87\x88\x89\x8a";
            bytes[at] = OPERATIONS[random.below(OPERATIONS.len())];
        }
        7 => {
            let length = random.below(end - at).min(300);
            let from = position(bytes, random).min(end - length);
            let piece = bytes[from..from + length].to_vec();
            bytes.splice(at..at, piece);
        }
        8 => {
            let length = random.below(end - at).min(64);
            bytes.drain(at..at + length);
        }
        _ => edit_text(bytes, at, random),
    }
}

/// Replaces the number or the text in quotes that follows `at`, and keeps a header's length true, so that the damage
/// reaches what lies behind the parser.
fn edit_text(bytes: &mut Vec<u8>, at: usize, random: &mut Random) {
    let wanted = random.below(2) == 0;
    let starts = |b: &u8| if wanted { b.is_ascii_digit() } else { *b == b'"' };
    let Some(start) = bytes[at..].iter().position(starts).map(|n| at + n) else { return };
    let rest = &bytes[start + 1..];
    let length = if wanted {
        rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len())
    } else {
        rest.iter().position(|b| *b == b'"').map_or(rest.len(), |n| n + 1)
    };
    let text = random.pick(if wanted { NUMBERS } else { TOKENS });
    bytes.splice(start..=start + length, text.bytes());
    if let Some(head) = bytes.first_chunk::<8>()
        && let Some(header) = u64::from_le_bytes(*head).checked_add(text.len() as u64)
        && let Some(header) = header.checked_sub(1 + length as u64)
        && header < bytes.len() as u64
        && start >= 8
    {
        bytes[..8].copy_from_slice(&header.to_le_bytes());
    }
}

/// A number from the environment.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}
