"""What a server says of itself: the operations of its OpenAPI document, and requests that fit them."""

import dataclasses
import re
import urllib.parse

from wire import ask

SCOPE = re.compile(r"^Needs a token with the scope `(\w+)`\.")


@dataclasses.dataclass
class Operation:
    """One operation as the document has it."""

    method: str
    path: str
    scope: str
    parameters: dict
    body: dict | None
    streams: bool
    schemas: dict

    @property
    def name(self):
        return f"{self.method} {self.path.removeprefix('/api/v1')}"

    def target(self, path, query=None):
        """Its address with these parameters of the path, escaped whole; what is not among them is nothing that exists."""
        def value(found):
            return urllib.parse.quote(str(path.get(found.group(1), "nothing")), safe="@")

        filled = re.sub(r"\{(\w+)\}", value, self.path)
        return f"{filled}?{urllib.parse.urlencode(query)}" if query else filled

    def fitting_body(self):
        """A body that the document allows, and that changes nothing."""
        if self.body is None:
            return None
        body = fitting(self.body, self.schemas)
        if "dry_run" in self.fields():
            body["dry_run"] = True
        return body

    def fields(self):
        return resolved(self.body, self.schemas).get("properties", {}) if self.body else {}


def resolved(schema, schemas):
    while "$ref" in schema:
        schema = schemas[schema["$ref"].rsplit("/", 1)[1]]
    choices = schema.get("anyOf", [])
    other = [choice for choice in choices if choice.get("type") != "null"]
    return resolved(other[0], schemas) if other else schema


def kind(schema, schemas):
    """The JSON type of what may stand there, null aside."""
    schema = resolved(schema, schemas)
    kinds = schema.get("type", "string")
    return kinds if isinstance(kinds, str) else next(name for name in kinds if name != "null")


def words(schema, schemas):
    """The only texts that may stand there; none where any may."""
    schema = resolved(schema, schemas)
    return schema.get("enum") or [one["const"] for one in schema.get("oneOf", []) if "const" in one]


def fitting(schema, schemas):
    """A value for a schema: everything that is required, nothing else."""
    shape = resolved(schema, schemas)
    match kind(schema, schemas):
        case "object":
            fields = shape.get("properties", {})
            value = {name: fitting(fields[name], schemas) for name in shape.get("required", [])}
            for index in range(shape.get("minProperties", 0)):
                value[f"daily/file{index}"] = fitting(shape["additionalProperties"], schemas)
            return value
        case "array":
            return []
        case "boolean":
            return False
        case "integer" | "number":
            return shape.get("minimum", 1)
        case _:
            return (words(schema, schemas) or ["2026-10-01"])[0]


def operations(address):
    """All of them, in the order of the document."""
    document = ask(address, "GET", "/api/v1/openapi.json").json()
    schemas = document["components"]["schemas"]
    found = []
    for path, methods in document["paths"].items():
        for method, entry in methods.items():
            parameters = {place: {one["name"]: one["schema"] for one in entry["parameters"] if one["in"] == place}
                          for place in ("path", "query", "header")}
            body = entry.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            streams = "text/event-stream" in entry["responses"]["200"]["content"]
            scope = SCOPE.match(entry["description"]).group(1)
            found.append(Operation(method.upper(), path, scope, parameters, body, streams, schemas))
    return found
