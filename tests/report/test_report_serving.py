"""The commands of a report: what a shell makes of them."""

import shlex
from pathlib import Path

import pytest

from ovms_converter.report import render, story_of_version
from ovms_converter.report.serving import ask_command, serve_command
from ovms_converter.storage.location import Location
from published import Page, publish, record


def words(url: str, name: str = "net", version: int | None = None, minimum: str = "2023.3") -> list[str]:
    return shlex.split(serve_command(Location.parse(url), name, version, minimum).replace("\\\n", ""))


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


@pytest.mark.parametrize(
    ("url", "path", "needs"),
    [
        ("s3://models/a/net", "s3://models/a/net", "S3_ENDPOINT"),
        ("s3a://models/net?versionId=1", "s3://models/net", "AWS_ACCESS_KEY_ID"),
        ("gs://models/net", "gs://models/net", "GOOGLE_APPLICATION_CREDENTIALS=/key.json"),
        ("az://models/net", "az://models/net", "AZURE_STORAGE_CONNECTION_STRING"),
    ],
)
def test_a_store_is_read_by_the_server_itself(url: str, path: str, needs: str) -> None:
    command = words(url)
    assert option(command, "--model_path") == path
    assert needs in command


@pytest.mark.parametrize(
    ("given", "mount"),
    [
        ("/srv/my models/net", "/srv/my models/net:/models/net:ro"),
        ("./models/net", "$PWD/models/net:/models/net:ro"),
        ("../net", "$PWD/../net:/models/net:ro"),
        ("file:///srv/net", "/srv/net:/models/net:ro"),
    ],
)
def test_a_directory_is_mounted(given: str, mount: str) -> None:
    command = words(given)
    assert option(command, "-v") == mount
    assert option(command, "--model_path") == "/models/net"


@pytest.mark.parametrize(
    ("minimum", "tag"),
    [("2023.3", "2025.1"), ("2026.4", "2026.4"), ("2025.10", "2025.10"), ("", "2025.1"), ("x; y", "2025.1")],
)
def test_the_server_is_as_new_as_the_model_needs(minimum: str, tag: str) -> None:
    assert f"openvino/model_server:{tag}" in words("s3://b/net", minimum=minimum)


def test_a_name_cannot_leave_its_word() -> None:
    name = "$(touch x); 'a' \"b\" /"
    assert option(words("s3://b/net", name=name), "--model_name") == name
    command, url = shlex.split(ask_command(name))
    assert command == "curl"
    assert url.count("/") == 5, "the name is one part of the path"


def test_an_older_version_is_asked_for_by_number(tmp_path: Path) -> None:
    url = publish(tmp_path / "net", record())
    publish(tmp_path / "net", record(), number=2)
    older = Page(render(story_of_version(f"{url}/1", {}, dict))).text
    newest = Page(render(story_of_version(url, {}, dict))).text
    assert '--model_version_policy \'{"specific": {"versions": [1]}}\'' in older
    assert "a newer version lies beside it" in older
    assert "--model_version_policy" not in newest
    assert "version 2" in newest
