//! The counters: one table, from which everything follows that a counter is.
//!
//! A new counter is one row here, and the line that counts. The row gives it a field in [`Counters`] and in [`Snapshot`], its
//! series in `/metrics`, its place in `/status`, and its line in the documentation of the metrics.
//!
//! Counts that are told apart by a word of their own (a route, an event type, an error) are not in the table.

use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::count::Count;
use super::now::Phase;
use super::prometheus::{Metric, Page, counter};

/// Where `/status` shows a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    /// What arrived, in `deliveries`.
    Arrivals,
    /// What became of it, in `deliveries`.
    Settlements,
    /// What was not worked on, in `deliveries`.
    Unworked,
    /// In `failures`.
    Failures,
    /// In `polls`.
    Polls,
    /// In `requests`.
    Requests,
}

/// A metric of the table, with its series: the values of its labels, and where their number stands.
#[derive(Debug)]
pub(super) struct Row {
    metric: Metric,
    series: &'static [Series],
}

type Series = (&'static [&'static str], fn(&Counters) -> u64);

macro_rules! key {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $key:literal) => {
        $key
    };
}

macro_rules! counters {
    ($(
        $group:ident {$(
            $name:literal $(by $label:ident)?: $help:literal {$(
                $(#[doc = $meaning:literal])+
                $field:ident $(= $value:literal)? $(in $section:ident $(as $key:literal)?)?;
            )+}
        )+}
    )+) => {
        /// A number for each row of the table.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $($($( $(#[doc = $meaning])+ pub(crate) $field: Count, )+)+)+
        }

        /// The metrics of the table, by the groups in which they stand in `/metrics`.
        impl Counters {
            $( pub(super) const $group: &[Row] = &[$(
                Row {
                    metric: counter($name, &[$(stringify!($label))?], $help),
                    series: &[$( (&[$($value)?], |counters| counters.$field.get()), )+],
                },
            )+]; )+

            /// All numbers now. What is not a number of the table is left at its default.
            pub(super) fn read(&self) -> Snapshot {
                Snapshot { $($($( $field: self.$field.get(), )+)+)+ ..Snapshot::default() }
            }
        }

        /// The counts of a run and its state, at one moment.
        #[derive(Clone, Debug, Default)]
        #[non_exhaustive]
        pub struct Snapshot {
            /// Where the run stands.
            pub phase: Phase,
            $($($( $(#[doc = $meaning])+ pub $field: u64, )+)+)+
            /// Calls of handlers that succeeded.
            pub handled: u64,
            /// Bodies that could not be decoded, and events that did not fit the type of their handler.
            pub undecodable: u64,
            /// Calls of handlers that returned an error.
            pub handler_errors: u64,
            /// Calls of handlers that panicked.
            pub panics: u64,
            /// Calls of handlers that ran out of time.
            pub timeouts: u64,
            /// Deliveries held now, with and without a slot.
            pub at_work: usize,
            /// The slots: how many deliveries may be worked on at the same time. Those whose target is busy or down are
            /// held beyond them while they wait to be called again.
            pub concurrency: usize,
            /// Slots that are neither taken by a delivery nor claimed by an open receive.
            pub slots_free: usize,
            /// Bytes held or reserved now.
            pub in_flight_bytes: usize,
            /// The most bytes that may be held.
            pub max_in_flight_bytes: usize,
            /// The routes whose target is down; [`Monitor::flows`](super::Monitor::flows) tells more.
            pub targets_down: Vec<Arc<str>>,
            /// Receives that wait for their answer.
            pub open_polls: usize,
            /// The age of the oldest of them.
            pub oldest_poll: Option<Duration>,
            /// How long ago a message arrived last that had not been received before, or the start where none has: a silence
            /// that is longer than the quiet hours of an app may mean that nobody sends any more.
            pub since_last_event: Duration,
        }

        /// What `/status` shows of the table, in its order: where, by which key, and the number.
        const IN_STATUS: &[(Section, &str, fn(&Snapshot) -> u64)] = &[
            $($($( $( (Section::$section, key!($field $($key)?), |snapshot| snapshot.$field), )? )+)+)+
        ];
    };
}

// The groups are written to /metrics in the order that `metrics.rs` says, the rows of a group in theirs:
//
//     "name of the metric" by label: "help" {
//         /// What it counts.
//         field = "value of the label" in section of /status as "key there, where it is not the name of the field";
//     }
counters! {
    DELIVERIES {
        "stream_sqsd_deliveries_received_total": "Deliveries received from the queue." {
            /// Deliveries received.
            received in Arrivals;
        }
        "stream_sqsd_deliveries_settled_total" by outcome: "What became of deliveries: deleted, nacked (for a retry or the \
            dead-letter queue), returned (unprocessed), interrupted (lease lost or delete unconfirmed), duplicate (joined one \
            already at work)." {
            /// Deliveries whose message was deleted, confirmed by the queue.
            deleted = "deleted" in Settlements;
            /// Deliveries left in the queue, to be received again after a delay or dead-lettered.
            nacked = "nacked" in Settlements;
            /// Deliveries returned at once, unworked or not finished, such as at shutdown.
            returned = "returned" in Settlements;
            /// Deliveries whose lease was lost or whose delete was not confirmed.
            interrupted = "interrupted" in Settlements;
            /// Deliveries that joined one of the same message already at work.
            duplicates = "duplicate" in Settlements;
        }
        "stream_sqsd_deliveries_redelivered_total": "Deliveries of messages that had been received before." {
            /// Deliveries of messages that had been received before.
            redelivered in Arrivals;
        }
        "stream_sqsd_last_receives_total": "Deliveries on the last receive before the dead-letter queue, where the redrive \
            policy may be read." {
            /// Deliveries on the last receive before the dead-letter queue, where the redrive policy is known.
            last_receives in Arrivals;
        }
        "stream_sqsd_last_receives_failed_total": "Deliveries on their last receive whose message was not deleted: SQS moves \
            it to the dead-letter queue. The log and the file of reasons say why, by a record each." {
            /// Those of them whose message was not deleted: SQS moves it to the dead-letter queue. Each has a
            /// [`DeadLetter`](super::DeadLetter), which says why.
            last_receives_failed in Arrivals;
        }
        "stream_sqsd_repeats_deleted_total": "Deliveries of messages that had been handled before, deleted without calling a \
            handler again." {
            /// Deliveries of messages that had been handled before, deleted without calling a handler again.
            repeats_deleted in Unworked;
        }
        "stream_sqsd_leases_lost_total": "Leases that were lost while the message was held here." {
            /// Leases lost while the message was held.
            leases_lost in Failures;
        }
    }
    EVENTS {
        "stream_sqsd_unrouted_total": "Events that no route takes." {
            /// Events that no route took.
            unrouted in Unworked;
        }
    }
    REQUESTS {
        "stream_sqsd_requests_total" by call: "Requests to the queue, each of which AWS bills; over deliveries deleted they \
            are the requests per message." {
            /// Receives issued.
            polls = "receive" in Requests as "receive";
            /// Batch deletes issued.
            delete_calls = "delete" in Requests as "delete";
            /// Batch changes of visibility issued: renewals, retry delays and releases.
            change_visibility_calls = "change_visibility" in Requests as "change_of_visibility";
            /// Reads of the attributes of the queue and of its dead-letter queue.
            attributes_calls = "attributes" in Requests as "attributes";
        }
    }
    RECEIVES {
        "stream_sqsd_receives_total" by outcome: "How receives ended; abandoned ones never answered." {
            /// Receives that brought messages.
            polls_filled = "messages";
            /// Receives that brought nothing.
            polls_empty = "empty" in Polls as "empty";
            /// Receives that ended in an error.
            polls_failed = "failed" in Polls as "failed";
            /// Receives given up because no answer came in time.
            polls_abandoned = "abandoned" in Polls as "abandoned";
        }
        "stream_sqsd_reconnects_total": "How often all connections were given up because receives hung." {
            /// How often the connections were given up and opened again.
            reconnects in Polls;
        }
        "stream_sqsd_client_fallbacks_total": "Receives and deletes that the daemon's own client could not make and the AWS \
            SDK could. After three in a row the SDK makes all." {
            /// Calls that got through only by the queue's second way, which costs more.
            client_fallbacks in Polls;
        }
    }
}

impl Page {
    /// Writes a group of the table.
    pub(super) fn counters(&mut self, group: &'static [Row], counters: &Counters) {
        for Row { metric, series } in group {
            let mut family = self.family(metric);
            for (values, count) in *series {
                family.sample(values, count(counters));
            }
        }
    }
}

impl Snapshot {
    /// The counters of a section, as `/status` shows them.
    #[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "only the admin listener shows a status"))]
    pub(crate) fn section(&self, section: Section) -> InSection<'_> {
        InSection { snapshot: self, section }
    }
}

/// The counters of a section: an object with a number by each key.
#[derive(Debug)]
pub(crate) struct InSection<'a> {
    snapshot: &'a Snapshot,
    section: Section,
}

impl Serialize for InSection<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let here = IN_STATUS.iter().filter(|(section, ..)| *section == self.section);
        serializer.collect_map(here.map(|(_, key, count)| (key, count(self.snapshot))))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::label::Request;
    use super::*;

    const GROUPS: [&[Row]; 4] = [Counters::DELIVERIES, Counters::EVENTS, Counters::REQUESTS, Counters::RECEIVES];

    #[test]
    fn every_series_of_the_table_has_the_labels_of_its_metric() {
        for Row { metric, series } in GROUPS.into_iter().flatten() {
            let values: BTreeSet<_> = series.iter().map(|(values, _)| values).collect();
            assert_eq!(values.len(), series.len(), "{}: a series is there twice", metric.name);
            assert!(values.iter().all(|values| values.len() == metric.labels.len()), "{}", metric.name);
        }
    }

    #[test]
    fn no_key_stands_twice_in_a_section_of_the_status() {
        let keys: BTreeSet<_> = IN_STATUS.iter().map(|(section, key, _)| (format!("{section:?}"), key)).collect();
        assert_eq!(keys.len(), IN_STATUS.len());
    }

    #[test]
    fn requests_and_their_errors_have_the_same_words() {
        let calls: Vec<&str> = Counters::REQUESTS[0].series.iter().map(|(values, _)| values[0]).collect();
        let words = Request::ALL.map(Request::label);
        assert_eq!(calls[..words.len()], words, "what is asked all the time stands first");
    }
}
