"""Takes webhooks and prints the events that are genuine.

Run it as `HEMOTRIAGE_WEBHOOK_SECRET=whsec_... python webhook_receiver.py 8081`.
"""

import os
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

from shared.webhooks.signature import key_of, verify

KEY = key_of(os.environ["HEMOTRIAGE_WEBHOOK_SECRET"])


class Receiver(BaseHTTPRequestHandler):
    """Answers one call."""

    def do_POST(self) -> None:
        """Answer at once: what is done with an event comes after the answer."""
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        genuine = verify(KEY, headers, body, now=int(time.time()))
        self.send_response(204 if genuine else 401)
        self.end_headers()
        if genuine:
            sys.stdout.write(f"{headers['webhook-id']} {body.decode()}\n")
            sys.stdout.flush()

    def log_message(self, *_: object) -> None:
        """Write no log."""


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
