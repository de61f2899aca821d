//! Connections of anyone who comes: how many, and for how long they may say nothing.
//!
//! Each has a place, which says since when it is idle, sends a head, or has a request that is being answered. A sweep looks
//! at all of them once a second, so that no connection needs a timer; and where there is no room for a new one, those make it
//! that have asked nothing for longest.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::telemetry::RelayTelemetry;

/// How long a connection may say nothing between two requests: longer than the 60 s after which common load balancers close
/// one that is idle, so that it is they who do.
pub(super) const IDLE_LIMIT: Duration = Duration::from_secs(75);

/// How long the head of a request may take, and a TLS handshake.
pub(super) const HEAD_LIMIT: Duration = Duration::from_secs(5);

/// How long a request may take, its answer included: the last resort, since what it waits for has shorter limits.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How many of a hundred places are emptied at once where there is no room, so that looking for them costs little.
const EVICTED_AT_ONCE: usize = 100;

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Nothing = 0,
    Head = 1,
    Request = 2,
}

/// The place of one connection.
#[derive(Debug)]
pub(super) struct Place {
    epoch: Instant,
    /// The milliseconds since the epoch, and in the last two bits what it does since then.
    state: AtomicU64,
}

impl Place {
    fn new(epoch: Instant, doing: Doing) -> Self {
        let place = Place { epoch, state: AtomicU64::default() };
        place.does(doing);
        place
    }

    fn does(&self, doing: Doing) {
        let millis = self.epoch.elapsed().as_millis() as u64;
        self.state.store(millis << 2 | doing as u64, Ordering::Relaxed);
    }

    /// Since when it does what.
    fn now(&self) -> (Duration, Doing) {
        let state = self.state.load(Ordering::Relaxed);
        let doing = match state & 3 {
            0 => Doing::Nothing,
            1 => Doing::Head,
            _ => Doing::Request,
        };
        (Duration::from_millis(state >> 2), doing)
    }

    /// The handshake is over.
    pub(super) fn is_open(&self) {
        self.does(Doing::Nothing);
    }

    /// A request begins; it ends when what is returned is dropped.
    pub(super) fn request(self: &Arc<Self>) -> Request {
        self.does(Doing::Request);
        Request(self.clone())
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Request(Arc<Place>);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.does(Doing::Nothing);
    }
}

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    epoch: Instant,
    limit: usize,
    telemetry: Arc<RelayTelemetry>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    last: u64,
    places: BTreeMap<u64, (Arc<Place>, Option<AbortHandle>)>,
}

/// The right to a place, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    places: Arc<Places>,
    number: u64,
    pub(super) place: Arc<Place>,
}

impl Places {
    pub(super) fn new(limit: usize, telemetry: Arc<RelayTelemetry>) -> Self {
        telemetry.connections_limit.store(limit as u64, Ordering::Relaxed);
        Places { epoch: Instant::now(), limit, telemetry, taken: Mutex::default() }
    }

    /// A place for a new connection, which begins with a handshake or with nothing. None where each has a request that is
    /// being answered.
    pub(super) fn take(self: &Arc<Self>, handshake: bool) -> Option<Seat> {
        let mut taken = self.taken();
        if taken.places.len() >= self.limit {
            self.evict(&mut taken);
        }
        if taken.places.len() >= self.limit {
            self.telemetry.refused.add(1);
            return None;
        }
        let place = Arc::new(Place::new(self.epoch, if handshake { Doing::Head } else { Doing::Nothing }));
        taken.last += 1;
        let number = taken.last;
        taken.places.insert(number, (place.clone(), None));
        self.telemetry.connections.store(taken.places.len() as u64, Ordering::Relaxed);
        Some(Seat { places: self.clone(), number, place })
    }

    /// Says which task has this place.
    pub(super) fn belongs_to(&self, number: u64, task: AbortHandle) {
        if let Some((_, of_place)) = self.taken().places.get_mut(&number) {
            *of_place = Some(task);
        }
    }

    fn evict(&self, taken: &mut Taken) {
        let idle = taken.places.iter().filter_map(|(number, (place, task))| match place.now() {
            // Half a head for long is as bad as nothing: a good one comes at once.
            (since, Doing::Nothing | Doing::Head) if task.is_some() => Some((since, *number)),
            _ => None,
        });
        let mut idle: Vec<(Duration, u64)> = idle.collect();
        let count = (self.limit / EVICTED_AT_ONCE).max(1).min(idle.len());
        if count == 0 {
            return;
        }
        idle.select_nth_unstable(count - 1);
        for (_, number) in &idle[..count] {
            close(taken, *number);
            self.telemetry.evicted.add(1);
        }
    }

    /// Closes what takes too long, for as long as it is polled.
    pub(super) async fn sweep(self: Arc<Self>) {
        let mut ticks = interval(SWEEP_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.telemetry.beat();
            let now = self.epoch.elapsed();
            let mut taken = self.taken();
            let is_late = |place: &Place| {
                let (since, doing) = place.now();
                let limit = match doing {
                    Doing::Nothing => IDLE_LIMIT,
                    Doing::Head => HEAD_LIMIT,
                    Doing::Request => REQUEST_LIMIT,
                };
                now.saturating_sub(since) >= limit
            };
            let late: Vec<u64> =
                taken.places.iter().filter(|(_, (place, _))| is_late(place)).map(|(number, _)| *number).collect();
            for number in late {
                close(&mut taken, number);
                self.telemetry.timed_out.add(1);
            }
            self.telemetry.connections.store(taken.places.len() as u64, Ordering::Relaxed);
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn close(taken: &mut Taken, number: u64) {
    if let Some((_, Some(task))) = taken.places.remove(&number) {
        task.abort();
    }
}

impl Seat {
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.places.remove(&self.number);
        self.places.telemetry.connections.store(taken.places.len() as u64, Ordering::Relaxed);
    }
}

/// A connection whose place learns that a head begins.
#[derive(Debug)]
pub(super) struct Watched<IO> {
    io: IO,
    place: Arc<Place>,
}

impl<IO> Watched<IO> {
    pub(super) fn new(io: IO, place: Arc<Place>) -> Self {
        Watched { io, place }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        if buffer.filled().len() > before && self.place.now().1 == Doing::Nothing {
            self.place.does(Doing::Head);
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    struct World {
        places: Arc<Places>,
        telemetry: Arc<RelayTelemetry>,
        tasks: JoinSet<()>,
    }

    impl World {
        fn new(limit: usize) -> Self {
            let telemetry = Arc::new(RelayTelemetry::new());
            World { places: Arc::new(Places::new(limit, telemetry.clone())), telemetry, tasks: JoinSet::new() }
        }

        /// A connection that stays, and its place.
        fn come(&mut self) -> Option<Arc<Place>> {
            let seat = self.places.take(false)?;
            let (number, place) = (seat.number(), seat.place.clone());
            let task = self.tasks.spawn(async move {
                let _seat = seat;
                std::future::pending().await
            });
            self.places.belongs_to(number, task);
            Some(place)
        }

        fn open(&self) -> usize {
            self.places.taken().places.len()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_is_idle_for_longest_makes_room() {
        let mut world = World::new(3);
        let [first, second, third] = std::array::from_fn(|_| world.come().expect("room"));
        let wait = || tokio::time::sleep(Duration::from_millis(10));
        wait().await;
        let at_work = first.request();
        drop(third.request());
        wait().await;
        world.come().expect("the room of the second");
        assert!(world.telemetry.evicted.get() == 1 && world.open() == 3);
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&second), 1, "its task is over");
        assert!(Arc::strong_count(&third) > 1 && Arc::strong_count(&first) > 1);
        // Where everybody is at work, nobody makes room.
        let _others = [third.request(), world.come().expect("room").request()];
        assert!(world.come().is_none());
        assert_eq!(world.telemetry.refused.get(), 1);
        drop(at_work);
        assert!(world.come().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_or_too_little_is_closed_in_time() {
        let mut world = World::new(10);
        let mut sweeping = JoinSet::new();
        sweeping.spawn(world.places.clone().sweep());
        let (_idle, head, busy) = (world.come(), world.come().expect("room"), world.come().expect("room"));
        head.does(Doing::Head);
        let _request = busy.request();
        let mut open = Vec::new();
        for seconds in [4, 2, 23, 2, 42, 3] {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            open.push(world.open());
        }
        assert_eq!(open, [3, 2, 2, 1, 1, 0], "after 4, 6, 29, 31, 73 and 76 s");
        assert_eq!(world.telemetry.timed_out.get(), 3);
    }
}
