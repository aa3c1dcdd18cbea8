"""Locations: every spelling that users have, and every one that is refused."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovms_converter.errors import RequestError
from ovms_converter.storage.location import Location, why_unsafe


@pytest.mark.parametrize(
    ("text", "scheme", "container", "path"),
    [
        ("s3://bucket/a/b", "s3", "bucket", "a/b"),
        ("  s3://bucket/a/b/\n", "s3", "bucket", "a/b"),
        ("S3://bucket/a", "s3", "bucket", "a"),
        ("s3a://bucket/a", "s3", "bucket", "a"),
        ("s3://bucket", "s3", "bucket", ""),
        ("s3://bucket/", "s3", "bucket", ""),
        ("s3://bucket/a%20b?c#d", "s3", "bucket", "a%20b?c#d"),
        ("gs://bucket/a", "gs", "bucket", "a"),
        ("gcs://bucket/a", "gs", "bucket", "a"),
        ("az://container/a", "az", "container", "a"),
        ("azure://container/a", "az", "container", "a"),
        ("http://host:8080/a/b.onnx", "http", "host:8080", "a/b.onnx"),
        ("https://user:pw@host/a%20b/?X-Sig=1", "https", "host", "a%20b"),
        ("http://[::1]:80/a", "http", "[::1]:80", "a"),
        ("file:///tmp/a%20b", "file", "", "/tmp/a b"),
        ("file:/tmp/a", "file", "", "/tmp/a"),
        ("file://localhost/tmp/a", "file", "", "/tmp/a"),
        ("/tmp/a/", "file", "", "/tmp/a"),
        ("/tmp/./a", "file", "", "/tmp/a"),
        ("runs:/0123abcd/model", "runs", "", "0123abcd/model"),
        ("models:/name@champion", "models", "", "name@champion"),
        ("models:/m-12ab", "models", "", "m-12ab"),
        ("mlflow-artifacts:/1/run/artifacts", "mlflow-artifacts", "", "1/run/artifacts"),
        ("mlflow-artifacts://host:5000/1/run", "mlflow-artifacts", "host:5000", "1/run"),
    ],
)
def test_spellings(text: str, scheme: str, container: str, path: str) -> None:
    location = Location.parse(text)
    assert (location.scheme, location.container, location.path) == (scheme, container, path)
    assert location.text == text.strip()


@pytest.mark.parametrize(
    "text",
    [
        "abfs://container@account.dfs.core.windows.net/a/b",
        "abfss://container@account.dfs.core.windows.net/a/b/",
        "wasbs://container@account.dfs.core.windows.net/a/b",
        "https://account.dfs.core.windows.net/container/a/b",
    ],
)
def test_azure_urls_name_their_account(text: str) -> None:
    location = Location.parse(text)
    assert (location.scheme, location.container, location.path) == ("az", "container", "a/b")
    assert location.account == "account.dfs.core.windows.net"
    assert str(location) == text


def test_an_azure_url_with_a_signature_is_one_http_file() -> None:
    location = Location.parse("https://account.blob.core.windows.net/container/m.onnx?sv=1&sig=SECRET")
    assert location.scheme == "https"
    assert "SECRET" not in str(location)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("ftp://host/a", "`ftp`"),
        ("hdfs://host/a", "`hdfs`"),
        ("s3:/bucket/a", "two slashes"),
        ("s3:///a", "no bucket"),
        ("az:///a", "no container"),
        ("s3://my bucket/a", "the bucket `my bucket`"),
        ("s3://<bucket>/a", "the bucket `<bucket>`"),
        ("gs://a%20b/c", "the bucket `a%20b`"),
        ("az://my container/a", "the container `my container`"),
        ("http:///a", "no host"),
        ("http://host:port/a", "no valid URL"),
        ("s3://b/a/../c", "`..`"),
        ("s3://b/..", "`..`"),
        ("s3://b/./c", "`.`"),
        ("s3://b/a//c", "`//`"),
        ("http://host/a/%2e%2e/b", "`..`"),
        ("s3://b/{{ steps.trainer.outputs.url }}/ovms", "`{{ steps.trainer.outputs.url }}`"),
        ("s3://b/$(params.model)", "`$(params.model)`"),
        ("s3://b/${MODEL}", "`${MODEL}`"),
        ("s3://b/model\n/ovms", "a line break"),
        ("/tmp/model\r/ovms", "a carriage return"),
        ("s3://b/a\x00b", "U+0000"),
        ("s3://KEY:HUSH@bucket/a", "credentials"),
        ("az://container/a?sig=HUSH", "carries a query"),
        ("file://otherhost/a", "`otherhost`"),
        ("file://relative/a", "`relative`"),
    ],
)
def test_what_is_refused_is_named(text: str, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        Location.parse(text)
    assert words in caught.value.message
    assert "HUSH" not in caught.value.message + (caught.value.hint or "")


def test_a_relative_path_is_one_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert Location.parse("model").path == str(tmp_path / "work" / "model")
    assert Location.parse("../model").path == str(tmp_path / "model")
    assert Location.parse("./a/../../model/").path == str(tmp_path / "model")
    assert Location.parse("..").path == str(tmp_path)
    assert Location.parse("name:with-colon").path == str(tmp_path / "work" / "name:with-colon")
    assert str(Location.parse("../model")) == "../model"


@pytest.mark.parametrize("path", ["model", "../model", ".."])
def test_a_current_directory_that_is_gone_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(RequestError, match="the current directory, and that is not there any more"):
        Location.parse(path)
    assert Location.parse("/models/net").path == "/models/net"


def test_parent_parts_follow_links_as_the_system_does(tmp_path: Path) -> None:
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "inner")
    assert Location.parse(f"{tmp_path}/link/../x").path == str(tmp_path / "real" / "x")
    assert Location.parse(f"{tmp_path}/link").path == str(tmp_path / "link")


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("s3://b/model", "ovms/1", "s3://b/model/ovms/1"),
        ("s3://b/model/", "ovms", "s3://b/model/ovms"),
        ("s3://b", "ovms", "s3://b/ovms"),
        ("/tmp/m", "ovms", "/tmp/m/ovms"),
        ("/", "ovms", "/ovms"),
        ("http://host/a?q=1", "b c", "http://host/a/b%20c?q=1"),
    ],
)
def test_child(text: str, name: str, expected: str) -> None:
    child = Location.parse(text).child(name)
    assert child == Location.parse(expected)


@pytest.mark.parametrize("name", ["../x", "/x", "a//b", "", "a/..", "a\nb", "x" * 256])
def test_a_child_never_leaves(name: str) -> None:
    with pytest.raises(RequestError):
        Location.parse("s3://b/model").child(name)


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ("s3://b/model", "s3://b/model/ovms", True),
        ("s3://b/model/", "s3://b/model", True),
        ("s3://b/model", "s3://b/model-old", False),
        ("s3://b", "s3://b/x", True),
        ("s3://b/x", "s3://c/x", False),
        ("s3://b/x", "gs://b/x", False),
        ("/tmp/a", "/tmp/a/b", True),
        ("/tmp/a", "/tmp/ab", False),
        ("/", "/tmp", True),
    ],
)
def test_contains(outer: str, inner: str, expected: bool) -> None:
    assert Location.parse(outer).contains(Location.parse(inner)) is expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:HUSH@host/a?token=HUSH", "https://host/a?…"),
        ("http://HUSH@host/a", "http://host/a"),
        ("s3://b/a?X-Amz-Signature=HUSH", "s3://b/a?…"),
        ("mlflow-artifacts://user:HUSH@host/1", "mlflow-artifacts://host/1"),
        ("s3://b/a/", "s3://b/a/"),
    ],
)
def test_shown_without_secrets(text: str, shown: str) -> None:
    location = Location.parse(text)
    assert str(location) == shown
    assert "HUSH" not in repr(location).replace(f"path={location.path!r}", "")


segments = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="/"),
    min_size=1,
    max_size=20,
)


@given(st.lists(segments, min_size=1, max_size=5))
def test_any_safe_key_survives(parts: list[str]) -> None:
    key = "/".join(parts)
    try:
        location = Location.parse(f"s3://bucket/{key}")
    except RequestError:
        assert (
            "." in parts
            or ".." in parts
            or any(mark in key for mark in ("{{", "$(", "${"))
            or key != key.strip()
        )
        return
    assert location.path == key.rstrip().strip("/")
    assert Location.parse(location.text) == location


@given(st.text(max_size=60))
def test_a_safe_path_stays_inside(path: str) -> None:
    if why_unsafe(path) is None:
        joined = os.path.normpath(f"/target/{path}")
        assert joined.startswith("/target/")
        assert joined.removeprefix("/target/") == path


@given(st.text(max_size=80))
def test_parse_refuses_or_answers(text: str) -> None:
    try:
        location = Location.parse(text)
    except RequestError:
        return
    assert location.path == "" or not location.path.endswith("/") or location.path == "/"


@pytest.mark.parametrize("text", ["/models/{}", "file:///models/{}", "models/{}/m.onnx"])
def test_paths_that_no_file_system_takes_are_refused(text: str) -> None:
    with pytest.raises(RequestError, match="has a part of more than 255 bytes"):
        Location.parse(text.format("x" * 256))
    with pytest.raises(RequestError, match="has more than 4095 bytes"):
        Location.parse(text.format("x/" * 2100))


@pytest.mark.parametrize("text", ["/models/{}", "s3://models/{}"])
def test_bytes_that_are_no_text_are_refused_and_shown_as_such(text: str) -> None:
    with pytest.raises(RequestError, match="has bytes in it that are no UTF-8") as caught:
        Location.parse(text.format(os.fsdecode(b"caf\xe9")))
    assert text.format("caf\ufffd") in caught.value.message
