//! The processes that are measured: started on cores of their own, and asked from outside what they have used.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::ClockId;
use nix::unistd::Pid;

use crate::Outcome;

/// A process that is measured; killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pid: Pid,
}

impl Process {
    /// Starts a process that has these cores and no others.
    pub(crate) fn start(command: &mut Command, cores: &[usize]) -> Outcome<Process> {
        // A child has the cores of the thread that made it.
        let own = sched_getaffinity(Pid::from_raw(0))?;
        pin_this_thread(cores)?;
        let child = command.stdin(Stdio::null()).spawn();
        sched_setaffinity(Pid::from_raw(0), &own)?;
        let child = child.map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        Ok(Process { child, pid })
    }

    /// What it has used of its cores: the clock that getrusage reads, of all its threads, to the nanosecond.
    pub(crate) fn cpu(&self) -> Outcome<Duration> {
        Ok(ClockId::pid_cpu_clock_id(self.pid)?.now()?.into())
    }

    /// What its memory took when it took most, in bytes.
    pub(crate) fn peak_memory(&self) -> Outcome<u64> {
        self.status("VmHWM:")
    }

    /// What its memory takes, in bytes.
    pub(crate) fn memory(&self) -> Outcome<u64> {
        self.status("VmRSS:")
    }

    fn status(&self, field: &str) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)).ok_or("no such line in status")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> Outcome<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    pub(crate) fn stdout(&mut self) -> Outcome<std::process::ChildStdout> {
        Ok(self.child.stdout.take().ok_or("its output was not asked for")?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which is the same.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps the calling thread, and what it starts, on these cores.
pub(crate) fn pin_this_thread(cores: &[usize]) -> Outcome {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core)?;
    }
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Waits until something is so, at the longest as long as is given.
pub(crate) fn wait_until(what: &str, limit: Duration, mut so: impl FnMut() -> Outcome<bool>) -> Outcome {
    let end = Instant::now() + limit;
    while !so()? {
        if Instant::now() > end {
            return Err(format!("waited {limit:?} for {what}").into());
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
