//! What the subcommands read: files and standard input, never more of either than is bounded.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};

use crate::terminal::exit::say;

/// The most that is read as one piece: one body, one line, one JSON document. SQS carries 1 MiB.
pub(crate) const MAX_PIECE: usize = 64 << 20;

/// Where something is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Standard,
    File(PathBuf),
}

impl Input {
    /// A file by its path, or standard input by `-`.
    pub(crate) fn of(path: &Path) -> Input {
        if path == Path::new("-") { Input::Standard } else { Input::File(path.to_owned()) }
    }

    /// Opens it. A person at the keyboard is told that it is their turn.
    pub(crate) fn open(&self) -> io::Result<Box<dyn BufRead + Send>> {
        match self {
            Input::Standard => {
                if io::stdin().is_terminal() {
                    say("reading from the keyboard; Ctrl-D ends it");
                }
                Ok(Box::new(BufReader::new(io::stdin())))
            }
            Input::File(path) => {
                let file = File::open(path)?;
                if file.metadata()?.is_dir() {
                    return Err(io::ErrorKind::IsADirectory.into());
                }
                Ok(Box::new(BufReader::with_capacity(64 * 1024, file)))
            }
        }
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Standard => f.write_str("standard input"),
            Input::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A piece of input that was to be read as one.
pub(crate) enum Piece {
    Whole(Vec<u8>),
    /// It is larger than [`MAX_PIECE`].
    TooLarge,
}

/// Reads to the end.
pub(crate) fn read_all(reader: &mut impl BufRead) -> io::Result<Piece> {
    let mut bytes = Vec::new();
    reader.take(MAX_PIECE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(if bytes.len() > MAX_PIECE { Piece::TooLarge } else { Piece::Whole(bytes) })
}

/// Reads the next line, without its end. None at the end of the input.
pub(crate) fn read_line(reader: &mut impl BufRead) -> io::Result<Option<Piece>> {
    let mut line = Vec::new();
    let limit = MAX_PIECE as u64 + 1;
    if reader.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Some(Piece::Whole(line)));
    }
    if line.len() <= MAX_PIECE {
        return Ok(Some(Piece::Whole(line)));
    }
    // The rest of it is skipped, a piece at a time.
    line = Vec::new();
    while reader.by_ref().take(64 * 1024).read_until(b'\n', &mut line)? > 0 && line.last() != Some(&b'\n') {
        line.clear();
    }
    Ok(Some(Piece::TooLarge))
}
