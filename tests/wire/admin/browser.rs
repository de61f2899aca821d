//! The page in headless Chromium.

use std::process::Stdio;

use tokio::process::Command;

use super::*;

/// What a browser made of the page, after some seconds of its time.
struct Seen {
    /// The document as it was then.
    document: String,
    /// What it complained about.
    console: String,
}

async fn open(address: SocketAddr) -> Seen {
    browse(&format!("http://{address}/")).await
}

async fn browse(url: &str) -> Seen {
    let profile = tempfile::tempdir().unwrap();
    let mut chromium = Command::new("chromium");
    chromium
        // Root, as which the tests of CI run, has no sandbox; what it opens here is our own page.
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let chromium = chromium.spawn().expect("chromium, of the Debian package of that name");
    let output = tokio::time::timeout(Duration::from_secs(90), chromium.wait_with_output());
    let output = output.await.expect("an answer in time").unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let console = stderr.lines().filter(|line| line.contains("CONSOLE")).collect::<Vec<_>>().join("\n");
    Seen { document: String::from_utf8_lossy(&output.stdout).into_owned(), console }
}

#[tokio::test]
#[ignore = "needs Chromium: tests/run --all"]
async fn browser_shows_what_is_going_on_and_logs_no_error() {
    watched(&["message.new", "message.new", "message.deleted"], async |watched| {
        watched.monitor.counts_dropped_log_lines(|| 7);
        while watched.monitor.snapshot().deleted < 2 {
            tokio::task::yield_now().await;
        }
        let seen = open(watched.address).await;
        assert_eq!(seen.console, "", "a style or a script that the policy forbids, or a mistake in the script");
        let has = |text: &str| assert!(seen.document.contains(text), "{text}\n{}", seen.document);
        has(r#"<h1 id="queue">memory</h1>"#);
        has("<code>message.new</code>");
        has(r#"<span class="error">the row is locked</span>"#);
        has("<code>memory-00000003</code>");
        has("Dropped from the log, which did not take them in time: 7 lines.");
        assert!(!seen.document.contains(PRIVATE));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Chromium: tests/run --all"]
async fn browser_shows_the_flow_to_each_target_in_words() {
    watched(&["message.flagged"], async |watched| {
        while watched.monitor.flows()[0].word() != "only one fails" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let seen = open(watched.address).await;
        assert_eq!(seen.console, "");
        let has = |text: &str| assert!(seen.document.contains(text), "{text}\n{}", seen.document);
        has("One message fails: message.*");
        has("</span>one message fails, and nothing else was tried</div>");
        has("the first goes back to the queue in");
        has("</span>flowing</div>");
        // The delay that its target names is an hour, and the longest pause five minutes.
        watched.queue.send(body("reaction.new"));
        while watched.monitor.flows()[1].word() != "paused" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let seen = open(watched.address).await;
        assert_eq!(seen.console, "");
        assert!(seen.document.contains("</span>paused</div>"), "{}", seen.document);
        assert!(seen.document.contains(", as the target asked"), "{}", seen.document);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Chromium: tests/run --all"]
async fn browser_shows_which_routes_of_what_is_held_are_done() {
    watched_on_two_routes(&["message.new", "message.read"], async |watched, works| {
        while watched.monitor.flows()[1].word() != "down" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Of a row of the table what stands between its route and the end of the row.
        let row = |seen: &Seen, route: &str| {
            let (_, behind) = seen.document.split_once(&format!("<code>{route}</code>")).expect("a row of its own");
            behind.split_once("</tr>").unwrap().0.to_owned()
        };
        let seen = open(watched.address).await;
        assert_eq!(seen.console, "");
        let (archive, webhook) = (row(&seen, "archive"), row(&seen, "*"));
        assert!(archive.contains("2 done here and held for other routes"), "{archive}");
        assert!(webhook.contains("2 retrying") && !webhook.contains("done here"), "{webhook}");
        works.store(true, Ordering::Relaxed);
        while watched.monitor.snapshot().deleted < 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let archive = row(&open(watched.address).await, "archive");
        assert!(!archive.contains("done here"), "{archive}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Chromium: tests/run --all"]
async fn browser_shows_what_failed_on_its_last_receive_with_its_id() {
    watched(&["message.new"], async |watched| {
        assert!(open(watched.address).await.document.contains(r#"<section id="dead" hidden"#), "nothing yet");
        watched.queue.send(body("message.deleted"));
        while watched.monitor.dead_lettered().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let seen = open(watched.address).await;
        assert_eq!(seen.console, "");
        let (_, section) = seen.document.split_once(r#"<section id="dead">"#).expect("the section shows");
        let section = section.split_once("</section>").unwrap().0;
        for text in
            ["retry", "the row is locked", "message.deleted", "stream-sqsd dlq list", "<code>memory-00000002</code>"]
        {
            assert!(section.contains(text), "{text}: {section}");
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Chromium: tests/run --all"]
async fn browser_takes_a_type_that_looks_like_markup_for_text() {
    watched(&["<img src=x onerror=alert(1)>.x"], async |watched| {
        while watched.monitor.failures().is_empty() {
            tokio::task::yield_now().await;
        }
        let seen = open(watched.address).await;
        assert_eq!(seen.console, "");
        assert!(seen.document.contains("<code>&lt;img src=x onerror=alert(1)&gt;.x</code>"), "{}", seen.document);
        assert!(seen.document.contains("&lt;/script&gt;&lt;img src=y onerror=alert(2)&gt;"), "{}", seen.document);
        assert!(!seen.document.contains("<img"), "{}", seen.document);
    })
    .await;
}

/// Around the page, which may not be framed, a frame of some width; and what is wider than it is written into the document.
const FRAME: &str = r#"<!doctype html><title>frame</title><iframe id="frame" src="/page"></iframe><pre id="said"></pre><script>
const frame = document.getElementById("frame");
frame.style = "border: 0; height: 800px; width: " + location.search.slice(1) + "px";
setTimeout(() => {
  const page = frame.contentDocument, width = frame.contentWindow.innerWidth;
  const wide = [...page.querySelectorAll("main *")].filter(node =>
    node.getBoundingClientRect().right > width || (node.matches(".scroll") && node.scrollWidth > node.clientWidth));
  document.getElementById("said").textContent = width + " wide, " + page.querySelectorAll(".routes tbody tr").length + " routes; too wide: " +
    wide.map(node => node.tagName + " " + node.className + " " + node.textContent.slice(0, 40)).join(" | ");
}, 4000);
</script>"#;

/// Serves the page within that frame, with the status of the daemon, for as long as it is polled.
async fn framed(watched: &Watched, listener: tokio::net::TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            // A browser connects beforehand too, and then says nothing.
            match tokio::time::timeout(Duration::from_secs(2), stream.read_u8()).await {
                Ok(Ok(byte)) => head.push(byte),
                _ => break,
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let body = match head.split(' ').nth(1) {
            Some(path) if path.starts_with("/?") => FRAME.to_owned(),
            Some("/page") => get(watched.address, "/").await.body,
            Some("/status") => get(watched.address, "/status").await.body,
            _ => continue,
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let _ = stream.write_all((head + &body).as_bytes()).await;
    }
}

#[tokio::test]
#[ignore = "needs Chromium: tests/run --all"]
async fn browser_shows_all_of_the_page_on_a_phone() {
    let long = format!("{}.{}", "x".repeat(60), "y".repeat(60));
    watched(
        &["message.flagged", "message.flagged", "reaction.new", "message.deleted", "message.new", &long],
        async |watched| {
            while watched.monitor.flows()[0].word() != "down" || watched.monitor.flows()[1].word() != "paused" {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            for width in [320, 400, 620, 860, 1180] {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let url = format!("http://{}/?{width}", listener.local_addr().unwrap());
                let seen = tokio::select! {
                    seen = browse(&url) => seen,
                    () = framed(watched, listener) => unreachable!(),
                };
                let (_, said) = seen.document.split_once(r#"<pre id="said">"#).unwrap();
                let (said, _) = said.split_once("</pre>").unwrap();
                assert_eq!(said, format!("{width} wide, 3 routes; too wide: "), "{}", seen.console);
            }
        },
    )
    .await;
}

#[tokio::test]
#[ignore = "needs Chromium: tests/run --all"]
async fn browser_headline_and_table_of_failures_agree() {
    watched(&["message.new"], async |watched| {
        while watched.monitor.snapshot().deleted < 1 {
            tokio::task::yield_now().await;
        }
        let seen = open(watched.address).await;
        let has = |text: &str| assert!(seen.document.contains(text), "{text}\n{}", seen.document);
        // Not idle for a minute, which is not over.
        has(r#"<strong id="says">Receiving</strong><span id="because">No failure in the last ten minutes.</span>"#);
        has("No message has failed since the daemon started");

        watched.queue.send(body("message.deleted"));
        while watched.monitor.failures().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Within the ten seconds before the next sample.
        let seen = open(watched.address).await;
        let has = |text: &str| assert!(seen.document.contains(text), "{text}\n{}", seen.document);
        has(r#"<strong id="says">Receiving, with failures</strong>"#);
        let behind = |mark: &str| seen.document.split_once(mark).unwrap().1.split(" in the last ten").next().unwrap();
        assert_eq!(behind(r#"<span id="because">"#), behind(r#"<output id="failures-at">"#));
        has(r#"<span class="error">the row is locked</span>"#);
    })
    .await;
}
