//! What is answered, and to whom.

use stream_sqsd::consumer::{Consumer, Settings};
use stream_sqsd::decode::{DecodeError, GzipFault, JsonFault};
use stream_sqsd::queue::QueueError;
use stream_sqsd::queue::memory::MemoryQueue;
use stream_sqsd::router::Router;
use stream_sqsd::telemetry::Phase;

use super::*;

#[tokio::test(start_paused = true)]
async fn it_is_ready_from_the_first_good_receive_until_the_drain() {
    let queue = MemoryQueue::new(MemorySettings::default());
    let consumer = Consumer::new(queue, Router::new(), Settings::default());
    let admin = Admin::bind("127.0.0.1:0".parse().unwrap(), consumer.monitor(), "a queue").await.unwrap();
    let address = admin.address();
    tokio::select! {
        () = admin.serve(pending()) => {}
        () = async {
            let answer = get(address, "/readyz").await;
            assert_eq!((answer.status, &*answer.body), (503, "starting\n"));
        } => {}
    }
    watched(&[], async |watched| {
        watched.monitor.reached(Phase::Receiving).await;
        assert_eq!(get(watched.address, "/readyz").await.status, 200);
        watched.drain.notify_one();
        watched.monitor.reached(Phase::Draining).await;
        let answer = get(watched.address, "/readyz").await;
        assert_eq!((answer.status, &*answer.body), (503, "draining\n"));
        assert_eq!(get(watched.address, "/livez").await.status, 200, "draining is not a failure");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_stands_still_is_not_alive() {
    let consumer = Consumer::new(MemoryQueue::new(MemorySettings::default()), Router::new(), Settings::default());
    let admin = Admin::bind("127.0.0.1:0".parse().unwrap(), consumer.monitor(), "a queue").await.unwrap();
    let address = admin.address();
    tokio::select! {
        () = admin.serve(pending()) => {}
        () = async {
            assert_eq!(get(address, "/livez").await.status, 200);
            // Nobody runs it.
            tokio::time::sleep(Duration::from_secs(15)).await;
            assert_eq!(get(address, "/livez").await.status, 503);
        } => {}
    }
}

#[tokio::test(start_paused = true)]
async fn what_happened_is_told_and_what_a_message_said_is_not() {
    let kinds = ["message.new", "message.new", "message.deleted", "tea_is_ready"];
    watched(&kinds, async |watched| {
        watched.queue.send("no base64, and no JSON either!");
        while watched.monitor.snapshot().last_receives_failed < 2 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let status = get(watched.address, "/status").await;
        let metrics = get(watched.address, "/metrics").await;
        for answer in [&status, &metrics] {
            assert_eq!(answer.status, 200);
            assert!(!answer.body.contains(PRIVATE), "{}", answer.body);
        }
        let json: serde_json::Value = serde_json::from_str(&status.body).unwrap();
        assert_eq!(json["queue"], "the queue of this test");
        assert_eq!(json["found"]["max_receive_count"], 3);
        assert_eq!((&json["deliveries"]["deleted"], &json["deliveries"]["nacked"]), (&3.into(), &6.into()));
        let routes = &json["routes"];
        assert_eq!((&routes[0]["name"], &routes[0]["handled"]), (&"message.*".into(), &2.into()));
        assert_eq!(routes[0]["failed"], serde_json::json!({"retry": 3}));
        let failure = json["last_failures"].as_array().unwrap().iter().find(|one| one["kind"] == "retry").unwrap();
        assert_eq!((&failure["type"], &failure["error"]), (&"message.deleted".into(), &"the row is locked".into()));
        assert_eq!((&failure["times"], &failure["receive_count"]), (&3.into(), &3.into()));
        assert_eq!(failure["message_id"], "memory-00000003");
        let dead: Vec<_> =
            json["dead_lettered"].as_array().unwrap().iter().map(|one| (&one["count"], &one["message_ids"])).collect();
        let ids = |id: &str| serde_json::json!([id]);
        assert_eq!(dead.len(), 2, "{dead:?}");
        assert!(
            dead.contains(&(&1.into(), &ids("memory-00000003")))
                && dead.contains(&(&1.into(), &ids("memory-00000005"))),
            "{dead:?}"
        );

        let has = |line: &str| assert!(metrics.body.lines().any(|known| known == line), "{line}\n{}", metrics.body);
        has("stream_sqsd_deliveries_received_total 9");
        has("stream_sqsd_deliveries_redelivered_total 4");
        has(r#"stream_sqsd_deliveries_settled_total{outcome="deleted"} 3"#);
        has(r#"stream_sqsd_deliveries_settled_total{outcome="nacked"} 6"#);
        has("stream_sqsd_last_receives_total 2");
        has("stream_sqsd_last_receives_failed_total 2");
        has(r#"stream_sqsd_events_total{type="message.new"} 2"#);
        has(r#"stream_sqsd_events_total{type="other"} 1"#);
        has(r#"stream_sqsd_undecodable_total{error="invalid_base64_encoding"} 3"#);
        has(r#"stream_sqsd_handler_calls_total{route="message.*",outcome="retry"} 3"#);
        has(r#"stream_sqsd_receive_count_at_success_bucket{le="1"} 3"#);
        has("stream_sqsd_lease_margin_seconds_count 3");
        assert!(metrics.head.contains("content-type: text/plain; version=0.0.4"));
    })
    .await;
}

/// What `/status` says of the flow to the target of each route.
async fn flows(watched: &Watched) -> Vec<serde_json::Value> {
    let status: serde_json::Value = serde_json::from_str(&get(watched.address, "/status").await.body).unwrap();
    status["routes"].as_array().unwrap().iter().map(|route| route["flow"].clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn one_failing_message_is_told_apart_from_a_target_down() {
    watched(&["message.flagged"], async |watched| {
        tokio::time::sleep(Duration::from_secs(30)).await;
        let flow = flows(watched).await.swap_remove(0);
        assert_eq!((&flow["state"], &flow["held"]["retrying"]), (&"only one fails".into(), &1.into()), "{flow}");
        let lasts = flow["down_for_seconds"].as_f64().unwrap();
        let probe = flow["next_probe_seconds"].as_f64().unwrap();
        let returned = flow["held"]["returned_in_seconds"].as_f64().unwrap();
        assert!((28.0..32.0).contains(&lasts) && (0.0..=1.1).contains(&probe), "{flow}");
        assert!((11.5 * 3_600.0..12.0 * 3_600.0).contains(&returned), "{flow}");
        let down = |metrics: &str| metrics.contains(r#"stream_sqsd_target_down{route="message.*"} 1"#);
        assert!(!down(&get(watched.address, "/metrics").await.body));
        for _ in 0..2 {
            watched.queue.send(body("message.flagged"));
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        let flow = flows(watched).await.swap_remove(0);
        assert_eq!((&flow["state"], &flow["held"]["retrying"]), (&"down".into(), &3.into()), "{flow}");
        assert!(down(&get(watched.address, "/metrics").await.body));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_told_with_its_end_and_what_waits_for_it() {
    watched(&["reaction.new"], async |watched| {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let flows = flows(watched).await;
        let ends = flows[1]["pause_ends_seconds"].as_f64().unwrap();
        assert_eq!((&flows[0]["state"], &flows[1]["state"]), (&"flowing".into(), &"paused".into()));
        assert!((285.0..=290.0).contains(&ends), "the longest pause is five minutes: {ends}");
        // A refusal says nothing of the message, so it waits with those that were never called.
        assert_eq!(flows[1]["held"]["waiting"], 1, "{}", flows[1]);
        assert_eq!(flows[1]["refused_last_minute"], 1, "{}", flows[1]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_status_tells_which_routes_of_what_is_held_are_done() {
    watched_on_two_routes(&["message.new", "message.read"], async |watched, works| {
        tokio::time::sleep(Duration::from_secs(30)).await;
        let held = |flow: &serde_json::Value| [&flow["held"]["done"], &flow["held"]["retrying"]].map(|n| n.as_u64());
        let flows_now = flows(watched).await;
        assert_eq!(flows_now.iter().map(held).collect::<Vec<_>>(), [[Some(2), Some(0)], [Some(0), Some(2)]]);
        assert_eq!((&flows_now[0]["state"], &flows_now[1]["state"]), (&"flowing".into(), &"down".into()));
        works.store(true, Ordering::Relaxed);
        while watched.monitor.snapshot().deleted < 2 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(
            flows(watched).await.iter().map(held).collect::<Vec<_>>(),
            [[Some(0); 2]; 2],
            "it is here no longer"
        );
        let status: serde_json::Value = serde_json::from_str(&get(watched.address, "/status").await.body).unwrap();
        let handled: Vec<_> = status["routes"].as_array().unwrap().iter().map(|route| &route["handled"]).collect();
        assert_eq!(handled, [&serde_json::json!(2); 2], "each route was done once");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_error_has_a_series_before_it_happens() {
    let decoding = [
        DecodeError::Base64,
        DecodeError::Gzip(GzipFault::Damaged),
        DecodeError::Json(JsonFault::Utf8),
        DecodeError::TooLarge { limit: 1 },
        DecodeError::TypeTooLong,
    ];
    let (code, message) = (String::new, String::new);
    let asking = [
        QueueError::Throttled { code: code() },
        QueueError::OverLimit,
        QueueError::AccessDenied { action: "", message: message() },
        QueueError::Credentials { message: message() },
        QueueError::EncryptionKey { code: code(), message: message() },
        QueueError::NoSuchQueue { message: message() },
        QueueError::Unreachable { message: message() },
        QueueError::TimedOut { after: Duration::ZERO },
        QueueError::BadAnswer { message: message() },
        QueueError::Service { code: code(), message: message() },
    ];
    let consumer = Consumer::new(MemoryQueue::new(MemorySettings::default()), Router::new(), Settings::default());
    let metrics = consumer.monitor().metrics();
    for label in decoding.iter().map(DecodeError::label) {
        let series = format!(r#"stream_sqsd_undecodable_total{{error="{label}"}} 0"#);
        assert!(metrics.contains(&series), "{series}");
    }
    for label in asking.iter().map(QueueError::label) {
        let series = format!(r#"stream_sqsd_request_errors_total{{call="receive",error="{label}"}} 0"#);
        assert!(metrics.contains(&series), "{series}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_page_may_load_nothing_and_nothing_else_is_answered() {
    watched(&[], async |watched| {
        let page = get(watched.address, "/").await;
        assert_eq!(page.status, 200);
        assert!(
            page.head.contains("content-security-policy: default-src 'none'; script-src 'sha256-"),
            "{}",
            page.head
        );
        assert!(!page.head.contains("unsafe"), "{}", page.head);
        assert!(page.head.contains("cache-control: no-store"));
        assert_eq!(get(watched.address, "/etc/passwd").await.status, 404);
        let refused = ask(watched.address, "POST /status").await;
        assert_eq!(refused.status, 405);
        assert!(refused.head.contains("allow: get, head"));
        let head = ask(watched.address, "HEAD /metrics").await;
        assert_eq!((head.status, &*head.body), (200, ""));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn those_who_are_slow_keep_nobody_out() {
    watched(&[], async |watched| {
        let mut slow = Vec::new();
        for _ in 0..64 {
            let mut stream = TcpStream::connect(watched.address).await.unwrap();
            stream.write_all(b"GET /status HTTP/1.1\r\nX-Slow: ").await.unwrap();
            slow.push(stream);
        }
        assert_eq!(get(watched.address, "/livez").await.status, 200);
    })
    .await;
}

/// On the real clock: on the paused one any limit is over at once.
#[tokio::test]
async fn those_who_are_silent_keep_nobody_waiting() {
    watched(&[], async |watched| {
        let mut silent = Vec::new();
        for _ in 0..200 {
            silent.push(TcpStream::connect(watched.address).await.unwrap());
        }
        let answer = tokio::time::timeout(Duration::from_millis(900), get(watched.address, "/livez")).await;
        assert_eq!(answer.expect("an answer before the silent ones are out of time").status, 200);
        // And nobody who is silent stays.
        for mut stream in silent {
            let end = tokio::time::timeout(Duration::from_secs(10), stream.read_u8()).await;
            assert!(end.expect("it is closed").is_err());
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_by_a_foreign_name_is_refused_and_told_the_key() {
    let consumer = Consumer::new(MemoryQueue::new(MemorySettings::default()), Router::new(), Settings::default());
    let admin = Admin::bind("127.0.0.1:0".parse().unwrap(), consumer.monitor(), "a queue").await.unwrap();
    let admin = admin.hosts(["metrics.example.com"]);
    let address = admin.address();
    let ask = async |path: &str, host: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    tokio::select! {
        () = admin.serve(pending()) => {}
        () = async {
            for path in ["/", "/status", "/metrics", "/livez"] {
                let answer = ask(path, &format!("rebound.example:{}", address.port())).await;
                assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
                assert!(answer.contains("hosts = [") && !answer.contains("a queue"), "{answer}");
            }
            for host in ["metrics.example.com:9464", "localhost", "127.0.0.1", "stream-sqsd"] {
                assert!(ask("/status", host).await.starts_with("HTTP/1.1 200 "), "{host}");
            }
        } => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_without_end_is_refused() {
    watched(&[], async |watched| {
        let mut stream = TcpStream::connect(watched.address).await.unwrap();
        let endless = format!("GET /status HTTP/1.1\r\nX-Long: {}", "x".repeat(64 * 1024));
        // It may be refused before all of it is written.
        let _ = stream.write_all(endless.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    })
    .await;
}

/// What the page says in its headline comes from the one, its table from the other.
#[tokio::test(start_paused = true)]
async fn each_failure_that_is_listed_is_one_of_those_counted() {
    let queue = MemoryQueue::new(MemorySettings::default());
    queue.send(body("message.new"));
    let router = Router::new().route_named("any", |_| panic!("the condition of a route"), handler).fallback(handler);
    let consumer = Consumer::new(queue, router, Settings::new().with_random_seed(1));
    let monitor = consumer.monitor();
    let admin = Admin::bind("127.0.0.1:0".parse().unwrap(), monitor.clone(), "a queue").await.unwrap();
    let address = admin.address();
    let status = async || serde_json::from_str::<serde_json::Value>(&get(address, "/status").await.body).unwrap();
    tokio::select! {
        biased;
        () = async {
            while monitor.failures().is_empty() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let status = status().await;
            assert_eq!(status["last_failures"][0]["kind"], "panic", "{status}");
            assert_eq!(status["failures"]["last_ten_minutes"], status["last_failures"][0]["times"], "{status}");
        } => {}
        ended = consumer.run(pending()) => panic!("{ended:?}"),
        () = admin.serve(pending()) => {}
    }
}
