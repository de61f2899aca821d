//! `completions`: the command line as shells want it described.

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
