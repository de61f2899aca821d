//! JSON as it is printed: one line for programs, indented and coloured for people.
//!
//! It works on the text, token by token, and never on values: whatever is deep, large, repeated or odd in an event comes
//! out as it went in. The text must be valid JSON, which a decoded event is.

use stream_sqsd::event::is_unsafe_to_show;

/// What tokens look like on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colours {
    Off,
    On,
}

/// How deep lines are indented at most: a body can nest half a million brackets, and its indentation would be a terabyte.
const MAX_INDENT: usize = 64;

const KEY: &str = "\x1b[34;1m";
const STRING: &str = "\x1b[32m";
const LITERAL: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";

/// The JSON in one line: line ends between tokens become spaces.
pub(crate) fn one_line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
}

/// The JSON for a person: indented, coloured if asked.
///
/// Characters that are unsafe to show, such as C1 controls and those that turn the direction of text, are written as the
/// escapes that mean the same.
pub(crate) fn for_people(json: &str, colours: Colours) -> String {
    let mut printer = Printer { out: String::with_capacity(json.len() * 2), colours };
    let mut rest = json.trim_matches(WHITE);
    // The brackets that are open: whether each is an object.
    let mut open: Vec<bool> = Vec::new();
    let mut key_next = false;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            '{' | '}' | '[' | ']' | ',' | ':' => 1,
            _ => rest.find([',', '}', ']', ' ', '\t', '\n', '\r']).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(length);
        rest = after.trim_start_matches(WHITE);
        match first {
            '{' | '[' => {
                printer.out.push(first);
                if rest.starts_with(['}', ']']) {
                    printer.out.push_str(&rest[..1]);
                    rest = rest[1..].trim_start_matches(WHITE);
                } else {
                    open.push(first == '{');
                    key_next = first == '{';
                    printer.new_line(open.len());
                }
            }
            '}' | ']' => {
                open.pop();
                printer.new_line(open.len());
                printer.out.push(first);
            }
            ',' => {
                printer.out.push(',');
                printer.new_line(open.len());
                key_next = open.last().copied().unwrap_or(false);
            }
            ':' => {
                printer.out.push_str(": ");
                key_next = false;
            }
            '"' if key_next => printer.token(token, KEY),
            '"' => printer.token(token, STRING),
            _ => printer.token(token, LITERAL),
        }
    }
    printer.out
}

const WHITE: [char; 4] = [' ', '\t', '\n', '\r'];

/// The length of the string that `text` begins with, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

struct Printer {
    out: String,
    colours: Colours,
}

impl Printer {
    fn new_line(&mut self, depth: usize) {
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n("  ", depth.min(MAX_INDENT)));
    }

    fn token(&mut self, token: &str, colour: &str) {
        if self.colours == Colours::On {
            self.out.push_str(colour);
        }
        for c in token.chars() {
            match c {
                c if is_unsafe_to_show(c) => self.out.push_str(&format!("\\u{:04x}", u32::from(c))),
                c => self.out.push(c),
            }
        }
        if self.colours == Colours::On {
            self.out.push_str(RESET);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    /// The tokens of a JSON text: it without white space outside strings.
    fn tokens(json: &str) -> String {
        let mut tokens = String::new();
        let mut rest = json;
        while let Some(c) = rest.chars().next() {
            let length = if c == '"' { string_length(rest) } else { c.len_utf8() };
            if !WHITE.contains(&c) {
                tokens.push_str(&rest[..length]);
            }
            rest = &rest[length..];
        }
        tokens
    }

    #[test]
    fn a_person_sees_it_indented() {
        let shown = for_people(r#"{"a":[1,{"b":"x,y:{\"z\"}"},[],{ }],"c":null}"#, Colours::Off);
        let expected = "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"x,y:{\\\"z\\\"}\"\n    },\n    [],\n    {}\n  ],\n  \
                        \"c\": null\n}";
        assert_eq!(shown, expected);
    }

    #[test]
    fn colours_tell_keys_from_strings_and_both_from_the_rest() {
        let shown = for_people(r#"{"a":["a",true]}"#, Colours::On);
        assert!(shown.contains("\x1b[34;1m\"a\"\x1b[0m: ["), "{shown:?}");
        assert!(shown.contains("\x1b[32m\"a\"\x1b[0m,"), "{shown:?}");
        assert!(shown.contains("\x1b[33mtrue\x1b[0m"), "{shown:?}");
    }

    #[test]
    fn nothing_but_white_space_changes_however_odd_the_json() {
        let deep = format!("{}1{}", "[".repeat(300), "]".repeat(300));
        let odd = [
            r#" { "a" : 1e400 , "a":-0.10E+2,"b":"\ud800 \\", "" : { } }  "#,
            "\t[\r\n1 ,\n2]\n",
            r#""text""#,
            "12345678901234567890123",
            &deep,
        ];
        for json in odd {
            assert_eq!(tokens(&for_people(json, Colours::Off)), tokens(json), "{json}");
        }
    }

    #[test]
    fn deep_json_is_printed_without_endless_indentation() {
        let json = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(for_people(&json, Colours::Off).len() < 200_000 * (2 * MAX_INDENT + 3));
    }

    #[test]
    fn a_terminal_is_sent_no_control_characters() {
        let json = "{\"a\":\"x\u{9b}31my\u{7f} \u{202e}olleh\"}";
        let shown = for_people(json, Colours::Off);
        assert!(shown.contains(r#""x\u009b31my\u007f \u202eolleh""#), "{shown:?}");
        let value = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
        assert_eq!(value(&shown), value(json));
    }

    #[test]
    fn line_ends_become_spaces_in_one_line() {
        assert_eq!(one_line("{\r\n\"a\":\n\"b\\n\"}"), "{  \"a\": \"b\\n\"}");
    }
}
