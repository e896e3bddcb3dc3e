"""Writes down how an application on Python's http.server has read each request: see reading.go.
Arguments: port, file. http.server leaves bodies to its applications: this one takes lengths and
chunks as RFC 9112 has them, and nothing else."""

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT, FILE = int(sys.argv[1]), sys.argv[2]


class Bad(Exception):
    pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One segment for each answer: nothing waits for an acknowledgement.
    wbufsize = -1

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def line(self):
        line = self.rfile.readline(65536)
        if not line.endswith(b"\r\n"):
            raise Bad("a line without an end")
        return line[:-2]

    def exactly(self, length):
        data = self.rfile.read(length)
        if len(data) < length:
            raise Bad("too little")
        return data

    def chunks(self):
        body = b""
        while True:
            size = re.fullmatch(rb"([0-9A-Fa-f]{1,15})[ \t]*(;[^\r\n]*)?", self.line())
            if not size:
                raise Bad("no size")
            length = int(size[1], 16)
            if length == 0:
                break
            body += self.exactly(length)
            if self.line():
                raise Bad("more than the size says")
        while self.line():
            pass
        return body

    def body(self):
        encoding = self.headers.get_all("Transfer-Encoding")
        if encoding:
            if [name.strip().lower() for name in encoding] != ["chunked"]:
                raise Bad("a coding that is not chunked")
            return self.chunks()
        lengths = set(self.headers.get_all("Content-Length") or ["0"])
        length = lengths.pop()
        if lengths or not re.fullmatch("[0-9]{1,15}", length.strip()):
            raise Bad("no length")
        return self.exactly(int(length))

    def answer(self):
        try:
            body = self.body()
        except Bad as bad:
            self.close_connection = True
            self.send_error(400, str(bad))
            return
        reading = {
            "method": self.command,
            "target": self.path,
            "host": self.headers.get("Host", ""),
            "x_a": ", ".join(self.headers.get_all("X-A") or []),
            "body": body.decode("latin-1"),
        }
        with open(FILE, "a") as file:
            file.write(json.dumps(reading) + "\n")
        text = b"read\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)
        self.wfile.flush()

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
