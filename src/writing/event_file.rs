//! TensorBoard's event files: the numbers of a series as scalars, a tag a metric and matrix.
//!
//! A record is its length, a checksum of that, a protobuf message, and a checksum of the message (TensorFlow's TFRecord); the
//! message is an `Event` with a `Summary` of `simple_value`s (tensorboard/compat/proto/event.proto, summary.proto).

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::report::{Report, Value};

/// The name of the file: TensorBoard reads whatever has `tfevents` in its name.
pub const EVENT_FILE: &str = "events.out.tfevents.0.svdkit";

/// Writes the metrics `keys` of all rows of a series: one event a step. A number is rounded to f32, as TensorBoard keeps it;
/// one that is missing or does not fit is left out. The wall time is 0, so that the same run gives the same bytes.
///
/// # Errors
/// When `out` takes no more.
pub fn write_events(out: &mut dyn Write, report: &Report, keys: &[&str]) -> io::Result<()> {
    let mut version = event(0);
    bytes_field(&mut version, 3, b"brain.Event:2");
    write_record(out, &version)?;
    for (at, step) in report.steps.iter().enumerate().filter(|(_, step)| step.failed.is_none()) {
        let mut summary = vec![];
        for row in &report.rows {
            let Some(course) = &row.course else { continue };
            let Some(numbers) = course.values.get(at) else { continue };
            for (i, column) in
                course.columns.iter().enumerate().filter(|(_, column)| keys.contains(&column.key))
            {
                let value = numbers.get(i).and_then(Value::number).map(|x| x as f32);
                if let Some(value) = value.filter(|x| x.is_finite()) {
                    let mut scalar = vec![];
                    bytes_field(&mut scalar, 1, format!("{}/{}", column.key, row.name).as_bytes());
                    scalar.push(tag(2, FIXED_32));
                    scalar.extend(value.to_le_bytes());
                    bytes_field(&mut summary, 1, &scalar);
                }
            }
        }
        let mut event = event(step.step);
        bytes_field(&mut event, 5, &summary);
        write_record(out, &event)?;
    }
    Ok(())
}

/// Appends to the file at `path` what `bytes` have beyond it, and tells whether it could: whether it was a beginning of them.
/// TensorBoard follows a file that grows; its server does not see one that takes the place of another.
///
/// # Errors
/// When the file is there and cannot be read or written.
pub fn extend_events(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let mut file = match File::options().read(true).append(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    let Some(known) = bytes.get(..usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX)) else {
        return Ok(false);
    };
    let mut there = vec![0; known.len()];
    file.read_exact(&mut there)?;
    let is_beginning = there == known;
    if is_beginning {
        file.write_all(&bytes[known.len()..])?;
    }
    Ok(is_beginning)
}

const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const LENGTH: u8 = 2;
const FIXED_32: u8 = 5;

/// What a field of a message begins with.
fn tag(number: u8, kind: u8) -> u8 {
    (number << 3) | kind
}

/// An event at a step, without content: `double wall_time = 1; int64 step = 2`.
fn event(step: u64) -> Vec<u8> {
    let mut event = vec![tag(1, FIXED_64)];
    event.extend(0f64.to_le_bytes());
    event.push(tag(2, VARINT));
    varint(&mut event, step);
    event
}

/// A field of bytes, text or a message.
fn bytes_field(message: &mut Vec<u8>, number: u8, content: &[u8]) {
    message.push(tag(number, LENGTH));
    varint(message, content.len() as u64);
    message.extend(content);
}

/// Seven bits a byte, the lowest first.
fn varint(message: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        message.push((n as u8) | 0x80);
        n >>= 7;
    }
    message.push(n as u8);
}

fn write_record(out: &mut dyn Write, message: &[u8]) -> io::Result<()> {
    let length = (message.len() as u64).to_le_bytes();
    out.write_all(&length)?;
    out.write_all(&masked(crc32c(&length)).to_le_bytes())?;
    out.write_all(message)?;
    out.write_all(&masked(crc32c(message)).to_le_bytes())
}

/// A checksum of data that may hold checksums is rotated and moved.
fn masked(sum: u32) -> u32 {
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli 1993; RFC 3720, appendix B.4).
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum: u32, byte| (sum >> 8) ^ TABLE[((sum ^ u32::from(*byte)) & 0xff) as usize])
}

/// The sums of single bytes, by the polynomial 0x1EDC6F41 with its bits reversed.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let (mut sum, mut bit) = (i as u32, 0);
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0x82f6_3b78 } else { sum >> 1 };
            bit += 1;
        }
        table[i] = sum;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        assert_eq!(crc32c(b""), 0);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
    }

    #[test]
    fn a_file_that_is_a_beginning_grows_and_another_is_left_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(EVENT_FILE);
        assert!(!extend_events(&path, b"abc").expect("nothing there"));
        std::fs::write(&path, b"ab").expect("written");
        for (bytes, expected, after) in
            [(&b"abcd"[..], true, &b"abcd"[..]), (b"abx", false, b"abcd"), (b"axcde", false, b"abcd")]
        {
            assert_eq!(extend_events(&path, bytes).expect("a file"), expected);
            assert_eq!(std::fs::read(&path).expect("there"), after);
        }
    }

    #[test]
    fn an_event_without_values_is_what_tensorboard_writes() {
        // EventFileWriter of tensorboard 2.20 with a wall time of 0.
        let mut version = event(0);
        bytes_field(&mut version, 3, b"brain.Event:2");
        assert_eq!(version, b"\x09\0\0\0\0\0\0\0\0\x10\0\x1a\x0dbrain.Event:2");
        let mut long = vec![];
        varint(&mut long, 300);
        assert_eq!(long, [0xac, 0x02]);
    }
}
