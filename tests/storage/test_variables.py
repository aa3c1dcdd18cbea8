"""The table of storage's variables against the code that reads them."""

import ast
import re
from pathlib import Path

import pytest

from ovms_converter import storage
from ovms_converter.storage.base import Side
from ovms_converter.storage.s3 import S3Access
from ovms_converter.storage.variables import VARIABLES

ROOM = Path(storage.__file__).parent
NAME = re.compile(
    r"(?:AWS|S3|AZURE|AZ|GOOGLE|GCE|CLOUDSDK|STORAGE|MLFLOW|CA_BUNDLE|REQUESTS|SSL)_[A-Z0-9_]*[A-Z0-9]"
    r"|NO_GCE_CHECK|awsAnonymousCredential|(?:http|https|all|no)_proxy"
)


def read_by_the_code() -> set[str]:
    """All strings in this room that are the name of such a variable, without `OUTPUT_`."""
    found: set[str] = set()
    for path in ROOM.glob("*.py"):
        if path.name == "variables.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                name = node.value.removeprefix("OUTPUT_").removeprefix("_")
                if NAME.fullmatch(name):
                    found.add(name)
    return found


def test_every_variable_is_told_and_read() -> None:
    told = {name for variable in VARIABLES for name in variable.names if name != "<host>-headers"}
    proxies = {name for name in told if name.lower().endswith("_proxy")}
    assert proxies == {each for name in proxies for each in (name.lower(), name.upper())}
    assert told - proxies == {name for name in read_by_the_code() if not name.lower().endswith("_proxy")}


def test_no_variable_is_told_twice() -> None:
    names = [name for variable in VARIABLES for name in variable.names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "https://models.s3.us-east-1.amazonaws.com"),
        ({"S3_USE_ACCELERATE": "1"}, "https://models.s3-accelerate.amazonaws.com"),
        ({"S3_USE_ACCELERATE": "false"}, "https://models.s3.us-east-1.amazonaws.com"),
        ({"S3_USE_ACCELERATE": "true", "S3_ENDPOINT": "http://minio:9000"}, "http://minio:9000"),
    ],
)
def test_acceleration_is_amazons_alone(environ: dict[str, str], url: str) -> None:
    environ = {"HOME": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true"} | environ
    assert S3Access.from_environment(environ, Side.INPUT).url("models") == url
