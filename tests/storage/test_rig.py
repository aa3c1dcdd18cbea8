"""The test servers are what the other tests take them for."""

import pytest
import urllib3

from servers import GcsBucket, S3Bucket, S3Server


def test_moto_checks_signatures(s3: S3Bucket) -> None:
    """A wrong secret is refused, and a plain request too."""
    s3.put("a/b", b"x")
    assert s3.keys() == ["a/b"]
    stranger = S3Server(s3.endpoint, s3.server.access_key, "wrong").client()
    with pytest.raises(Exception, match="SignatureDoesNotMatch"):
        stranger.get_object(Bucket=s3.name, Key="a/b")
    stranger.close()


def test_moto_honours_conditional_writes(s3: S3Bucket) -> None:
    s3.put("k", b"1")
    with pytest.raises(Exception, match="PreconditionFailed"):
        s3.client.put_object(Bucket=s3.name, Key="k", Body=b"2", IfNoneMatch="*")
    assert s3.get("k") == b"1"


def test_rclone_ignores_conditional_writes(s3_unconditional: S3Bucket) -> None:
    s3_unconditional.put("k", b"1")
    s3_unconditional.client.put_object(Bucket=s3_unconditional.name, Key="k", Body=b"2", IfNoneMatch="*")
    assert s3_unconditional.get("k") == b"2"


def test_google_emulator_keeps_objects(gcs: GcsBucket) -> None:
    gcs.put("a/b c", b"x")
    assert gcs.keys() == ["a/b c"]
    assert gcs.get("a/b c") == b"x"


def test_servers_listen_on_loopback_only(s3_server: S3Server, gcs_server: str) -> None:
    for url in (s3_server.endpoint, gcs_server):
        assert urllib3.util.parse_url(url).host == "127.0.0.1"
