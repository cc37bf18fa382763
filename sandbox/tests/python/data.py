"""Small data sets for the tests, and waiting for Glue and Athena to finish."""

import json

from conftest import wait_until

# A crawl, run or query of these small sets takes about a second; machines may be busy.
LIMIT = 60.0


def cdr(number, start=1763510400, **changes):
    """A call detail record as the service writes it."""
    record = {
        "AwsAccountId": "000000000042",
        "TransactionId": f"t{number}",
        "CallId": f"c{number}",
        "BillableDurationSeconds": 66,
        "BillableDurationMinutes": 1.1,
        "DestinationPhoneNumber": "+15555550123",
        "StartTimeEpochSeconds": start,
        "EndTimeEpochSeconds": start + 63,
        "Streaming": False,
    }
    record.update(changes)
    return record


def put_json(s3, bucket, key, *records, **options):
    """One object with the records one after another."""
    s3.put_object(Bucket=bucket, Key=key, Body="\n".join(json.dumps(record, **options) for record in records))


def crawl(glue, name):
    """Starts a crawler and waits for its crawl; gives the crawl."""
    glue.start_crawler(Name=name)
    started = glue.list_crawls(CrawlerName=name)["Crawls"][0]["CrawlId"]
    wait_until(lambda: glue.get_crawler(Name=name)["Crawler"]["State"] == "READY", LIMIT, f"crawler {name}")
    crawls = glue.list_crawls(CrawlerName=name)["Crawls"]
    assert crawls[0]["CrawlId"] == started
    return crawls[0]


def ended_run(glue, job, run):
    """Waits for a job run to end."""

    def ended():
        found = glue.get_job_run(JobName=job, RunId=run)["JobRun"]
        return found if found["JobRunState"] not in ("STARTING", "RUNNING", "STOPPING") else None

    return wait_until(ended, LIMIT, f"run {run} of {job}")


def ended_query(athena, query):
    """Waits for a query to end."""

    def ended():
        found = athena.get_query_execution(QueryExecutionId=query)["QueryExecution"]
        return found if found["Status"]["State"] not in ("QUEUED", "RUNNING") else None

    return wait_until(ended, LIMIT, f"query {query}")
