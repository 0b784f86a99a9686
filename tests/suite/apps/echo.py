"""A WebSocket server that says back what it hears, on the port that is its argument."""

import asyncio
import sys

import websockets


async def echo(socket):
    try:
        async for message in socket:
            await socket.send(message)
    except websockets.ConnectionClosed:
        pass


async def main():
    # Compression is between the two ends, and takes minutes to try out.
    async with websockets.serve(echo, "127.0.0.1", int(sys.argv[1]), max_size=None, compression=None):
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
