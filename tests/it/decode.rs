//! Bodies to events.
