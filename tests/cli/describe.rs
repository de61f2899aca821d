//! `completions` and `manual`: the command line as shells and man want it described.

use std::fs;
use std::process::Command;

use crate::daemon::{daemon, run};

#[test]
fn a_shell_completes_subcommands_and_flags() {
    let script = run(daemon(&["completions", "bash"])).with(0).stdout;
    // As bash calls it when somebody presses TAB after the last word.
    let complete = |words: &str, position: u32| {
        let press_tab = format!(
            "{script}\ncommand=$(complete -p stream-sqsd); f=${{command##*-F }}; f=${{f%% *}}\n\
             COMP_WORDS=({words}); COMP_CWORD={position}; $f stream-sqsd \"${{COMP_WORDS[{position}]}}\"\n\
             echo \"${{COMPREPLY[@]}}\""
        );
        let ended = Command::new("bash").args(["--norc", "-c", &press_tab]).output().unwrap();
        String::from_utf8(ended.stdout).unwrap().trim_end().to_owned()
    };
    assert_eq!(complete("stream-sqsd ru", 1), "run");
    assert_eq!(complete("stream-sqsd run --gra", 2), "--grace");
    run(daemon(&["completions", "cmd"])).with(2).saying(&["possible values: bash, elvish, fish"]);
}

#[test]
fn man_has_a_page_for_the_program_and_for_each_subcommand() {
    let directory = tempfile::tempdir().unwrap();
    run(daemon(&["manual", directory.path().to_str().unwrap()])).with(0);
    let page = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
    assert!(page("stream-sqsd.1").contains("Exit codes:"));
    assert!(page("stream-sqsd-run.1").contains("STREAM_SQSD_GRACE"));
    assert!(!directory.path().join("stream-sqsd-manual.1").exists(), "only who makes packages needs it");
    let nowhere = directory.path().join("nowhere");
    run(daemon(&["manual", nowhere.to_str().unwrap()])).with(2).saying(&["cannot write the pages into"]);
}
