#!/usr/bin/env python3
"""Writes tests/golden/jinja.json: templates, variables, and what transformers' own renderer makes of them.

    pip install transformers==4.57.1 Jinja2==3.1.6
    tests/reference/make_jinja_vectors.py
"""
import json
import pathlib

import jinja2
from transformers.utils import chat_template_utils

import jinja_snippets
import jinja_templates

_SCHEMA = {"type": "object", "properties": {
    "city": {"type": "string", "description": "Where, e.g. \"Zürich\""}, "unit": {"type": "string", "enum": ["C", "F"]},
    "days": {"type": "array", "items": {"type": ["integer", "null"]}}, "at": {"oneOf": [{"type": "string"}, {"type": "object", "properties": {}}], "nullable": True}},
    "required": ["city"]}
_TOOLS = [{"type": "function", "function": {"name": "weather", "description": "The weather", "parameters": _SCHEMA}},
          {"type": "function", "function": {"name": "now", "description": "The time", "parameters": {"type": "object", "properties": {}}}}]
_CALL = {"id": "abc123DEF", "type": "function", "function": {"name": "weather", "arguments": {"city": "Zürich", "days": [1, 2.5, None]}}}


def _talk(*contents):
    return [{"role": ("user", "assistant")[k % 2], "content": text} for k, text in enumerate(contents)]


_SYSTEM = [{"role": "system", "content": " Be brief. "}]
_USED_TOOL = _talk("Weather?") + [{"role": "assistant", "content": None, "tool_calls": [_CALL]},
                                  {"role": "tool", "content": "{\"t\": 3}", "name": "weather", "tool_call_id": "abc123DEF"}]
CASES = [
    {"messages": _talk("Hi")}, {"messages": _talk("Hi", "Hello!", " More? ")}, {"messages": _SYSTEM + _talk("Hi", "Yo", "x")},
    {"messages": _talk("Hi", "<think>\nhm\n</think>\n\nHello", "And")}, {"messages": _talk("Hi", "<think>a</think>b")},
    {"messages": _talk("Weather?"), "tools": _TOOLS}, {"messages": _SYSTEM + _talk("Weather?"), "tools": _TOOLS},
    {"messages": _USED_TOOL, "tools": _TOOLS}, {"messages": _USED_TOOL + _talk("ignored")[:0] + [{"role": "assistant", "content": "3 C"}], "tools": _TOOLS},
    {"messages": _talk("Hi"), "enable_thinking": False, "date_string": "1 Jan 2026", "tools_in_user_message": False, "tools": _TOOLS},
    {"messages": _talk("Hi", "there", "x"), "add_generation_prompt": False},
    {"messages": _talk("a") + _talk("b")}, {"messages": [{"role": "odd", "content": "x"}]},
]


def render(template, variables):
    try:
        compiled = chat_template_utils._compile_jinja_template(template)
        return {"text": compiled.render(**variables)}
    except (jinja2.exceptions.TemplateError, TypeError, SyntaxError, ValueError, OverflowError, ZeroDivisionError, AttributeError, RecursionError) as fault:
        own = isinstance(fault, jinja2.exceptions.TemplateError) and type(fault) is jinja2.exceptions.TemplateError
        return {"fault": str(fault) if own else ""}


def main():
    groups = []
    for name, template in jinja_templates.FAMILIES.items():
        cases = []
        for case in CASES:
            variables = {"bos_token": "<s>", "eos_token": "</s>", "tools": None, "documents": None, "add_generation_prompt": True} | case
            cases.append({"variables": variables} | render(template, variables))
        groups.append({"name": name, "template": template, "cases": cases})
    for k, template in enumerate(jinja_snippets.SNIPPETS + jinja_snippets.FAULTS):
        result = render(template, jinja_snippets.VARIABLES)
        assert ("fault" in result) == (k >= len(jinja_snippets.SNIPPETS)), (template, result)
        groups.append({"name": f"snippet-{k}", "template": template, "cases": [{"variables": {}} | result]})
    out = pathlib.Path(__file__).parent.parent / "golden" / "jinja.json"
    out.write_text(json.dumps({"snippet_variables": jinja_snippets.VARIABLES, "templates": groups}, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
