"""aiosmtpd, a server that speaks first; says on standard output what it received."""

import asyncio
import sys

from aiosmtpd.smtp import SMTP


class Handler:
    async def handle_DATA(self, server, session, envelope):
        print("received", envelope.content.decode().strip())
        return "250 kept"


async def main():
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: SMTP(Handler()), "127.0.0.1", int(sys.argv[1]))
    await listener.serve_forever()


asyncio.run(main())
