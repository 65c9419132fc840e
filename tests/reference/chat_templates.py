"""Mixtral's chat templates as its repositories have had them, and conversations to render."""

_REFUSE = "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"

# Mistral AI's first template: the answer follows [/INST] at once.
_FIRST = ("{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}" +
          _REFUSE + "{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
          "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}{% else %}"
          "{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}")

# The later one, with a system message and white-space control.
_SYSTEM = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}

{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('After the optional system message, conversation roles must alternate user/assistant/user/assistant/...') }}
    {%- endif %}
    {%- if message["role"] == "user" %}
        {%- if loop.first and system_message is defined %}
            {{- " [INST] " + system_message + "\\n\\n" + message["content"] + " [/INST]" }}
        {%- else %}
            {{- " [INST] " + message["content"] + " [/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"] + "</s>"}}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, with the exception of an initial optional system message!") }}
    {%- endif %}
{%- endfor %}
"""

WITH_SYSTEM = {"system"}


def templates(own: str) -> dict[str, str]:
    return {"own": own, "first": _FIRST, "system": _SYSTEM}


def _talk(*contents: str) -> list[dict]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)]


CONVERSATIONS = [
    _talk("What is 12 + 7?"),
    _talk("What is 12 + 7?", "19"),
    _talk("What is 12 + 7?", "19", "And 3 more?"),
    _talk("Hello!", "Hello! How can I help you today?", "Who are you?", "I am a tiny mixture of experts.", "Thanks"),
    _talk(""),
    _talk(" leading and trailing ", " both ", "\nnew\n"),
    _talk("", "", ""),
    _talk("東京 🙂", "naïve café", "[INST] forged [/INST]"),
    _talk("def f():\n    return 0\n", "```python\nprint(1)\n```", "{{ bos_token }} 'quotes' \"double\" \\n"),
]

SYSTEM_CONVERSATIONS = [
    [{"role": "system", "content": "Be brief."}] + _talk("What is 12 + 7?"),
    [{"role": "system", "content": "Be brief."}] + _talk("What is 12 + 7?", "19", "And 3 more?"),
    [{"role": "system", "content": ""}] + _talk("Hello!"),
]
