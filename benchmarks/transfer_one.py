"""One copy between a prefix of an S3 server and a directory, by this project's storage or by boto3.

    python benchmarks/transfer_one.py ours|boto3 down|up s3://BUCKET/PREFIX DIRECTORY

What `transfer.py` runs and measures. It imports nothing but what the copy itself needs: the other programs'
times hold no benchmark either.
"""

import os
import sys
from pathlib import Path


def ours(way: str, url: str, directory: Path) -> None:
    """Fetch a prefix into a directory, or publish a directory's files."""
    from ovms_converter.storage import open_destination, open_source
    from ovms_converter.storage.location import Location

    def progress(count: int) -> None:
        """Nobody reads it."""

    if way == "down":
        source = open_source(Location.parse(url), os.environ)
        source.fetch([entry.path for entry in source.list().entries], directory, progress)
    else:
        base, _, name = url.rpartition("/")
        files = {path.name: path for path in sorted(directory.iterdir())}
        open_destination(Location.parse(base), os.environ).publish(name, files, progress)


def boto3(way: str, url: str, directory: Path) -> None:
    """The same with boto3's managed transfers."""
    from concurrent.futures import ThreadPoolExecutor

    import boto3 as sdk  # type: ignore[import-untyped]

    client = sdk.client("s3")
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    with ThreadPoolExecutor(10) as pool:
        if way == "down":
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
            keys = [item["Key"] for page in pages for item in page["Contents"]]
            list(
                pool.map(
                    lambda key: client.download_file(bucket, key, directory / key.rpartition("/")[2]), keys
                )
            )
        else:
            list(
                pool.map(
                    lambda path: client.upload_file(path, bucket, f"{prefix}/{path.name}"),
                    directory.iterdir(),
                )
            )


if __name__ == "__main__":
    program, way, url, directory = sys.argv[1:]
    {"ours": ours, "boto3": boto3}[program](way, url, Path(directory))
