//! One call of a handler: how it ended, and what that says about the message and about the target.
//!
//! It has a time limit, its panics are caught, and its lease is watched. What is done with the message then is the worker's
//! decision.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt;
use tracing::{error, info, warn};

use super::account::{Branch, HANDLED};
use super::engine::Engine;
use super::flow::{Caller, Verdict};
use super::work::{At, Work};
use crate::handler::{Call, Context, FailureKind};
use crate::router::CallError;
use crate::telemetry::{CallEnd, Cause, Told, shown};

/// How long what a handler left behind may hold its message: longer than it takes to end what can be ended.
const HELD_AT_MOST: Duration = Duration::from_secs(5);

/// Logs what became of a call, with whose it was: the span of the message may be off.
macro_rules! tell {
    ($log:ident, $work:expr, $at:expr, $($what:tt)+) => {{
        let origin = &$work.origin;
        $log!(
            message_id = %origin.message_id,
            r#type = shown($at.event.kind().name()),
            receive_count = origin.receive_count,
            trace_id = origin.trace.trace_id(),
            aws_trace_id = origin.trace.aws_trace_id(),
            $($what)+
        )
    }};
}

/// What the end of one call of a handler means for the message.
pub(super) enum Attempt {
    Succeeded,
    /// The handler failed, and calling it again may help.
    Failed(Option<Duration>),
    /// Calling it again for this message is of no use.
    Rejected,
    /// The target takes no more for now, whatever the message.
    TargetBusy(Option<Duration>),
    /// The target could not do it.
    TargetDown,
    /// The message may be somebody else's; true when the handler succeeded all the same.
    LeaseLost(bool),
    /// The grace of the shutdown is over.
    GraceOver,
}

impl Work<Engine> {
    /// Calls the handler once; says how that ended, and what it means for the message.
    pub(super) async fn call(&self, branch: &mut Branch, at: &At<'_>) -> (CallEnd, Attempt) {
        let engine = &self.engine;
        let cancellation_grace = engine.drain.cancellation_grace();
        let shared = Call::new(engine.settings.handler_timeout, self.lease.ceiling(), cancellation_grace);
        let context = Context::of_call(&self.origin, branch.attempt, shared.clone());
        enum Stop {
            LeaseLost,
            TimeOver,
            GraceOver,
        }
        let (stop, answer) = {
            let mut call = pin!(AssertUnwindSafe(at.route.call(at.event.clone(), context)).catch_unwind());
            let stop = tokio::select! {
                biased;
                () = self.lease.lost().wait() => Err(Stop::LeaseLost),
                answer = &mut call => Ok(answer),
                () = shared.over() => Err(Stop::TimeOver),
                () = engine.drain.handlers_over() => Err(Stop::GraceOver),
            };
            match stop {
                Ok(answer) => (None, Some(answer)),
                Err(stop) => {
                    // A moment for the handler to put its things in order, or even to finish.
                    shared.cancel();
                    (Some(stop), tokio::time::timeout(cancellation_grace, call).await.ok())
                }
            }
        };
        if !matches!(answer, Some(Ok(Ok(())))) {
            // On the heap, so that a call which goes well does not take the room of it.
            Box::pin(self.released(&shared)).await;
        }
        match (stop, answer) {
            (None, Some(answer)) => self.read(branch, at, answer),
            (Some(Stop::LeaseLost), Some(Ok(Ok(())))) => (CallEnd::Handled, Attempt::LeaseLost(true)),
            (Some(Stop::LeaseLost), _) => (CallEnd::Interrupted, Attempt::LeaseLost(false)),
            (_, Some(answer @ Ok(Ok(())))) => self.read(branch, at, answer),
            (Some(Stop::GraceOver), _) => (CallEnd::Interrupted, Attempt::GraceOver),
            (_, _) => {
                let limit = engine.settings.handler_timeout;
                let error = format!("the handler did not finish within {limit:?}");
                self.note_on(branch, at, CallEnd::TimeLimit.label(), &error);
                let cause = Cause::new(("handler", "timeout"), "").on(at.number);
                if let Some(times) = engine.telemetry.worth_logging(cause) {
                    tell!(warn, self, at, times, "{error}; the message is left for a retry");
                }
                (CallEnd::TimeLimit, Attempt::Failed(None))
            }
        }
    }

    /// Waits until nothing of a call that did not succeed is at work any more, such as a program that is being ended: the
    /// message must not be worked on by somebody else before.
    async fn released(&self, call: &Call) {
        tokio::select! {
            biased;
            () = call.released() => {}
            () = tokio::time::sleep(HELD_AT_MOST) => {}
            () = self.engine.drain.holds_over() => {}
        }
    }

    /// Reads what a handler returned.
    fn read(
        &self,
        branch: &mut Branch,
        at: &At<'_>,
        answer: Result<Result<(), CallError>, Box<dyn Any + Send>>,
    ) -> (CallEnd, Attempt) {
        let telemetry = &self.engine.telemetry;
        match answer {
            // A success whose lease ran out unnoticed is still a success, though not one to delete by.
            Ok(Ok(())) if self.lease.is_lost() => (CallEnd::Handled, Attempt::LeaseLost(true)),
            Ok(Ok(())) => (CallEnd::Handled, Attempt::Succeeded),
            Ok(Err(CallError::Parse(failure))) => {
                self.note_on(branch, at, CallEnd::DoesNotFit.label(), &failure);
                if let Some(times) = telemetry.worth_logging(Cause::new(("parse", "event"), &failure).on(at.number)) {
                    tell!(
                        warn,
                        self,
                        at,
                        error = failure,
                        times,
                        "an event does not fit its type; {}",
                        self.engine.fate()
                    );
                }
                (CallEnd::DoesNotFit, Attempt::Rejected)
            }
            Ok(Err(CallError::Handler(failure))) => {
                let (end, attempt) = match failure.kind() {
                    FailureKind::Retry => (CallEnd::Retry, Attempt::Failed(failure.delay())),
                    FailureKind::Reject => (CallEnd::BadMessage, Attempt::Rejected),
                    FailureKind::TargetBusy => (CallEnd::TargetBusy, Attempt::TargetBusy(failure.delay())),
                    FailureKind::TargetDown => (CallEnd::TargetDown, Attempt::TargetDown),
                };
                let (kind, error) = (end.label(), failure.chain());
                self.note_on(branch, at, kind, &error);
                if let Some(times) = telemetry.worth_logging(Cause::new(("handler", kind), &error).on(at.number)) {
                    tell!(warn, self, at, error, kind, times, "the handler failed; the message stays");
                }
                (end, attempt)
            }
            Err(_panic) => {
                self.note_on(branch, at, CallEnd::Panic.label(), "the handler panicked; the log says where");
                // What it says may quote the message, and the panic hook has printed it already.
                if let Some(times) = telemetry.worth_logging(Cause::new(("handler", "panic"), "").on(at.number)) {
                    tell!(error, self, at, times, "the handler panicked; the message is left for a retry");
                }
                (CallEnd::Panic, Attempt::Failed(None))
            }
        }
    }

    /// Takes in what the end of a call says about the target; what it means for the message where that is the target's.
    pub(super) fn check(&self, branch: &mut Branch, at: &At<'_>, ended: &Attempt, caller: &mut Caller) -> Verdict {
        let kind = at.event.kind().name();
        let verdict = match ended {
            Attempt::TargetBusy(named) => caller.refused(kind, *named),
            Attempt::TargetDown => caller.failed(kind),
            Attempt::Succeeded | Attempt::LeaseLost(true) => {
                branch.outcome = HANDLED;
                caller.succeeded(kind);
                Verdict::Hold
            }
            _ => {
                caller.ended();
                Verdict::Hold
            }
        };
        self.tell_of_the_target(at, ended, &branch.error);
        verdict
    }

    /// Tells the log that a target is down, or that it is back.
    fn tell_of_the_target(&self, at: &At<'_>, ended: &Attempt, error: &str) {
        let Engine { telemetry, flow, .. } = &*self.engine;
        let told = match ended {
            Attempt::Succeeded | Attempt::LeaseLost(true) => telemetry.outage_is_over(at.number),
            Attempt::TargetBusy(_) | Attempt::TargetDown => {
                flow.outage(at.number).and_then(|outage| telemetry.outage_goes_on(at.number, outage))
            }
            _ => None,
        };
        let Some(told) = told else { return };
        let (route, address) = (&**telemetry.route_name(at.number), at.route.address());
        match told {
            Told::Down { times } => warn!(
                route,
                address,
                error,
                times,
                "the target is down: nothing succeeds; its messages are held and tried again now and then"
            ),
            Told::OnlyOneFails { times } => warn!(
                route,
                address,
                error,
                times,
                "one message fails and nothing else was tried: it may be the message or the target; it is held and tried \
                 again now and then"
            ),
            Told::Back { down_for, attempts } => {
                let down_for_seconds = (down_for.as_secs_f64() * 1e3).round() / 1e3;
                info!(route, address, down_for_seconds, attempts, "the target is back");
            }
        }
    }
}
