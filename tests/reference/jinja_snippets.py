"""Small templates: one construct each, with the variables of VARIABLES."""

VARIABLES = {
    "s": "Hello, W東rld 🙂!", "e": "", "n": None, "t": True, "i": 7, "f": 2.5, "words": ["b", "A", "c", "a"],
    "numbers": [3, 1, 2, 3], "d": {"z": 1, "a": [1, 2.0, None, True], "m": {"k": "v\n\"q\" </x> é"}},
    "people": [{"name": "Ann", "age": 3}, {"name": "Bob", "age": 1, "tag": "x"}, {"name": "cid", "age": 2}],
    "lines": "one\n\n  two\nthree", "spaced": " \t a b  c \n",
}

SNIPPETS = [
    # white space
    "a\n{% if t %}\nb\n{% endif %}\nc\n", "a\n  {% if t %}  \nb\n   {% endif %}\nc", "a {%- if t -%} b {%- endif -%} c",
    "  {{ i }}  \n  {{- i -}}  \n x", "a {# c #} b\n{# c #}\nd\n  {# c #}\ne", "a {#- c -#} b", "{%+ if t %}x{%+ endif %}",
    "  {%+ if t %}x{% endif +%}\ny", "{% raw %}{{ x }}{% if %}{% endraw %}\nz", "a {%- raw -%} b {{ {%- endraw -%} c",
    "x\n\n", "x\r\ny\r\n", "{{ 'a\\tb\\u00e9\\x41\\'\\\\' }}", "\n\n{% for w in words %}\n  {{ w }}\n{% endfor %}\n\nend",
    "    {% set x = 1 %}\n    {{ x }}\n", "{{ '}}' }}{{ {'a': {'b': 1}}['a']['b'] }}",
    # expressions
    "{{ 1 + 2 * 3 - 4 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }}",
    "{{ 'a' ~ 1 ~ none ~ 2.0 ~ true }} {{ 'ab' * 3 }} {{ [1] * 2 }} {{ [1] + [2] }} {{ 'x' 'y' }}",
    "{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 1 == 1.0 }} {{ 1 == true }} {{ '1' == 1 }}",
    "{{ not t and i or e }} {{ e or 'x' }} {{ n and 1 }} {{ not not i }} {{ 2 if e }}|{{ 2 if t else 3 }} {{ 1 if e else 2 if n else 3 }}",
    "{{ 'ell' in s }} {{ 'z' in d }} {{ 'y' not in d }} {{ 3 in numbers }} {{ n in [none] }} {{ 'x' in undefined_thing }}",
    "{{ s[0] }} {{ s[-2] }} {{ s[1:5] }} {{ s[::-1] }} {{ s[:-3] }} {{ s[-3:] }} {{ s[::2] }} {{ s[100:] }} {{ numbers[::-1] }} {{ numbers[1:] }} {{ numbers[5] is defined }}",
    "{{ numbers[-1] }} {{ numbers[10:0:-2] }} {{ numbers[3:0:-1] }} {{ words[:2] }} {{ (1, 2)[1] }} {{ people[0].name }} {{ people.0.name }}",
    "{{ -i }} {{ +i }} {{ -f }} {{ - 2 * 3 }} {{ -i|abs }} {{ 10 - 2 - 3 }} {{ 2 * (3 + 4) }} {{ 1_000 }} {{ 1e3 }} {{ 1.5e-7 }} {{ 1e16 }} {{ 123456789.0 }} {{ 0.1 + 0.2 }}",
    "{{ n }} {{ t }} {{ [1, 'a', none, 2.0, {'k': \"it's\"}] }} {{ d }} {{ missing }}| {{ d.missing }}|",
    "{{ 'a %s b %d %%' % ('x', 3) }} {{ '%s' % i }} {{ '%.2f' % f }} {{ '%s-%s' | format(1, 'b') }}",
    # statements
    "{% for w in words %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }}{{ w }};{% endfor %}",
    "{% for w in words %}{{ loop.previtem }}<{{ w }}>{{ loop.nextitem }} {{ loop.cycle('x', 'y') }};{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for c in s[:3] %}{{ c }}.{% endfor %}",
    "{% for x in [] %}a{% else %}none{% endfor %}{% for x in numbers if x > 1 %}{{ loop.length }}{{ x }}{% else %}-{% endfor %}{% for x in missing %}{% else %}m{% endfor %}",
    "{% for x in numbers %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% if x == 2 %}{% break %}{% endif %}{% endfor %}",
    "{% set x = 1 %}{% for y in numbers %}{% set x = x + y %}{{ x }} {% endfor %}{{ x }}{% if t %}{% set x = 9 %}{% endif %}{{ x }}",
    "{% set ns = namespace(a=1) %}{% for y in numbers %}{% set ns.a = ns.a + y %}{% endfor %}{{ ns.a }}{% set ns.b = [1] %}{{ ns.b }}{{ ns.c is defined }}",
    "{% set a, b = 1, 'x' %}{{ a }}{{ b }}{% set c %}block {{ a }}{% endset %}{{ c }}{% set u | upper | trim %} up {% endset %}[{{ u }}]",
    "{% macro m(a, b='d', c=none) %}{{ a }}-{{ b }}-{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, c=3) }} {{ m(1, 2, 3) }} {{ m() }}|{{ m(b=1, a=2) | upper }}",
    "{% macro outer() %}<{{ caller() }}>{% endmacro %}{% call outer() %}in {{ i }}{% endcall %}{% macro rec(k) %}{{ k }}{% if k > 0 %}{{ rec(k - 1) }}{% endif %}{% endmacro %}{{ rec(3) }}",
    "{% filter upper %}a{{ s }}b{% endfilter %}{% with x = 1, y = 2 %}{{ x + y }}{% endwith %}{{ x is defined }}",
    "{% if i > 5 and s is string %}A{% elif i %}B{% else %}C{% endif %}{% if e %}A{% elif i == 7 %}B{% endif %}{% if not t %}x{% else %}C{% endif %}",
    "{% generation %}g{% endgeneration %}{{ range(3) | list }}{{ range(5, 1, -2) | list }}{{ dict(a=1, b='x') }}",
    # tests
    "{{ s is string }}{{ i is number }}{{ t is number }}{{ i is integer }}{{ t is integer }}{{ f is float }}{{ t is boolean }}{{ n is none }}{{ d is mapping }}{{ words is sequence }}{{ s is iterable }}{{ i is iterable }}{{ d is sequence }}{{ missing is defined }}{{ missing is undefined }}{{ n is defined }}",
    "{{ i is odd }}{{ i is even }}{{ i is divisibleby 7 }}{{ i is divisibleby(2) }}{{ t is true }}{{ t is false }}{{ i is true }}{{ i is eq 7 }}{{ i is equalto(8) }}{{ i is in [7] }}{{ i is not in [7] }}{{ i is ge 7 }}{{ i is lt(3) }}{{ s is not none and i is not string }}",
    # filters
    "{{ spaced | trim }}|{{ 'xxaxx' | trim('x') }}|{{ s | length }}|{{ words | join }}|{{ words | join(', ') }}|{{ people | join('-', attribute='name') }}|{{ s | upper }}|{{ 'ABC' | lower }}|{{ 'the old-man sea' | title }}|{{ 'aBC d' | capitalize }}",
    "{{ missing | default('d') }}{{ e | default('d') }}{{ e | default('d', true) }}{{ n | default('d') }}{{ missing | d(3) }}{{ missing | length }}{{ missing | list }}{{ missing | upper }}|",
    "{{ words | sort }}{{ words | sort(reverse=true) }}{{ words | sort(case_sensitive=true) }}{{ people | sort(attribute='age') | map(attribute='name') | list }}{{ words | unique | list }}{{ numbers | unique | list }}",
    "{{ numbers | min }}{{ numbers | max }}{{ numbers | sum }}{{ people | sum(attribute='age') }}{{ numbers | first }}{{ numbers | last }}{{ numbers | reverse | list }}{{ s | reverse }}{{ people | max(attribute='age') }}",
    "{{ people | selectattr('tag') | list }}{{ people | selectattr('age', '>', 1) | map(attribute='name') | join }}{{ people | rejectattr('name', 'equalto', 'Bob') | list | length }}{{ people | selectattr('tag', 'defined') | list | length }}{{ words | map('upper') | list }}{{ numbers | select('odd') | list }}{{ numbers | reject('in', [3]) | list }}{{ people | map(attribute='tag', default='-') | list }}",
    "{{ d | items | map('first') | list }}{{ d | dictsort | map('last') | list }}{{ {'b': 1, 'A': 2} | dictsort(by='value', reverse=true) | map('first') | list }}{{ '5' | int + 1 }}{{ 'x' | int(9) }}{{ '2.7' | int }}{{ 3.9 | int }}{{ '2.5' | float }}{{ 'x' | float }}{{ i | string + 'a' }}{{ '<a href=\"x\">&' | escape }}{{ '<b>' | safe }}",
    "{{ lines | indent }}|{{ lines | indent(2, true) }}|{{ lines | indent(2, blank=true) }}|{{ s | replace('l', 'L') }}|{{ s | replace('l', 'L', 1) }}|{{ 2.5 | round }}{{ 3.14159 | round(2) }}{{ s | list | length }}{{ s | first }}{{ s | last }}",
    "{{ d | tojson }}|{{ d | tojson(indent=2) }}|{{ s | tojson }}|{{ d | tojson(separators=(',', ':')) }}|{{ d | tojson(sort_keys=true) }}|{{ s | tojson(ensure_ascii=true) }}|{{ [] | tojson(indent=2) }}{{ {} | tojson }}{{ 1e100 | tojson }}{{ 'a\\\\b\\x01\\x7f/' | tojson }}",
    # methods
    "{{ spaced.strip() }}|{{ spaced.lstrip() }}|{{ spaced.rstrip() }}|{{ 'xyaxy'.strip('yx') }}|{{ spaced.split() }}{{ 'a,b,,c'.split(',') }}{{ 'a,b,,c'.split(',', 1) }}{{ 'a,b,,c'.rsplit(',', 1) }}{{ ''.split() }}{{ ''.split(',') }}{{ lines.splitlines() }}",
    "{{ s.startswith('Hell') }}{{ s.endswith('!') }}{{ s.startswith(('x', 'H')) }}{{ s.upper() }}{{ 'AB'.lower() }}{{ 'a b'.title() }}{{ s.replace('l', 'L', 1) }}{{ s.find('W') }}{{ s.find('x') }}{{ s.count('l') }}{{ '-'.join(words) }}{{ '12'.isdigit() }}{{ 'abc'.removeprefix('a') }}",
    "{{ d.get('z') }}{{ d.get('y') }}{{ d.get('y', 5) }}{{ d.keys() | list }}{{ d.values() | list }}{{ d.items() | list | length }}{{ words.index('c') }}{{ numbers.count(3) }}{{ d['m']['k'] }}{{ d.m.k }}",
]

# Refused by jinja2 too, while parsing or while rendering.
FAULTS = [
    "{{ missing.x }}", "{{ missing + 1 }}", "{{ 1 + 'a' }}", "{{ n.x.y }}", "{{ words.append('x') }}", "{{ 1 / 0 }}", "{{ missing() }}",
    "{{ raise_exception('no: ' + s) }}", "{{ range(1000000) }}", "{% if %}{% endif %}", "{% for x in %}{% endfor %}",
    "{{ 1 + }}", "{{ (1 }}", "{% if t %}", "{% endif %}", "{{ 'a }}", "{# never", "{{ missing | tojson }}", "{{ s | nofilter }}",
    "{{ s is notest }}", "{% nonsense %}", "{{ 3 < 'a' }}", "{% set x %}", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{{ '%d' % 'x' }}", "{% set i.x = 1 %}", "{% for a, b in [1, 2] %}{% endfor %}", "{{ words.0.1.2.3 }}", "{{ t | length }}",
    "{{ {'a': 1}.pop('a') }}", "{% break %}",
]
