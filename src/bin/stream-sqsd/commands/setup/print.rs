//! `stream-sqsd setup print`: the same as commands for the AWS CLI, and what the daemon's role may do.

use serde_json::{Map, Value, json};
use stream_sqsd::queue::sqs::TopicArn;
use stream_sqsd::queue::sqs::policy::{publish_statement, stream_statement, topic_statement};
use stream_sqsd::queue::sqs::provision::{new_dead_letter_queue, new_queue, redrive_policy};
use stream_sqsd::queue::sqs::queue_arn;

use crate::commands::setup::arguments::{PrintArguments, PrintWhat};
use crate::config;
use crate::config::secret::Missing;
use crate::terminal::exit::{Exit, Failure, print};

pub(super) fn print_as(arguments: PrintArguments) -> Result<Exit, Failure> {
    let place = arguments.place;
    let config = config::of_run(place.settings, place.config.as_deref(), Missing::Warned)?;
    let queue = &config.queue.queue;
    let url = queue.url();
    let account = url.and_then(|url| url.account()).unwrap_or("ACCOUNT");
    let region = url.and_then(|url| url.region()).or(config.queue.region.as_deref()).unwrap_or("REGION");
    let topic = config.stream.as_ref().and_then(|stream| stream.topic.as_ref());
    let names = Names { region, account, main: queue.name(), dead: &format!("{}-dead-letter", queue.name()), topic };
    if names.main.ends_with(".fifo") {
        return Err(Failure::usage("Stream's hooks cannot send to a FIFO queue"));
    }
    print(&match arguments.what {
        PrintWhat::AwsCli => names.commands(),
        PrintWhat::Policy => format!("{:#}\n", names.policy()),
    })?;
    Ok(Exit::Done)
}

struct Names<'a> {
    region: &'a str,
    account: &'a str,
    main: &'a str,
    dead: &'a str,
    /// Between Stream and the queue, where there is one.
    topic: Option<&'a TopicArn>,
}

impl Names<'_> {
    fn arn(&self, name: &str) -> String {
        queue_arn(self.region, self.account, name)
    }

    /// What makes the two queues, and the way from the topic.
    fn commands(&self) -> String {
        let arn = self.arn(self.main);
        let document = |statement: Value| json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
        let policy = document(match self.topic {
            Some(topic) => topic_statement(&arn, topic.as_str()),
            None => stream_statement(&arn),
        });
        let of = |attributes: Vec<(&'static str, String)>| -> Map<String, Value> {
            attributes.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
        };
        let dead = of(new_dead_letter_queue());
        let mut main = of(new_queue());
        main.insert("RedrivePolicy".to_owned(), redrive_policy(&self.arn(self.dead)).into());
        main.insert("Policy".to_owned(), policy.into());
        let create = |name: &str, attributes: Map<String, Value>| {
            format!(
                "aws sqs create-queue --region {} --queue-name {name} \\\n  --attributes '{}'\n",
                self.region,
                Value::Object(attributes)
            )
        };
        let of_topic = self.topic.map(|topic| {
            let (region, topic) = (topic.region(), topic.as_str());
            format!(
                "aws sns subscribe --region {region} --topic-arn {topic} --protocol sqs \\\n  --notification-endpoint {arn} \
                 --attributes RawMessageDelivery=true\n\
                 # In place of the topic's policy: where it has other statements, add this one to them.\n\
                 aws sns set-topic-attributes --region {region} --topic-arn {topic} --attribute-name Policy \\\n  \
                 --attribute-value '{}'\n",
                document(publish_statement(topic))
            )
        });
        create(self.dead, dead) + &create(self.main, main) + &of_topic.unwrap_or_default()
    }

    /// What the daemon's role may do, and what `stream-sqsd dlq` needs beside it.
    fn policy(&self) -> Value {
        json!({
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "StreamSqsdRun",
                    "Effect": "Allow",
                    "Action": [
                        "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility",
                        "sqs:GetQueueAttributes", "sqs:GetQueueUrl",
                    ],
                    "Resource": self.arn(self.main),
                },
                {
                    "Sid": "StreamSqsdDeadLetters",
                    "Effect": "Allow",
                    "Action": [
                        "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility",
                        "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:StartMessageMoveTask",
                        "sqs:ListMessageMoveTasks", "sqs:CancelMessageMoveTask",
                    ],
                    "Resource": self.arn(self.dead),
                },
            ],
        })
    }
}
