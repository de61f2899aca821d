//! [`SqsQueue`]: the queue over the wire, in the one room that names AWS.
//!
//! It keeps the trait [`Queue`](crate::queue::Queue) on the AWS SDK, and knows three things besides: how a queue is found
//! (by URL or by name, in which region, at which endpoint), what each answer of SQS means, and how to send. It decides
//! nothing about messages: when to receive and what to delete is the engine's business, and so is trying a failed receive
//! again.
//!
//! Credentials come from where they always come from on AWS: environment, profile, SSO, a process, and the roles of ECS,
//! EKS and EC2. Connections go through the proxy that `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` name, and trust the
//! certificates of the system, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
//!
//! The two calls that every message makes, receive and delete, go through a client of our own that costs less CPU. The SDK
//! makes all others, and these two as well where ours does not get through or is not wanted ([`SqsClient`]).

mod doctor;
mod redrive;
mod queue;
mod connect;
mod attempt;
mod direct;
mod received;
mod batch;
#[cfg(feature = "sns")]
mod topic;
pub mod provision;
pub mod policy;
mod attributes;
mod arn;
mod account;
mod connections;
mod errors;
mod url;

pub use crate::queue::outgoing::{Outgoing, batches};
pub use arn::TopicArn;
pub use attributes::{Encryption, QueueAttributes, Redrive};
pub use connect::{ConnectError, QueueAddress, SqsClient, SqsOptions};
#[cfg(fuzzing)]
#[doc(hidden)]
pub use direct::compare_with_sdk;
pub use provision::Provisioner;
pub use queue::SqsQueue;
pub use redrive::{MAX_MOVE_RATE, MoveState, MoveTask};
#[cfg(feature = "sns")]
pub use topic::{Subscription, Topic, TopicPlan};
pub use url::{BadQueueUrl, QueueUrl, is_this_machine, queue_arn, queue_url_of};
