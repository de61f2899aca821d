//! The stable words by which counts are told apart: in the log, in the metrics and on the page alike.

/// What a label says that is none of those known.
pub(super) const OTHER: &str = "other";

/// An enum with a word for each variant: one that is added is in the list of all, so that its count has a place.
macro_rules! words {
    ($(
        $(#[doc = $about:literal])+
        $name:ident {$(
            $(#[doc = $meaning:literal])*
            $variant:ident = $word:literal,
        )+}
    )+) => {$(
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum $name {
            $( $(#[doc = $meaning])* $variant, )+
        }

        impl $name {
            pub(super) const ALL: [$name; [$($word),+].len()] = [$($name::$variant),+];

            /// The stable word for it: in the log, in the metrics, on the page.
            pub(crate) fn label(self) -> &'static str {
                match self {
                    $( $name::$variant => $word, )+
                }
            }
        }
    )+};
}

#[cfg(feature = "relay")]
pub(super) use words;

words! {
    /// Why a body cannot be decoded.
    Undecodable {
        Base64 = "invalid_base64_encoding",
        Gzip = "gzip_decompression_failed",
        Json = "invalid_json_payload",
        TooLarge = "too_large",
        TypeTooLong = "type_too_long",
    }

    /// Why a request to the queue failed.
    RequestError {
        Throttled = "throttled",
        OverLimit = "over_limit",
        AccessDenied = "access_denied",
        Credentials = "credentials",
        EncryptionKey = "encryption_key",
        NoSuchQueue = "no_such_queue",
        Unreachable = "unreachable",
        TimedOut = "timed_out",
        BadAnswer = "bad_answer",
        Service = "service",
    }

    /// What the engine asks of the queue all the time.
    Request {
        Receive = "receive",
        Delete = "delete",
        ChangeVisibility = "change_visibility",
    }

    /// How one call of a handler ended.
    CallEnd {
        Handled = "handled",
        Retry = "retry",
        BadMessage = "rejected",
        TargetBusy = "target_busy",
        TargetDown = "target_down",
        TimeLimit = "timeout",
        Panic = "panic",
        /// The event did not fit the type that the handler takes.
        DoesNotFit = "type_mismatch",
        /// The lease was lost or the grace ran out first.
        Interrupted = "interrupted",
    }
}
