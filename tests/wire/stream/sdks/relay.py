"""Webhooks as Stream sends them, and what became of them in the queue, both judged by Stream's own SDK. Reads JSON and prints JSON.

`send`: signs each body as Stream does, lets the SDK verify that signature and the one that it is given, and POSTs it.
`parse`: parses bodies of the queue.
"""

import gzip
import hashlib
import hmac
import json
import os
import sys

import httpx
from getstream import Stream

key, secret, url = (os.environ[name] for name in ("STREAM_KEY", "STREAM_SECRET", "RELAY_URL"))
stream = Stream(api_key=key, api_secret=secret)


def send(one):
    payload = one["json"].encode()
    signature = hmac.new((one["secret"] or secret).encode(), payload, hashlib.sha256).hexdigest()
    headers = {"X-Api-Key": key, "X-Signature": signature, "X-Webhook-Id": one["id"], "X-Webhook-Attempt": "1"}
    if one["gzip"]:
        headers["Content-Encoding"] = "gzip"
    body = gzip.compress(payload) if one["gzip"] else payload
    code = httpx.post(url, headers=headers, content=body, trust_env=False).status_code
    return {"verifies": stream.verify_signature(payload, signature), "ours": stream.verify_signature(payload, one["signature"]), "code": code}


def parse(body):
    event = stream.parse_sqs(body)
    return {"type": event.type, "cid": event.cid, "text": event.message.text}


print(json.dumps([(send if sys.argv[1] == "send" else parse)(one) for one in json.load(sys.stdin)]))
