"""Generated contact trace records hold every peculiarity, and what is computed of them does not depend on their order."""

import collections
import json
import random
import subprocess

import pytest

from contacts_expected import COLUMNS, customer, expected, objects, records

HOURS = 3


@pytest.fixture(scope="module", params=[1, 7, 2026])
def raw(request, binary, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("contacts")
    for out in ("raw", "again"):
        made = subprocess.run(
            [str(binary), "generate", "contacts", "--seed", str(request.param), "--count", "60", "--from", "2026-11-20T22:00:00Z",
             "--hours", str(HOURS), "--out", out], cwd=folder, env=environment, capture_output=True, text=True, check=True)
        assert "objects, " in made.stdout, made
    assert objects(folder / "raw") == objects(folder / "again"), "the same seed gives the same bytes"
    return folder / "raw"


def test_every_peculiarity_occurs(raw):
    bodies = dict(objects(raw))
    assert all(key.startswith("connect/ctr/2026/11/2") for key in bodies)
    for piece in ("+", "%3A", " "):
        assert any(piece in key for key in bodies), piece
    assert b"" in bodies.values()
    assert any(b"}\n{\"" in body for body in bodies.values()) and any(b"\n  \"" in body for body in bodies.values())
    assert any(b"}{\"" in body for body in bodies.values())
    all_records = [[record for record, reason in records(body) if not reason] for body in bodies.values()]
    found = [record for one in all_records for record in one]
    reasons = collections.Counter(reason for _, reason in expected(raw)[1])
    assert reasons == {"truncated": HOURS, "not_json": HOURS, "no_contact_id": HOURS}

    def some(condition):
        return any(condition(record) for record in found)

    assert some(lambda one: one["Agent"] and one["Queue"] and one["InitiationMethod"] == "INBOUND")
    assert some(lambda one: one["Queue"] and not one["Agent"]), "abandoned"
    assert some(lambda one: not one["Queue"] and not one["Agent"]), "IVR only"
    assert some(lambda one: one["InitiationMethod"] == "OUTBOUND")
    assert some(lambda one: one["Channel"] == "CHAT" and one["CustomerEndpoint"] is None)
    ids = {one["ContactId"] for one in found}
    assert some(lambda one: one["InitiationMethod"] == "TRANSFER" and one["PreviousContactId"] in ids)
    assert some(lambda one: one["NextContactId"] in ids)
    missing = object()
    attributes = [one.get("Attributes", missing) for one in found]
    assert missing in attributes and None in attributes and {} in attributes
    assert any(value is not missing and value and "}{" in json.dumps(value) for value in attributes)
    recordings = [one.get("Recordings", missing) for one in found]
    assert missing in recordings and None in recordings and [] in recordings and any(map(bool, recordings))
    assert some(lambda one: "ContactAnalysis" in one), "an unknown field"
    assert some(lambda one: one["Agent"] and not one["Agent"]["Username"].isascii())
    for kind, name in (("Agent", "Username"), ("Queue", "Name")):
        names = collections.defaultdict(set)
        for one in found:
            if one[kind]:
                names[one[kind]["ARN"]].add(one[kind][name])
        assert any(len(known) > 1 for known in names.values()), f"a renamed {kind}"
    twice = [collections.Counter(record["ContactId"] for record in one) for one in all_records]
    assert any(count > 1 for one in twice for count in one.values()), "twice in one object"
    times = collections.defaultdict(list)
    for one in found:
        times[one["ContactId"]].append(one["LastUpdateTimestamp"])
    assert any(known[-1] < max(known) for known in times.values()), "older in a later object"
    texts = collections.defaultdict(set)
    for one in found:
        texts[one["ContactId"], one["LastUpdateTimestamp"]].add(json.dumps(one, sort_keys=True))
    assert any(len(known) > 1 for known in texts.values()), "equally new and different"


def test_a_customer_has_the_id_that_it_always_had():
    endpoint = {"Type": "TELEPHONE_NUMBER", "Address": "+15555550100"}
    assert customer({"CustomerEndpoint": endpoint})[0] == "60fb89cc-d0a6-5580-bbc2-abef334b9f2a"
    assert customer({"CustomerEndpoint": None}) is None


def test_the_tables_are_whole_and_do_not_depend_on_the_order(raw, tmp_path):
    tables, rejected = expected(raw)
    columns = {table: {name: [row[place] for row in tables[table]] for place, name in enumerate(names)} for table, names in COLUMNS.items()}
    ids = {table: values[COLUMNS[table][0]] for table, values in columns.items()}
    for table, known in ids.items():
        assert len(known) == len(set(known)) > 0 and None not in known, table
    for table in ("agent", "customer", "queue"):
        assert set(filter(None, columns["ctrrecord"][f"{table}id"])) <= set(ids[table])
    # The same records, in other objects and another order.
    chance = random.Random(1)
    found = [record for _, body in objects(raw) for record, reason in records(body) if not reason]
    for turn in range(3):
        chance.shuffle(found)
        other = tmp_path / str(turn)
        other.mkdir()
        for place in range(0, len(found), 7):
            (other / f"{place:04}").write_text("".join(map(json.dumps, found[place:place + 7])))
        assert expected(other) == (tables, [])
