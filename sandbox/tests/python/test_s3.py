"""S3 as boto3 sees it."""

import concurrent.futures
import hashlib
import io
import re
import urllib.error
import urllib.request

import boto3.s3.transfer
import pytest
from botocore.exceptions import ClientError

ODD_KEYS = [
    "plain.txt",
    "year=2026/month=11/day=19/part-0.parquet",
    "with space/and+plus/and%percent",
    "ünïcödé/日本語.json",
    "a//empty segment",
    "ends/in/slash/",
    "/begins/with/slash",
    "../../escape",
    "./dot",
    "a&b<c>\"d'e?f#g",
    "x" * 1000,
    "14.22.31.000_0f3c2a10-6a0e-4b55-9f0e-2b7f3f6f9a01",
]


def code_of(error):
    return error.value.response["Error"]["Code"]


def all_keys(s3, bucket, **arguments):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, **arguments)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


@pytest.mark.parametrize("key", ODD_KEYS, ids=range(len(ODD_KEYS)))
def test_any_key_round_trips(sandbox, s3, bucket, key):
    body = f"content of {key}".encode()
    put = s3.put_object(Bucket=bucket, Key=key, Body=body)
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == body
    assert all_keys(s3, bucket) == [key]
    assert all_keys(s3, bucket, Prefix=key) == [key]
    s3.delete_object(Bucket=bucket, Key=key)
    assert all_keys(s3, bucket) == []
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key=key)
    assert code_of(error) == "NoSuchKey"
    outside = [path for path in sandbox.folder.rglob("*escape*") if sandbox.root / "s3" not in path.parents]
    assert outside == []


def test_objects_are_plain_files(sandbox, s3, bucket):
    s3.put_object(Bucket=bucket, Key="a/b c=1/x.json", Body=b"{}")
    path = sandbox.root / "s3" / bucket / "a/b c=1/x.json"
    assert path.read_bytes() == b"{}"
    path.with_name("dropped in.json").write_bytes(b"[]")
    assert all_keys(s3, bucket) == ["a/b c=1/dropped in.json", "a/b c=1/x.json"]
    assert s3.head_object(Bucket=bucket, Key="a/b c=1/dropped in.json")["ETag"] == f'"{hashlib.md5(b"[]").hexdigest()}"'


def test_a_key_is_object_and_folder(s3, bucket):
    for key in ["a", "a/b", "a/b/c", "a/"]:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert all_keys(s3, bucket) == ["a", "a/", "a/b", "a/b/c"]
    for key in ["a", "a/b", "a/b/c", "a/"]:
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    page = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert [item["Key"] for item in page["Contents"]] == ["a"]
    assert page["CommonPrefixes"] == [{"Prefix": "a/"}]


def test_attributes_and_metadata(s3, bucket):
    s3.put_object(
        Bucket=bucket, Key="k", Body=b"x", ContentType="text/csv", CacheControl="no-store",
        ContentDisposition="attachment", ContentEncoding="gzip", Metadata={"owner": "telephony", "n": "1"},
    )
    head = s3.head_object(Bucket=bucket, Key="k")
    assert head["ContentType"] == "text/csv"
    assert head["ContentEncoding"] == "gzip"
    assert head["CacheControl"] == "no-store"
    assert head["Metadata"] == {"owner": "telephony", "n": "1"}
    s3.put_object(Bucket=bucket, Key="k", Body=b"y")
    head = s3.head_object(Bucket=bucket, Key="k")
    assert head["Metadata"] == {} and head["ContentType"] == "binary/octet-stream"
    assert "ContentEncoding" not in head


def test_ranges(s3, bucket):
    body = bytes(range(256)) * 8192
    s3.put_object(Bucket=bucket, Key="k", Body=body)
    part = s3.get_object(Bucket=bucket, Key="k", Range="bytes=10-19")
    assert part["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert part["ContentRange"] == f"bytes 10-19/{len(body)}"
    assert part["Body"].read() == body[10:20]
    assert s3.get_object(Bucket=bucket, Key="k", Range="bytes=-5")["Body"].read() == body[-5:]
    tail = s3.get_object(Bucket=bucket, Key="k", Range="bytes=300-")
    assert tail["Body"].read() == body[300:]
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={len(body)}-")
    assert code_of(error) == "InvalidRange"


def test_paging_and_delimiters(s3, bucket):
    keys = sorted([f"p/{n % 4}/{n:03}" for n in range(25)] + ["q", "p.x", "p/0"])
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    assert all_keys(s3, bucket, PaginationConfig={"PageSize": 7}) == keys
    assert all_keys(s3, bucket, StartAfter="p/1/009") == [key for key in keys if key > "p/1/009"]
    prefixes, plain = [], []
    for page in s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix="p/", Delimiter="/", PaginationConfig={"PageSize": 2}
    ):
        assert page["KeyCount"] <= 2
        prefixes += [item["Prefix"] for item in page.get("CommonPrefixes", [])]
        plain += [item["Key"] for item in page.get("Contents", [])]
    assert prefixes == ["p/0/", "p/1/", "p/2/", "p/3/"] and plain == ["p/0"]
    old = s3.get_paginator("list_objects").paginate(Bucket=bucket, PaginationConfig={"PageSize": 7})
    assert [item["Key"] for page in old for item in page["Contents"]] == keys


def test_copy(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a b+ü", Body=b"x", Metadata={"m": "1"}, ContentType="text/plain")
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "a b+ü"})
    head = s3.head_object(Bucket=bucket, Key="copy")
    assert head["Metadata"] == {"m": "1"} and head["ContentType"] == "text/plain"
    s3.copy_object(
        Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "copy"},
        MetadataDirective="REPLACE", Metadata={"n": "2"},
    )
    assert s3.head_object(Bucket=bucket, Key="copy")["Metadata"] == {"n": "2"}
    with pytest.raises(ClientError) as error:
        s3.copy_object(Bucket=bucket, Key="c", CopySource={"Bucket": bucket, "Key": "none"})
    assert code_of(error) == "NoSuchKey"


def test_delete_many(s3, bucket):
    keys = [f"d/{n}" for n in range(20)]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in [*keys, "absent"]]})
    assert len(answer["Deleted"]) == 21
    assert all_keys(s3, bucket) == []


def test_multipart(s3, bucket):
    body = bytes(range(251)) * 60_000
    config = boto3.s3.transfer.TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    s3.upload_fileobj(io.BytesIO(body), bucket, "big", ExtraArgs={"Metadata": {"m": "1"}}, Config=config)
    head = s3.head_object(Bucket=bucket, Key="big")
    assert head["ContentLength"] == len(body) and head["ETag"].endswith('-3"') and head["Metadata"] == {"m": "1"}
    target = io.BytesIO()
    s3.download_fileobj(bucket, "big", target, Config=config)
    assert target.getvalue() == body
    s3.copy({"Bucket": bucket, "Key": "big"}, bucket, "copy", Config=config)
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == body


def test_multipart_by_hand(s3, bucket):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    tag = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"x" * (5 << 20))["ETag"]
    last = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=2, Body=b"y")["ETag"]
    assert [p["Size"] for p in s3.list_parts(Bucket=bucket, Key="k", UploadId=upload)["Parts"]] == [5 << 20, 1]
    assert [u["Key"] for u in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == ["k"]
    assert all_keys(s3, bucket) == []

    def complete(parts):
        s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": parts})

    with pytest.raises(ClientError) as error:
        complete([{"PartNumber": 1, "ETag": last}])
    assert code_of(error) == "InvalidPart"
    with pytest.raises(ClientError) as error:
        complete([{"PartNumber": 2, "ETag": last}, {"PartNumber": 1, "ETag": tag}])
    assert code_of(error) == "InvalidPartOrder"
    complete([{"PartNumber": 1, "ETag": tag}, {"PartNumber": 2, "ETag": last}])
    assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == (5 << 20) + 1
    other = s3.create_multipart_upload(Bucket=bucket, Key="k2")["UploadId"]
    s3.abort_multipart_upload(Bucket=bucket, Key="k2", UploadId=other)
    with pytest.raises(ClientError) as error:
        s3.list_parts(Bucket=bucket, Key="k2", UploadId=other)
    assert code_of(error) == "NoSuchUpload"


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"])
def test_checksums(s3, bucket, algorithm):
    for body in [b"", b"small", b"large" * 700_000]:
        put = s3.put_object(Bucket=bucket, Key="k", Body=body, ChecksumAlgorithm=algorithm)
        assert put[f"Checksum{algorithm}"]
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == body


def test_unseekable_bodies_are_sent_in_chunks(s3, bucket):
    """boto3 sends these as aws-chunked with a trailing checksum."""
    for body in [b"", b"x" * 100, b"y" * 3_000_000]:
        s3.put_object(Bucket=bucket, Key="k", Body=io.BytesIO(body))
        answer = s3.get_object(Bucket=bucket, Key="k")
        assert answer["Body"].read() == body
        assert answer["ContentLength"] == len(body)
        assert "ContentEncoding" not in answer


def test_wrong_checksum_is_refused(s3, bucket):
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", ChecksumCRC32="AAAAAA==")
    assert code_of(error) == "BadDigest"
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", ContentMD5="AAAAAAAAAAAAAAAAAAAAAA==")
    assert code_of(error) == "BadDigest"
    assert all_keys(s3, bucket) == []


def test_conditions(s3, bucket):
    tag = s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")
    assert code_of(error) == "PreconditionFailed"
    s3.put_object(Bucket=bucket, Key="k", Body=b"3", IfMatch=tag)
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="k", Body=b"4", IfMatch=tag)
    assert code_of(error) == "PreconditionFailed"
    current = s3.head_object(Bucket=bucket, Key="k")["ETag"]
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="k", IfNoneMatch=current)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 304


def test_of_many_conditional_writers_one_wins(sandbox, s3, bucket):
    def put(number):
        try:
            s3.put_object(Bucket=bucket, Key="lock", Body=str(number).encode(), IfNoneMatch="*")
            return number
        except ClientError:
            return None

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        winners = [number for number in pool.map(put, range(24)) if number is not None]
    assert len(winners) == 1
    assert s3.get_object(Bucket=bucket, Key="lock")["Body"].read() == str(winners[0]).encode()


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_presigned_urls(sandbox, bucket, version):
    s3 = sandbox.client("s3", signature_version=version)
    body = b"through a link" * 10
    put = s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "a b/ü+.txt", "ContentType": "text/x"})
    request = urllib.request.Request(put, data=body, method="PUT", headers={"Content-Type": "text/x"})
    assert urllib.request.urlopen(request).status == 200
    get = s3.generate_presigned_url(
        "get_object",
        {"Bucket": bucket, "Key": "a b/ü+.txt", "ResponseContentDisposition": "attachment; filename=x"},
    )
    with urllib.request.urlopen(get) as response:
        assert response.read() == body
        assert response.headers["Content-Type"] == "text/x"
        assert response.headers["Content-Disposition"] == "attachment; filename=x"
    # As if the link had been made long ago; both versions name its time in the URL.
    expired = re.sub(r"X-Amz-Date=\d{8}", "X-Amz-Date=20200101", get)
    expired = re.sub(r"&Expires=\d+", "&Expires=1577836800", expired)
    assert expired != get
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(expired)
    assert error.value.code == 403


def test_virtual_hosts(sandbox, s3, bucket):
    s3.put_object(Bucket=bucket, Key="a/b", Body=b"x")
    port = sandbox.endpoint.rsplit(":", 1)[1]
    for host in [f"{bucket}.localhost:{port}", f"{bucket}.s3.localhost:{port}"]:
        request = urllib.request.Request(f"{sandbox.endpoint}/a/b", headers={"Host": host})
        assert urllib.request.urlopen(request).read() == b"x"


def test_missing_buckets(s3):
    for call in [
        lambda: s3.list_objects_v2(Bucket="absent-bucket"),
        lambda: s3.put_object(Bucket="absent-bucket", Key="k", Body=b""),
        lambda: s3.get_object(Bucket="absent-bucket", Key="k"),
        lambda: s3.delete_object(Bucket="absent-bucket", Key="k"),
        lambda: s3.delete_bucket(Bucket="absent-bucket"),
    ]:
        with pytest.raises(ClientError) as error:
            call()
        assert code_of(error) == "NoSuchBucket"
    with pytest.raises(ClientError) as error:
        s3.head_bucket(Bucket="absent-bucket")
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


def test_buckets(s3, bucket):
    assert bucket in [item["Name"] for item in s3.list_buckets()["Buckets"]]
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] in (None, "")
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    with pytest.raises(ClientError) as error:
        s3.delete_bucket(Bucket=bucket)
    assert code_of(error) == "BucketNotEmpty"
    s3.delete_object(Bucket=bucket, Key="k")
    s3.delete_bucket(Bucket=bucket)
    with pytest.raises(ClientError):
        s3.head_bucket(Bucket=bucket)


def test_everything_survives_a_kill(own_sandbox):
    sandbox = own_sandbox()
    s3 = sandbox.client("s3")
    s3.create_bucket(Bucket="kept-bucket")
    s3.put_object(Bucket="kept-bucket", Key="a/b", Body=b"x", Metadata={"m": "1"})
    upload = s3.create_multipart_upload(Bucket="kept-bucket", Key="mp")["UploadId"]
    tag = s3.upload_part(Bucket="kept-bucket", Key="mp", UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
    before = sandbox.endpoint
    sandbox.restart()
    assert sandbox.endpoint == before, "links and jobs hold the old address"
    s3 = sandbox.client("s3")
    assert s3.head_object(Bucket="kept-bucket", Key="a/b")["Metadata"] == {"m": "1"}
    s3.complete_multipart_upload(
        Bucket="kept-bucket", Key="mp", UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]},
    )
    assert s3.get_object(Bucket="kept-bucket", Key="mp")["Body"].read() == b"part"
