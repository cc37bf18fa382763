"""Checks every answer of the sandbox against botocore's own service models.

The parsers of botocore ignore what they do not know, so an answer with a misspelt member looks like
one without it. This check reads the raw answer instead: each member must be in the model, be of the
modelled type and, for enumerations, have a modelled value; required members must be there; error codes
must be ones that the operation (or every operation) can give.
"""

import json
import xml.etree.ElementTree as ElementTree

# Codes that any operation may give, by AWS's common errors.
COMMON_CODES = {
    "ThrottlingException", "Throttling", "InvalidSignatureException", "SignatureDoesNotMatch",
    "UnknownOperationException", "InvalidAction", "ValidationException", "ValidationError",
    "InternalServiceException", "InternalServerException", "InternalFailure", "InternalError",
    "SerializationException", "SlowDown", "AccessDenied", "RequestExpired", "ExpiredToken",
}

# The models of S3 name hardly any error; these are from its error list.
S3_CODES = {
    "NoSuchKey", "NoSuchBucket", "NoSuchUpload", "BucketNotEmpty", "InvalidBucketName", "BadDigest",
    "PreconditionFailed", "InvalidRange", "InvalidPart", "InvalidPartOrder", "EntityTooSmall",
    "InvalidArgument", "InvalidDigest", "KeyTooLongError", "MalformedXML", "IncompleteBody",
    "InvalidRequest", "NotImplemented", "304", "404", "412", "403",
}


class ModelMismatch(AssertionError):
    """An answer that AWS could not have given."""


def check(http_response, parsed, model, **_):
    """Handler for botocore's `after-call` event."""
    status = http_response.status_code
    if status >= 300:
        return _check_error(parsed, model)
    shape = model.output_shape
    # The content of a streamed answer is the test's to read, and it is not XML.
    if shape is None or status == 204 or model.has_streaming_output:
        return
    protocol = model.service_model.metadata["protocol"]
    if protocol == "json":
        _check_json(json.loads(http_response.content or b"{}"), shape, model.name)
    elif protocol == "rest-json":
        _check_rest_json(http_response.content, shape, model.name)
    elif protocol == "query":
        _check_query(http_response.content, shape, model.name)
    elif protocol == "rest-xml":
        _check_rest_xml(http_response.content, shape, model.name)


def _check_error(parsed, model):
    error = parsed.get("Error", {})
    # Services that spoke the Query protocol before tell two names; the model knows the new one.
    code = error.get("QueryErrorCode") or error.get("Code")
    modelled = set()
    for shape in model.error_shapes:
        modelled.add(shape.name)
        modelled.add(shape.metadata.get("error", {}).get("code", shape.name))
    if model.service_model.service_name == "s3":
        modelled |= S3_CODES
    if code not in modelled | COMMON_CODES:
        raise ModelMismatch(f"{model.name} answered with error {code!r}, which it cannot give: {sorted(modelled)}")


def _check_rest_json(content, shape, operation):
    if shape.serialization.get("payload"):
        return
    members = [name for name, member in shape.members.items() if "location" in member.serialization]
    value = json.loads(content or b"{}")
    if misplaced := [name for name in members if name in value]:
        raise ModelMismatch(f"{operation}: {misplaced} belong into headers")
    _check_json(value, shape, operation)


def _check_json(value, shape, path):
    kind = shape.type_name
    if kind == "structure":
        if not isinstance(value, dict):
            raise ModelMismatch(f"{path}: {value!r} is not a structure")
        for name, member in value.items():
            if name not in shape.members:
                raise ModelMismatch(f"{path}: member {name!r} is not in {shape.name}: {sorted(shape.members)}")
            if member is None:
                raise ModelMismatch(f"{path}.{name}: null; members without a value are left out")
            _check_json(member, shape.members[name], f"{path}.{name}")
        for name in shape.required_members:
            if name not in value:
                raise ModelMismatch(f"{path}: required member {name!r} is missing")
    elif kind == "list":
        if not isinstance(value, list):
            raise ModelMismatch(f"{path}: {value!r} is not a list")
        for index, element in enumerate(value):
            _check_json(element, shape.member, f"{path}[{index}]")
    elif kind == "map":
        if not isinstance(value, dict):
            raise ModelMismatch(f"{path}: {value!r} is not a map")
        for key, element in value.items():
            _check_json(element, shape.value, f"{path}[{key!r}]")
    else:
        _check_scalar(value, shape, path)


def _check_scalar(value, shape, path):
    kind = shape.type_name
    legal = {
        "string": lambda: isinstance(value, str),
        "boolean": lambda: isinstance(value, bool),
        "integer": lambda: isinstance(value, int) and not isinstance(value, bool),
        "long": lambda: isinstance(value, int) and not isinstance(value, bool),
        "float": lambda: isinstance(value, (int, float)) and not isinstance(value, bool),
        "double": lambda: isinstance(value, (int, float)) and not isinstance(value, bool),
        "timestamp": lambda: isinstance(value, (int, float)) and not isinstance(value, bool),
    }.get(kind, lambda: True)
    if not legal():
        raise ModelMismatch(f"{path}: {value!r} is not a {kind}")
    if kind == "string" and getattr(shape, "enum", None) and value not in shape.enum:
        raise ModelMismatch(f"{path}: {value!r} is not one of {shape.enum}")


def _name(element):
    return element.tag.rsplit("}", 1)[-1]


def _check_query(content, shape, operation):
    root = ElementTree.fromstring(content)
    if _name(root) != f"{operation}Response":
        raise ModelMismatch(f"{operation}: root element is {_name(root)}")
    results = [child for child in root if _name(child) != "ResponseMetadata"]
    wrapper = shape.serialization.get("resultWrapper", f"{operation}Result")
    for result in results:
        if _name(result) != wrapper:
            raise ModelMismatch(f"{operation}: element {_name(result)} beside {wrapper}")
        _check_xml(result, shape, operation)


def _check_rest_xml(content, shape, operation):
    payload = shape.serialization.get("payload")
    if payload:
        shape = shape.members[payload]
        if shape.type_name != "structure":
            return
    body_members = [m for m in shape.members.values() if "location" not in m.serialization]
    if not content:
        return
    if not body_members:
        raise ModelMismatch(f"{operation}: has a body but the model has no members for it")
    root = ElementTree.fromstring(content)
    # The one answer whose root is itself the member.
    if operation != "GetBucketLocation":
        _check_xml(root, shape, operation)


def _check_xml(element, shape, path):
    if shape.type_name == "structure":
        members = {}
        for name, member in shape.members.items():
            if member.serialization.get("location"):
                continue
            wire = member.serialization.get("name", name)
            if member.type_name == "list" and member.serialization.get("flattened"):
                wire = member.member.serialization.get("name", wire)
                wire = member.serialization.get("name", wire)
            members[wire] = member
        seen = set()
        for child in element:
            name = _name(child)
            if name not in members:
                raise ModelMismatch(f"{path}: element {name!r} is not in {shape.name}: {sorted(members)}")
            seen.add(name)
            member = members[name]
            if member.type_name == "list" and member.serialization.get("flattened"):
                _check_xml(child, member.member, f"{path}.{name}")
            else:
                _check_xml(child, member, f"{path}.{name}")
        for name in shape.required_members:
            if name in members and name not in seen:
                raise ModelMismatch(f"{path}: required element {name!r} is missing")
    elif shape.type_name == "list":
        wire = shape.member.serialization.get("name", "member")
        for child in element:
            if _name(child) != wire:
                raise ModelMismatch(f"{path}: list element {_name(child)!r} should be {wire!r}")
            _check_xml(child, shape.member, f"{path}[]")
    elif shape.type_name == "map":
        for child in element:
            if _name(child) != "entry":
                raise ModelMismatch(f"{path}: map element {_name(child)!r} should be 'entry'")
    elif shape.type_name == "string" and getattr(shape, "enum", None) and element.text:
        if element.text not in shape.enum:
            raise ModelMismatch(f"{path}: {element.text!r} is not one of {shape.enum}")
