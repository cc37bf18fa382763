"""What contact trace records come to, computed in plain Python from the raw objects alone.

Independent of every line of Trunkline: the standard library reads the files and decides. The rules, where the description of
the records leaves a choice:

- An object holds JSON objects with nothing, blanks or line breaks between them. The first thing in it that is no JSON is
  rejected together with everything behind it: `truncated` if it is the beginning of a JSON object, otherwise `not_json`,
  as is a whole object that is no UTF-8, and a JSON value that is no object. A record without a text as `ContactId` is rejected
  as `no_contact_id`, by itself.
- Of several records of one contact the one with the greatest `LastUpdateTimestamp` counts; none is less than any. Of equals
  it is the one whose row is the greatest: its columns one after the other in the order of their names, no value less than any
  value, texts by their bytes, false less than true. So the order of objects and of records does not matter.
- Dimensions have one row for each id, of every record that is not rejected, also of those that a newer one replaced: the name in
  the newest record, of equals the greatest name.
- `withvoicemail` is true where `Recordings` has a value, also an empty list; false where it is missing or null.
- An endpoint that lacks type or address names no customer. Texts are not cut, whatever a column takes.
"""

import datetime
import json
import pathlib
import uuid

COLUMNS = {
    "ctrrecord": "recordid lastupdatetimestamp awsaccountid agentid queueid channel customerid agentinteractionduration "
                 "customerholdduration connectedtimestamp disconnectedtimestamp disconnectedreason agentconnectionattempts "
                 "initiationmethod queueduration customerintent withvoicemail".split(),
    "agent": ["agentid", "agentusername"],
    "customer": ["customerid", "type", "address"],
    "queue": ["queueid", "queuename"],
}


def objects(folder):
    """Every file as (key, bytes)."""
    folder = pathlib.Path(folder)
    return [(path.relative_to(folder).as_posix(), path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()]


def is_cut_off(text):
    """Whether a JSON object begins here and does not end."""
    depth, in_text, escaped = 0, False, False
    for character in text:
        if in_text:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                in_text = False
        elif character == '"':
            in_text = True
        elif character in "{[":
            depth += 1
        elif character in "}]":
            depth -= 1
        if depth == 0:
            return False
    return True


def records(body):
    """The records of an object, then why the rest is none, if it is none: (record, reason), one of them nothing."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        yield None, "not_json"
        return
    decoder, at = json.JSONDecoder(), 0
    while True:
        while at < len(text) and text[at] in " \t\r\n":
            at += 1
        if at == len(text):
            return
        try:
            value, at = decoder.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError):
            yield None, "truncated" if text[at] == "{" and is_cut_off(text[at:]) else "not_json"
            return
        if not isinstance(value, dict):
            yield None, "not_json"
        elif not (isinstance(value.get("ContactId"), str) and value["ContactId"]):
            yield None, "no_contact_id"
        else:
            yield value, None


def moment(text):
    return None if text is None else datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(datetime.timezone.utc)


def customer(record):
    """(customerid, type, address), or nothing."""
    endpoint = record.get("CustomerEndpoint") or {}
    kind, address = endpoint.get("Type"), endpoint.get("Address")
    if not kind or not address:
        return None
    return str(uuid.uuid5(uuid.NAMESPACE_URL, kind + address)), kind, address


def row(record):
    """The row of ctrrecord, by column."""
    agent, queue = record.get("Agent") or {}, record.get("Queue") or {}
    values = [
        record["ContactId"],
        moment(record.get("LastUpdateTimestamp")),
        record.get("AWSAccountId"),
        agent.get("ARN"),
        queue.get("ARN"),
        record.get("Channel"),
        (customer(record) or [None])[0],
        agent.get("AgentInteractionDuration"),
        agent.get("CustomerHoldDuration"),
        moment(record.get("ConnectedToSystemTimestamp")),
        moment(record.get("DisconnectTimestamp")),
        record.get("DisconnectReason"),
        record.get("AgentConnectionAttempts"),
        record.get("InitiationMethod"),
        queue.get("Duration"),
        (record.get("Attributes") or {}).get("Intent"),
        record.get("Recordings") is not None,
    ]
    return dict(zip(COLUMNS["ctrrecord"], values, strict=True))


def rank(value):
    """No value is less than any, texts go by their bytes."""
    if value is None:
        return (0, 0)
    return (1, value.encode() if isinstance(value, str) else value)


def expected(folder):
    """The rows of the four tables, each a tuple in the order of COLUMNS, sorted; and the rejected, (key, reason), sorted."""
    rows, rejected = {}, []
    dimensions = {"agent": {}, "customer": {}, "queue": {}}

    def keep(table, id, order, value):
        if id is not None and (id not in dimensions[table] or order > dimensions[table][id][0]):
            dimensions[table][id] = (order, value)

    for key, body in objects(folder):
        for record, reason in records(body):
            if reason:
                rejected.append((key, reason))
                continue
            made = row(record)
            newest = rank(made["lastupdatetimestamp"])
            order = (newest, [rank(made[name]) for name in sorted(made)])
            if made["recordid"] not in rows or order > rows[made["recordid"]][0]:
                rows[made["recordid"]] = (order, tuple(made.values()))
            for table, id, name in [("agent", "agentid", (record.get("Agent") or {}).get("Username")),
                                    ("queue", "queueid", (record.get("Queue") or {}).get("Name"))]:
                keep(table, made[id], (newest, rank(name)), (made[id], name))
            found = customer(record)
            if found:
                keep("customer", found[0], newest, found)
    tables = {"ctrrecord": [value for _, value in rows.values()]}
    tables |= {name: [value for _, value in found.values()] for name, found in dimensions.items()}
    return {name: sorted(found, key=lambda one: [rank(value) for value in one]) for name, found in tables.items()}, sorted(rejected)
