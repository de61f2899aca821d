//! Processes that no handle leads to: groups that outlive their leader, and the orphans that PID 1 gets.
//!
//! What is there stands in `/proc`. Without it every group that can be signalled counts as alive, and nothing is reaped.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, test_kill_process_group, waitpid};
use tokio::process::{Child, Command};

/// How often orphans are reaped, as PID 1.
pub(super) const REAP: Duration = Duration::from_secs(1);

/// The programs whose end somebody waits for, as PID 1; empty otherwise.
static PROGRAMS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Whether this process is the first of its PID namespace, as in a container without an init.
pub(super) fn is_init() -> bool {
    std::process::id() == 1
}

/// Starts a program. As PID 1 its end is left to those who wait for it, until it is forgotten.
///
/// # Errors
///
/// When it cannot be started.
pub(super) fn spawn(command: &mut Command) -> io::Result<Child> {
    // Locked meanwhile, so that one that ends at once is not taken for an orphan.
    let programs = is_init().then(programs);
    let child = command.spawn()?;
    if let (Some(mut programs), Some(id)) = (programs, child.id()) {
        programs.insert(id.cast_signed());
    }
    Ok(child)
}

/// Nobody waits for this program any more.
pub(super) fn forget(program: Pid) {
    if is_init() {
        programs().remove(&program.as_raw_nonzero().get());
    }
}

/// Whether a process of the group is at work: one that has ended is not, though nobody has reaped it.
pub(super) fn group_lives(group: Pid) -> bool {
    if test_kill_process_group(group) == Err(Errno::SRCH) {
        return false;
    }
    let Ok(mut processes) = processes() else { return true };
    processes.any(|process| process.group == group.as_raw_nonzero().get() && !process.ended)
}

/// Reaps children that have ended and that nobody waits for: what programs left behind. For PID 1.
pub(super) fn reap_orphans() {
    let programs = programs();
    let Ok(processes) = processes() else { return };
    // From there and not from `getpgrp`: where our group was left outside with its leader, its number here is 0.
    let Some(own) = Process::at(Path::new("/proc/self")) else { return };
    for process in processes.filter(|process| process.parent == 1 && process.ended) {
        // In our own group are processes that a library has started and waits for, such as `credential_process` of AWS.
        let is_waited_for = process.group == own.group || programs.contains(&process.pid);
        if !is_waited_for {
            // It may be gone already.
            let _ = waitpid(Pid::from_raw(process.pid), WaitOptions::NOHANG);
        }
    }
}

fn programs() -> MutexGuard<'static, BTreeSet<i32>> {
    PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process, as `/proc/PID/stat` has it.
#[derive(Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
    /// Whether it waits only to be reaped.
    ended: bool,
}

impl Process {
    /// The process with this directory.
    fn at(directory: &Path) -> Option<Self> {
        Process::read(&String::from_utf8_lossy(&fs::read(directory.join("stat")).ok()?))
    }

    /// Reads `7 (a name) S 1 7 …`. The name may hold anything, parentheses and line ends too.
    fn read(stat: &str) -> Option<Self> {
        let (pid, rest) = stat.split_once(' ')?;
        let mut facts = rest.get(rest.rfind(')')? + 1..)?.split_whitespace();
        Some(Process {
            pid: pid.parse().ok()?,
            ended: matches!(facts.next()?, "Z" | "X"),
            parent: facts.next()?.parse().ok()?,
            group: facts.next()?.parse().ok()?,
        })
    }
}

/// All processes that can be seen; those that end meanwhile are left out.
fn processes() -> io::Result<impl Iterator<Item = Process>> {
    let is_process = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    Ok(fs::read_dir("/proc")?
        .filter_map(Result::ok)
        .filter(move |entry| entry.file_name().to_str().is_some_and(is_process))
        .filter_map(|entry| Process::at(&entry.path())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use rustix::process::getpgrp;

    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        for name in ["sh", "a b", ") Z 1 1 (", "\n)"] {
            let process = Process::read(&format!("77 ({name}) S 5 42 42 0 -1 4194560\n")).unwrap();
            assert_eq!(process, Process { pid: 77, parent: 5, group: 42, ended: false }, "{name}");
        }
        assert!(Process::read("7 (sh) Z 1 7 7").unwrap().ended);
        for wrong in ["", "7", "7 (sh", "x (sh) S 1 7", "7 (sh) S 1"] {
            assert_eq!(Process::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn this_process_is_among_all_and_its_group_lives() {
        let own = getpgrp();
        let this = processes().unwrap().find(|process| process.pid == std::process::id().cast_signed()).unwrap();
        assert_eq!((this.group, this.ended), (own.as_raw_nonzero().get(), false));
        assert!(group_lives(own));
    }

    #[test]
    fn a_group_of_which_only_the_unreaped_are_left_does_not_live() {
        use std::os::unix::process::CommandExt;
        let mut child = std::process::Command::new("true").process_group(0).spawn().unwrap();
        let group = Pid::from_raw(child.id().cast_signed()).unwrap();
        let begun = std::time::Instant::now();
        while group_lives(group) {
            assert!(begun.elapsed().as_secs() < 30, "it takes too long");
        }
        assert!(test_kill_process_group(group).is_ok(), "it is there to be reaped");
        child.wait().unwrap();
        assert_eq!(test_kill_process_group(group), Err(Errno::SRCH));
    }
}
