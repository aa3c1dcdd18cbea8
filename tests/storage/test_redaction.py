"""Nothing secret survives scrubbing, and what is not secret does."""

import base64
import json
import string
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovms_converter.redaction import MASK, Redactor

VARIABLES = [
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "OUTPUT_AWS_SECRET_ACCESS_KEY",
    "OUTPUT_AWS_SESSION_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_CLIENT_SECRET",
    "AZ_CLIENT_SECRET",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "models.example.com-headers",
]


@pytest.mark.parametrize("variable", VARIABLES)
@given(secret=st.text(string.printable, min_size=8, max_size=60).filter(lambda text: len(text.strip()) >= 8))
def test_no_notation_of_a_secret_survives(variable: str, secret: str) -> None:
    redactor = Redactor.from_environment({variable: secret})
    for shown in (
        secret,
        secret.strip(),
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        json.dumps(secret),
    ):
        scrubbed = redactor.scrub(f"failed with {shown} at the end")
        assert secret.strip() not in scrubbed
        assert scrubbed.startswith("failed with")
        assert MASK in scrubbed


@given(
    st.text(string.ascii_letters + string.digits, min_size=1, max_size=20),
    st.text(string.ascii_letters + string.digits + "!$%^&*()-_=+;,.", min_size=8, max_size=40),
)
def test_urls_lose_user_name_password_and_query(user: str, secret: str) -> None:
    scrubbed = Redactor.from_environment({}).scrub(
        f"GET https://{user}:{secret}@host.example/a/b?sig={secret}&x=1 failed"
    )
    assert scrubbed == f"GET https://{MASK}@host.example/a/b?{MASK} failed"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Authorization: Bearer abc.def-ghi", "Authorization: ***"),
        ("sent Basic dXNlcjpwYXNzd29yZA==", "sent Basic ***"),
        ("X-Amz-Signature=0123abcd&X-Amz-Date=1", "X-Amz-Signature=***&X-Amz-Date=1"),
        ("AccountName=a;AccountKey=HUSH==;x", "AccountName=a;AccountKey=***;x"),
        (
            "abfss://container@account.dfs.core.windows.net/a",
            "abfss://container@account.dfs.core.windows.net/a",
        ),
        ("abfss://key:HUSH@account/a", "abfss://***@account/a"),
        ("s3://bucket/a/b is not there", "s3://bucket/a/b is not there"),
        ("http://minio.mlflow:9000", "http://minio.mlflow:9000"),
        ("-----BEGIN PRIVATE KEY-----\nHUSH\n-----END PRIVATE KEY-----", "***"),
    ],
)
def test_places_where_secrets_stand(text: str, expected: str) -> None:
    assert Redactor.from_environment({}).scrub(text) == expected


def test_parts_of_compound_secrets() -> None:
    environ = {
        "AZURE_STORAGE_CONNECTION_STRING": "AccountName=name;AccountKey=c2VjcmV0LWtleQ==;EndpointSuffix=net",
        "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(
            {"type": "service_account", "private_key": "line one\nline two"}
        ),
        "MLFLOW_TRACKING_USERNAME": "user",
        "MLFLOW_TRACKING_PASSWORD": "correct horse",
    }
    redactor = Redactor.from_environment(environ)
    basic = base64.b64encode(b"user:correct horse").decode()
    for secret in ("c2VjcmV0LWtleQ==", "line one\nline two", "line one\\nline two", "correct horse", basic):
        assert secret not in redactor.scrub(f"x {secret} y")
    assert redactor.scrub("service_account of user") == "service_account of user"


def test_what_is_no_secret_stays() -> None:
    environ = {
        "AWS_ACCESS_KEY_ID": "minio",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/secrets/token",
        "GOOGLE_APPLICATION_CREDENTIALS": "/secrets/google.json",
        "S3_ENDPOINT": "http://minio:9000",
        "AWS_SESSION_TOKEN": "",
    }
    redactor = Redactor.from_environment(environ)
    kept = "s3://test-bucket/test at http://minio:9000, /var/run/secrets/token, /secrets/google.json, tests"
    assert redactor.scrub(kept) == kept
    assert redactor.scrub("the secret `test` is wrong") == f"the secret `{MASK}` is wrong"


def test_long_key_ids_are_masked() -> None:
    redactor = Redactor.from_environment({"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE"})
    assert redactor.scrub("key AKIAIOSFODNN7EXAMPLE") == f"key {MASK}"
