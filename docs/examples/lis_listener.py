"""Takes results by MLLP and acknowledges each once it is written down: a start for a LIS.

Run it as `python lis_listener.py 2575 received.hl7`. A frame is 0B, the message, 1C 0D (HL7
Implementation Guide v2.3.1, appendix C.4); segments end with a carriage return.
"""

import socketserver
import sys
from pathlib import Path

START, END = b"\x0b", b"\x1c\r"
RECEIVED = Path(sys.argv[2])


class Listener(socketserver.BaseRequestHandler):
    """Answers the messages of one connection, one after the other."""

    def handle(self) -> None:
        """Write each message down, then acknowledge it: the same one may come twice."""
        buffer = b""
        while chunk := self.request.recv(65536):
            buffer += chunk
            while END in buffer:
                frame, buffer = buffer.split(END, maxsplit=1)
                segments = frame.removeprefix(START).decode().split("\r")
                with RECEIVED.open("a", encoding="utf-8") as file:
                    file.write("\n".join(segments))
                control_id = segments[0].split("|")[9]
                ack = f"MSH|^~\\&|LIS||HEMOTRIAGE||||ACK^R01^ACK|{control_id}|P|2.5.1\r"
                self.request.sendall(START + f"{ack}MSA|AA|{control_id}\r".encode() + END)


if __name__ == "__main__":
    socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Listener).serve_forever()
