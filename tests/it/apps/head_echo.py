"""An origin on Python's http.server that answers with the head it got, in the case and order it
came, and whose own answer has header names in a case of their own."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        head = self.requestline + "\n"
        head += "".join(f"{name}: {value}\n" for name, value in self.headers.items())
        body = head.encode("latin-1")
        self.send_response(200)
        self.send_header("X-oDd-CaSe", "kept")
        self.send_header("x-lower", "kept")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
