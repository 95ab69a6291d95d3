"""An S3 server for tests: moto, on loopback, with a bucket."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "lab"


@contextlib.contextmanager
def bucket() -> Iterator[str]:
    """Start a server of S3 with an empty bucket; yield the URL of a folder in it, as pyarrow takes it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=f"http://{host}:{port}", **keys).create_bucket(Bucket=BUCKET)
        options = f"scheme=http&endpoint_override={host}:{port}&region=us-east-1"
        yield f"s3://key:secret@{BUCKET}/folder?{options}"
    finally:
        server.stop()
