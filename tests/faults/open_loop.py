"""Streamed completions from one thread over plain sockets: as many as are asked for, or at a rate whatever becomes of them.

A client library costs more per request than the server's refusal of it; what has come is parsed when the load is over.
"""

import asyncio
import dataclasses
import json
import random
import time
import urllib.parse

import faults
import harness


@dataclasses.dataclass
class Outcome:
    first_token: float | None = None  # seconds from the request to the first token
    seconds: float = 0  # and to the end
    raw: bytes = b""  # of the reply
    error: str = ""  # how the connection ended, where it did not end well

    @property
    def status(self):
        return int(self.raw.split(maxsplit=2)[1]) if self.raw else None

    @property
    def headers(self):
        lines = self.raw.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    @property
    def body(self):
        body = self.raw.partition(b"\r\n\r\n")[2]
        if self.headers.get("transfer-encoding") != "chunked":
            return body
        whole = b""
        while body:
            size, _, body = body.partition(b"\r\n")
            whole += body[:int(size, 16)]
            body = body[int(size, 16) + 2:]
        return whole

    @property
    def text(self):
        """Of a stream that has come to its end, else None."""
        events = [line.removeprefix("data: ") for line in self.body.decode().split("\n") if line.startswith("data: ")]
        if events[-1:] != ["[DONE]"]:
            return None
        return "".join(json.loads(event)["choices"][0]["text"] for event in events[:-1])


async def ask(server, **fields):
    address = urllib.parse.urlsplit(server.url)
    body = faults.body_of(stream=True, **fields)
    head = faults.post_head("/v1/completions", f"Content-Length: {len(body)}", "Connection: close")
    outcome = Outcome()
    begin = time.monotonic()
    try:
        async with asyncio.timeout(harness.PATIENCE):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            writer.write(head + body)
            pieces = []
            while piece := await reader.read(65536):
                pieces.append(piece)
                if outcome.first_token is None and b"data: {" in piece:
                    outcome.first_token = time.monotonic() - begin
            outcome.raw = b"".join(pieces)
            writer.close()
    except OSError as error:
        outcome.error = repr(error)
    outcome.seconds = time.monotonic() - begin
    return outcome


def rate_of(server, num_clients, seconds, **fields):
    """Answers a second to clients that each ask again once they are answered."""
    async def client(end):
        count = 0
        while time.monotonic() < end:
            assert (await ask(server, **fields)).status == 200
            count += 1
        return count

    async def clients():
        begin = time.monotonic()
        counts = await asyncio.gather(*(client(begin + seconds) for _ in range(num_clients)))
        return sum(counts) / (time.monotonic() - begin)

    return asyncio.run(clients())


def send(server, rate, seconds, prompts, **fields):
    """(prompt, Outcome) of rate * seconds requests at random times: their arrivals are a Poisson process."""
    dice = random.Random(1)

    async def one(prompt, delay):
        await asyncio.sleep(delay)
        return prompt, await ask(server, prompt=prompt, **fields)

    async def all_of_them():
        arrivals = sorted(dice.random() * seconds for _ in range(int(rate * seconds)))
        return await asyncio.gather(*(one(prompts[i % len(prompts)], arrival) for i, arrival in enumerate(arrivals)))

    return asyncio.run(all_of_them())
