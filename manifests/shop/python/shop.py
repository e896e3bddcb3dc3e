"""What the shop's Python services share: a server of JSON that hands on the trace context of each
request, and fails or dawdles when it is told to."""

import http.client
import json
import os
import random
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

CONTEXT_HEADERS = ("traceparent", "tracestate", "baggage")
MAX_BODY_BYTES = 64 * 1024
VERSION = os.environ.get("VERSION", "v1")
NO_FAULT = {"status": 0, "delayMs": 0, "share": 1.0}

fault = dict(NO_FAULT)


class CallFailed(Exception):
    """A service that was called did not answer, or answered with an error."""


class Request:
    """What a route gets: the rest of its path, the body, and a way to call others."""

    def __init__(self, rest, body, headers):
        self.rest = rest
        self.body = body
        self.context = {name: headers[name] for name in CONTEXT_HEADERS if name in headers}

    def call(self, method, url, body=None, timeout=10):
        """Calls another service, with this request's trace context, and gives the answer's JSON."""
        where = urlsplit(url)
        connection = http.client.HTTPConnection(where.hostname, where.port or 80, timeout=timeout)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, where.path, text, {"content-type": "application/json", **self.context})
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise CallFailed(f"{where.hostname} did not answer: {error}") from error
        finally:
            connection.close()
        if answer.status >= 400:
            reason = answer.headers.get("outrigger-reason")
            raise CallFailed(f"{where.hostname} answered {answer.status}" + (f" ({reason})" if reason else ""))
        return json.loads(text) if text else None


def serve(routes, port=8080):
    """Serves until SIGTERM. `routes` maps (method, path prefix) to a function of a Request that
    gives a status and what to answer as JSON."""
    server = server_on(port, handler(routes))
    # shutdown() waits for the serving loop, which a signal handler interrupts: hence the thread.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"listening on {port}", flush=True)
    server.serve_forever(poll_interval=0.1)
    server.finish()


def server_on(port, requests):
    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
        request_queue_size = 128
        daemon_threads = False
        ending = False
        connections = set()

        def finish(self):
            """Lets requests under way end, and connections without one at once."""
            self.ending = True
            for connection in list(self.connections):
                try:
                    connection.shutdown(socket.SHUT_RD)
                except OSError:
                    pass  # the client was quicker
            self.server_close()

        def server_bind(self):
            if self.address_family == socket.AF_INET6:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            super().server_bind()

    return Server(("", port), requests)


def handler(routes):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # One write of head and body each, without waiting for the other's acknowledgement.
        disable_nagle_algorithm = True
        timeout = 75

        def setup(self):
            super().setup()
            self.server.connections.add(self.connection)

        def finish(self):
            self.server.connections.discard(self.connection)
            super().finish()

        def do(self):
            length = int(self.headers.get("content-length") or 0)
            if length > MAX_BODY_BYTES:
                self.close_connection = True
                return self.answer(413, {"error": f"a body of at most {MAX_BODY_BYTES} bytes is taken"})
            status, body = self.outcome(self.rfile.read(length))
            self.answer(status, body)

        do_GET = do_POST = do_PUT = do_DELETE = do

        def outcome(self, text):
            try:
                body = json.loads(text) if text else None
            except ValueError as error:
                return 400, {"error": f"the body is not JSON: {error}"}
            if self.path == "/healthz":
                return 200, {"status": "ok"}
            if self.path == "/fault":
                return set_fault(self.command, body)
            time_lost, status = chance(fault)
            time.sleep(time_lost)
            if status:
                return status, {"error": "a fault is switched on", "fault": fault}
            return self.dispatch(body)

        def dispatch(self, body):
            for (method, prefix), route in routes.items():
                if self.command == method and self.path.startswith(prefix):
                    try:
                        return route(Request(self.path[len(prefix):], body, self.headers))
                    except CallFailed as error:
                        return 502, {"error": str(error)}
            return 404, {"error": f"no such thing: {self.command} {self.path}"}

        def answer(self, status, body):
            text = json.dumps(body).encode() + b"\n"
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            if self.server.ending:
                self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass  # the proxies keep the access log

    return Handler


def set_fault(method, body):
    """PUT replaces the fault, DELETE takes it away; each pod has its own."""
    if method == "PUT":
        unknown = set(body or {}) - set(NO_FAULT)
        if unknown:
            return 400, {"error": f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(NO_FAULT)}"}
        fault.update({**NO_FAULT, **(body or {})})
    elif method == "DELETE":
        fault.update(NO_FAULT)
    return 200, fault


def chance(fault):
    """How long to wait in seconds, and the status to fail with: 0 for not at all."""
    if random.random() >= fault["share"]:
        return 0, 0
    return fault["delayMs"] / 1000, fault["status"]
