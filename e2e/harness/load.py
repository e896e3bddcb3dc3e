"""Clients that never stop: half of them keep their connection, half open one for each request.

python3 load.py URL CLIENTS REQUESTS_PER_SECOND COUNTS METHOD… in turn. What became of the requests is in the file
COUNTS, as JSON: {"ok": 12, "failures": 1, "failed": ["when, what"], "latest_ms": [3.4]}.
"""

import http.client
import itertools
import json
import os
import sys
import threading
import time
import urllib.parse

TIMEOUT = 10
# Ends by itself, should the test that started it be gone: 30 minutes.
END = time.monotonic() + 1800

url, clients, rate = urllib.parse.urlsplit(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
methods = sys.argv[5:]
lock = threading.Lock()
counts = {"ok": 0, "failures": 0, "failed": [], "latest_ms": []}
# Latencies that are kept, and failures that are told.
LATEST, TOLD = 2000, 20


def request(connection, method):
    started = time.monotonic()
    connection.request(method, url.path or "/", body=b"an order" if method == "POST" else None)
    response = connection.getresponse()
    body = response.read()
    took = (time.monotonic() - started) * 1000
    if response.status != 200:
        reason = response.getheader("outrigger-reason")
        raise RuntimeError(f"{method}: status {response.status} {reason}: {body[:200]!r}")
    return took


def client(keep):
    connection = None
    turn = itertools.cycle(methods)
    while time.monotonic() < END:
        due = time.monotonic() + clients / rate
        if connection is None:
            connection = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=TIMEOUT)
        try:
            took, failed = request(connection, next(turn)), None
        except Exception as error:  # whatever it is, a user would have seen it
            took, failed = 0.0, f"{time.strftime('%X')} {error!r}"
        with lock:
            if failed:
                counts["failures"] += 1
                counts["failed"] = (counts["failed"] + [failed])[:TOLD]
            else:
                counts["ok"] += 1
                counts["latest_ms"] = (counts["latest_ms"] + [round(took, 2)])[-LATEST:]
        if failed or not keep:
            connection.close()
            connection = None
        time.sleep(max(0, due - time.monotonic()))


for number in range(clients):
    threading.Thread(target=client, args=(number % 2 == 0,), daemon=True).start()
while time.monotonic() < END:
    with lock:
        text = json.dumps(counts)
    with open(sys.argv[4] + ".new", "w") as file:
        file.write(text)
    os.replace(sys.argv[4] + ".new", sys.argv[4])
    time.sleep(0.1)
