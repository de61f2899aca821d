//! What the process itself takes of its machine, under the names that every Prometheus client gives it.
//!
//! Read from the kernel each time that somebody asks. Nothing here stands in a file that the daemon, which is not dumpable,
//! may not read of itself. Other systems than Linux have no `/proc`; there only what the kernel tells by a call is known.

use std::fs;
use std::sync::OnceLock;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// What is known of this process at one moment. What cannot be read is None.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Process {
    /// CPU time in user and kernel mode, in seconds.
    pub(super) cpu_seconds: f64,
    /// The file descriptors that are open.
    pub(super) open_fds: Option<u64>,
    /// How many there may be; None without a limit.
    pub(super) max_fds: Option<u64>,
    /// Memory that is mapped, in bytes.
    pub(super) virtual_memory_bytes: Option<u64>,
    /// How much there may be of it; None without a limit.
    pub(super) virtual_memory_max_bytes: Option<u64>,
    /// Memory that is in use, in bytes.
    pub(super) resident_memory_bytes: Option<u64>,
    /// When it started, in seconds since 1970.
    pub(super) start_time_seconds: Option<f64>,
    pub(super) threads: Option<u64>,
}

impl Process {
    pub(super) fn now() -> Process {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Process {
            cpu_seconds: seconds(ClockId::ProcessCPUTime),
            open_fds: open_fds(),
            max_fds: getrlimit(Resource::Nofile).current,
            virtual_memory_bytes: field(&status, "VmSize:").map(kibibytes),
            virtual_memory_max_bytes: getrlimit(Resource::As).current,
            resident_memory_bytes: field(&status, "VmRSS:").map(kibibytes),
            start_time_seconds: start_time_seconds(),
            threads: field(&status, "Threads:"),
        }
    }
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// A number of `/proc/PID/status`.
fn field(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_ascii_whitespace().next()?.parse().ok()
}

fn kibibytes(n: u64) -> u64 {
    n.saturating_mul(1024)
}

fn open_fds() -> Option<u64> {
    // One of them is the directory that is being read.
    let listed = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    Some(listed.saturating_sub(1))
}

/// Worked out once: the clock of the machine may be set, and a start that moved would look like a restart.
fn start_time_seconds() -> Option<f64> {
    static STARTED: OnceLock<Option<f64>> = OnceLock::new();
    *STARTED.get_or_init(|| {
        let age = age_seconds()?;
        Some(seconds(ClockId::Realtime) - age)
    })
}

#[cfg(target_os = "linux")]
fn age_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    Some(seconds(ClockId::Boottime) - started_after_boot(&stat)?)
}

#[cfg(not(target_os = "linux"))]
fn age_seconds() -> Option<f64> {
    None
}

/// The field `starttime` of `/proc/PID/stat`, in seconds after the machine was started.
#[cfg(target_os = "linux")]
fn started_after_boot(stat: &str) -> Option<f64> {
    /// What the kernel counts in where programs see it, on every machine that this runs on.
    const TICKS_A_SECOND: f64 = 100.0;
    // The name, the second field, is in parentheses and may hold anything: the fields are counted from its end.
    let (_, behind_the_name) = stat.rsplit_once(')')?;
    let ticks: u64 = behind_the_name.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some(ticks as f64 / TICKS_A_SECOND)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let fields: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        let stat = format!("7 (a) R 1 (b)) S {}\n", fields.join(" "));
        assert_eq!(started_after_boot(&stat), Some(0.22), "field 22, in hundredths");
        let status = "Name:\tVmRSS: 7\nVmSize:\t  2048 kB\nVmRSS:\t1024 kB\nThreads:\t3\n";
        assert_eq!(
            (field(status, "VmRSS:"), field(status, "VmSize:"), field(status, "Threads:")),
            (Some(1024), Some(2048), Some(3))
        );
        assert_eq!((field(status, "VmSwap:"), started_after_boot("")), (None, None));
    }

    #[test]
    fn open_files_memory_and_threads_are_those_of_this_process() {
        let before = Process::now();
        let files: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").expect("a device")).collect();
        let memory = vec![1_u8; 64 << 20];
        let after = Process::now();
        let more = |after: Option<u64>, before: Option<u64>| after.zip(before).map(|(a, b)| a as i64 - b as i64);
        // Other tests run beside this one.
        assert!(more(after.open_fds, before.open_fds) >= Some(30), "{before:?} {after:?}");
        assert!(
            more(after.resident_memory_bytes, before.resident_memory_bytes) >= Some(48 << 20),
            "{before:?} {after:?}"
        );
        assert!(after.virtual_memory_bytes >= after.resident_memory_bytes && after.threads >= Some(1), "{after:?}");
        assert!(after.open_fds <= after.max_fds && after.cpu_seconds > 0.0, "{after:?}");
        drop((files, memory));
    }

    #[test]
    fn the_start_was_a_moment_ago_and_does_not_move() {
        let process = Process::now();
        let ago = seconds(ClockId::Realtime) - process.start_time_seconds.expect("a start");
        assert!((0.0..600.0).contains(&ago), "{ago}");
        assert_eq!(Process::now().start_time_seconds, process.start_time_seconds);
        assert!(process.cpu_seconds < 600.0, "{}", process.cpu_seconds);
    }
}
