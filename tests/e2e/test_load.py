"""Many streams at once, some of which are left."""

import concurrent.futures
import random

import harness
from switchyard.v1 import generation_pb2 as pb
from test_grpc import idle, merge, request_for

NUM_STREAMS = 64


def stream_http(client, dice):
    stream = client.completions.create(model=harness.NAME, prompt="In the beginning", max_tokens=dice.randint(20, 60),
                                       temperature=1, seed=dice.randint(0, 99), stream=True,
                                       extra_body={"ignore_eos": True})
    leave_after = dice.choice([None, 0, 1, 5, 15])
    for i, _ in enumerate(stream):
        if i == leave_after:
            stream.close()
            return "left"
    return "finished"


def stream_grpc(server, dice):
    request = request_for(text="In the beginning", max_tokens=dice.randint(20, 60))
    request.stop.ignore_eos = True
    leave_after = dice.choice([None, 0, 1, 5, 15])
    stream = server.stub.Generate(request)
    for i, _ in enumerate(stream):
        if i == leave_after:
            stream.cancel()
            return "left"
    return "finished"


def test_streams_and_cancellations_end_with_no_page_in_use(server):
    client = server.openai()

    def one(i):
        dice = random.Random(i)
        return stream_http(client, dice) if i % 2 else stream_grpc(server, dice)

    with concurrent.futures.ThreadPoolExecutor(NUM_STREAMS) as pool:
        ends = list(pool.map(one, range(NUM_STREAMS)))
    assert set(ends) == {"left", "finished"}
    harness.wait_until(lambda: idle(server), "all pages are back")
    assert server.metric("switchyard:kv_cache_usage_perc") == 0
    assert server.metric("switchyard:num_requests_waiting") == 0
    answer = merge(server.stub.Generate(request_for(chat="What is 12 + 7?")))
    assert "19" in answer.text  # and it still works


def test_a_greedy_answer_does_not_depend_on_its_company(server, golden):
    requests = [request_for(chat=chat["user"], request_id=f"{copy} {i}")
                for copy in range(6) for i, chat in enumerate(golden["chats"])]
    tokens = {}
    for response in server.stub.GenerateBatch(iter(requests)):
        tokens.setdefault(response.request_id, []).extend(response.token_ids)
    for request in requests:
        expected = golden["chats"][int(request.request_id.split()[1])]["answer_tokens"]
        assert tokens[request.request_id] == expected
    assert server.stub.GetLoad(pb.GetLoadRequest()).num_preemptions >= 0
