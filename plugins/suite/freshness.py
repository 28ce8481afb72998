"""Whether a result is what this checkout would make: its recipe, the sources that decide its numbers, its data.

The packages' versions and the processor do not make a result stale; they are part of its provenance.
"""

from __future__ import annotations

from collections.abc import Mapping

from plugins.suite import catalog, data, sources
from plugins.suite.errors import UserError
from plugins.suite.files import one_line

SCHEMA = 2
IDENTITY = ("scale", "study", "ablation", "arm", "seed")


def staleness(value: Mapping) -> str:
    """ "" where the content of a metrics.json is fresh, else the reason in one line. It never raises."""
    try:
        return _staleness(value)
    except UserError as error:
        return f"cannot be made by this checkout: {one_line(error)}"
    except (KeyError, TypeError, AttributeError) as error:
        return f"its record is not whole ({type(error).__name__}: {one_line(error)})"


def _staleness(value: Mapping) -> str:
    if value.get("schema") != SCHEMA:
        return "made before generators were recorded"
    spec = catalog.resolve(*(value[key] for key in IDENTITY))
    provenance = value["provenance"]
    if provenance["spec_sha256"] != catalog.digest(spec):
        return f"its recipe changed since commit {_short(provenance)}"
    if provenance["sources_sha256"] != sources.code_digest(sources.result_sources(spec)):
        return f"its sources changed since commit {_short(provenance)}"
    name, params = spec["data"]["name"], {key: v for key, v in spec["data"].items() if key != "name"}
    if value["data"]["name"] != name:
        return f"its data set is {value['data']['name']}, the recipe asks for {name}"
    if value["data"]["generator"] != data.generator_digest(name, params):
        return f"its data set {name} is made by other sources, parameters or versions now"
    if "pretrained" in spec:
        reason = staleness(value["pretrained"])
        return f"the run that it starts from: {reason}" if reason else ""
    return ""


def _short(provenance: Mapping) -> str:
    return str(provenance.get("commit", "unknown"))[:8]
