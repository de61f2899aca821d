//! What can be observed of a running consumer: every count and every metric, once.
//!
//! The engine counts here; anyone who wants to watch reads a [`Snapshot`], the last hour, the last failures or the metrics
//! through a [`Monitor`]. Nothing here acts, and nothing here knows what a message said.

// In reading order: each file imports only from those below it.
mod monitor;
#[cfg(feature = "relay")]
mod relay;
mod metrics;
mod record;
mod counters;
mod prometheus;
mod snapshot;
mod dead_lettered;
mod dead_letter;
mod failures;
mod history;
mod throttle;
mod count;
mod outage;
mod histogram;
mod now;
mod flow;
mod label;
mod seconds;
mod process;
mod text;

/// The target of the span that each call of a handler is in: `message`, at INFO, with the id, the type, the receive count
/// and the traces of the message, so that whatever a handler logs names its message. A span costs two microseconds of CPU:
/// a program whose handlers log nothing, or name the message themselves ([`Context::message_id`](crate::handler::Context)),
/// saves them with the filter `stream_sqsd::message=off`, as the daemon does.
pub const MESSAGE_SPANS: &str = "stream_sqsd::message";

pub use counters::Snapshot;
#[cfg(feature = "admin")]
pub(crate) use counters::{InSection, Section};
pub(crate) use dead_letter::FailedLastReceive;
pub use dead_letter::{DEAD_LETTERS, DeadLetter, DeadLetterKeeper};
pub use dead_lettered::DeadLetterGroup;
pub(crate) use failures::Failed;
pub use failures::RecentFailure;
pub use flow::{FlowState, TargetFlow};
pub use history::{SAMPLE_EVERY, SAMPLES_KEPT, Sample};
pub(crate) use label::{CallEnd, Request, RequestError, Undecodable};
pub use monitor::Monitor;
pub(crate) use now::Occupancy;
pub use now::Phase;
pub(crate) use outage::{Outage, Told};
pub(crate) use record::{Limits, Telemetry};
#[cfg(feature = "relay")]
pub use relay::{RelayMonitor, RelaySnapshot, SpoolSnapshot};
#[cfg(feature = "relay")]
pub(crate) use relay::{RelayOutcome, RelayTelemetry};
pub use snapshot::{Depth, DepthReading, QueueSeen, RouteSnapshot, Trouble};
pub(crate) use text::{ERROR_SHOWN, cut, shown};
pub(crate) use throttle::Cause;
