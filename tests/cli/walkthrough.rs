//! The steps of src/docs/relay.md, followed block by block: with the queue of these tests in the place of LocalStack, and a
//! PostgreSQL of the test's own.

mod postgres {
    use std::fs;
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    use stream_sqsd::queue::memory::MemorySettings;

    use crate::daemon::daemon;
    use crate::memory::postgres::Cluster;
    use crate::queue::Sqs;
    use crate::support::page::blocks;

    const PAGE: &str = include_str!("../../src/docs/relay.md");

    /// What stands in the place of `localstack/down` and `localstack/up`: says so, and waits until it is done.
    const SWITCH: &str = "#!/bin/sh\ntouch wanted-NAME\nuntil [ ! -e wanted-NAME ]; do sleep 0.02; done\n";

    /// The steps as one script, which says between two blocks which one is over, and what the page says that they print.
    fn script() -> (String, Vec<(usize, String)>) {
        let (mut script, mut told) = (String::new(), Vec::new());
        for (number, (kind, text)) in blocks(PAGE, "Try it").into_iter().enumerate() {
            match kind.as_str() {
                "sh" => script += &format!("{text}echo \"--- {number}\"\n"),
                "text" => told.push((number - 1, text)),
                other => panic!("a block of {other}"),
            }
        }
        // What a machine of the test has already, or has otherwise.
        let lines = script.lines().filter(|line| {
            !["cargo build", "sudo -u postgres", "export PATH=", "export AWS_"]
                .iter()
                .any(|begin| line.starts_with(begin))
        });
        (lines.map(|line| format!("{line}\n")).collect(), told)
    }

    fn switches(place: &Path) {
        fs::create_dir(place.join("localstack")).unwrap();
        for name in ["up", "down"] {
            let path = place.join("localstack").join(name);
            fs::write(&path, SWITCH.replace("NAME", name)).unwrap();
            fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        }
    }

    /// Lets SQS come and go as the script says, until the script is over.
    fn obey(sqs: &Sqs, place: &Path, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            for (name, away) in [("up", false), ("down", true)] {
                let wanted = place.join(format!("wanted-{name}"));
                if wanted.exists() {
                    sqs.is_away(away);
                    fs::remove_file(wanted).unwrap();
                }
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn the_steps_from_a_webhook_to_a_row_can_be_followed() {
        let (sqs, cluster) = (Sqs::start(MemorySettings::default()), Cluster::start());
        let place = tempfile::tempdir().unwrap();
        switches(place.path());
        let port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let socket = cluster.directory().display().to_string();
        let (script, told) = script();
        let replacements = [
            ("http://127.0.0.1:4566/queue/us-east-1/000000000000/chat-events", sqs.url()),
            ("127.0.0.1:8080", port()),
            ("127.0.0.1:9465", port()),
            ("postgres://stream@127.0.0.1/stream", cluster.url()),
            ("-h 127.0.0.1 -U stream ", format!("-h {socket} -U postgres ")),
        ];
        let script = replacements.into_iter().fold(script, |script, (of_page, here)| {
            assert!(script.contains(of_page), "{of_page} is not on the page");
            script.replace(of_page, &here)
        });
        let ours = daemon(&[]);
        let program = Path::new(ours.get_program()).parent().unwrap();
        // The relay, where a step before its end fails.
        let script = format!("trap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n{script}");
        let mut shell = Command::new("timeout");
        shell.args(["120", "bash", "-e", "-u", "-c", &script]).current_dir(place.path()).env_clear();
        shell.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?)))).env_remove("STREAM_SQSD_ADMIN");
        shell.env("PATH", format!("{}:/usr/bin:/bin", program.display()));
        let over = AtomicBool::new(false);
        let output = thread::scope(|scope| {
            scope.spawn(|| obey(&sqs, place.path(), &over));
            let output = shell.output();
            over.store(true, Ordering::Relaxed);
            output.unwrap()
        });
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(told.len(), 3, "no block was missed");
        for (number, text) in told {
            assert!(
                said.contains(&format!("{text}--- {number}\n")),
                "{text}\nis not the end of block {number} in\n{said}"
            );
        }
        assert!(said.contains("200\n200\n---"), "{said}");
    }
}
