//! The priority of the process among others.

/// Leaves processors to whoever else wants them: this thread, and those that it starts from now on. Does nothing where
/// the system has no such thing.
pub(super) fn lower() {
    #[cfg(unix)]
    {
        /// Lower than the usual 0, higher than the 19 of an idle task.
        const NICE: i32 = 10;
        // A system that refuses leaves the priority as it is.
        let _ = rustix::process::nice(NICE);
    }
}
