//! What other processes of the same user can read of the daemon: nothing.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use stream_sqsd::queue::memory::MemorySettings;

use crate::daemon::{daemon, file, run};
use crate::queue::Sqs;

/// Root may read everything, so as root the daemon is run as a user without rights.
const NOBODY: u32 = 65534;

/// The command as a user without rights, from a copy in `directory`, which that user owns then.
pub(crate) fn without_rights(ours: &Command, directory: &Path) -> Command {
    // A copy, since a user without rights may not come to where it was built.
    let program = directory.join("stream-sqsd");
    fs::copy(env!("CARGO_BIN_EXE_stream-sqsd"), &program).unwrap();
    let mut command = match rustix::process::geteuid().is_root() {
        true => {
            chown(directory, Some(NOBODY), None).unwrap();
            let mut command = Command::new("setpriv");
            command.args(["--reuid", &NOBODY.to_string(), "--clear-groups", "--inh-caps=-all", "--"]).arg(&program);
            command
        }
        false => Command::new(&program),
    };
    command.args(ours.get_args()).env_clear();
    command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

#[test]
fn a_program_cannot_read_the_environment_of_the_daemon() {
    let sqs = Sqs::start(MemorySettings::default());
    sqs.queue().send(r#"{"type":"message.new"}"#);
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let found = directory.path().join("found");
    // A program of the handler `exec`; its parent is the daemon. That it ran is seen by the last line.
    let script = format!(
        "for what in environ maps mem cmdline; do cat /proc/$PPID/$what >> {0} 2>> {0}.refused; done; echo ran >> {0}; true",
        found.display()
    );
    let toml =
        format!("[[route]]\nevents = [\"*\"]\nhandler = \"exec\"\ncommand = [\"/bin/sh\", \"-c\", {script:?}]\n");
    let path = file(directory.path(), "c.toml", toml);
    let mut ours = daemon(&["run", "--config", &path, "--queue-url", &sqs.url(), "--until-empty", "--wait", "1s"]);
    ours.env("STREAM_API_SECRET", "hush hush");
    run(without_rights(&ours, directory.path())).with(0);
    assert_eq!(sqs.queue().counts().deleted, 1);
    let found = String::from_utf8_lossy(&fs::read(&found).unwrap()).into_owned();
    assert!(found.ends_with("ran\n"), "{found}");
    assert!(found.contains("--until-empty"), "what everybody may read shows that this was the daemon: {found}");
    assert!(!found.contains("hush hush") && !found.contains("AWS_SECRET"), "{found}");
}
