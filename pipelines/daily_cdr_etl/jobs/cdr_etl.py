"""One day of call detail records, or all of them, from the service's JSON to partitioned Parquet.

The Glue job of the pipelines daily_cdr_etl and full_crawl. Its twins for the sandbox are their SQL
scripts; tests/python/test_twin.py runs them and compares rows and schema. Change all.

On AWS it takes the arguments --date, --database, --table, --processed_bucket; instead of --date,
--full true with --run_key and --additional_database. Without the `awsglue` library it runs under
plain PySpark: then --local_root names a folder that holds each bucket as a folder, and --raw_bucket
and --additional_bucket those with the records.

A run of a date owns that date and nothing else: running it again replaces the date's partitions, also
when fewer hours or connectors remain; a full run owns the table. A file that does not parse is copied
to the quarantine, counted and named; a day without files writes nothing and says so.
"""

import argparse
import glob
import json
import os
import re
import shutil
import sys

from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

PREFIX = "Amazon-Chime-Voice-Connector-CDRs/"
TARGET = "processed_cdrs/"
PARTITIONED_BY = ["voiceconnectorid", "year", "month", "day", "hour"]
# More would make the report, and the mail that quotes it, unreadable.
WARNINGS_MAX = 100

RECORD = T.StructType(
    [
        T.StructField("awsaccountid", T.StringType()),
        T.StructField("transactionid", T.StringType()),
        T.StructField("callid", T.StringType()),
        T.StructField("voiceconnectorid", T.StringType()),
        T.StructField("status", T.StringType()),
        T.StructField("statusmessage", T.StringType()),
        T.StructField("billabledurationseconds", T.IntegerType()),
        T.StructField("billabledurationminutes", T.DoubleType()),
        T.StructField("schemaversion", T.StringType()),
        T.StructField("sourcephonenumber", T.StringType()),
        T.StructField("sourcecountry", T.StringType()),
        T.StructField("destinationphonenumber", T.StringType()),
        T.StructField("destinationcountry", T.StringType()),
        T.StructField("usagetype", T.StringType()),
        T.StructField("servicecode", T.StringType()),
        T.StructField("direction", T.StringType()),
        T.StructField("starttimeepochseconds", T.LongType()),
        T.StructField("endtimeepochseconds", T.LongType()),
        T.StructField("region", T.StringType()),
        T.StructField("streaming", T.BooleanType()),
        T.StructField("isproxycall", T.BooleanType()),
        T.StructField("partition_0", T.StringType()),
        T.StructField("partition_1", T.StringType()),
        T.StructField("partition_2", T.StringType()),
        T.StructField("partition_3", T.StringType()),
        T.StructField("partition_4", T.StringType()),
    ]
)

# What a whole input file became: its records, or why it has none.
PARSED = T.StructType(
    [
        T.StructField("uri", T.StringType()),
        T.StructField("reason", T.StringType()),
        T.StructField("records", T.ArrayType(RECORD)),
    ]
)


def fitted(value, kind):
    """The value as the column's type; what does not fit becomes null."""
    if value is None:
        return None
    if isinstance(kind, T.StringType):
        return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    if isinstance(kind, T.BooleanType):
        return value if isinstance(value, bool) else None
    if isinstance(value, bool):
        return None
    if isinstance(kind, T.DoubleType):
        return float(value) if isinstance(value, (int, float)) and abs(value) < 1e300 else None
    bits = 31 if isinstance(kind, T.IntegerType) else 63
    return value if isinstance(value, int) and -(2**bits) <= value < 2**bits else None


def refuse_constant(name):
    raise ValueError(f"{name} is not JSON")


def documents(text):
    """The JSON objects of one file: one alone, pretty-printed or not, or several in a row."""
    decoder = json.JSONDecoder(parse_constant=refuse_constant)
    position = 0
    while True:
        while position < len(text) and text[position] in " \t\r\n":
            position += 1
        if position == len(text):
            return
        document, position = decoder.raw_decode(text, position)
        if not isinstance(document, dict):
            raise ValueError(f"a record must be an object, not {type(document).__name__}")
        # Half a surrogate pair is not text; better refused here than by the writer.
        json.dumps(document, ensure_ascii=False).encode("utf-8")
        yield document


def parse(uri, content, values):
    """One input file. A file is read whole or not at all: half a file is a silent loss."""
    try:
        found = list(documents(content.decode("utf-8")))
    except (ValueError, RecursionError) as error:  # not text, not JSON, or nested without end
        return Row(uri=uri, reason=str(error), records=[])
    records = []
    for document in found:
        lower = {name.lower(): value for name, value in document.items()}
        lower.update((f"partition_{at}", value) for at, value in enumerate(values))
        records.append(Row(*(fitted(lower.get(field.name), field.dataType) for field in RECORD)))
    return Row(uri=uri, reason=None, records=records)


def folder_of(path):
    """The folder of a file as Spark names it, so that it can be looked up: one spelling."""
    folder = path.rsplit("/", 1)[0]
    return re.sub(r"^file:/+", "/", folder)


class S3:
    """Buckets on AWS; the folders of a date, or all, come from the catalog."""

    def __init__(self, table):
        import boto3

        self.s3 = boto3.client("s3")
        self.glue = boto3.client("glue")
        self.table = table

    def partitions(self, database, date):
        """Push-down: the catalog is asked for the date's partitions, nothing else is read."""
        matching = {}
        if date is not None:
            year, month, day = date.split("-")
            wanted = f"partition_2 = '{year}' AND partition_3 = '{month}' AND partition_4 = '{day}'"
            matching = {"Expression": wanted}
        pages = self.glue.get_paginator("get_partitions").paginate(
            DatabaseName=database, TableName=self.table, **matching
        )
        try:
            found = [partition for page in pages for partition in page["Partitions"]]
        except self.glue.exceptions.EntityNotFoundException:
            return None
        return {
            partition["StorageDescriptor"]["Location"].rstrip("/"): partition["Values"]
            for partition in found
        }

    def uri(self, bucket, key):
        return f"s3://{bucket}/{key}"

    def folders(self, bucket, prefix):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
        return [found["Prefix"] for page in pages for found in page.get("CommonPrefixes", [])]

    def has_files(self, location):
        bucket, key = location[len("s3://") :].split("/", 1)
        return self.s3.list_objects_v2(Bucket=bucket, Prefix=f"{key}/", MaxKeys=1)["KeyCount"] > 0

    def remove(self, bucket, prefix):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for page in pages:
            keys = [{"Key": found["Key"]} for found in page.get("Contents", [])]
            if keys:
                answer = self.s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
                for error in answer.get("Errors", []):
                    raise RuntimeError(f"cannot delete {error['Key']}: {error['Code']}")

    def copy(self, uri, bucket, prefix):
        source, key = uri.split("://", 1)[1].split("/", 1)
        self.s3.copy_object(CopySource={"Bucket": source, "Key": key}, Bucket=bucket, Key=prefix + key)
        return f"s3://{source}/{key}"

    def write(self, bucket, key, body):
        self.s3.put_object(Bucket=bucket, Key=key, Body=body)


class Folders:
    """Buckets as folders of this machine, by the database that would know them; looked up directly."""

    def __init__(self, root, buckets):
        self.root, self.buckets = os.path.abspath(root), buckets

    def partitions(self, database, date):
        base = os.path.join(self.root, self.buckets[database] or "", PREFIX)
        if not self.buckets[database] or not os.path.isdir(base):
            return None
        day = "*/*/*" if date is None else date.replace("-", "/")
        places = sorted(glob.glob(f"{glob.escape(base)}/*/*/{day}"))
        return {place: place.split(os.sep)[-5:] for place in places if os.path.isdir(place)}

    def uri(self, bucket, key):
        return os.path.join(self.root, bucket, key)

    def folders(self, bucket, prefix):
        base = os.path.join(self.root, bucket, prefix)
        return [f"{prefix}{name}/" for name in os.listdir(base)] if os.path.isdir(base) else []

    def has_files(self, location):
        return any(not name.startswith((".", "_")) for name in os.listdir(location))

    def remove(self, bucket, prefix):
        shutil.rmtree(os.path.join(self.root, bucket, prefix), ignore_errors=True)

    def copy(self, uri, bucket, prefix):
        path = folder_of(uri) + "/" + uri.rsplit("/", 1)[1]
        source, key = os.path.relpath(path, self.root).split("/", 1)
        with open(path, "rb") as file:
            self.write(bucket, prefix + key, file.read())
        return f"s3://{source}/{key}"

    def write(self, bucket, key, body):
        path = os.path.join(self.root, bucket, key)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(body)


def read_folders(spark, partitions):
    """Every file of the folders, parsed. Folders are listed now, so a file that came
    after the crawl is read too."""
    files = spark.read.format("binaryFile").load(list(partitions)).where("length > 0")
    by_folder = {folder_of(location + "/"): values for location, values in partitions.items()}
    parsed = files.select("path", "content").rdd.map(
        lambda file: parse(file.path, bytes(file.content), by_folder[folder_of(file.path)])
    )
    return spark.createDataFrame(parsed, PARSED).persist()


def converted(parsed):
    """The columns of the result, partition columns last."""
    calls = parsed.select(F.explode("records").alias("record")).select("record.*")
    moved = ("voiceconnectorid", "partition_2", "partition_3", "partition_4")
    raw = [field.name for field in RECORD if field.name not in moved]
    return calls.select(
        *raw,
        # How long the call was, not how long was billed.
        (F.col("endtimeepochseconds") - F.col("starttimeepochseconds")).alias("duration"),
        # Six characters from the third on: area code and exchange of a number written +1….
        F.col("destinationphonenumber").substr(3, 6).alias("npanxx"),
        "voiceconnectorid",
        F.col("partition_2").alias("year"),
        F.col("partition_3").alias("month"),
        F.col("partition_4").alias("day"),
        F.from_unixtime("starttimeepochseconds", "HH").alias("hour"),
    )


def folder(row):
    """The folder of a partition below the target, as Spark names it."""
    values = (row[name] if row[name] is not None else "__HIVE_DEFAULT_PARTITION__" for name in PARTITIONED_BY)
    return "/".join(f"{name}={value}" for name, value in zip(PARTITIONED_BY, values)) + "/"


def folders_below(storage, bucket, prefix, levels):
    """The folders that lie so many levels below a prefix."""
    if levels == 0:
        return [prefix]
    found = storage.folders(bucket, prefix)
    return [place for folder in found for place in folders_below(storage, bucket, folder, levels - 1)]


def replace(storage, bucket, date, calls):
    """Replaces the date's partitions, or all of them, by `calls`; answers their number. First the
    partitions that remain, each as a whole, then away with those that have no more rows: a crash in
    between leaves no hour empty that has calls, and the next run finishes the work."""
    written = set()
    if calls is not None:
        written = {folder(row) for row in calls.select(*PARTITIONED_BY).distinct().collect()}
        (
            calls.repartition(*PARTITIONED_BY)
            .write.mode("overwrite")
            .option("partitionOverwriteMode", "dynamic")
            .partitionBy(*PARTITIONED_BY)
            .parquet(storage.uri(bucket, TARGET))
        )
    if date is None:
        hours = folders_below(storage, bucket, TARGET, len(PARTITIONED_BY))
    else:
        year, month, day = date.split("-")
        days = [f"{connector}year={year}/month={month}/day={day}/" for connector in storage.folders(bucket, TARGET)]
        hours = [hour for day in days for hour in storage.folders(bucket, day)]
    for hour in hours:
        if hour[len(TARGET) :] not in written:
            storage.remove(bucket, hour)
    return len(written)


def read(spark, storage, database, arguments, date, warnings):
    """What a database knows of the date, or of all dates, parsed; None where there is nothing."""
    table = f"{database}.{arguments['table']}"
    partitions = storage.partitions(database, date)
    if partitions is None:
        warnings.append(f"table {table} is not in the catalog; read as empty")
    partitions = {place: values for place, values in (partitions or {}).items() if storage.has_files(place)}
    if not partitions:
        warnings.append(f"no input objects: {table} has no partition or object that matches")
        return None
    return read_folders(spark, partitions)


def together(raw, additional):
    """The calls of both buckets; one that both have counts once, as the raw one has it."""
    if raw is None or additional is None:
        return additional if raw is None else raw
    return raw.unionByName(additional.join(raw.select("transactionid"), "transactionid", "left_anti"))


def run(spark, storage, arguments):
    """The whole job; answers the report."""
    bucket, full = arguments["processed_bucket"], arguments.get("full") == "true"
    date = None if full else arguments["date"]
    if not full and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", date):
        raise ValueError(f"--date must look like 2026-11-19, not {date!r}")
    outputs = dict.fromkeys(("rows", "files", "partitions", "quarantined", "input_files", "input_rows"), 0)
    warnings, found = [], []
    for database in [arguments["database"], *([arguments["additional_database"]] if full else [])]:
        parsed = read(spark, storage, database, arguments, date, warnings)
        if parsed is None:
            found.append(None)
            continue
        corrupt = parsed.where("reason is not null").select("uri", "reason").sort("uri").collect()
        for file in corrupt:
            uri = storage.copy(file.uri, bucket, f"quarantine/{date or 'full'}/")
            warnings.append(f"quarantined {uri}: {file.reason}")
        outputs["quarantined"] += len(corrupt)
        outputs["input_files"] += parsed.count()
        found.append(converted(parsed))
        outputs["input_rows"] += found[-1].count()
    calls = together(found[0], found[1] if full else None)
    outputs["rows"] = 0 if calls is None else calls.count()
    if not outputs["rows"]:
        warnings.append(f"no rows to write to s3://{bucket}/{TARGET}")
        calls = None
    outputs["partitions"] = outputs["files"] = replace(storage, bucket, date, calls)
    if len(warnings) > WARNINGS_MAX:
        more = len(warnings) - WARNINGS_MAX
        warnings = [*warnings[:WARNINGS_MAX], f"… and {more} more"]
    report = {"outputs": outputs, "warnings": warnings}
    body = json.dumps(report, ensure_ascii=False).encode()
    place = f"full_crawl/{arguments['run_key']}" if full else f"daily_cdr_etl/{date}"
    storage.write(bucket, f"_reports/{place}.json", body)
    return report


def main():
    full = "--full" in sys.argv
    names = ["full", "run_key", "additional_database"] if full else ["date"]
    names += ["database", "table", "processed_bucket"]
    try:
        from awsglue.context import GlueContext
        from awsglue.job import Job
        from awsglue.utils import getResolvedOptions
        from pyspark.context import SparkContext
    except ImportError:
        parser = argparse.ArgumentParser(description="The daily CDR conversion under plain PySpark.")
        for name in [*names, "raw_bucket", "local_root"]:
            parser.add_argument(f"--{name}", required=True)
        parser.add_argument("--additional_bucket")
        arguments = vars(parser.parse_known_args()[0])
        spark = (
            SparkSession.builder.appName("cdr_etl")
            .master("local[2]")
            .config("spark.ui.enabled", "false")
            .config("spark.sql.shuffle.partitions", "4")
            .getOrCreate()
        )
        buckets = {arguments["database"]: arguments["raw_bucket"]}
        if full:
            buckets[arguments["additional_database"]] = arguments["additional_bucket"]
        storage, job = Folders(arguments["local_root"], buckets), None
    else:
        arguments = getResolvedOptions(sys.argv, ["JOB_NAME", *names])
        context = GlueContext(SparkContext.getOrCreate())
        spark, job = context.spark_session, Job(context)
        job.init(arguments["JOB_NAME"], arguments)
        storage = S3(arguments["table"])
    # The hour of a call is UTC, whatever zone the cluster is in.
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    report = run(spark, storage, arguments)
    print(json.dumps(report, ensure_ascii=False))
    if job is not None:
        job.commit()


if __name__ == "__main__":
    main()
