//! One process of a program that stays: started when there is work, fed, listened to, ended, and started again.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::mem;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::complaints::Complaints;
use super::processes;
use super::program::{Program, Said, Unstarted, outcome};
use super::protocol::{ANSWER_BYTES, Answer, push_cancel, push_line};
use crate::event::Event;
use crate::handler::{Context, HandlerError, Hold};
use crate::queue::MessageId;

/// How much stands before a program that does not read, give or take an event.
const OUTPUT_BYTES: usize = 256 * 1024;

/// How much of what a program writes is read at once, at least.
const INPUT_BYTES: usize = 16 * 1024;

/// How often the log takes of standard error what it takes of one run of other programs.
const LOG_PERIOD: Duration = Duration::from_secs(60);

/// The wait before a program that answered nothing is started again: it doubles from the first to the last.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// So many runs in a row without an answer, and the program cannot work at all.
const BROKEN_RUNS: u32 = 3;

/// How long a program has to end after the end of its input, and after SIGTERM.
const END_OF_INPUT: Duration = Duration::from_secs(2);
const AFTER_TERM: Duration = Duration::from_secs(1);

/// How long what was killed is waited for, and how often it is looked.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);

/// How long a program that has ended is listened to, in case something that it left running holds its output open.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// What a process is asked for: an event by the number of its call, and the end of the work on it.
pub(super) enum Work {
    Event(u64, Job),
    Cancel(u64, Hold),
}

/// An event that somebody waits for.
pub(super) struct Job {
    event: Event,
    ctx: Context,
    answer: oneshot::Sender<Result<(), HandlerError>>,
    /// Whether it is the oldest inside, so that its time counts.
    turn: watch::Sender<bool>,
    /// When the program is killed unless it has answered, and what keeps the message here until then.
    cancelled: Option<(Instant, Hold)>,
}

impl Job {
    pub(super) fn new(
        event: Event,
        ctx: Context,
        answer: oneshot::Sender<Result<(), HandlerError>>,
        turn: watch::Sender<bool>,
    ) -> Self {
        Job { event, ctx, answer, turn, cancelled: None }
    }

    fn end(self, outcome: Result<(), HandlerError>) {
        // Before the engine learns of the end: it waits for holds.
        drop(self.cancelled);
        // The one who waited may be gone.
        let _ = self.answer.send(outcome);
    }
}

/// One process, whether it runs just now or not.
pub(super) struct Resident {
    program: Arc<Program>,
    work: mpsc::UnboundedReceiver<Work>,
    /// Whether no more work will come.
    is_closed: bool,
    /// Not given to the program yet.
    waiting: VecDeque<(u64, Job)>,
    /// Was inside when the program ended, beside others: each goes inside by itself before anything else does.
    suspects: VecDeque<(u64, Job)>,
    /// Given to the program, oldest first, and the calls by their messages.
    inside: BTreeMap<u64, Job>,
    messages: BTreeMap<MessageId, u64>,
    /// Whether what is inside shall be there alone.
    is_alone: bool,
    /// The oldest inside, which was told so.
    oldest: Option<u64>,
    /// How many runs there were since the last answer.
    unanswered_runs: u32,
    has_answered: bool,
    complaints: Complaints,
}

/// A program that runs.
struct Live {
    child: Child,
    group: Option<Pid>,
    /// None after the end of its input.
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    stderr: Option<ChildStderr>,
    output: Vec<u8>,
    /// How much of it was written.
    written: usize,
    /// What was read and is not a whole line yet.
    input: Vec<u8>,
    said: Said,
    said_since: Instant,
}

/// Why a run ends.
enum End {
    /// By itself.
    Exited,
    /// It writes lines without an end.
    Overlong,
    /// It did not answer about an event that was cancelled.
    Silent,
    /// There is nothing more to do.
    Finished,
}

impl Resident {
    pub(super) fn new(program: Arc<Program>, work: mpsc::UnboundedReceiver<Work>) -> Self {
        Resident {
            program,
            work,
            is_closed: false,
            waiting: VecDeque::new(),
            suspects: VecDeque::new(),
            inside: BTreeMap::new(),
            messages: BTreeMap::new(),
            is_alone: false,
            oldest: None,
            unanswered_runs: 0,
            has_answered: false,
            complaints: Complaints::default(),
        }
    }

    /// Runs the program again and again, until no more work can come.
    pub(super) async fn run(mut self) {
        while self.is_wanted().await {
            match Live::start(&self.program) {
                Ok(mut live) => {
                    self.unanswered_runs += 1;
                    let end = self.work_with(&mut live).await;
                    if matches!(end, End::Finished) {
                        return live.finish().await;
                    }
                    self.after(end, live).await;
                }
                Err(error) => self.fail_all(&Arc::new(error)),
            }
        }
    }

    /// Waits until there is work, and as long as a program that answers nothing has to wait. False when none can come.
    async fn is_wanted(&mut self) -> bool {
        let delay = match self.unanswered_runs {
            0 => Duration::ZERO,
            runs => BACK_OFF.0.saturating_mul(1 << (runs - 1).min(10)).min(BACK_OFF.1),
        };
        let not_before = Instant::now() + delay;
        loop {
            let is_idle = self.waiting.is_empty() && self.suspects.is_empty();
            if is_idle && self.is_closed {
                return false;
            }
            if !is_idle && Instant::now() >= not_before {
                return true;
            }
            tokio::select! {
                work = self.work.recv(), if !self.is_closed => self.take_in(work, None),
                () = sleep_until(not_before), if !is_idle => {}
            }
        }
    }

    /// Takes in what is asked for. `output` is the way to the program, where it runs.
    fn take_in(&mut self, work: Option<Work>, output: Option<&mut Vec<u8>>) {
        match work {
            None => self.is_closed = true,
            Some(Work::Event(number, job)) => self.waiting.push_back((number, job)),
            Some(Work::Cancel(number, hold)) => {
                if let (Some(job), Some(output)) = (self.inside.get_mut(&number), output) {
                    let patience = 2 * job.ctx.cancellation_grace();
                    job.cancelled = Some((Instant::now() + patience, hold));
                    push_cancel(&job.ctx, output);
                    return;
                }
                // Nobody works on it.
                self.waiting.retain(|(other, _)| *other != number);
                self.suspects.retain(|(other, _)| *other != number);
            }
        }
    }

    /// Feeds the program and listens to it.
    async fn work_with(&mut self, live: &mut Live) -> End {
        let mut chunk = [0; 4096];
        loop {
            self.hand_over(&mut live.output);
            let killed_at = self.inside.values().filter_map(|job| Some(job.cancelled.as_ref()?.0)).min();
            if killed_at.is_some_and(|at| at <= Instant::now()) {
                return End::Silent;
            }
            if self.is_closed && self.inside.is_empty() && self.waiting.is_empty() && self.suspects.is_empty() {
                return End::Finished;
            }
            let Live { child, stdin, stdout, stderr, output, written, input, said, said_since, .. } = live;
            // In no order: a program that never stops talking must not keep the others from their turn.
            tokio::select! {
                read = stdout.read_buf(input) => {
                    if !matches!(read, Ok(1..)) {
                        return End::Exited;
                    }
                    if !self.read_answers(input) {
                        return End::Overlong;
                    }
                }
                work = self.work.recv(), if !self.is_closed => {
                    self.take_in(work, Some(output));
                    while let Ok(work) = self.work.try_recv() {
                        self.take_in(Some(work), Some(output));
                    }
                }
                wrote = write(stdin, &output[*written..]), if *written < output.len() => match wrote {
                    Ok(bytes) => {
                        *written += bytes;
                        if *written == output.len() {
                            output.clear();
                            *written = 0;
                        }
                    }
                    Err(_) => return End::Exited,
                },
                Some(read) = read_some(stderr, &mut chunk) => {
                    if said_since.elapsed() >= LOG_PERIOD {
                        said.renew();
                        *said_since = Instant::now();
                    }
                    chunk[..read].iter().for_each(|byte| said.push(*byte));
                    if read == 0 {
                        *stderr = None;
                    }
                }
                _ = child.wait() => return End::Exited,
                () = sleep_until(killed_at.unwrap_or_else(Instant::now)), if killed_at.is_some() => {}
            }
        }
    }

    /// Gives the program what it may have now.
    fn hand_over(&mut self, output: &mut Vec<u8>) {
        self.is_alone &= !self.inside.is_empty();
        while output.len() < OUTPUT_BYTES && !self.is_alone {
            let is_suspect = !self.suspects.is_empty();
            let from = match is_suspect {
                false => &mut self.waiting,
                true if self.inside.is_empty() => &mut self.suspects,
                true => break,
            };
            // Two routes can have the same message: the second waits until the first has its answer.
            let is_free = |(_, job): &mut (u64, Job)| !self.messages.contains_key(job.ctx.message_id());
            let Some((number, job)) = from.pop_front_if(is_free) else { break };
            push_line(&job.event, &job.ctx, output);
            self.is_alone = is_suspect;
            self.messages.insert(job.ctx.message_id().clone(), number);
            self.inside.insert(number, job);
        }
        self.tell_the_oldest();
    }

    fn tell_the_oldest(&mut self) {
        let oldest = self.inside.first_key_value();
        if let Some((number, job)) = oldest
            && self.oldest != Some(*number)
        {
            job.turn.send_replace(true);
        }
        self.oldest = oldest.map(|(number, _)| *number);
    }

    /// Reads the whole lines, and leaves the rest. False where a line is too long.
    fn read_answers(&mut self, input: &mut Vec<u8>) -> bool {
        let mut done = 0;
        while let Some(length) = memchr::memchr(b'\n', &input[done..]).filter(|length| *length <= ANSWER_BYTES) {
            self.read_answer(&input[done..done + length]);
            done += length + 1;
        }
        input.drain(..done);
        // Where little room is left, reads would become small.
        input.reserve(INPUT_BYTES);
        self.tell_the_oldest();
        input.len() <= ANSWER_BYTES
    }

    fn read_answer(&mut self, line: &[u8]) {
        let Some(answer) = Answer::read(line) else {
            if self.complaints.are_worth_telling("nonsense") {
                tracing::warn!(bytes = line.len(), "the program wrote a line that is not an answer; it is ignored");
            }
            return;
        };
        let id = MessageId::from(&*answer.message_id);
        let Some(job) = self.messages.remove(&id).and_then(|number| self.inside.remove(&number)) else {
            if self.complaints.are_worth_telling("nobody") {
                tracing::warn!("the program answered for a message that it does not have; the answer is ignored");
            }
            return;
        };
        self.unanswered_runs = 0;
        self.has_answered = true;
        job.end(answer.outcome());
    }

    /// Makes sure that all of a program is gone, and decides about what was inside it.
    async fn after(&mut self, end: End, mut live: Live) {
        let status = match end {
            End::Exited => live.exited(self).await,
            End::Overlong | End::Silent | End::Finished => None,
        };
        live.kill().await;
        self.oldest = None;
        self.messages.clear();
        let all = mem::take(&mut self.inside);
        let count = all.len();
        let why = match (&end, &status) {
            (End::Overlong, _) => "it wrote a line that is too long".to_owned(),
            (End::Silent, _) => "it did not answer about a cancelled event".to_owned(),
            (_, Some(status)) => format!("it ended by {status}"),
            (_, None) => "it closed its input or its output".to_owned(),
        };
        if self.complaints.are_worth_telling(&why) {
            tracing::warn!(events_inside = count, why, "a program that should stay is gone; it is started again");
        }
        let (over, left): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, job)| job.cancelled.is_some());
        over.into_iter().for_each(|(_, job)| job.end(Err(HandlerError::retry("the program was ended"))));
        left.iter().for_each(|(_, job)| _ = job.turn.send_replace(false));
        if matches!(end, End::Silent) {
            // It is known whose fault it was.
            left.into_iter().rev().for_each(|job| self.waiting.push_front(job));
        } else if count == 1 {
            left.into_iter().for_each(|(_, job)| job.end(Err(self.judge(status, &why))));
        } else {
            left.into_iter().rev().for_each(|job| self.suspects.push_front(job));
        }
    }

    /// What it means for an event that the program ended with it alone inside.
    fn judge(&self, status: Option<ExitStatus>, why: &str) -> HandlerError {
        if !self.has_answered || self.unanswered_runs >= BROKEN_RUNS {
            return HandlerError::target_down(format!("the program answers nothing: {why}"));
        }
        match status.map(outcome) {
            Some(Err(error)) => error,
            _ => HandlerError::retry(format!("the program gave no answer: {why}")),
        }
    }

    fn fail_all(&mut self, error: &Arc<io::Error>) {
        for (_, job) in self.suspects.drain(..).chain(self.waiting.drain(..)) {
            job.end(Err(HandlerError::target_down(Unstarted(io::Error::new(error.kind(), error.clone())))));
        }
    }
}

async fn write(stdin: &mut Option<ChildStdin>, bytes: &[u8]) -> io::Result<usize> {
    match stdin {
        Some(stdin) => stdin.write(bytes).await,
        None => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

/// Zero at its end, or where it cannot be read. None where it has ended before.
async fn read_some(stderr: &mut Option<ChildStderr>, chunk: &mut [u8]) -> Option<usize> {
    Some(stderr.as_mut()?.read(chunk).await.unwrap_or(0))
}

impl Live {
    fn start(program: &Program) -> io::Result<Live> {
        let mut child = processes::spawn(program.command().stdout(Stdio::piped()))?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Live {
            child,
            group,
            stdin,
            stdout,
            stderr,
            output: Vec::new(),
            written: 0,
            input: Vec::with_capacity(INPUT_BYTES),
            said: Said::new(None),
            said_since: Instant::now(),
        })
    }

    /// Reads what a program that is about to end still has to say, and its status where it ends.
    async fn exited(&mut self, resident: &mut Resident) -> Option<ExitStatus> {
        let end = Instant::now() + LAST_WORDS;
        while let Ok(Ok(1..)) = timeout_at(end, self.stdout.read_buf(&mut self.input)).await {
            if !resident.read_answers(&mut self.input) {
                break;
            }
        }
        self.listen(end).await;
        timeout(LAST_WORDS, self.child.wait()).await.ok()?.ok()
    }

    /// Reads standard error until then, or to its end.
    async fn listen(&mut self, end: Instant) {
        let mut chunk = [0; 4096];
        while let Ok(Some(read @ 1..)) = timeout_at(end, read_some(&mut self.stderr, &mut chunk)).await {
            chunk[..read].iter().for_each(|byte| self.said.push(*byte));
        }
    }

    /// Kills it with its group, and waits until all are gone.
    async fn kill(&mut self) {
        let Some(group) = self.group else { return };
        // Nobody may be left to hear it.
        let _ = kill_process_group(group, Signal::KILL);
        let gone = async {
            let _ = self.child.wait().await;
            while processes::group_lives(group) {
                sleep(LOOK).await;
            }
        };
        if timeout(GIVEN_UP_AFTER, gone).await.is_err() {
            let group = group.as_raw_nonzero().get();
            tracing::warn!(process_group = group, "a program that was killed does not die; its messages are returned");
        }
        processes::forget(group);
    }

    /// Ends its input, gives it time to end, and then ends it.
    async fn finish(mut self) {
        self.stdin = None;
        for (patience, signal) in [(END_OF_INPUT, Some(Signal::TERM)), (AFTER_TERM, None)] {
            let ended = async {
                // Its output is of no interest any more, but must not stop it.
                let mut rest = [0; 4096];
                let end = Instant::now() + patience;
                let reading = async { while let Ok(1..) = self.stdout.read(&mut rest).await {} };
                let mut chunk = [0; 4096];
                let listening = async {
                    while let Some(read @ 1..) = read_some(&mut self.stderr, &mut chunk).await {
                        chunk[..read].iter().for_each(|byte| self.said.push(*byte));
                    }
                };
                let talking = async { tokio::join!(reading, listening) };
                tokio::select! {
                    status = timeout_at(end, self.child.wait()) => status.is_ok(),
                    Err(_) = timeout_at(end, talking) => false,
                }
            };
            if ended.await {
                break;
            }
            if let (Some(signal), Some(group)) = (signal, self.group) {
                tracing::warn!("a program did not end at the end of its input; it is sent SIGTERM");
                let _ = kill_process_group(group, signal);
            }
        }
        self.kill().await;
    }
}
