//! `stream-sqsd setup print`: the same as commands for the AWS CLI, and what the daemon's role may do.

use serde_json::{Map, Value, json};
use stream_sqsd::queue::sqs::policy::stream_statement;
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
    let names = Names { region, account, main: queue.name(), dead: &format!("{}-dead-letter", queue.name()) };
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
}

impl Names<'_> {
    fn arn(&self, name: &str) -> String {
        queue_arn(self.region, self.account, name)
    }

    /// What makes the two queues.
    fn commands(&self) -> String {
        let arn = self.arn(self.main);
        let policy = json!({"Version": "2012-10-17", "Statement": [stream_statement(&arn)]}).to_string();
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
        create(self.dead, dead) + &create(self.main, main)
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
