"""Buckets and files that are not in the repository: made up here, put by boto3, read back by
boto3. What the sandbox and the pipeline do with them must not depend on who wrote them."""

import datetime
import json
import uuid

from expected import TYPES, expected
from parquet import rows_of

DATE = "2026-11-12"
RAW, PROCESSED = "our-own-call-records", "our-own-results"


def record(connector, second, **changes):
    """A call that starts so many seconds after midnight."""
    midnight = datetime.datetime.fromisoformat(f"{DATE}T00:00:00+00:00").timestamp()
    start = int(midnight) + second
    made = {
        "AwsAccountId": "000000000042",
        "TransactionId": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{connector} {second}")),
        "CallId": "c0ffee@198.51.100.7:5060",
        "VoiceConnectorId": connector,
        "Status": "Completed",
        "StatusMessage": "Normal Call Clearing",
        "BillableDurationSeconds": 66,
        "BillableDurationMinutes": 1.1,
        "SchemaVersion": "2.0",
        "SourcePhoneNumber": "+15555550100",
        "SourceCountry": "US",
        "DestinationPhoneNumber": "+15555550123",
        "DestinationCountry": "US",
        "UsageType": "USE1-US-US-outbound-minutes",
        "ServiceCode": "AmazonChimeVoiceConnector",
        "Direction": "Outbound",
        "StartTimeEpochSeconds": start,
        "EndTimeEpochSeconds": start + 63,
        "Region": "us-east-1",
        "Streaming": False,
        "IsProxyCall": False,
    }
    return made | changes


def key_of(made):
    moment = datetime.datetime.fromtimestamp(made["StartTimeEpochSeconds"], datetime.timezone.utc)
    return (
        f"Amazon-Chime-Voice-Connector-CDRs/json/{made['VoiceConnectorId']}/"
        f"{moment:%Y/%m/%d/%H.%M.%S}.000_{made['TransactionId']}"
    )


def objects():
    """A handful of calls, some odd in ways that the generator does not know."""
    calls = [
        record("mine0mine1mine2mine3mi", 0),
        record("mine0mine1mine2mine3mi", 86_399, EndTimeEpochSeconds=1_794_700_000),
        record("other0other1other2othe", 41_000, BillableDurationMinutes=0, BillableDurationSeconds=0),
        record("other0other1other2othe", 41_001, DestinationPhoneNumber="+1", Status="Failed"),
        record("other0other1other2othe", 41_002, DestinationPhoneNumber=None, StatusMessage="naïve – 電話"),
        record("other0other1other2othe", 41_003, Unheard={"of": ["by", None]}, CallId=""),
    ]
    made = {key_of(call): json.dumps(call).encode() for call in calls}
    pretty = record("mine0mine1mine2mine3mi", 7_200)
    made[key_of(pretty)] = json.dumps(pretty, indent="\t", ensure_ascii=False).encode() + b"\r\n"
    broken = record("mine0mine1mine2mine3mi", 7_201)
    made[key_of(broken)] = b'{"AwsAccountId": '
    made["Amazon-Chime-Voice-Connector-SDRs/json/x/2026/11/12/a"] = b"not for us"
    return made


def test_files_of_a_stranger(project, tmp_path):
    project.edit(
        "trunkline.yaml",
        "    vars:\n      raw_crawler: cdr-daily-raw\n",
        f"    parameters:\n      RawBucketName: {RAW}\n      ProcessedBucketName: {PROCESSED}\n"
        "    vars:\n      raw_crawler: cdr-daily-raw\n",
    )
    project.edit("trunkline.yaml", "processed_bucket: cdr-processed", f"processed_bucket: {PROCESSED}")
    s3 = project.client("s3")
    s3.create_bucket(Bucket=RAW)
    made = objects()
    for key, body in made.items():
        s3.put_object(Bucket=RAW, Key=key, Body=body)
    project.run(DATE)
    rows, types = rows_of(project.results(PROCESSED, tmp_path), DATE)
    wanted, corrupt = expected(made.items(), DATE)
    assert len(wanted) == 7 and len(corrupt) == 1
    assert rows == wanted
    assert types == TYPES
    quarantined = s3.get_object(Bucket=PROCESSED, Key=f"quarantine/{DATE}/{corrupt[0]}")["Body"].read()
    assert quarantined == made[corrupt[0]]
