"""Mixed load with random faults for a while: memory stays flat, answers stay right. SOAK_SECONDS says for how long."""

import os
import random
import threading
import time

import httpx

import faults
import harness
from test_clients import start_and_vanish

SECONDS = int(os.environ.get("SOAK_SECONDS", "60"))


def mixed_client(server, stop, seed, failures):
    dice = random.Random(seed)
    while not stop.is_set():
        try:
            kind = dice.randrange(7)
            prompt = dice.choice(faults.PROMPTS)
            if kind == 0:
                start_and_vanish(server, dice.random() * 0.2, max_tokens=500, stream=dice.random() < 0.5)
            elif kind == 1:
                httpx.post(server.url + "/v1/completions", content=dice.randbytes(dice.randrange(2000)), timeout=60)
            elif kind == 2:
                assert faults.complete(server, prompt, temperature=9).status_code == 400
            elif kind == 3:
                reply = faults.complete(server, [dice.randrange(3, 2000) for _ in range(dice.randrange(1, 1500))])
                assert reply.status_code in (200, 429), reply.text
            elif kind == 4:
                reply = faults.complete(server, prompt, n=4, temperature=1, logprobs=5, max_tokens=40)
                assert reply.status_code in (200, 429), reply.text
            elif kind == 5:
                with faults.connect(server) as connection:
                    connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Le")
            else:
                with httpx.stream("POST", server.url + "/v1/chat/completions", timeout=60, json={
                        "messages": [{"role": "user", "content": "What is 12 + 7?"}], "stream": True, "max_tokens": 30}) as reply:
                    for index, _ in enumerate(reply.iter_lines()):
                        if index == dice.randrange(1, 60):
                            break
        except Exception as error:  # noqa: BLE001: every unexpected end is a failure of the soak
            failures.append(repr(error))


def test_soak(tmp_path):
    # So few KV pages that the prefix cache has been in all of them before the first quarter ends.
    with harness.Server(tmp_path, "--ranks", "2", "--http-header-timeout", "5s", "--max-running-requests", "16",
                        "--kv-cache", "32MiB") as server:
        faults.warm_up(server)
        bystander = faults.Bystander(server)
        stop = threading.Event()
        failures = []
        clients = [threading.Thread(target=mixed_client, args=(server, stop, seed, failures)) for seed in range(8)]
        samples = []
        for thread in (bystander, *clients):
            thread.start()
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            time.sleep(SECONDS / 40)
            samples.append(faults.resident_bytes(server.process.pid))
        stop.set()
        for client in clients:
            client.join()
        bystander.finish()
        assert failures == [], failures[:3]
        assert bystander.wrong == [], bystander.wrong[0]
        harness.wait_until(lambda: server.metric("switchyard:kv_pages_used") == 0, "all KV pages have returned")
        # Flat: what the second half holds at most is what the second quarter held, and 32 MiB of slack.
        quarter = len(samples) // 4
        assert max(samples[2 * quarter:]) - max(samples[quarter:2 * quarter]) < 32 * 2**20
        print(f"{bystander.num_requests} checked answers, resident {samples[quarter] / 2**20:.0f} to {samples[-1] / 2**20:.0f} MiB")
