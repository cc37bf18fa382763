"""A sandbox process of a test's own, driven by boto3 as AWS would be."""

import concurrent.futures
import json
import subprocess
import urllib.request

import boto3
import botocore.config

from expected import objects_of_folder
from waiting import until

CREDENTIALS = {
    "region_name": "us-east-1",
    "aws_access_key_id": "test",
    "aws_secret_access_key": "test",
}


def client_of(endpoint, service):
    """A boto3 client that talks to the endpoint."""
    config = botocore.config.Config(
        retries={"max_attempts": 1}, max_pool_connections=16, s3={"addressing_style": "path"}
    )
    return boto3.client(service, endpoint_url=endpoint, config=config, **CREDENTIALS)


def put_folder(endpoint, bucket, folder):
    """Puts every file below the folder into the bucket under its relative path."""
    s3 = client_of(endpoint, "s3")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        puts = [
            pool.submit(s3.put_object, Bucket=bucket, Key=key, Body=body)
            for key, body in objects_of_folder(folder)
        ]
        for put in puts:
            put.result()
    return len(puts)


def objects_of_bucket(endpoint, bucket, prefix=""):
    """Every object of the bucket as (key, bytes), read back by boto3."""
    s3 = client_of(endpoint, "s3")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [found["Key"] for page in pages for found in page.get("Contents", [])]

    def read(key):
        return key, s3.get_object(Bucket=bucket, Key=key)["Body"].read()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        yield from pool.map(read, keys)


def download(endpoint, bucket, prefix, folder):
    """Fetches the objects below the prefix into a folder, for readers of files."""
    for key, body in objects_of_bucket(endpoint, bucket, prefix):
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)


class Sandbox:
    """Started on entry, stopped on exit."""

    def __init__(self, binary, environment, folder):
        self.command = [str(binary), "__sandbox", "--root", str(folder / "root")]
        self.environment, self.folder = environment, folder

    def __enter__(self):
        port_file = self.folder / "port"
        self.log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen(
            [*self.command, "--port-file", str(port_file)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )

        def port():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            return port_file.exists() and port_file.read_text().strip()

        self.endpoint = f"http://127.0.0.1:{until(port, 30, 'the port of the sandbox')}"
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def client(self, service):
        return client_of(self.endpoint, service)

    def provision(self, pipeline_folder, parameters=None):
        """Makes what the pipeline's template says."""
        wish = {
            "template": (pipeline_folder / "aws.yaml").read_text(),
            "parameters": parameters or {},
            "folder": str(pipeline_folder),
        }
        request = urllib.request.Request(
            f"{self.endpoint}/_sandbox/provision", json.dumps(wish).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def crawl(self, name):
        """Runs a crawler to its end."""
        glue = self.client("glue")
        before = {crawl["CrawlId"] for crawl in glue.list_crawls(CrawlerName=name)["Crawls"]}
        glue.start_crawler(Name=name)

        def ended():
            crawls = glue.list_crawls(CrawlerName=name)["Crawls"]
            ours = [crawl for crawl in crawls if crawl["CrawlId"] not in before]
            return [crawl for crawl in ours if crawl["State"] != "RUNNING"]

        crawl = until(ended, 120, f"crawler {name}")[0]
        assert crawl["State"] == "COMPLETED", crawl
        until(lambda: glue.get_crawler(Name=name)["Crawler"]["State"] == "READY", 30, f"{name} to be ready")

    def run_job(self, name, arguments):
        """Runs a job to its end and answers the run."""
        glue = self.client("glue")
        run = glue.start_job_run(JobName=name, Arguments=arguments)["JobRunId"]

        def ended():
            found = glue.get_job_run(JobName=name, RunId=run)["JobRun"]
            return found["JobRunState"] not in ("STARTING", "RUNNING", "WAITING", "STOPPING") and found

        return until(ended, 600, f"job {name}")
