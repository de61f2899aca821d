//! What a process holds, as Linux tells.

use std::fs;

/// What a process held at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// Resident memory, in KiB.
    pub(crate) memory: u64,
    /// Open descriptors.
    pub(crate) descriptors: usize,
}

impl Held {
    /// What a process holds now, by its id or `self`.
    pub(crate) fn by(process: &str) -> Held {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        let memory = memory.trim().strip_suffix(" kB").expect("in KiB").parse().unwrap();
        Held { memory, descriptors: fs::read_dir(format!("/proc/{process}/fd")).unwrap().count() }
    }
}

/// What a process held in the course of its work.
#[derive(Debug)]
pub(crate) struct Course {
    work: usize,
    /// The most that it held in each tenth of the work.
    tenths: [Option<Held>; 10],
}

impl Course {
    /// The course of so much work.
    pub(crate) fn of(work: usize) -> Course {
        Course { work, tenths: [None; 10] }
    }

    /// So much was done when it held this.
    pub(crate) fn note(&mut self, done: usize, held: Held) {
        let most = &mut self.tenths[(done * 10 / self.work).min(9)];
        let before = most.unwrap_or(held);
        *most = Some(Held {
            memory: before.memory.max(held.memory),
            descriptors: before.descriptors.max(held.descriptors),
        });
    }

    /// Fails when the last tenth holds more than the first, but for so much.
    pub(crate) fn assert_flat(&self, memory: u64, descriptors: usize) {
        let [Some(first), .., Some(last)] = self.tenths else { panic!("nothing was noted: {self:?}") };
        assert!(last.memory <= first.memory + memory, "memory grows: {:#?}", self.tenths);
        assert!(last.descriptors <= first.descriptors + descriptors, "descriptors leak: {:#?}", self.tenths);
    }
}

impl std::fmt::Display for Course {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (tenth, held) in self.tenths.iter().flatten().enumerate() {
            write!(f, "{}{} KiB, {} descriptors", if tenth == 0 { "" } else { "; " }, held.memory, held.descriptors)?;
        }
        Ok(())
    }
}
