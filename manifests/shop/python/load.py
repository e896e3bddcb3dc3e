"""The customers: a bounded stream of requests to the shop's front door, and every ten seconds a
line of JSON on what became of them."""

import collections
import http.client
import json
import os
import random
import signal
import threading
import time
from urllib.parse import urlsplit

TARGET = urlsplit(os.environ.get("TARGET", "http://web"))
RATE = min(float(os.environ.get("RATE", "5")), 200.0)  # requests per second
CUSTOMERS = 10
REPORT_SECONDS = 10

stopping = threading.Event()
lock = threading.Lock()
results = []  # (status or error, seconds)


def requests(customer):
    """What a customer does, over and over."""
    while True:
        yield "GET", "/api/catalog/products", None
        yield "GET", f"/api/catalog/products/{random.randint(1, 9)}", None
        yield "POST", f"/api/cart/{customer}", {"product": str(random.randint(1, 9))}
        yield "GET", f"/api/cart/{customer}", None
        yield "POST", f"/api/checkout/{customer}", {}


def shop(customer):
    connection = http.client.HTTPConnection(TARGET.hostname, TARGET.port or 80, timeout=15)
    pause = CUSTOMERS / RATE
    due = time.monotonic() + pause * random.random()
    for method, path, body in requests(f"customer-{customer}"):
        if stopping.wait(max(0.0, due - time.monotonic())):
            return
        # Late is late: what was missed is not made up for.
        due = max(due, time.monotonic()) + pause
        started = time.monotonic()
        try:
            connection.request(method, path, body and json.dumps(body), {"content-type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            result = str(answer.status)
        except (OSError, http.client.HTTPException) as error:
            connection.close()  # it opens again with the next request
            result = type(error).__name__
        with lock:
            results.append((result, time.monotonic() - started))


def report():
    with lock:
        seen, results[:] = list(results), []
    took = sorted(seconds for _, seconds in seen) or [0.0]
    line = {
        "requests": len(seen),
        "failed": sum(not result.startswith(("2", "3")) for result, _ in seen),
        "results": dict(sorted(collections.Counter(result for result, _ in seen).items())),
        "p50Ms": round(took[len(took) // 2] * 1000, 1),
        "p99Ms": round(took[len(took) * 99 // 100] * 1000, 1),
    }
    print(json.dumps(line), flush=True)


signal.signal(signal.SIGTERM, lambda *_: stopping.set())
customers = [threading.Thread(target=shop, args=(number,)) for number in range(CUSTOMERS)]
for customer in customers:
    customer.start()
while not stopping.wait(REPORT_SECONDS):
    report()
for customer in customers:
    customer.join()
report()
