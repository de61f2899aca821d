//! What is answered to which request, and what of it comes into the queue.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use stream_sqsd::decode::decode;
use stream_sqsd::queue::memory::{Faults, MemoryQueue, MemorySettings};
use stream_sqsd::relay::Networks;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::client::{JSON, Running, Webhook, answer, gzip, queue, received, settings};
use super::log::Log;
use super::until::until;

/// The code for a webhook, on a relay that stores what it can.
async fn code(relay: &Running, webhook: Webhook) -> u16 {
    relay.ask(webhook.bytes()).await.0
}

#[tokio::test]
async fn a_signed_event_is_in_the_queue_as_stream_would_send_it() {
    let relay = Running::start(settings(), queue()).await;
    let vector = "a91edf26f024e0efad88b0e2561e4841fa6f8c85f98ecb85dcd12e58563c2218";
    let plain = Webhook::new("id-1", JSON).header("X-Signature", vector);
    assert_eq!(relay.ask(plain.bytes()).await, (200, String::new()));
    let zip = Webhook::gzipped("id-2", JSON).header("X-Webhook-Attempt", "3");
    let zipped = zip.body.clone();
    assert_eq!(code(&relay, zip).await, 200);

    let queue = relay.stop().await;
    let messages = received(&queue).await;
    assert_eq!(messages[0].body, JSON);
    assert_eq!(messages[0].webhook_id, stream_sqsd::queue::WebhookId::new("id-1"), "as handlers see it");
    assert_eq!(messages[1].body, STANDARD.encode(zipped));
    let attributes = |at: usize| {
        let attributes = messages[at].attributes.as_ref().unwrap().message.iter();
        attributes.map(|(name, value)| format!("{name}={}", value.value)).collect::<Vec<_>>()
    };
    assert_eq!(attributes(0), ["api_key=k2", "webhook_attempt=1", "webhook_id=id-1"]);
    let of_form = ["content_encoding=gzip", "content_type=application/json", "payload_encoding=base64"];
    assert_eq!(attributes(1), [&["api_key=k2"][..], &of_form, &["webhook_attempt=3", "webhook_id=id-2"]].concat());
}

#[tokio::test]
async fn what_can_never_succeed_is_not_answered_for_a_retry() {
    let relay = Running::start(settings(), queue()).await;
    let webhook = || Webhook::new("id", JSON);
    let signed = |json: &str| Webhook::new("id", json);
    let bomb = vec![b' '; 5 << 20];
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let cases: Vec<(&str, u16, Webhook)> = vec![
        ("another path", 404, Webhook { path: "/", ..webhook() }),
        ("another method", 405, Webhook { method: "GET", ..webhook() }),
        ("no API key", 401, webhook().header("X-Api-Key", "")),
        ("an unknown API key", 401, webhook().header("X-Api-Key", "k3")),
        ("no signature", 401, webhook().header("X-Signature", "")),
        ("an empty signature", 401, webhook().header("X-Signature", " ")),
        ("a signature of something else", 401, webhook().header("X-Signature", &"0".repeat(64))),
        ("a signature in upper case", 401, {
            let upper = webhook().headers[2].1.to_ascii_uppercase();
            webhook().header("X-Signature", &upper)
        }),
        ("a signature of the compressed bytes", 401, {
            let zip = gzip(JSON.as_bytes());
            let key = stream_sqsd::webhook::SigningKey::new(super::client::SECRET).unwrap();
            Webhook::gzipped("id", JSON).header("X-Signature", &key.sign(&zip))
        }),
        ("another encoding", 415, webhook().header("Content-Encoding", "br")),
        ("a length of more than 1 MiB", 413, webhook().header("Content-Length", "1048577")),
        ("4 MiB inflated", 413, Webhook::with_body("id", gzip(&bomb), &text(&bomb))),
        ("no JSON", 400, signed("hello")),
        ("a list", 400, signed("[1]")),
        ("no type", 400, signed("{}")),
        ("a damaged gzip", 400, Webhook::with_body("id", [&gzip(b"{}")[..12], b"x"].concat(), "{}")),
        (
            "bytes that are not text",
            400,
            Webhook::with_body("id", b"{\"type\":\"\xff\"}".to_vec(), "").header(
                "X-Signature",
                &stream_sqsd::webhook::SigningKey::new(super::client::SECRET).unwrap().sign(b"{\"type\":\"\xff\"}"),
            ),
        ),
    ];
    for (what, expected, webhook) in cases {
        assert_eq!(code(&relay, webhook).await, expected, "{what}");
    }
    assert_eq!(relay.queue.counts().sent, 0);
    // An encoding in other words, and one that does not fit the bytes.
    for (id, encoding) in [("a", "GZIP"), ("b", "identity"), ("c", "gzip")] {
        assert_eq!(code(&relay, Webhook::new(id, JSON).header("Content-Encoding", encoding)).await, 200, "{encoding}");
    }
    // The secret from before is as good.
    let signature = stream_sqsd::webhook::SigningKey::new("before").unwrap().sign(JSON.as_bytes());
    assert_eq!(code(&relay, Webhook::new("d", JSON).header("X-Signature", &signature)).await, 200);
    assert_eq!(relay.queue.counts().sent, 4);
}

#[tokio::test]
async fn what_stream_does_not_send_again_is_an_error_in_the_log() {
    let log = Log::of_this_thread();
    let relay = Running::start(settings(), queue()).await;
    let distant = Running::start(settings().with_allow(Networks::of_stream()), queue()).await;
    let stranger = || Webhook::new("id", JSON).header("X-Api-Key", "");
    for _ in 0..3 {
        assert_eq!(code(&relay, Webhook::new("id", JSON).header("X-Signature", &"0".repeat(64))).await, 401);
        assert_eq!(code(&relay, Webhook::new("id", JSON).header("X-Api-Key", "of-another-app")).await, 401);
        assert_eq!(code(&distant, Webhook::new("id", JSON)).await, 403);
        assert_eq!(code(&relay, Webhook::new("id", r#"{"user":{}}"#)).await, 400);
        assert_eq!(code(&relay, Webhook::new("id", JSON).header("Content-Length", "1048577")).await, 413);
        assert_eq!(code(&relay, Webhook::new("id", JSON).header("Content-Encoding", "br")).await, 415);
        assert_eq!(code(&relay, Webhook { path: "/webhooks", ..Webhook::new("id", JSON) }).await, 404);
        // Nobody knows whose these are.
        assert_eq!(code(&relay, Webhook { path: "/wp-login.php", ..stranger() }).await, 404);
        assert_eq!(code(&relay, Webhook::with_body("id", [&gzip(b"{}")[..12], b"x"].concat(), "{}")).await, 400);
    }
    assert_eq!(relay.monitor.snapshot().answered("damaged"), 3);
    assert_eq!(relay.monitor.snapshot().answered("not_an_event"), 3);
    for words in [
        "a signature is wrong",
        "names no API key of [relay]",
        "from an address that `allow` does not hold",
        "a right signature holds no event",
        "is larger than 1 MiB",
        "a Content-Encoding other than gzip",
        "to another path than `path`",
    ] {
        let lines = log.with(words);
        assert!(matches!(&lines[..], [line] if line.contains("ERROR")), "{words}: {:#?}", log.lines());
        assert_eq!(lines[0].contains(r#"api_key="k2""#), !words.starts_with("names no"), "{lines:#?}");
    }
    assert_eq!(log.with("ERROR").len(), 7, "{:#?}", log.lines());
    // What a stranger has written does not go to the log.
    assert_eq!(log.with("of-another-app"), [""; 0]);
}

#[tokio::test]
async fn a_signed_event_that_sqs_cannot_carry_is_an_error_too() {
    let log = Log::of_this_thread();
    let relay = Running::start(settings(), queue()).await;
    let mut random = fastrand::Rng::with_seed(1);
    let signs: Vec<char> = ('!'..='~').filter(|sign| !['"', '\\'].contains(sign)).collect();
    let noise: String = (0..1_048_500).map(|_| signs[random.usize(..signs.len())]).collect();
    assert_eq!(code(&relay, Webhook::new("id", &format!(r#"{{"type":"message.new","text":"{noise}"}}"#))).await, 413);
    assert!(matches!(&log.with("is larger than 1 MiB")[..], [line] if line.contains("ERROR")), "{:#?}", log.lines());
    assert_eq!(relay.queue.counts().sent, 0);
}

#[tokio::test]
async fn a_retry_is_answered_200_and_not_sent_again() {
    let relay = Running::start(settings(), queue()).await;
    for attempt in ["1", "2", "3"] {
        assert_eq!(code(&relay, Webhook::new("id", JSON).header("X-Webhook-Attempt", attempt)).await, 200);
    }
    assert_eq!(relay.queue.counts().sent, 1);
    // Without an id the body is what it is the same by, in whatever form.
    for webhook in [Webhook::new("", JSON), Webhook::gzipped("", JSON), Webhook::new("ä", JSON)] {
        assert_eq!(code(&relay, webhook.header("X-Webhook-Id", "")).await, 200);
    }
    assert_eq!(relay.queue.counts().sent, 2);
    assert_eq!(relay.monitor.snapshot().answered("repeated"), 4);
}

#[tokio::test]
async fn a_retry_during_the_first_attempt_waits_for_its_outcome() {
    let faults = Faults::new().with_latency(Duration::from_millis(400));
    let queue = MemoryQueue::new(MemorySettings::new().with_faults(faults).with_seed(3));
    let relay = Running::start(settings(), queue).await;
    // The first has hung up when it is stored.
    let mut first = TcpStream::connect(relay.address).await.unwrap();
    first.write_all(&Webhook::new("id", JSON).bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(first);
    let request = Webhook::new("id", JSON).bytes();
    let (second, third) = tokio::join!(relay.ask(&request), relay.ask(&request));
    assert_eq!((second.0, third.0), (200, 200));
    assert_eq!(relay.queue.counts().sent, 1);
}

#[tokio::test]
async fn a_queue_out_of_reach_is_answered_503_at_once() {
    let queue = MemoryQueue::new(MemorySettings::new().with_faults(Faults::new().with_call_error(1.0)));
    let relay = Running::start(settings(), queue).await;
    let began = Instant::now();
    assert_eq!(code(&relay, Webhook::new("id", JSON)).await, 503);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    relay.queue.set_faults(Faults::new());
    assert_eq!(code(&relay, Webhook::new("id", JSON)).await, 200, "its retry");
    // One that hangs has 4 s of the 6 that Stream waits.
    relay.queue.set_faults(Faults::new().with_hang(1.0));
    let began = Instant::now();
    assert_eq!(code(&relay, Webhook::new("id-2", JSON)).await, 503);
    assert!((4.0..5.0).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn on_a_fifo_queue_events_have_group_and_deduplication_id() {
    let relay = Running::start(settings(), MemoryQueue::new(MemorySettings::new().with_fifo(true))).await;
    let json = r#"{"type":"message.new","cid":"messaging:general","user":{"id":"ada"}}"#;
    assert_eq!(code(&relay, Webhook::new("id", json)).await, 200);
    let queue = relay.stop().await;
    // A relay that remembers nothing: the queue knows the event by its deduplication id.
    let relay = Running::start(settings(), queue).await;
    assert_eq!(code(&relay, Webhook::new("id", json)).await, 200);
    let queue = relay.stop().await;
    let messages = received(&queue).await;
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].group.as_deref(), Some("messaging:general"));
}

#[tokio::test]
async fn a_webhook_id_that_sqs_refuses_is_taken_for_none() {
    let relay = Running::start(settings(), MemoryQueue::new(MemorySettings::new().with_fifo(true))).await;
    let longest = "x".repeat(128);
    for id in ["a b", "", &*format!("{longest}x"), &longest] {
        let json = format!(r#"{{"type":"message.new","text":"{id}"}}"#);
        assert_eq!(code(&relay, Webhook::new(id, &json)).await, 200, "{id}");
    }
    let queue = relay.stop().await;
    let ids: Vec<_> = received(&queue).await.into_iter().map(|message| message.webhook_id).collect();
    assert_eq!(ids, [None, None, None, stream_sqsd::queue::WebhookId::new(&longest)]);
}

#[tokio::test]
async fn only_allowed_addresses_are_answered() {
    let relay = Running::start(settings().with_allow(Networks::of_stream()), queue()).await;
    assert_eq!(code(&relay, Webhook::new("id", JSON)).await, 403);
    let spoofed = Webhook::new("id", JSON).header("X-Forwarded-For", "34.225.10.29");
    assert_eq!(code(&relay, spoofed).await, 403, "nobody is trusted to say so");

    let proxies = Networks::parse(["127.0.0.0/8", "10.0.0.0/8"]).unwrap();
    let behind = settings().with_allow(Networks::of_stream()).with_trusted_proxies(proxies);
    let relay = Running::start(behind, queue()).await;
    for (forwarded, expected) in [
        ("34.225.10.29", 200),
        ("34.225.10.29, 10.0.0.7", 200),
        ("198.51.100.1", 403),
        ("34.225.10.29, 198.51.100.1", 403),
        ("34.225.10.29, nonsense", 403),
        ("", 403),
    ] {
        let webhook = Webhook::new("id", JSON).header("X-Forwarded-For", forwarded);
        assert_eq!(code(&relay, webhook).await, expected, "{forwarded}");
    }
}

#[tokio::test]
async fn a_sender_that_closes_its_side_is_answered_all_the_same() {
    let relay = Running::start(settings(), queue()).await;
    let mut held = Vec::new();
    for number in 0..50 {
        let mut connection = TcpStream::connect(relay.address).await.unwrap();
        connection.write_all(&Webhook::new(&format!("id-{number}"), JSON).bytes()).await.unwrap();
        connection.shutdown().await.unwrap();
        assert_eq!(answer(&mut connection).await.map(|(code, _)| code), Some(200), "{number}");
        held.push(connection);
    }
    // The other side of none of them is ever closed.
    none_is_open(&relay, Duration::from_secs(4)).await;
}

#[tokio::test]
async fn half_a_request_on_half_a_connection_holds_no_place() {
    let relay = Running::start(settings(), queue()).await;
    let request = Webhook::new("id", JSON).bytes();
    let mut chunked = Webhook::new("id", JSON).header("Content-Length", "").header("Transfer-Encoding", "chunked");
    chunked.body = b"ff\r\n{".to_vec();
    let chunked = chunked.bytes();
    let two = [request.clone(), request[..30].to_vec()].concat();
    let head = request.len() - JSON.len();
    let mut held = Vec::new();
    for sent in
        [&b""[..], b"\r\n", &request[..1], &request[..head - 1], &request[..head], &request[..head + 9], &chunked, &two]
    {
        let mut connection = TcpStream::connect(relay.address).await.unwrap();
        connection.write_all(sent).await.unwrap();
        connection.shutdown().await.unwrap();
        held.push(connection);
    }
    none_is_open(&relay, Duration::from_secs(4)).await;
    assert_eq!(relay.queue.counts().sent, 1, "of the last one, which begins with a whole request");
}

/// Sooner than any limit of time, which would end it as well.
async fn none_is_open(relay: &Running, within: Duration) {
    let connections = async || relay.monitor.snapshot().connections;
    until("no connection is open", within, connections, |connections| *connections == 0).await;
}

#[tokio::test]
async fn beyond_a_fifth_of_its_connections_none_is_kept_open() {
    let relay = Running::start(settings().with_connections(10), queue()).await;
    let mut open = Vec::new();
    for number in 1..=4 {
        let mut connection = TcpStream::connect(relay.address).await.unwrap();
        for attempt in 1..=2 {
            let kept = number <= 2 || attempt == 1;
            let id = format!("{number}-{attempt}");
            let _ = connection.write_all(&Webhook::new(&id, JSON).bytes()).await;
            let answer = answer(&mut connection).await;
            assert_eq!(answer.map(|(code, _)| code), kept.then_some(200), "{id}");
        }
        if number <= 2 {
            open.push(connection);
        }
    }
    let connections = async || relay.monitor.snapshot().connections;
    until("the others are closed", Duration::from_secs(20), connections, |connections| *connections == 2).await;
}

#[tokio::test]
async fn a_connection_is_kept_and_nothing_is_smuggled_on_it() {
    let relay = Running::start(settings(), queue()).await;
    let mut connection = TcpStream::connect(relay.address).await.unwrap();
    for id in ["a", "b"] {
        connection.write_all(&Webhook::new(id, JSON).bytes()).await.unwrap();
        assert_eq!(answer(&mut connection).await.unwrap().0, 200);
    }
    // Both at once, and a refusal between them that has read its body.
    let wrong = Webhook::new("x", JSON).header("X-Signature", "no");
    let three = [Webhook::new("c", JSON).bytes(), wrong.bytes(), Webhook::new("d", JSON).bytes()].concat();
    connection.write_all(&three).await.unwrap();
    // The answers may come in one packet, of which the helper takes only the first.
    until("both are in the queue", Duration::from_secs(10), async || relay.queue.counts().sent, |sent| *sent == 4)
        .await;

    // With a length and in chunks: what another server would take for the next request is closed with this one.
    let chunked = format!("{:x}\r\n{JSON}\r\n0\r\n\r\n", JSON.len());
    for length in [chunked.len(), JSON.len(), 3] {
        let mut webhook = Webhook::new("", JSON).header("Content-Length", &length.to_string());
        webhook.headers.push(("Transfer-Encoding", "chunked".to_owned()));
        webhook.body = chunked.clone().into_bytes();
        let mut connection = TcpStream::connect(relay.address).await.unwrap();
        let smuggled = Webhook::new("smuggled", JSON).bytes();
        connection.write_all(&[webhook.bytes(), smuggled].concat()).await.unwrap();
        let first = answer(&mut connection).await;
        assert!(matches!(first, Some((200 | 400, _))), "{length}: {first:?}");
        assert_eq!(answer(&mut connection).await, None, "{length}: it is closed");
    }
    let sent = relay.stop().await.counts().sent;
    assert_eq!(sent, 5, "the chunked one, once");
}

#[tokio::test]
async fn wrong_lengths_and_heads_are_refused_and_harm_nobody() {
    let relay = Running::start(settings(), queue()).await;
    let refused = [
        Webhook::new("id", JSON).header("Content-Length", "-1").bytes(),
        Webhook::new("id", JSON).header("Content-Length", "62, 63").bytes(),
        Webhook::new("id", JSON).header("Content-Length", "99999999999999999999").bytes(),
        Webhook::new("id", JSON).header("X-Webhook-Id", &"x".repeat(20_000)).bytes(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS handshake \r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
    ];
    for (at, request) in refused.iter().enumerate() {
        let mut connection = TcpStream::connect(relay.address).await.unwrap();
        connection.write_all(request).await.unwrap();
        let answer = answer(&mut connection).await;
        assert!(answer.as_ref().is_none_or(|(code, _)| (400..500).contains(code)), "{at}: {answer:?}");
    }
    // A body that ends too soon.
    let mut connection = TcpStream::connect(relay.address).await.unwrap();
    let request = Webhook::new("id", JSON).bytes();
    connection.write_all(&request[..request.len() - 5]).await.unwrap();
    connection.shutdown().await.unwrap();
    let cut = answer(&mut connection).await;
    assert!(cut.as_ref().is_none_or(|(code, _)| *code == 400), "{cut:?}");
    // One in chunks that never ends within 1 MiB.
    let mut endless = Webhook::new("id", JSON).header("Content-Length", "");
    endless.headers.push(("Transfer-Encoding", "chunked".to_owned()));
    endless.body = format!("{:x}\r\n", 2 << 20).into_bytes();
    endless.body.extend(vec![b' '; (1 << 20) + 70_000]);
    assert_eq!(code(&relay, endless).await, 413);
    assert_eq!(relay.queue.counts().sent, 0);
    assert_eq!(code(&relay, Webhook::new("id", JSON)).await, 200);
}

#[tokio::test]
async fn bodies_beyond_64_mib_together_are_answered_503() {
    let relay = Running::start(settings(), queue()).await;
    // Almost all of a body each, which stays in memory while the rest of it does not come.
    let request = Webhook::with_body("id", vec![b' '; 1 << 20], "").bytes();
    let busy = || relay.monitor.snapshot().answered("busy");
    let mut held = Vec::new();
    while busy() == 0 && held.len() < 100 {
        let mut connection = TcpStream::connect(relay.address).await.unwrap();
        // It may be refused before it has said everything.
        let _ = connection.write_all(&request[..request.len() - 10_000]).await;
        held.push(connection);
    }
    until("there is no room", Duration::from_secs(20), async || busy(), |busy| *busy > 0).await;
    assert!(held.len() >= 64, "{}", held.len());
    drop(held);
    let free = async || relay.monitor.metrics().contains("stream_sqsd_relay_body_bytes 0\n");
    until("it is given back", Duration::from_secs(20), free, |free| *free).await;
    assert_eq!(code(&relay, Webhook::new("id", JSON)).await, 200);
}

#[tokio::test]
async fn a_large_event_is_queued_in_a_form_that_sqs_carries() {
    let relay = Running::start(settings(), queue()).await;
    let json = format!(r#"{{"type":"message.new","text":"{}"}}"#, "word ".repeat(200_000));
    assert_eq!(code(&relay, Webhook::new("id", &json)).await, 200);
    let queue = relay.stop().await;
    let messages = received(&queue).await;
    assert!(messages[0].body.len() < 100_000 && messages[0].body.starts_with("H4sI"));
    assert!(decode(&messages[0].body, usize::MAX).unwrap().json() == json);
}

#[tokio::test]
async fn a_shutdown_finishes_what_is_in_flight_and_takes_no_more() {
    let faults = Faults::new().with_latency(Duration::from_millis(600));
    let queue = MemoryQueue::new(MemorySettings::new().with_faults(faults).with_seed(3));
    let relay = Running::start(settings(), queue).await;
    let address = relay.address;
    let mut idle = TcpStream::connect(address).await.unwrap();
    let mut busy = TcpStream::connect(address).await.unwrap();
    busy.write_all(&Webhook::new("id", JSON).bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(relay.monitor.is_ready());
    let monitor = relay.monitor.clone();
    let began = Instant::now();
    let queue = relay.stop().await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(!monitor.is_ready());
    assert_eq!(answer(&mut busy).await.unwrap().0, 200);
    assert_eq!(answer(&mut idle).await, None);
    assert_eq!(queue.counts().sent, 1);
    assert!(TcpStream::connect(address).await.is_err());
}

/// Takes the time that the limits are: a socket knows no paused clock.
#[tokio::test]
async fn who_sends_too_slowly_is_closed_in_time() {
    let relay = Running::start(settings(), queue()).await;
    let request = Webhook::new("slow", JSON).bytes();
    let began = Instant::now();
    let dribble = async |from: usize| {
        let mut connection = TcpStream::connect(relay.address).await.unwrap();
        connection.write_all(&request[..from]).await.unwrap();
        for byte in &request[from..] {
            tokio::select! {
                answer = answer(&mut connection) => return (answer.map(|(code, _)| code), began.elapsed().as_secs()),
                () = tokio::time::sleep(Duration::from_millis(400)) => {}
            }
            // It may be closed.
            let _ = connection.write_all(std::slice::from_ref(byte)).await;
        }
        panic!("nobody has stopped it");
    };
    let (head, body) = tokio::join!(dribble(20), dribble(request.len() - JSON.len()));
    assert!(head.0.is_none() && (5..=9).contains(&head.1), "{head:?}");
    assert!(body.0 == Some(408) && (5..=9).contains(&body.1), "{body:?}");
}

#[tokio::test]
async fn who_says_nothing_or_half_a_head_keeps_nobody_out() {
    let relay = Running::start(settings().with_connections(20), queue()).await;
    let mut held = Vec::new();
    for number in 0..60 {
        let mut connection = TcpStream::connect(relay.address).await.unwrap();
        let half: &[u8] = if number % 2 == 0 { b"" } else { b"POST /webhooks/stream HTTP/1.1\r\n" };
        connection.write_all(half).await.unwrap();
        held.push(connection);
    }
    assert_eq!(code(&relay, Webhook::new("id", JSON)).await, 200);
    let snapshot = relay.monitor.snapshot();
    assert!(snapshot.connections <= 20, "{}", snapshot.connections);
}
