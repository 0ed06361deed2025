//! Memory that is free again: a phase of a run that has ended must not count in the next one.

/// So many small things are made of others before the room of those is given back.
pub const BATCH: usize = 1 << 13;

/// Gives free memory back to the system. The C library of Linux keeps what many small parts have left.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn give_back() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> i32;
    }
    // SAFETY: it may be called at any time, with any number, and touches nothing but free memory.
    unsafe {
        malloc_trim(0);
    }
}

/// Lets the threads of a small pool take small parts from one place: what one of them has left is of no use to the others.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn share(threads: usize) {
    /// So many threads do not hinder each other.
    const TOGETHER: usize = 8;
    const M_ARENA_MAX: i32 = -8;
    unsafe extern "C" {
        fn mallopt(parameter: i32, value: i32) -> i32;
    }
    // SAFETY: it sets a number of the allocator, under its own lock.
    unsafe {
        mallopt(M_ARENA_MAX, i32::try_from(threads.div_ceil(TOGETHER)).unwrap_or(i32::MAX));
    }
}

/// Elsewhere threads do as the allocator likes.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn share(_: usize) {}

/// Elsewhere the allocator does that by itself.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() {}
