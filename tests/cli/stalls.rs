//! What stalls beside the queue: a standard error that nobody reads, a disk that hangs or is full.

use std::io::{PipeReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use stream_sqsd::queue::memory::MemorySettings;
use tempfile::TempDir;

use crate::daemon::{Ended, daemon, file, run, start};
use crate::queue::Sqs;
use crate::support::until::block_until;
use crate::watch::get;

/// What a drain may take beyond its wait of a second: a second each for what hangs, and what a busy machine adds.
pub(crate) const DRAINED: Duration = Duration::from_secs(10);

fn sqs_with(messages: usize) -> Sqs {
    let sqs = Sqs::start(MemorySettings::default());
    for number in 0..messages {
        sqs.queue().send(format!(r#"{{"type":"message.new","n":{number}}}"#));
    }
    sqs
}

/// A run whose standard error is a full pipe. It is killed when this is dropped.
pub(crate) struct Unread {
    child: Child,
    pub(crate) stderr: PipeReader,
}

impl Unread {
    pub(crate) fn start(mut command: Command) -> Unread {
        let (stderr, mut full) = std::io::pipe().unwrap();
        // As much as a pipe holds.
        full.write_all(&[b'\n'; 65_536]).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(full).spawn().unwrap();
        Unread { child, stderr }
    }

    /// Terminates it, and says how long it took to end.
    pub(crate) fn terminate(&mut self) -> (Option<i32>, Duration) {
        let asked = Instant::now();
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let mut code = None;
        block_until("it ends", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        (code.unwrap().code(), asked.elapsed())
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_log_that_nobody_reads_holds_up_no_message_and_no_shutdown() {
    let sqs = sqs_with(200);
    let mut command = daemon(&["run", "--queue-url", &sqs.url(), "--wait", "1s"]);
    command.env("RUST_LOG", "trace,hyper_util=trace,aws_smithy_runtime=trace");
    let mut unread = Unread::start(command);
    block_until("all are deleted", || sqs.queue().counts().deleted == 200);
    let (code, took) = unread.terminate();
    assert_eq!(code, Some(0));
    assert!(took < DRAINED, "{took:?}");
}

#[test]
fn what_a_stalled_log_dropped_is_counted_in_the_log_later() {
    let directory = tempfile::tempdir().unwrap();
    let sqs = sqs_with(300);
    // More than can wait: each event is sixty lines of the log.
    let toml = "[[route]]\nevents = [\"*\"]\nhandler = \"exec\"\n\
                command = [\"sh\", \"-c\", \"for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo a; echo b; echo c; echo d; echo e; done >&2\"]\n";
    let config = file(directory.path(), "c.toml", toml);
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let arguments = ["run", "--config", &config, "--queue-url", &sqs.url(), "--wait", "1s", "--admin", &admin];
    let mut command = daemon(&arguments);
    command.env("RUST_LOG", "trace,hyper=trace");
    let mut unread = Unread::start(command);
    block_until("all are deleted", || sqs.queue().counts().deleted == 300);
    let dropped = || {
        let metrics = get(&admin, "/metrics");
        let value = metrics.lines().find_map(|line| line.strip_prefix("stream_sqsd_log_lines_dropped_total "));
        value.unwrap().parse::<u64>().unwrap()
    };
    block_until("lines were dropped", || dropped() > 0);
    let status = get(&admin, "/status");
    let status: serde_json::Value = serde_json::from_str(status.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert!(status["dropped"]["log_lines"].as_u64().unwrap() > 0 && status["dropped"]["dead_letter_records"].is_null());

    let mut stderr = unread.stderr.try_clone().unwrap();
    let reader = thread::spawn(move || {
        let mut said = Vec::new();
        stderr.read_to_end(&mut said).unwrap();
        String::from_utf8(said).unwrap()
    });
    let (code, _) = unread.terminate();
    assert_eq!(code, Some(0));
    let said = reader.join().unwrap();
    let note = said.lines().find(|line| line.contains("lines of the log were dropped")).expect("it is said");
    let note: serde_json::Value = serde_json::from_str(note).unwrap();
    assert!(note["dropped"].as_u64().unwrap() > 0, "{note}");
    assert!(said.contains("shutdown summary"), "{}", said.len());
}

/// Under a limit for the size of its files: a write beyond it is answered by a signal and by EFBIG.
pub(crate) fn limited(blocks: u32, command: &Command) -> Command {
    let mut limited = Command::new("sh");
    limited.arg("-c").arg(format!("ulimit -f {blocks}; exec \"$0\" \"$@\""));
    limited.arg(command.get_program()).args(command.get_args()).env_clear();
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited
}

#[test]
fn a_log_file_that_takes_no_more_does_not_end_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let sqs = sqs_with(100);
    let mut command = daemon(&["run", "--queue-url", &sqs.url(), "--wait", "1s", "--until-empty"]);
    command.env("RUST_LOG", "trace,hyper_util=trace");
    let log = directory.path().join("log");
    let mut limited = limited(8, &command);
    let child = limited.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap()).spawn();
    let code = child.unwrap().wait().unwrap();
    assert_eq!((code.code(), sqs.queue().counts().deleted), (Some(0), 100), "{code}");
    assert_eq!(std::fs::metadata(&log).unwrap().len(), 8 * 512);
}

#[test]
fn a_file_that_may_not_grow_is_a_full_disk_and_the_run_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let events = directory.path().join("events.jsonl");
    let sqs = sqs_with(100);
    let toml = format!("[[route]]\nevents = [\"*\"]\nhandler = \"file\"\npath = {events:?}\n");
    let config = file(directory.path(), "c.toml", toml);
    let arguments = ["run", "--config", &config, "--queue-url", &sqs.url(), "--wait", "1s", "--log-format", "human"];
    let mut daemon = start(limited(8, &daemon(&arguments)));
    daemon.until("the target is down");
    daemon.signal(Signal::TERM);
    let ended = daemon.wait().with(0);
    assert!(ended.stderr.contains("shutdown summary (drained)"), "{}", ended.stderr);
    let written = std::fs::read_to_string(&events).unwrap();
    assert!(written.is_empty() || written.ends_with('\n'), "{written}");
}

/// A disk that hangs for one file: each write and each sync of it waits for as long as the disk is there.
pub(crate) struct HangingDisk {
    directory: TempDir,
    library: PathBuf,
}

impl HangingDisk {
    pub(crate) fn new() -> HangingDisk {
        const SOURCE: &str = r#"
            #define _GNU_SOURCE
            #include <fcntl.h>
            #include <stdio.h>
            #include <stdlib.h>
            #include <string.h>
            #include <sys/syscall.h>
            #include <unistd.h>
            static void wait_for(int fd) {
                const char *while_there = getenv("HANGS_WHILE"), *hangs = getenv("HANGS");
                char link[64], name[4096];
                snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
                ssize_t length = readlink(link, name, sizeof name - 1);
                if (length < 0 || !hangs || !while_there) return;
                name[length] = 0;
                if (strcmp(name, hangs)) return;
                snprintf(name, sizeof name, "%s-now", while_there);
                close(open(name, O_CREAT | O_WRONLY, 0600));
                while (!access(while_there, F_OK)) usleep(5000);
            }
            ssize_t write(int fd, const void *from, size_t size) { wait_for(fd); return syscall(SYS_write, fd, from, size); }
            int fdatasync(int fd) { wait_for(fd); return syscall(SYS_fdatasync, fd); }
        "#;
        let directory = tempfile::tempdir().unwrap();
        let source = file(directory.path(), "hang.c", SOURCE);
        let library = directory.path().join("hang.so");
        let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().unwrap();
        assert!(built.success());
        file(directory.path(), "hangs", "");
        HangingDisk { directory, library }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join("on-the-disk")
    }

    /// Its daemon's file of this path hangs.
    pub(crate) fn under(&self, mut command: Command) -> Command {
        command.env("LD_PRELOAD", &self.library).env("HANGS", self.path());
        command.env("HANGS_WHILE", self.marker());
        command
    }

    fn marker(&self) -> PathBuf {
        self.directory.path().join("hangs")
    }

    /// Something waits for it.
    pub(crate) fn until_it_hangs(&self) {
        let now = self.directory.path().join("hangs-now");
        block_until("something waits for the disk", || now.exists());
    }

    pub(crate) fn recovers(&self) {
        std::fs::remove_file(self.marker()).unwrap();
    }
}

fn summary_of(ended: &Ended) -> &str {
    ended.stderr.lines().find(|line| line.contains("received ")).unwrap_or_else(|| panic!("{}", ended.stderr))
}

#[test]
fn a_journal_on_a_disk_that_hangs_holds_up_no_message() {
    let disk = HangingDisk::new();
    let sqs = sqs_with(200);
    let journal = disk.path();
    let arguments = ["run", "--queue-url", &sqs.url(), "--wait", "1s", "--log-format", "human", "--journal"];
    let mut daemon = start(disk.under(daemon(&[&arguments[..], &[journal.to_str().unwrap()]].concat())));
    block_until("all are deleted", || sqs.queue().counts().deleted == 200);
    daemon.until("known in memory only");
    let asked = Instant::now();
    daemon.signal(Signal::TERM);
    let ended = daemon.wait().with(0);
    assert!(asked.elapsed() < DRAINED, "{:?}", asked.elapsed());
    assert!(summary_of(&ended).contains("deleted 200 +"), "{}", ended.stderr);
}

#[test]
fn a_hanging_journal_is_complete_when_the_disk_is_back() {
    let disk = HangingDisk::new();
    let sqs = sqs_with(20);
    let journal = disk.path();
    let arguments = ["run", "--queue-url", &sqs.url(), "--wait", "1s", "--log-format", "human", "--journal"];
    let mut daemon = start(disk.under(daemon(&[&arguments[..], &[journal.to_str().unwrap()]].concat())));
    daemon.until("known in memory only");
    block_until("all are deleted", || sqs.queue().counts().deleted == 20);
    disk.recovers();
    let records = || {
        let text = std::fs::read_to_string(&journal).unwrap();
        text.lines()
            .filter(|line| line.split_once(' ').is_some_and(|(seconds, _)| seconds.parse::<u64>().is_ok()))
            .count()
    };
    block_until("all are in the journal", || records() == 20);
    daemon.signal(Signal::TERM);
    daemon.wait().with(0);
}

#[test]
fn a_file_on_a_disk_that_hangs_holds_up_no_shutdown() {
    let disk = HangingDisk::new();
    let sqs = sqs_with(5);
    let toml = format!("[[route]]\nevents = [\"*\"]\nhandler = \"file\"\npath = {:?}\n", disk.path());
    let config = file(disk.directory.path(), "c.toml", toml);
    let mut arguments = vec!["run", "--config", &config, "--wait", "1s", "--grace", "4s", "--log-format", "human"];
    let url = sqs.url();
    arguments.extend(["--queue-url", &url]);
    let daemon = start(disk.under(daemon(&arguments)));
    disk.until_it_hangs();
    let asked = Instant::now();
    daemon.signal(Signal::TERM);
    let ended = daemon.wait().with(0);
    assert!(asked.elapsed() < DRAINED, "{:?}", asked.elapsed());
    assert!(summary_of(&ended).contains("received 5 = deleted 0"), "{}", ended.stderr);
    assert_eq!(sqs.queue().counts().deleted, 0);
}

#[test]
fn a_damaged_journal_is_a_warning_and_the_run_starts() {
    let directory = tempfile::tempdir().unwrap();
    let sqs = sqs_with(3);
    let mut damaged =
        b"18446744073709551615 far-too-late\n\0\0\0\0\n\xff\xfe 7\n#zzz\n99999999999999999999999 x\n".to_vec();
    damaged.extend(vec![b'x'; 300_000]);
    let journal = file(directory.path(), "journal", damaged);
    let arguments = ["run", "--queue-url", &sqs.url(), "--wait", "1s", "--until-empty", "--log-format", "human"];
    let ended = run(daemon(&[&arguments[..], &["--journal", &journal]].concat())).with(0);
    ended.saying(&["WARN", "the journal is damaged", "deleted 3 +"]);
}
