//! What Linux leaves this process: the memory of its control groups, nested or not, of version 1 and 2, and its address
//! space.

use std::fs;
use std::path::{Path, PathBuf};

use crate::engine::Limits;
use crate::error::Error;
use crate::notation;

/// Where control groups are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// The bytes that the tightest group of this process still grants; none where no group sets a limit.
pub(super) fn free_memory() -> Option<u64> {
    free_in(Path::new(MOUNT), &fs::read_to_string("/proc/self/cgroup").ok()?)
}

/// The same for the groups that `membership` lists, each with all groups around it.
fn free_in(mount: &Path, membership: &str) -> Option<u64> {
    let groups = membership.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let path = path.trim_start_matches('/');
        let is_first = controllers.split(',').any(|name| name == "memory");
        match controllers {
            // Version 2 alone, or beside version 1.
            "" => Some(vec![(mount.to_owned(), path, &SECOND), (mount.join("unified"), path, &SECOND)]),
            _ if is_first => Some(vec![(mount.join("memory"), path, &FIRST)]),
            _ => None,
        }
    });
    let all = groups.flatten().flat_map(|(root, path, files)| {
        let own = root.join(path);
        let around: Vec<PathBuf> =
            own.ancestors().take_while(|group| group.starts_with(&root)).map(Path::to_owned).collect();
        around.into_iter().filter_map(|group| free(&group, files))
    });
    all.min()
}

/// The files of a group: its limit, what it has taken, and what of `memory.stat` it could give back.
struct Files {
    limit: &'static str,
    taken: &'static str,
    cached: &'static str,
}

const FIRST: Files =
    Files { limit: "memory.limit_in_bytes", taken: "memory.usage_in_bytes", cached: "total_inactive_file" };
const SECOND: Files = Files { limit: "memory.max", taken: "memory.current", cached: "inactive_file" };

/// What one group grants; none without a limit.
fn free(group: &Path, files: &Files) -> Option<u64> {
    let text = |name: &str| fs::read_to_string(group.join(name)).ok();
    let number = |name: &str| text(name)?.trim().parse::<u64>().ok();
    let (limit, taken) = (number(files.limit)?, number(files.taken)?);
    let stat = text("memory.stat").unwrap_or_default();
    let cached = stat.lines().find_map(|line| line.strip_prefix(files.cached)?.trim().parse::<u64>().ok());
    Some(limit.saturating_sub(taken.saturating_sub(cached.unwrap_or(0))))
}

/// `limits` with as many threads as the address space of this process has room for, where it is limited (`ulimit -v`).
///
/// # Errors
/// When there is no room for one.
pub(super) fn fitted(limits: Limits) -> Result<Limits, Error> {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let Some(space) = address_space(&text("/proc/self/limits")) else { return Ok(limits) };
    let thread = thread_space(&text("/sys/devices/system/cpu/cpu0/cache/index3/size"));
    // Reserved and given back, never used.
    let fits = |threads: &usize| Vec::<u8>::new().try_reserve_exact(threads.saturating_mul(thread)).is_ok();
    match (1..=limits.threads).rev().find(fits) {
        Some(threads) => Ok(Limits { threads, ..limits }),
        None => Err(Error::Resources(format!(
            "the address space is limited to {} (`ulimit -v`), which leaves less than the {} that a decomposition \
             reserves; raise the limit, or leave out decompositions with `--no-svd`",
            notation::bytes(space),
            notation::bytes(thread as u64)
        ))),
    }
}

/// The sizes of the first and the second cache of data, where the system says.
pub(super) fn caches() -> Option<String> {
    let size = |index: usize| {
        let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size");
        Some(fs::read_to_string(path).ok()?.trim().to_owned())
    };
    Some(format!("{} and {}", size(0)?, size(2)?))
}

/// The limit of the address space, in bytes, from what `/proc/self/limits` says.
fn address_space(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What a thread reserves: products of matrices take twice the last cache, whose size is `cache`.
fn thread_space(cache: &str) -> usize {
    /// Its stack, and the heap that the C library gives each thread.
    const OWN: usize = 80 << 20;
    let cache: Option<usize> = cache.trim().strip_suffix('K').and_then(|size| size.parse().ok());
    OWN + 2 * (cache.unwrap_or(32 << 10) << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups below a mount, each with a limit, what was taken, and what of that is cache.
    fn check(files: &Files, groups: &[(&str, &str, u64, u64)], membership: &str, expected: Option<u64>) {
        let mount = tempfile::tempdir().expect("a folder");
        for (path, limit, taken, cached) in groups {
            let group = mount.path().join(path);
            fs::create_dir_all(&group).expect("created");
            let write = |name: &str, text: String| fs::write(group.join(name), text).expect("written");
            write(files.limit, format!("{limit}\n"));
            write(files.taken, format!("{taken}\n"));
            write("memory.stat", format!("anon 5\n{} {cached}\n", files.cached));
        }
        assert_eq!(free_in(mount.path(), membership), expected, "{membership}");
    }

    #[test]
    fn the_tightest_group_around_a_process_counts() {
        let nested = [("a", "1000", 300, 100), ("a/b", "500", 200, 0), ("a/b/c", "max", 100, 0)];
        check(&SECOND, &nested, "0::/a/b/c\n", Some(300));
        check(&SECOND, &nested, "0::/a\n", Some(800));
        check(&SECOND, &[("unified/a", "70", 90, 0)], "1:cpu:/\n0::/a\n", Some(0));
        let first = [("memory/a", "9223372036854771712", 5, 0), ("memory/a/b", "400", 150, 50)];
        check(&FIRST, &first, "7:cpu:/x\n4:hugetlb,memory:/a/b\n", Some(300));
        check(&FIRST, &[], "4:memory:/a\n0::/\nnonsense\n", None);
    }

    #[test]
    fn a_limited_address_space_is_known_and_what_a_thread_takes_of_it() {
        let limits = |space: &str| {
            format!("Limit  Soft  Hard  Units\nMax address space         {space}  unlimited  bytes\n")
        };
        assert_eq!(address_space(&limits("unlimited")), None);
        assert_eq!(address_space(&limits("1073741824")), Some(1 << 30));
        assert_eq!(thread_space("32768K\n"), 144 << 20);
        assert_eq!(thread_space("266240K\n"), 600 << 20);
        assert_eq!(thread_space(""), 144 << 20);
    }
}
