"""EventBridge as boto3 sees it, and the events as people can read them."""

import datetime
import json

import pytest
from botocore.exceptions import ClientError


@pytest.fixture
def events(sandbox):
    return sandbox.client("events")


def entry(**more):
    return {"Source": "t.cdr", "DetailType": "done", "Detail": '{"day": 19}'} | more


def test_events_are_recorded(sandbox, events):
    arn = events.create_event_bus(Name="data.platform", Description="d")["EventBusArn"]
    at = datetime.datetime(2026, 11, 19, 9, tzinfo=datetime.timezone.utc)
    wish = [entry(EventBusName="data.platform", Resources=["arn:x"], Time=at), entry(EventBusName=arn)]
    answer = events.put_events(Entries=wish)
    assert answer["FailedEntryCount"] == 0
    first, second = [told["EventId"] for told in answer["Entries"]]
    lines = (sandbox.root / "events" / "data%2Eplatform.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {
        "version": "0", "id": first, "detail-type": "done", "source": "t.cdr", "account": "000000000000",
        "time": "2026-11-19T09:00:00Z", "region": "us-east-1", "resources": ["arn:x"], "detail": {"day": 19},
    }
    assert json.loads(lines[1])["id"] == second
    ledger = sandbox.ledger(service="events", subject="data.platform")
    assert [(line["operation"], line["id"]) for line in ledger] == [("PutEvents", first), ("PutEvents", second)]


def test_entries_that_are_refused_stand_in_a_200(sandbox, events):
    before = len(sandbox.ledger(service="events"))
    answer = events.put_events(Entries=[
        entry(Detail="no json"), entry(Source="aws.ec2"), entry(EventBusName="absent"),
        {"Source": "s", "Detail": "{}"}, entry(),
    ])
    codes = [told.get("ErrorCode") for told in answer["Entries"]]
    assert codes == ["MalformedDetail", "NotAuthorizedForSourceException", "InvalidArgument", "InvalidArgument", None]
    assert answer["FailedEntryCount"] == 4
    assert len(sandbox.ledger(service="events")) == before + 1


def test_buses_are_kept(own_sandbox):
    sandbox = own_sandbox()
    events = sandbox.client("events")
    events.create_event_bus(Name="kept")
    with pytest.raises(ClientError) as error:
        events.create_event_bus(Name="kept")
    assert error.value.response["Error"]["Code"] == "ResourceAlreadyExistsException"
    sandbox.restart()
    events = sandbox.client("events")
    assert [bus["Name"] for bus in events.list_event_buses()["EventBuses"]] == ["default", "kept"]
    assert events.describe_event_bus(Name="kept")["Name"] == "kept"
    events.delete_event_bus(Name="kept")
    with pytest.raises(ClientError) as error:
        events.describe_event_bus(Name="kept")
    assert error.value.response["Error"]["Code"] == "ResourceNotFoundException"
    with pytest.raises(ClientError) as error:
        events.put_events(Entries=[entry(Detail=json.dumps({"x": "y" * 1024 * 1024}))])
    assert error.value.response["Error"]["Code"] == "ValidationException"
