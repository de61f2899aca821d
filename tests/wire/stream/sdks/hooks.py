"""Reads the event hooks of an app, adds one, reads them again and lets Stream try to send, all by Stream's own SDK.

Prints what it saw as JSON.
"""

import json
import os

from getstream import Stream
from getstream.models import EventHook

key, secret, url = (os.environ[name] for name in ("STREAM_KEY", "STREAM_SECRET", "STREAM_URL"))


def client(secret):
    return Stream(api_key=key, api_secret=secret, base_url=url)


def targets(app):
    return [hook.webhook_url or hook.sqs_queue_url for hook in app.event_hooks]


stream = client(secret)
before = stream.get_app().data.app
added = EventHook(
    hook_type="sqs",
    enabled=True,
    event_types=[],
    sqs_queue_url=os.environ["QUEUE"],
    sqs_region="us-east-1",
    sqs_auth_type="resource",
)
# It knows not every field of a hook and gives back none of the others, so here the list is what was read and the new one.
stream.update_app(event_hooks=[*before.event_hooks, added])
after = stream.get_app().data.app
check = stream.check_sqs().data
try:
    client("another secret, long enough to sign with").get_app()
    refused = "nothing"
except Exception as error:
    refused = error.api_error.code
print(json.dumps({"name": after.name, "before": targets(before), "after": targets(after), "check": check.status, "refused": refused}))
