"""Talks to an echo server through the websockets library: text, binary, large, ping, close."""

import asyncio
import sys

import websockets


async def main():
    url = f"ws://127.0.0.1:{sys.argv[1]}/chat"
    async with websockets.connect(url, max_size=None, open_timeout=20, compression=None) as socket:
        for message in ["hello", b"\x00\xff" * 8, "ü" * 200_000, b"b" * 2_000_000]:
            await socket.send(message)
            assert await asyncio.wait_for(socket.recv(), 20) == message
        await asyncio.wait_for(await socket.ping(), 20)
    assert socket.close_code == 1000, socket.close_code
    print("ok")


asyncio.run(main())
