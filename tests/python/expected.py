"""What the daily CDR pipeline must yield, computed from the raw files in plain Python.

Shares no code with the pipeline's SQL or Spark: it is the third opinion. Reads either a
folder laid out as a bucket or any iterable of (key, bytes).
"""

import datetime
import json
import pathlib

PREFIX = "Amazon-Chime-Voice-Connector-CDRs/"
KEPT = """awsaccountid transactionid callid status statusmessage billabledurationseconds
billabledurationminutes schemaversion sourcephonenumber sourcecountry destinationphonenumber
destinationcountry usagetype servicecode direction starttimeepochseconds endtimeepochseconds
region streaming isproxycall""".split()
COLUMNS = [*KEPT, "partition_0", "partition_1", "duration", "npanxx"]
PARTITIONS = ["voiceconnectorid", "year", "month", "day", "hour"]
# What pyarrow calls the types of the written columns, in order.
TYPES = dict.fromkeys(COLUMNS, "string") | {
    "billabledurationseconds": "int32",
    "billabledurationminutes": "double",
    "starttimeepochseconds": "int64",
    "endtimeepochseconds": "int64",
    "streaming": "bool",
    "isproxycall": "bool",
    "duration": "int64",
}


def objects_of_folder(folder):
    """Every file below the folder as (key, bytes)."""
    root = pathlib.Path(folder)
    for path in sorted(root.rglob("*")):
        if path.is_file():
            yield path.relative_to(root).as_posix(), path.read_bytes()


def row_of(record, connector):
    """The row that one raw record must become; partition columns included."""
    lower = {name.lower(): value for name, value in record.items()}
    start, end = lower.get("starttimeepochseconds"), lower.get("endtimeepochseconds")
    moment = datetime.datetime.fromtimestamp(start, datetime.timezone.utc)
    called = lower.get("destinationphonenumber")
    row = {name: lower.get(name) for name in KEPT}
    if row["billabledurationminutes"] is not None:
        row["billabledurationminutes"] = float(row["billabledurationminutes"])
    row |= {
        "partition_0": "json",
        "partition_1": connector,
        "duration": end - start,
        "npanxx": None if called is None else called[2:8],
        "voiceconnectorid": lower["voiceconnectorid"],
        # The folder is named by the UTC start, so the start is a second source for it.
        "year": moment.strftime("%Y"),
        "month": moment.strftime("%m"),
        "day": moment.strftime("%d"),
        "hour": moment.strftime("%H"),
    }
    return row


def expected(objects, date):
    """(rows by transaction id, keys of corrupt files) of one date, `2026-11-19`."""
    rows, corrupt = {}, []
    wanted = date.split("-")
    for key, body in objects:
        parts = key.split("/")
        if not key.startswith(PREFIX) or len(parts) != 7 or parts[3:6] != wanted:
            continue
        try:
            record = json.loads(body)
        except ValueError:
            corrupt.append(key)
            continue
        row = row_of(record, parts[2])
        assert [row["year"], row["month"], row["day"]] == wanted, key
        rows[row["transactionid"]] = row
    return rows, sorted(corrupt)
