"""An application whose mood a test sets: /tmp/mode holds well, failing or slow.

Answers GET with its host name. What it answered is in /tmp/seen, as JSON: {"ok": 3, "bad": [when],
"first": when}, the times in seconds of the pod's own clock; probes of the kubelet do not count.
"""

import http.server
import json
import os
import socket
import threading
import time

lock = threading.Lock()
seen = {"ok": 0, "bad": [], "first": None}


def mode():
    try:
        with open("/tmp/mode") as file:
            return file.read().strip()
    except FileNotFoundError:
        return "well"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        probe, mood = self.path == "/healthz", mode()
        if mood == "slow" and not probe:
            time.sleep(3)
        status = 500 if mood == "failing" and not probe else 200
        body = f"{socket.gethostname()} is {mood}\n".encode()
        if not probe:
            with lock:
                seen["first"] = seen["first"] or time.time()
                if status == 200:
                    seen["ok"] += 1
                else:
                    seen["bad"].append(time.time())
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def tell():
    while True:
        with lock:
            text = json.dumps(seen)
        with open("/tmp/seen.new", "w") as file:
            file.write(text)
        os.replace("/tmp/seen.new", "/tmp/seen")
        time.sleep(0.1)


threading.Thread(target=tell, daemon=True).start()
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
