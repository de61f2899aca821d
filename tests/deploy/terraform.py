"""The Terraform module and the CloudFormation template, held to what `stream-sqsd setup` makes: the attributes of both queues,
Stream's permission and the policy of the daemon's role, as `stream-sqsd setup print` tells them.

The module is parsed and not planned: `terraform plan` wants an account of AWS.
"""

import json
import os
import re
import shlex
import subprocess
import unittest
from pathlib import Path

import hcl2
import yaml

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("STREAM_SQSD_TEST_BINARY") or ROOT / "target/x86_64-unknown-linux-musl/release/stream-sqsd")
URL = "https://sqs.us-east-1.amazonaws.com/123456789012/chat-events"

# What the provider calls an attribute.
TERRAFORM = {
    "VisibilityTimeout": "visibility_timeout_seconds",
    "MessageRetentionPeriod": "message_retention_seconds",
    "MaximumMessageSize": "max_message_size",
    "SqsManagedSseEnabled": "sqs_managed_sse_enabled",
}


def printed(what):
    command = [BINARY, "setup", "print", what, "--queue-url", URL]
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout


def created():
    """The attributes of each queue that the printed commands create, by its name."""
    queues = {}
    for command in printed("aws-cli").replace("\\\n", " ").splitlines():
        words = shlex.split(command)
        queues[words[words.index("--queue-name") + 1]] = json.loads(words[words.index("--attributes") + 1])
    return queues


def plain(text):
    """A value of the module as text: python-hcl2 keeps quotes in some versions."""
    return str(text).strip('"').lower() if isinstance(text, bool) else str(text).strip('"')


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, which are left out."""


Loader.add_multi_constructor("!", lambda loader, tag, node: None)


class Terraform(unittest.TestCase):
    def setUp(self):
        text = (ROOT / "deploy/terraform/main.tf").read_text()
        self.text = text
        self.resources = {}
        for resource in hcl2.loads(text)["resource"]:
            for kind, named in resource.items():
                for name, body in named.items():
                    self.resources[plain(kind), plain(name)] = body
        self.queues = created()

    def test_both_queues_have_the_attributes_that_setup_gives_them(self):
        for name, resource in [("chat-events", "main"), ("chat-events-dead-letter", "dead_letter")]:
            body = self.resources["aws_sqs_queue", resource]
            attributes = {key: value for key, value in self.queues[name].items() if key in TERRAFORM}
            self.assertGreaterEqual(len(attributes), 3)
            for key, value in attributes.items():
                self.assertEqual(plain(body[TERRAFORM[key]]), value, f"{key} of {name}")

    def test_the_redrive_and_the_permission_are_the_same(self):
        main = self.queues["chat-events"]
        redrive = json.loads(main["RedrivePolicy"])
        self.assertIn(f"maxReceiveCount     = {redrive['maxReceiveCount']}\n", self.text)
        [statement] = json.loads(main["Policy"])["Statement"]
        account = re.search(r":(\d{12}):root$", statement["Principal"]["AWS"])[1]
        self.assertIn(f'stream_account = "{account}"', self.text)
        for word in [statement["Sid"], statement["Effect"], statement["Action"]]:
            self.assertIn(f'= "{word}"', self.text)

    def test_the_role_may_do_what_setup_prints(self):
        for statement in json.loads(printed("policy"))["Statement"]:
            body = re.search(rf'"{statement["Sid"]}".*?\]', self.text, re.DOTALL)[0]
            self.assertEqual(sorted(re.findall(r'"(sqs:\w+)"', body)), sorted(statement["Action"]))


class CloudFormation(unittest.TestCase):
    def test_both_queues_have_the_attributes_that_setup_gives_them(self):
        template = yaml.load((ROOT / "deploy/ecs/template.yaml").read_text(), Loader)  # noqa: S506
        queues = created()
        for name, resource in [("chat-events", "Queue"), ("chat-events-dead-letter", "DeadLetterQueue")]:
            properties = template["Resources"][resource]["Properties"]
            for key in TERRAFORM:
                if key in queues[name]:
                    self.assertEqual(str(properties[key]).lower(), queues[name][key], f"{key} of {name}")
        receives = template["Resources"]["Queue"]["Properties"]["RedrivePolicy"]["maxReceiveCount"]
        self.assertEqual(str(receives), json.loads(queues["chat-events"]["RedrivePolicy"])["maxReceiveCount"])


if __name__ == "__main__":
    unittest.main()
