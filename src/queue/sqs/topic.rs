//! The topic between Stream and the queue: what is there, what is missing, and how the one becomes the other.
//!
//! As for the queues, a plan is data before anything is done. A topic is never made, and nothing is ever taken away.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sns::Client;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use tokio::time::Instant;

use super::arn::TopicArn;
use super::attributes::QueueAttributes;
use super::connections::Connections;
use super::errors::queue_error;
use super::policy;
use super::provision::{Found, Made, ProvisionError};

/// The limit of one call.
const CALL: Duration = Duration::from_secs(20);

/// How many pages of a hundred subscriptions are looked through.
const PAGES: usize = 100;

/// How the queue is subscribed to the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subscription {
    /// Not at all.
    Missing,
    /// It gets what was published as it is.
    Raw,
    /// It gets what was published in SNS's envelope, which is larger.
    Wrapped {
        /// The ARN of the subscription.
        arn: String,
    },
}

/// What is to become of a topic and its way to the queue.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TopicPlan {
    /// The topic.
    pub topic: TopicArn,
    /// Whether the topic's policy does not let Stream publish yet and will.
    pub adds_permission: bool,
    /// Whether the queue's policy does not let the topic send yet and will.
    pub adds_way: bool,
    /// How the queue is subscribed now.
    pub subscription: Subscription,
    policy: Option<String>,
}

impl TopicPlan {
    /// Whether there is nothing to do: with `update`, nothing that differs either.
    pub fn is_empty(&self, update: bool) -> bool {
        let subscribes = match self.subscription {
            Subscription::Missing => true,
            Subscription::Raw => false,
            Subscription::Wrapped { .. } => update,
        };
        !(self.adds_permission || self.adds_way || subscribes)
    }
}

/// What makes a topic send to a queue.
#[derive(Debug)]
pub struct Topic {
    client: Client,
    topic: TopicArn,
}

impl Topic {
    /// `endpoint` is where SNS is, where that is not the region's own.
    pub(super) fn new(sdk: &SdkConfig, topic: TopicArn, endpoint: Option<String>) -> Self {
        let mut config = aws_sdk_sns::config::Builder::from(sdk)
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(Connections::default())
            .region(Region::new(topic.region().to_owned()))
            .timeout_config(TimeoutConfig::builder().operation_timeout(CALL).build());
        config.set_endpoint_url(endpoint);
        Topic { client: Client::from_conf(config.build()), topic }
    }

    /// What the topic and the queue need, from what is there. `queue` is none where it is still to be made; `allow_stream`
    /// where Stream publishes by the topic's policy.
    ///
    /// # Errors
    ///
    /// [`ProvisionError::NoTopic`], and what SNS refuses: the permissions are `sns:GetTopicAttributes`,
    /// `sns:ListSubscriptionsByTopic` and `sns:GetSubscriptionAttributes`.
    pub async fn plan(&self, queue: Option<&QueueAttributes>, allow_stream: bool) -> Result<TopicPlan, ProvisionError> {
        let started = Instant::now();
        let answer = self.client.get_topic_attributes().topic_arn(self.topic.as_str()).send().await;
        let answer = answer.map_err(|error| match error.as_service_error() {
            Some(refusal) if refusal.is_not_found_exception() => ProvisionError::NoTopic(self.topic.clone()),
            _ => queue_error("sns:GetTopicAttributes", started, error).into(),
        })?;
        let policy = answer.attributes.unwrap_or_default().remove("Policy").filter(|policy| !policy.is_empty());
        let adds_permission = allow_stream && !policy.as_deref().is_some_and(policy::lets_stream_publish);
        let of_queue = queue.and_then(|queue| queue.policy.as_deref());
        let adds_way = !of_queue.is_some_and(|policy| policy::lets_topic_send(policy, self.topic.as_str()));
        let subscription = match queue.and_then(|queue| queue.arn.as_deref()) {
            Some(queue) => self.subscription(queue).await?,
            None => Subscription::Missing,
        };
        Ok(TopicPlan { topic: self.topic.clone(), adds_permission, adds_way, subscription, policy })
    }

    /// How the queue with this ARN is subscribed.
    ///
    /// # Errors
    ///
    /// As for [`plan`](Topic::plan).
    pub async fn subscription(&self, queue: &str) -> Result<Subscription, ProvisionError> {
        let mut next = None;
        for _ in 0..PAGES {
            let started = Instant::now();
            let call = self.client.list_subscriptions_by_topic().topic_arn(self.topic.as_str());
            let page = call.set_next_token(next).send().await;
            let page = page.map_err(|error| match error.as_service_error() {
                Some(refusal) if refusal.is_not_found_exception() => ProvisionError::NoTopic(self.topic.clone()),
                _ => queue_error("sns:ListSubscriptionsByTopic", started, error).into(),
            })?;
            let ours = page.subscriptions().iter().find(|one| one.endpoint() == Some(queue));
            if let Some(arn) = ours.and_then(|ours| ours.subscription_arn()) {
                return self.how(arn).await;
            }
            next = page.next_token;
            if next.is_none() {
                break;
            }
        }
        Ok(Subscription::Missing)
    }

    async fn how(&self, arn: &str) -> Result<Subscription, ProvisionError> {
        let started = Instant::now();
        let answer = self.client.get_subscription_attributes().subscription_arn(arn).send().await;
        let answer = answer.map_err(|error| queue_error("sns:GetSubscriptionAttributes", started, error))?;
        let raw = answer.attributes.as_ref().and_then(|attributes| attributes.get("RawMessageDelivery"));
        match raw.is_some_and(|raw| raw == "true") {
            true => Ok(Subscription::Raw),
            false => Ok(Subscription::Wrapped { arn: arn.to_owned() }),
        }
    }

    /// Carries out the topic's part of a plan; `made` is told of each step. The queue must let the topic send before, see
    /// [`Provisioner::let_topic_send`](super::Provisioner::let_topic_send).
    ///
    /// # Errors
    ///
    /// [`ProvisionError`]; the permissions are `sns:SetTopicAttributes`, `sns:Subscribe` and
    /// `sns:SetSubscriptionAttributes`.
    pub async fn apply(
        &self,
        plan: &TopicPlan,
        queue: &Found,
        update: bool,
        mut made: impl FnMut(Made),
    ) -> Result<(), ProvisionError> {
        let name = || self.topic.name().to_owned();
        match &plan.subscription {
            Subscription::Missing => {
                let started = Instant::now();
                let call = self.client.subscribe().topic_arn(self.topic.as_str()).protocol("sqs");
                let call = call.endpoint(queue.arn()).attributes("RawMessageDelivery", "true");
                call.send().await.map_err(|error| queue_error("sns:Subscribe", started, error))?;
                made(Made::Subscription(name()));
            }
            Subscription::Wrapped { arn } if update => {
                let started = Instant::now();
                let call = self.client.set_subscription_attributes().subscription_arn(arn);
                let answer = call.attribute_name("RawMessageDelivery").attribute_value("true").send().await;
                answer.map_err(|error| queue_error("sns:SetSubscriptionAttributes", started, error))?;
                made(Made::Changed(name()));
            }
            _ => {}
        }
        if plan.adds_permission {
            // Last, since Stream may publish from then on.
            let policy = policy::with_stream_publishing(plan.policy.as_deref(), self.topic.as_str())?;
            let started = Instant::now();
            let call = self.client.set_topic_attributes().topic_arn(self.topic.as_str());
            let answer = call.attribute_name("Policy").attribute_value(policy).send().await;
            answer.map_err(|error| queue_error("sns:SetTopicAttributes", started, error))?;
            made(Made::Permission(name()));
        }
        Ok(())
    }
}
