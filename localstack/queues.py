"""The queues and the topic to try stream-sqsd on, made over HTTP with nothing but the standard library.

Two calls suffice: AWS JSON 1.0 for SQS, the query protocol for SNS. LocalStack checks no signature, and reads from the
Authorization header only the account, the region and the service; this is of no use against AWS.

Making them again changes nothing.
"""

import json
import re
import urllib.error
import urllib.parse
import urllib.request

REGION = "us-east-1"
ACCOUNT = "000000000000"
MAX_RECEIVE_COUNT = 5

TOPIC = "chat-events-topic"
DEAD_LETTER = "chat-events-dead-letter"
# (name, its dead-letter queue, its subscription to the topic: None, "envelope" or "raw", what it is for)
QUEUES = [
    ("chat-events", DEAD_LETTER, None, "what Stream delivers to"),
    ("chat-events.fifo", f"{DEAD_LETTER}.fifo", None, "the same with order within a message group"),
    ("chat-events-from-sns", DEAD_LETTER, "envelope", f"subscribed to the topic {TOPIC}"),
    ("chat-events-from-sns-raw", DEAD_LETTER, "raw", "subscribed to it with raw message delivery"),
]


class CallFailed(Exception):
    """A call that LocalStack refused or did not answer."""


def http(url, body=None, headers=None, timeout=30):
    """One request past any proxy that the environment names; returns the body of an answer 200."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, data=body, headers=headers or {})
    try:
        with opener.open(request, timeout=timeout) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        raise CallFailed(f"{url} answered {error.code}: {error.read(500)!r}") from error
    except OSError as error:
        raise CallFailed(f"{url}: {error}") from error


def authorization(service):
    """The header from which LocalStack takes account, region and service."""
    scope = f"test/20250101/{REGION}/{service}/aws4_request"
    return f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=none"


def sqs(endpoint, action, **parameters):
    headers = {
        "Authorization": authorization("sqs"),
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Target": f"AmazonSQS.{action}",
    }
    return json.loads(http(f"{endpoint}/", json.dumps(parameters).encode(), headers) or b"{}")


def sns(endpoint, action, **parameters):
    headers = {"Authorization": authorization("sns"), "Content-Type": "application/x-www-form-urlencoded"}
    form = {"Action": action, "Version": "2010-03-31", **parameters}
    return http(f"{endpoint}/", urllib.parse.urlencode(form).encode(), headers).decode()


def url(endpoint, name):
    """The URL of a queue as LocalStack gives it with SQS_ENDPOINT_STRATEGY=path."""
    return f"{endpoint}/queue/{REGION}/{ACCOUNT}/{name}"


def arn(service, name):
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{name}"


def create(endpoint):
    """Makes what is missing."""
    made = set()

    def queue(name, **attributes):
        if name in made:
            return
        if name.endswith(".fifo"):
            attributes["FifoQueue"] = "true"
        sqs(endpoint, "CreateQueue", QueueName=name, Attributes=attributes)
        made.add(name)

    topic = re.search(r"<TopicArn>([^<]+)<", sns(endpoint, "CreateTopic", Name=TOPIC)).group(1)
    for name, dead_letter, subscription, _ in QUEUES:
        # A message keeps the time of its first queue, so the dead-letter queue keeps for longer: 14 days, the most.
        queue(dead_letter, MessageRetentionPeriod="1209600")
        redrive = {"deadLetterTargetArn": arn("sqs", dead_letter), "maxReceiveCount": str(MAX_RECEIVE_COUNT)}
        queue(name, RedrivePolicy=json.dumps(redrive))
        if subscription:
            raw = {"entry.1.key": "RawMessageDelivery", "entry.1.value": str(subscription == "raw").lower()}
            attributes = {f"Attributes.{key}": value for key, value in raw.items()}
            sns(endpoint, "Subscribe", TopicArn=topic, Protocol="sqs", Endpoint=arn("sqs", name), **attributes)
