//! The admin page with something to see, without a queue: an hour of made-up traffic first, in seconds, and then on in
//! real time.
//!
//! `cargo run --example watch --no-default-features --features admin -- busy`, then open http://127.0.0.1:9464/. The
//! other scenes are `idle`, `limited` (a target that takes twelve events a second and never one type of them), `paused` (one
//! that asks to be left alone), `down` (one that does not answer), `returning` (one that answers again after ten seconds),
//! `alone` (one message fails and nothing else is tried) and `hostile` (names and errors that try to be markup). A second
//! argument is another address.
#![allow(clippy::disallowed_methods, reason = "a program has ambient clocks")]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use stream_sqsd::admin::Admin;
use stream_sqsd::consumer::{Consumer, Settings};
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::queue::Queue;
use stream_sqsd::queue::memory::{MemoryQueue, MemorySettings};
use stream_sqsd::router::Router;
use tokio::time::Instant;

/// What there is to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    Idle,
    Busy,
    Limited,
    Paused,
    Down,
    Returning,
    Alone,
    Hostile,
}

/// How long it has been going on when the page can be opened.
const BEFORE: Duration = Duration::from_secs(3_600);

/// How often each type is sent, of a hundred and some.
const TYPES: &[(&str, u32)] = &[
    ("message.new", 52),
    ("message.read", 24),
    ("reaction.new", 11),
    ("message.updated", 6),
    ("channel.created", 3),
    ("member.added", 3),
    ("user.banned", 1),
    ("call.session_started", 2),
    ("order.shipped", 1),
];

/// The second in which the target was last called, and how often it was in it.
static CALLS: AtomicU64 = AtomicU64::new(0);

static BEGAN: OnceLock<(Instant, SystemTime)> = OnceLock::new();

/// A time of day that goes with tokio's clock, paused or not.
fn wall_clock() -> SystemTime {
    let (instant, time) = BEGAN.get_or_init(|| (Instant::now(), SystemTime::now() - BEFORE));
    *time + instant.elapsed()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let scene = match arguments.next().as_deref() {
        Some("idle") => Scene::Idle,
        None | Some("busy") => Scene::Busy,
        Some("limited") => Scene::Limited,
        Some("paused") => Scene::Paused,
        Some("down") => Scene::Down,
        Some("returning") => Scene::Returning,
        Some("alone") => Scene::Alone,
        Some("hostile") => Scene::Hostile,
        Some(other) => {
            return Err(
                format!("{other:?} is none of idle, busy, limited, paused, down, returning, alone, hostile").into()
            );
        }
    };
    let address: SocketAddr = arguments.next().as_deref().unwrap_or("127.0.0.1:9464").parse()?;

    tokio::time::pause();
    let queue = MemoryQueue::new(MemorySettings::new().with_max_receive_count(5));
    let name = match scene {
        Scene::Hostile => "<b onclick=alert(1)>queue</b>",
        _ => "https://sqs.us-east-1.amazonaws.com/123456789012/chat-events",
    };
    let settings = Settings::new().with_concurrency(16).with_wall_clock(wall_clock).with_random_seed(7);
    let consumer = Consumer::new(queue.clone(), router(scene), settings);
    let depth = queue.clone();
    let dead = queue.clone();
    let admin = Admin::bind(address, consumer.monitor(), name)
        .await?
        .read_queue(move || {
            let queue = depth.clone();
            async move { queue.facts().await }
        })
        .read_dead_letters(move || {
            let dead = dead.counts().dead_lettered;
            async move { Ok(Some(dead)) }
        });
    let address = admin.address();
    let opened = async {
        tokio::time::sleep(BEFORE).await;
        tokio::time::resume();
        eprintln!("watch: http://{address}/");
        std::future::pending::<()>().await;
    };
    tokio::join!(
        async { consumer.run(std::future::pending()).await.map(drop) },
        admin.serve(std::future::pending()),
        send(&queue, scene),
        opened,
    )
    .0?;
    Ok(())
}

fn router(scene: Scene) -> Router {
    let work = move |event: Event, ctx: Context| work(scene, event, ctx);
    match scene {
        Scene::Hostile => Router::new().route("*", work),
        _ => {
            Router::new().route("message.*", work).route("reaction.*", work).route("call.*", work).route("user.*", work)
        }
    }
}

/// Takes a while, and fails now and then.
async fn work(scene: Scene, event: Event, ctx: Context) -> Result<(), HandlerError> {
    // What becomes of a message depends on its number, and on how often it was tried.
    let number =
        ctx.message_id().as_str().trim_start_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().unwrap_or(0);
    let mut random = fastrand::Rng::with_seed(number * 31 + u64::from(ctx.receive_count()));
    if event.kind().name().starts_with("message.") {
        target(scene, event.kind().name()).await?;
    }
    tokio::time::sleep(Duration::from_millis(20 + random.u64(0..60))).await;
    match (scene, random.u32(0..4_000)) {
        (Scene::Hostile, n) if n % 4 == 0 => Err(HandlerError::reject("</script><img src=x onerror=alert(2)>")),
        (Scene::Busy, n) if n < 6 => Err(HandlerError::retry("deadlock detected (SQLSTATE 40P01)")),
        (Scene::Busy, 6) => Err(HandlerError::reject("422 Unprocessable Content")),
        _ => Ok(()),
    }
}

/// What the target of messages answers where something is the matter with it.
async fn target(scene: Scene, kind: &str) -> Result<(), HandlerError> {
    let at = since_start();
    let lately = |seconds| at > BEFORE - Duration::from_secs(seconds);
    let is_down = match scene {
        Scene::Down => lately(260),
        Scene::Returning => lately(260) && at < BEFORE + Duration::from_secs(10),
        Scene::Alone => lately(60),
        _ => false,
    };
    if is_down {
        tokio::time::sleep(Duration::from_millis(700)).await;
        return Err(HandlerError::target_down("POST https://example.com/webhooks/stream: connection refused"));
    }
    match scene {
        Scene::Paused if lately(20) => {
            Err(HandlerError::target_busy("503 Service Unavailable").after(Duration::from_secs(300)))
        }
        Scene::Limited if lately(600) && kind == "message.updated" => {
            Err(HandlerError::target_down("500 Internal Server Error"))
        }
        Scene::Limited if lately(600) && calls_of_second(at.as_secs()) > 12 => {
            Err(HandlerError::target_busy("429 Too Many Requests"))
        }
        _ => Ok(()),
    }
}

/// How often the target was called in this second, this time included.
fn calls_of_second(second: u64) -> u64 {
    CALLS.fetch_max(second << 8, Ordering::Relaxed);
    (CALLS.fetch_add(1, Ordering::Relaxed) & 0xff) + 1
}

fn since_start() -> Duration {
    wall_clock().duration_since(BEGAN.get().map_or(SystemTime::UNIX_EPOCH, |began| began.1)).unwrap_or_default()
}

/// Sends like a day compressed into an hour, with one rush that is more than can be handled.
async fn send(queue: &MemoryQueue, scene: Scene) {
    let mut random = fastrand::Rng::with_seed(1);
    let mut owed = 0.0;
    let mut alone = false;
    let step = Duration::from_millis(500);
    loop {
        let at = since_start().as_secs_f64();
        let rush = (2_000.0..2_120.0).contains(&at);
        let rate = match scene {
            Scene::Idle => 0.0,
            Scene::Hostile => 2.0,
            Scene::Alone if at > BEFORE.as_secs_f64() - 60.0 => 0.0,
            _ if rush => 400.0,
            _ => 24.0 + 14.0 * (at / 700.0).sin() + random.f64() * 9.0,
        };
        if scene == Scene::Alone && at > BEFORE.as_secs_f64() - 40.0 && !std::mem::replace(&mut alone, true) {
            queue.send_at(r#"{"type":"message.new"}"#, wall_clock());
        }
        owed += rate * step.as_secs_f64();
        while owed >= 1.0 {
            owed -= 1.0;
            queue.send_at(body(scene, &mut random), wall_clock());
        }
        tokio::time::sleep(step).await;
    }
}

fn body(scene: Scene, random: &mut fastrand::Rng) -> String {
    if scene == Scene::Hostile {
        let names = ["<img src=x onerror=alert(1)>.x", "\\u202e<script>alert(3)</script>.y", "message.new"];
        return format!(r#"{{"type":"{}"}}"#, names[random.usize(0..names.len())]);
    }
    if random.u32(0..9_000) == 0 {
        return "H4sIAAAA not any base64".to_owned();
    }
    let all: u32 = TYPES.iter().map(|(_, weight)| weight).sum();
    let mut at = random.u32(0..all);
    let mut kinds = TYPES.iter();
    let kind = kinds.find(|(_, weight)| at.checked_sub(*weight).map(|left| at = left).is_none());
    format!(r#"{{"type":"{}","text":"{:0>60}"}}"#, kind.map_or("message.new", |(name, _)| name), random.u32(..))
}
