#!/usr/bin/env python3
"""Chat with Switchyard through OpenAI's own SDK (pip install openai).

    openai_client.py http://127.0.0.1:8000/v1 "What is 12 + 7?"
"""

import os
import sys

import openai


def main():
    url, question = sys.argv[1:]
    client = openai.OpenAI(base_url=url, api_key=os.environ.get("SWITCHYARD_API_KEY", "none"))
    model = client.models.list().data[0].id
    stream = client.chat.completions.create(model=model, messages=[{"role": "user", "content": question}], max_tokens=64,
                                            temperature=0, stream=True, stream_options={"include_usage": True})
    for chunk in stream:
        for choice in chunk.choices:
            print(choice.delta.content or "", end="", flush=True)
        if chunk.usage:
            print(f"\n{chunk.usage.completion_tokens} tokens", file=sys.stderr)


if __name__ == "__main__":
    main()
