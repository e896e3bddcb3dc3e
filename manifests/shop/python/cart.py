"""The cart: what each user wants to buy, kept in Redis."""

import socket

from shop import CallFailed, serve


def redis(*words):
    """One command to Redis, in its own protocol."""
    command = f"*{len(words)}\r\n" + "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
    try:
        with socket.create_connection(("redis", 6379), timeout=5) as connection:
            connection.sendall(command.encode())
            with connection.makefile("rb") as answer:
                return read(answer)
    except OSError as error:
        raise CallFailed(f"redis did not answer: {error}") from error


def read(answer):
    line = answer.readline().decode().rstrip("\r\n")
    kind, rest = line[:1], line[1:]
    if kind == "+":
        return rest
    if kind == ":":
        return int(rest)
    if kind == "$":
        return answer.read(int(rest) + 2)[:-2].decode() if int(rest) >= 0 else None
    if kind == "*":
        return [read(answer) for _ in range(int(rest))]
    raise CallFailed(f"redis answered {line!r}")


def items(request):
    words = redis("HGETALL", f"cart:{request.rest}")
    return 200, {"user": request.rest, "items": {name: int(count) for name, count in zip(words[::2], words[1::2])}}


def add(request):
    product = str((request.body or {}).get("product", ""))
    if not product:
        return 400, {"error": 'say which product, as {"product": "1"}'}
    key = f"cart:{request.rest}"
    redis("HINCRBY", key, product, "1")
    redis("EXPIRE", key, "3600")
    return items(request)


def empty(request):
    redis("DEL", f"cart:{request.rest}")
    return 200, {"user": request.rest, "items": {}}


serve({("GET", "/cart/"): items, ("POST", "/cart/"): add, ("DELETE", "/cart/"): empty})
