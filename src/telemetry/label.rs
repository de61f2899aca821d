//! The stable words by which counts are told apart: in the log, in the metrics and on the page alike.

/// What a label says that is none of those known.
pub(super) const OTHER: &str = "other";

/// What bodies that cannot be decoded are told apart by.
pub(super) const UNDECODABLE: &[&str] =
    &["invalid_base64_encoding", "gzip_decompression_failed", "invalid_json_payload", "too_large", "type_too_long"];

/// What failed requests to the queue are told apart by.
pub(super) const REQUEST_ERRORS: &[&str] = &[
    "throttled",
    "over_limit",
    "access_denied",
    "credentials",
    "encryption_key",
    "no_such_queue",
    "unreachable",
    "timed_out",
    "bad_answer",
    "service",
];

/// What the engine asks of the queue all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Request {
    Receive,
    Delete,
    ChangeVisibility,
}

impl Request {
    pub(super) const ALL: [Request; 3] = [Request::Receive, Request::Delete, Request::ChangeVisibility];

    /// The stable word for it: in the log, in the metrics, on the page.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Request::Receive => "receive",
            Request::Delete => "delete",
            Request::ChangeVisibility => "change_visibility",
        }
    }
}

/// How one call of a handler ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallEnd {
    Handled,
    Retry,
    BadMessage,
    TargetBusy,
    TargetDown,
    TimeLimit,
    Panic,
    /// The event did not fit the type that the handler takes.
    DoesNotFit,
    /// The lease was lost or the grace ran out first.
    Interrupted,
}

impl CallEnd {
    pub(super) const ALL: [CallEnd; 9] = [
        CallEnd::Handled,
        CallEnd::Retry,
        CallEnd::BadMessage,
        CallEnd::TargetBusy,
        CallEnd::TargetDown,
        CallEnd::TimeLimit,
        CallEnd::Panic,
        CallEnd::DoesNotFit,
        CallEnd::Interrupted,
    ];

    /// The stable word for it: in the log, in the metrics, on the page.
    pub(crate) fn label(self) -> &'static str {
        match self {
            CallEnd::Handled => "handled",
            CallEnd::Retry => "retry",
            CallEnd::BadMessage => "rejected",
            CallEnd::TargetBusy => "target_busy",
            CallEnd::TargetDown => "target_down",
            CallEnd::TimeLimit => "timeout",
            CallEnd::Panic => "panic",
            CallEnd::DoesNotFit => "type_mismatch",
            CallEnd::Interrupted => "interrupted",
        }
    }
}
