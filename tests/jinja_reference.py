# SPDX-License-Identifier: Apache-2.0
"""Chat templates rendered by Python's jinja2, configured as the package transformers does it.

Needs `pip install jinja2`. Used by tests/jinja_differential.py and bench/template_speed.py.
"""

import datetime
import json

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

NOW = datetime.datetime(2024, 7, 26, 9, 5, 3)
NOW_SECONDS = 1721984703  # the same moment for `unimax render --now`


class Generation(jinja2.ext.Extension):
    """{% generation %}...{% endgeneration %} marks what the assistant says; for the text it is a scope."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    found = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    found.filters["tojson"] = tojson
    found.globals["raise_exception"] = raise_exception
    found.globals["strftime_now"] = NOW.strftime
    return found


ENVIRONMENT = environment()


def compiled(source):
    return ENVIRONMENT.from_string(source)


def render(template, context):
    """The text, and the error instead of it ("" when there is none)."""
    try:
        return template.render(**context), ""
    except RecursionError:
        return None, "recursion"
    except Exception as error:  # whatever Python raises is an error of the template
        return None, f"{type(error).__name__}: {error}"
