//! SIGINT, SIGTERM and SIGHUP end the run with 130, whatever it is doing, and leave no unfinished file behind.
//!
//! Whoever asks [`is_interrupted`] now and then ends by itself and tidies its screen. Code that can't ask, because it
//! waits for a disk or hashes gigabytes, is ended from here.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::progress;
use crate::writing;

/// How long the run has to end by itself.
const GRACE: Duration = Duration::from_millis(300);

/// How the process ends then.
const CODE: i32 = 130;

/// Set when the user asks to stop.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Takes signals from now on. The second ends the process at once.
pub(super) fn listen() {
    // Without a handler the system's own, which stops the process at once, remains.
    let _ = ctrlc::set_handler(|| {
        let is_second = INTERRUPTED.swap(true, Ordering::SeqCst);
        let late = || {
            thread::sleep(GRACE);
            end();
        };
        if is_second || thread::Builder::new().spawn(late).is_err() {
            end();
        }
    });
}

/// Whether the user asked to stop.
pub(super) fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Clears the progress bar, removes unfinished files and ends the process.
#[expect(clippy::exit, reason = "threads that wait for a disk or a pipe cannot be asked to return")]
pub(super) fn end() -> ! {
    writing::remove_all();
    say();
    std::process::exit(CODE)
}

/// Says once that the run was interrupted, in the place of the progress bar. A stderr that takes nothing is not waited for.
fn say() {
    static SAID: AtomicBool = AtomicBool::new(false);
    if SAID.swap(true, Ordering::SeqCst) {
        return;
    }
    let (done, wait) = mpsc::channel();
    let speaker = thread::Builder::new().spawn(move || {
        progress::clear();
        // A terminal may have written ^C into the line.
        let start = if super::is_watched() { "\r\x1b[2K" } else { "" };
        let _ = writeln!(io::stderr(), "{start}interrupted");
        let _ = done.send(());
    });
    if speaker.is_ok() {
        let _ = wait.recv_timeout(GRACE);
    }
}
