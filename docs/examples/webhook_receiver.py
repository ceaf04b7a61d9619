"""Takes webhooks and prints the events that are genuine; Python alone is needed.

Run it as `HEMOTRIAGE_WEBHOOK_SECRET=whsec_... python webhook_receiver.py 8081`.
"""

import base64
import hashlib
import hmac
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

SECRET = os.environ["HEMOTRIAGE_WEBHOOK_SECRET"]


def is_genuine(secret, headers, body):
    """Whether a request is ours and fresh; `headers` by names in lower case, `body` as bytes."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    event_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
    digest = hmac.new(key, f"{event_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    expected = b"v1," + base64.b64encode(digest)
    given = headers["webhook-signature"].encode().split()
    is_fresh = abs(time.time() - int(timestamp)) <= 300
    return is_fresh and any(hmac.compare_digest(expected, one) for one in given)


class Receiver(BaseHTTPRequestHandler):
    """Answers one call."""

    def do_POST(self) -> None:
        """Answer at once: what is done with an event comes after the answer."""
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            genuine = is_genuine(SECRET, headers, body)
        except (KeyError, ValueError):  # a header is missing, or the time is none
            genuine = False
        self.send_response(204 if genuine else 401)
        self.end_headers()
        if genuine:
            sys.stdout.write(f"{headers['webhook-id']} {body.decode()}\n")
            sys.stdout.flush()

    def log_message(self, *_: object) -> None:
        """Write no log."""


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
