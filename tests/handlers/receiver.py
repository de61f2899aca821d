"""A receiver of Stream's webhooks, with Python's standard library and nothing of ours.

It prints its port, and then one JSON line for each request. The path says how it answers:

  /hook                 200 when X-Signature is the body's, 401 when it is not
  /answer/CODE          that status; ?retry-after=TEXT and ?location=URL add the headers
  /loop                 a redirect to itself
  /first/N/CODE         that status to the first N requests, then as /hook; ?retry-after=TEXT adds the header to those
  /down/SECONDS/CODE    that status until so long after the first request, then as /hook
  /late/SECONDS         as /hook, after that time
  /broken               closes the connection without an answer
  /large                200 and an answer of 10 MB
  /endless              200 and an answer that never ends

Usage: receiver.py SECRET [CERTIFICATE KEY]
"""

import hashlib
import hmac
import json
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

SECRET = sys.argv[1].encode()
lock = threading.Lock()
seen = {}
connections = 0


def say(line):
    with lock:
        print(json.dumps(line), flush=True)


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Nagle's algorithm and delayed acknowledgements would cost 40 ms for each answer.
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self):
        global connections
        super().setup()
        with lock:
            connections += 1
            self.connection_number = connections

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        arrived = time.monotonic()
        expected = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
        valid = hmac.compare_digest(expected, self.headers.get("X-Signature", ""))
        headers = {name.lower(): value for name, value in self.headers.items()}
        say({"method": "POST", "path": self.path, "headers": headers, "body": body.decode(), "valid": valid,
             "connection": self.connection_number, "arrived": arrived})
        url = urlsplit(self.path)
        match url.path.strip("/").split("/"):
            case ["hook"]:
                self.answer(200 if valid else 401)
            case ["answer", code]:
                query = parse_qs(url.query)
                extra = {name: query[name][0] for name in ("retry-after", "location") if name in query}
                self.answer(int(code), extra)
            case ["loop"]:
                self.answer(308, {"location": "/loop"})
            case ["first", count, code]:
                with lock:
                    seen[url.path] = seen.get(url.path, 0) + 1
                    down = seen[url.path] <= int(count)
                retry = parse_qs(url.query).get("retry-after") if down else None
                self.answer(int(code) if down else 200 if valid else 401, {"retry-after": retry[0]} if retry else None)
            case ["down", seconds, code]:
                with lock:
                    down = arrived < seen.setdefault(url.path, arrived) + float(seconds)
                self.answer(int(code) if down else 200 if valid else 401)
            case ["late", seconds]:
                time.sleep(float(seconds))
                self.answer(200 if valid else 401)
            case ["broken"]:
                self.close_connection = True
            case ["large"]:
                self.answer(200, body=b"x" * 10_000_000)
            case ["endless"]:
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.flush()
                time.sleep(30)
            case _:
                self.answer(404)

    def do_GET(self):
        say({"method": "GET", "path": self.path})
        self.answer(405)

    def answer(self, code, headers=None, body=b"{}"):
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
server.daemon_threads = True
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
