"""A small app that is restarted: restarting.py PORT FILE [polite] [hanging]

Answers each request with its target, and appends the target of each POST to FILE when it has done its work. On SIGTERM
it stops listening, finishes what it has begun, closes idle connections at once, as most servers do, and ends. A polite
one answers once more on each connection that it has, says there that it closes, and waits a while for that. A hanging
one says on standard error that it has a request, and never answers.
"""

import asyncio
import signal
import socket
import sys

port, log = int(sys.argv[1]), open(sys.argv[2], "a", buffering=1)
polite, hanging = "polite" in sys.argv[3:], "hanging" in sys.argv[3:]
stopping = asyncio.Event()
leaving = False
idle, busy = set(), set()


async def serve(reader, writer):
    global leaving
    task = asyncio.current_task()
    idle.add(task)
    try:
        while not stopping.is_set():
            head = await reader.readuntil(b"\r\n\r\n")
            idle.discard(task)
            busy.add(task)
            first, *fields = head.decode().split("\r\n")
            method, target, _ = first.split(" ")
            length = 0
            for field in fields:
                name, _, value = field.partition(":")
                if name.lower() == "content-length":
                    length = int(value)
            await reader.readexactly(length)
            if hanging:
                print("has one", file=sys.stderr, flush=True)
                await stopping.wait()
                return
            # Some work.
            await asyncio.sleep(0.002)
            if method == "POST":
                print(target, file=log)
            close = leaving or stopping.is_set()
            body = target.encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n%s\r\n%s"
                % (len(body), b"connection: close\r\n" if close else b"", body)
            )
            await writer.drain()
            busy.discard(task)
            if close:
                break
            idle.add(task)
    except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
        pass
    finally:
        idle.discard(task)
        busy.discard(task)
        writer.close()


def accept(listener):
    """By hand: asyncio's own server drops what it has accepted in the moment in which it is closed."""
    try:
        connection, _ = listener.accept()
    except BlockingIOError:
        return
    task = asyncio.ensure_future(begin(connection))
    idle.add(task)
    task.add_done_callback(idle.discard)


async def begin(connection):
    await serve(*await asyncio.open_connection(sock=connection))


async def main():
    global leaving
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    listener = socket.create_server(("127.0.0.1", port), backlog=128)
    listener.setblocking(False)
    asyncio.get_running_loop().add_reader(listener, accept, listener)
    print(f"listening at {port}", file=sys.stderr, flush=True)
    await told.wait()
    asyncio.get_running_loop().remove_reader(listener)
    listener.close()
    if polite:
        leaving = True
        for _ in range(500):
            if not idle and not busy:
                break
            await asyncio.sleep(0.001)
    stopping.set()
    for task in list(idle):
        task.cancel()
    while busy or idle:
        await asyncio.sleep(0.001)


asyncio.run(main())
