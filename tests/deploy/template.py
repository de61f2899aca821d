"""The CloudFormation templates: the queue part of the daemon's made by LocalStack's CloudFormation and judged by `check --online`,
the rest of it and the relay's held to the binary, to the Dockerfile and to the plain task definition by reading them.

Run by `tests/run --all`. It wants the environment of requirements.txt beside it, for YAML.
"""

import json
import os
import re
import subprocess
import sys
import time
import unittest
import urllib.parse
from pathlib import Path
from xml.etree import ElementTree

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "localstack"))
import queues  # noqa: E402

BINARY = Path(os.environ.get("STREAM_SQSD_TEST_BINARY") or ROOT / "target/x86_64-unknown-linux-musl/release/stream-sqsd")
ENDPOINT = os.environ["STREAM_SQSD_TEST_ENDPOINT"]
# The most that Fargate allows.
LONGEST_STOP_TIMEOUT = 120
# What a daemon may still need when its grace is over, to print its summary and to be gone.
MARGIN = 5
# Of a call, and of a stack that is being made.
PATIENCE = 60

# What the task definition's parts are for somebody: the values that stand in task-definition.json.
EXAMPLE = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "stream-sqsd",
    "Image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/stream-sqsd:0.1.0",
    "WebhookUrl": "https://example.com/webhooks/stream",
    "StreamSecret": "arn:aws:secretsmanager:us-east-1:123456789012:secret:stream-AbCdEf",
    "TaskRole.Arn": "arn:aws:iam::123456789012:role/stream-sqsd-task",
    "ExecutionRole.Arn": "arn:aws:iam::123456789012:role/stream-sqsd-execution",
    "LogGroup": "/ecs/stream-sqsd",
    "Queue": "https://sqs.us-east-1.amazonaws.com/123456789012/chat-events",
    "Queue.QueueName": "chat-events",
    "DeadLetterQueue.QueueName": "chat-events-dead-letter",
    "LoadBalancer.LoadBalancerFullName": "app/relay/1",
    "TargetGroup.TargetGroupFullName": "targetgroup/relay/1",
    "VpcNetwork": "10.0.0.0/16",
    "Cluster": "cluster",
    "Service.Name": "service",
}


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, which become the long ones."""


def function(loader, tag, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    else:
        value = loader.construct_sequence(node, deep=True)
    if tag == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}


Loader.add_multi_constructor("!", function)
# Dates are text in a template: the version of a policy language is one.
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
TEMPLATE = yaml.load((ROOT / "deploy/ecs/template.yaml").read_text(), Loader)
RESOURCES = TEMPLATE["Resources"]
RELAY = yaml.load((ROOT / "deploy/ecs/relay.yaml").read_text(), Loader)


def resolved(node, template=TEMPLATE):
    """A part of a template with the example's values in it."""
    values = {name: str(parameter["Default"]) for name, parameter in template["Parameters"].items() if "Default" in parameter}
    values.update(EXAMPLE)
    match node:
        case {"Ref": name}:
            return values[name]
        case {"Fn::GetAtt": [resource, attribute]}:
            return values[f"{resource}.{attribute}"]
        case {"Fn::Sub": text}:
            return re.sub(r"\$\{([^}]+)\}", lambda match: values[match[1]], text)
        case dict():
            return {key: resolved(value, template) for key, value in node.items()}
        case list():
            return [resolved(value, template) for value in node]
    return node


def daemon(*arguments, **settings):
    """Runs the daemon's binary with nothing in its environment but this."""
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
    return subprocess.run([BINARY, *arguments], env={**keys, **settings}, capture_output=True, text=True, timeout=PATIENCE)


def findings(answer):
    """What `check --json` has found, without what only says that a secret is not here."""
    try:
        return json.loads(answer.stdout)["findings"]
    except ValueError:
        raise AssertionError(f"{answer.stdout}{answer.stderr}") from None


def cloudformation(action, **parameters):
    form = urllib.parse.urlencode({"Action": action, "Version": "2010-05-15", **parameters}).encode()
    headers = {"Authorization": queues.authorization("cloudformation"), "Content-Type": "application/x-www-form-urlencoded"}
    return ElementTree.fromstring(queues.http(f"{ENDPOINT}/", form, headers, timeout=PATIENCE))


def make_the_queues(stack, **parameters):
    """Makes the stack's queues, as the template says, and returns the URL that its outputs name."""
    part = {name: resource for name, resource in RESOURCES.items() if resource["Type"].startswith("AWS::SQS::")}
    used = {name: TEMPLATE["Parameters"][name] for name in ("QueueName", "StreamAccount")}
    for name, value in {"QueueName": stack, **parameters}.items():
        # Not given for the stack: LocalStack takes the default where an empty text is given.
        used[name] = {**used[name], "Default": value}
    body = {
        "Parameters": used,
        "Conditions": {"StreamSendsFromItsAccount": TEMPLATE["Conditions"]["StreamSendsFromItsAccount"]},
        "Resources": part,
        "Outputs": {"QueueUrl": TEMPLATE["Outputs"]["QueueUrl"]},
    }
    cloudformation("CreateStack", StackName=stack, TemplateBody=json.dumps(body))
    end = time.monotonic() + PATIENCE
    while True:
        answer = cloudformation("DescribeStacks", StackName=stack)
        text = {element.tag.split("}")[1]: element.text for element in answer.iter()}
        if not text["StackStatus"].endswith("IN_PROGRESS"):
            break
        if time.monotonic() > end:
            raise AssertionError(f"the stack is not made within {PATIENCE} s")
        time.sleep(0.2)
    if text["StackStatus"] != "CREATE_COMPLETE":
        raise AssertionError(f"{text['StackStatus']}: {text.get('StackStatusReason')}")
    return text["OutputValue"]


def attributes_of(queue):
    return queues.sqs(ENDPOINT, "GetQueueAttributes", QueueUrl=queue, AttributeNames=["All"])["Attributes"]


class Template(unittest.TestCase):
    def container(self):
        return resolved(RESOURCES["TaskDefinition"]["Properties"]["ContainerDefinitions"][0])

    def environment(self):
        return {variable["Name"]: variable["Value"] for variable in self.container()["Environment"]}

    def test_the_queue_that_it_makes_leaves_the_doctor_nothing_to_say(self):
        url = make_the_queues(f"template-{time.time_ns()}")
        self.assertEqual(findings(daemon("check", "--online", "--json", STREAM_SQSD_QUEUE_URL=url)), [])
        # Read in the template, since a new queue is encrypted so in any case, for as long as that is the default.
        for queue in ("Queue", "DeadLetterQueue"):
            self.assertIs(RESOURCES[queue]["Properties"]["SqsManagedSseEnabled"], True)

        # No other queue may use the dead-letter queue.
        allow = json.loads(attributes_of(f"{url}-dead-letter")["RedriveAllowPolicy"])
        self.assertEqual(allow, {"redrivePermission": "byQueue", "sourceQueueArns": [attributes_of(url)["QueueArn"]]})

    def test_where_stream_uses_keys_its_account_may_not_send(self):
        url = make_the_queues(f"template-keys-{time.time_ns()}", StreamAccount="")
        found = findings(daemon("check", "--online", "--json", STREAM_SQSD_QUEUE_URL=url))
        self.assertEqual([finding["what"] for finding in found], ["the queue's policy does not let Stream's account send"])
        self.assertFalse(attributes_of(url).get("Policy"))

    def test_its_tasks_may_do_what_the_daemon_does_and_nothing_else(self):
        asked = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"}
        (policy,) = RESOURCES["TaskRole"]["Properties"]["Policies"]
        queue, dead_letter_queue = policy["PolicyDocument"]["Statement"]
        self.assertEqual(set(queue["Action"]), asked)
        self.assertEqual(queue["Resource"], {"Fn::GetAtt": ["Queue", "Arn"]})
        self.assertEqual(dead_letter_queue["Action"], "sqs:GetQueueAttributes")
        self.assertEqual(dead_letter_queue["Resource"], {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]})

    def test_its_tasks_are_killed_later_than_their_grace_ends(self):
        grace = int(self.environment()["STREAM_SQSD_GRACE"].removesuffix("s"))
        self.assertGreaterEqual(self.container()["StopTimeout"], grace + MARGIN)
        self.assertLessEqual(self.container()["StopTimeout"], LONGEST_STOP_TIMEOUT)

    def test_its_configuration_is_good(self):
        secrets = {secret["Name"]: "watering-can" for secret in self.container()["Secrets"]}
        answer = daemon("check", "--json", **self.environment(), **secrets)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        self.assertEqual(findings(answer), [])
        self.assertIn("to https://example.com", daemon("check", **self.environment(), **secrets).stdout)

    def test_no_address_of_a_webhook_writes_into_its_configuration(self):
        allowed = re.compile(TEMPLATE["Parameters"]["WebhookUrl"]["AllowedPattern"])
        self.assertTrue(allowed.fullmatch(EXAMPLE["WebhookUrl"]))
        for bad in ['https://a"\nhandler = "exec', 'https://a"', "https://a\\u0000", "https://a\nb", "ftp://a"]:
            self.assertFalse(allowed.fullmatch(bad), bad)

    def test_its_containers_are_what_the_image_is_made_for(self):
        dockerfile = (ROOT / "deploy/container/Dockerfile").read_text()
        self.assertEqual(self.container()["User"], re.search(r"^USER (\S+)$", dockerfile, re.MULTILINE)[1])
        command = json.loads(re.search(r"^HEALTHCHECK .* CMD (\[.*\])$", dockerfile, re.MULTILINE)[1])
        self.assertEqual(self.container()["HealthCheck"]["Command"], ["CMD", *command])

    def test_the_plain_task_definition_is_its_task_definition(self):
        def in_json(node):
            match node:
                case dict():
                    return {key[0].lower() + key[1:]: in_json(value) for key, value in node.items()}
                case list():
                    return [in_json(value) for value in node]
            return node

        plain = json.loads((ROOT / "deploy/ecs/task-definition.json").read_text())
        self.maxDiff = None
        self.assertEqual(plain, in_json(resolved(RESOURCES["TaskDefinition"]["Properties"])))

    def test_each_alarm_watches_the_queue_that_it_speaks_of(self):
        watched = {
            name: resolved(resource["Properties"]["Dimensions"])[0]["Value"]
            for name, resource in RESOURCES.items()
            if resource["Type"] == "AWS::CloudWatch::Alarm"
        }
        self.assertEqual(watched, {"DeadLettersAlarm": "chat-events-dead-letter", "OldestMessageAlarm": "chat-events"})

    def test_its_dashboard_is_json(self):
        widgets = json.loads(resolved(RESOURCES["Dashboard"]["Properties"]["DashboardBody"]))["widgets"]
        self.assertEqual(len(widgets), 5)


class Relay(unittest.TestCase):
    resources = RELAY["Resources"]

    def container(self):
        return resolved(self.resources["TaskDefinition"]["Properties"]["ContainerDefinitions"][0], RELAY)

    def environment(self):
        return {variable["Name"]: variable["Value"] for variable in self.container()["Environment"]}

    def test_its_tasks_may_send_to_the_queue_and_do_nothing_else(self):
        (policy,) = self.resources["TaskRole"]["Properties"]["Policies"]
        (statement,) = resolved(policy["PolicyDocument"]["Statement"], RELAY)
        arn = "arn:aws:sqs:us-east-1:123456789012:chat-events"
        self.assertEqual(statement, {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": arn})
        url = "https://sqs.us-east-1.amazonaws.com/123456789012/chat-events"
        self.assertEqual(self.environment()["STREAM_SQSD_QUEUE_URL"], url)

    def test_its_configuration_is_good_and_has_no_spool_on_fargates_disk(self):
        secrets = {secret["Name"]: "watering-can" for secret in self.container()["Secrets"]}
        answer = daemon("check", "--json", **self.environment(), **secrets)
        self.assertEqual(answer.returncode, 0, answer.stdout + answer.stderr)
        (only,) = findings(answer)
        self.assertIn("[relay] has no spool", only["what"])
        told = daemon("check", **self.environment(), **secrets).stdout
        self.assertIn("0.0.0.0:8080/webhooks/stream", told)

    def test_no_network_writes_into_its_configuration(self):
        allowed = re.compile(RELAY["Parameters"]["VpcNetwork"]["AllowedPattern"])
        for good in ("10.0.0.0/16", "fd00::/8"):
            self.assertTrue(allowed.fullmatch(good), good)
        for bad in ('10.0.0.0/16", "0.0.0.0/0', "10.0.0.0", "a\nb/1"):
            self.assertFalse(allowed.fullmatch(bad), bad)

    def test_its_tasks_are_what_the_image_is_made_for_and_end_in_time(self):
        daemons = resolved(RESOURCES["TaskDefinition"]["Properties"]["ContainerDefinitions"][0])
        for same in ("User", "HealthCheck", "StopTimeout", "ReadonlyRootFilesystem", "LinuxParameters", "Secrets"):
            self.assertEqual(self.container()[same], daemons[same], same)
        self.assertEqual(self.container()["Command"], ["relay"])
        grace = int(self.environment()["STREAM_SQSD_GRACE"].removesuffix("s"))
        self.assertGreaterEqual(self.container()["StopTimeout"], grace + MARGIN)

    def test_the_load_balancer_asks_where_the_relay_answers(self):
        group = self.resources["TargetGroup"]["Properties"]
        ports = {mapping["ContainerPort"] for mapping in self.container()["PortMappings"]}
        _, admin = self.environment()["STREAM_SQSD_ADMIN"].split(":")
        self.assertEqual((group["HealthCheckPort"], group["HealthCheckPath"]), (admin, "/readyz"))
        self.assertEqual(ports, {group["Port"], int(admin)})
        rules = self.resources["TaskSecurityGroup"]["Properties"]["SecurityGroupIngress"]
        self.assertEqual({rule["FromPort"] for rule in rules}, ports)
        self.assertTrue(all(rule["SourceSecurityGroupId"] == {"Ref": "LoadBalancerSecurityGroup"} for rule in rules))

    def test_each_alarm_watches_the_load_balancer_and_stands_in_the_runbook(self):
        alarms = [resource["Properties"] for resource in self.resources.values() if resource["Type"] == "AWS::CloudWatch::Alarm"]
        watched = {alarm["MetricName"]: resolved(alarm["Dimensions"], RELAY)[0]["Value"] for alarm in alarms}
        names = ("HTTPCode_Target_4XX_Count", "HTTPCode_Target_5XX_Count", "HTTPCode_ELB_5XX_Count")
        self.assertEqual(watched, dict.fromkeys(names, "app/relay/1"))
        runbook = (ROOT / "deploy/RUNBOOK.md").read_text()
        for alarm in re.findall(r"StreamSqsd\w+", " ".join(alarm["AlarmDescription"] for alarm in alarms)):
            self.assertIn(f"## {alarm}\n", runbook)


if __name__ == "__main__":
    unittest.main(verbosity=2)
