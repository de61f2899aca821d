//! How much is shown of a text that others wrote.

/// How many bytes of a text are shown that a sender or a target chose: in the log, in spans, on the page, in metrics.
/// Spans are repeated in each line of the log, so anyone who chose a text would choose the size of the log.
pub(super) const FOREIGN_SHOWN: usize = 120;

/// How many bytes are shown of an error, which may be made of several texts.
pub(crate) const ERROR_SHOWN: usize = 300;

/// What is shown of a text that a sender or a target chose.
pub(crate) fn shown(text: &str) -> &str {
    cut(text, FOREIGN_SHOWN)
}

/// The first n bytes of a text, or a few less where a character would be torn.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
