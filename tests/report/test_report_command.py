"""`ovms-converter report` and `convert --report`: which file is written, when, and what is said."""

import json
from pathlib import Path

import pytest

from command_line import CommandLine, FakePipeline
from ovms_converter.errors import ModelError
from published import Page, publish, record
from servers import S3Bucket

RUN = ("convert", "s3://b/m", "s3://b/net")


def test_the_page_is_written_and_named(command: CommandLine, tmp_path: Path) -> None:
    url = publish(tmp_path / "net", record())
    target = tmp_path / "page.html"
    done = command("report", url, "--output", str(target))
    assert (done.code, done.out, done.err) == (0, f"{target}\n", "")
    assert "Equal to ONNX Runtime" in Page(target.read_text()).text


def test_it_is_report_html_where_one_is(
    command: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = publish(tmp_path / "net", record())
    monkeypatch.chdir(tmp_path)
    assert command("report", url).out == "report.html\n"
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_it_goes_to_stdout_on_request(command: CommandLine, tmp_path: Path) -> None:
    done = command("report", publish(tmp_path / "net", record()), "-o", "-")
    assert "version 1" in Page(done.out).text


@pytest.mark.parametrize("end", ["", "/", "/2", "/2/"])
def test_a_version_in_a_store_is_told_with_its_day(
    end: str, command: CommandLine, s3: S3Bucket, tmp_path: Path
) -> None:
    for number in (1, 2):
        publish(tmp_path / "net", record(), number)
    s3.put_tree("team/net", tmp_path / "net")
    page = Page(command("report", s3.url(f"team/net{end}"), "-o", "-", **s3.environ()).out)
    (modified,) = (
        item["LastModified"]
        for item in s3.client.list_objects_v2(Bucket=s3.name)["Contents"]
        if item["Key"] == "team/net/2/net.xml"
    )
    assert f"version 2 · published {modified.day} {modified:%B %Y}" in page.text
    assert f"--model_path {s3.url('team/net')} \\" in page.text
    assert "things to know" not in page.text


def test_secrets_in_a_record_do_not_come_out(command: CommandLine, tmp_path: Path) -> None:
    source = record()["source"] | {"url": "https://me:pa55word@host/net.onnx?token=c0ffee"}
    facts = record(source=source, notes=["the key is wJalrXUtnFEMI"])
    done = command(
        "report", publish(tmp_path / "net", facts), "-o", "-", AWS_SECRET_ACCESS_KEY="wJalrXUtnFEMI"
    )
    assert "https://***@host/net.onnx?***" in done.out
    assert not [secret for secret in ("pa55word", "c0ffee", "wJalrXUtnFEMI") if secret in done.out]


@pytest.mark.parametrize("name", ["there-is-none/page.html", ""])
def test_a_file_that_cannot_be_is_refused_before_any_work(
    name: str, command: CommandLine, fake: FakePipeline, tmp_path: Path
) -> None:
    target = str(tmp_path / name)
    for argv in (("report", "s3://b/net", "-o", target), (*RUN, "--report", target)):
        done = command(*argv)
        assert done.code == 3
        assert f"the report `{target}`" in done.err
    assert not fake.requests


def test_what_is_not_published_leaves_the_old_page(command: CommandLine, tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    target.write_text("old")
    (tmp_path / "empty").mkdir()
    done = command("report", str(tmp_path / "empty"), "-o", str(target))
    assert done.code == 3
    assert target.read_text() == "old"


def test_a_run_tells_its_times(command: CommandLine, fake: FakePipeline, tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    done = command(*RUN, "--report", str(target))
    assert (done.code, done.out) == (0, "s3://b/net\n")
    assert "Fetch 0.50 s Convert 1.25 s" in Page(target.read_text()).text


def test_a_run_that_published_nothing_says_so(
    command: CommandLine, fake: FakePipeline, tmp_path: Path
) -> None:
    fake.dry_run, fake.published = True, False
    target = tmp_path / "page.html"
    command(*RUN, "--report", str(target))
    assert "this was a dry run, nothing was written" in Page(target.read_text()).text


def test_a_run_that_fails_writes_nothing(command: CommandLine, fake: FakePipeline, tmp_path: Path) -> None:
    fake.error = ModelError("no")
    assert command(*RUN, "--report", str(tmp_path / "page.html")).code == 5
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_the_url_comes_even_if_the_page_cannot_be_written(
    command: CommandLine, fake: FakePipeline, tmp_path: Path
) -> None:
    target = tmp_path / "page.html"
    fake.before = lambda: target.mkdir()
    done = command(*RUN, "--report", str(target))
    assert (done.code, done.out) == (3, "s3://b/net\n")
    assert f"the report `{target}` cannot be written" in done.err
    target.rmdir()
    document = command(*RUN, "--report", str(target), "--json").document
    assert (document["url"], document["error"]["kind"]) == ("s3://b/net", "location")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "results"]


def test_help_tells_where_it_goes(command: CommandLine) -> None:
    done = command("report", "--help")
    assert done.code == 0
    assert "[default: report.html]" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_real_run_and_a_later_look_tell_the_same(
    options: tuple[str, ...], command: CommandLine, tmp_path: Path
) -> None:
    from onnx import TensorProto, helper, save

    graph = helper.make_graph(
        [helper.make_node("Relu", ["<b>image"], ["scores"])],
        "net",
        [helper.make_tensor_value_info("<b>image", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 4])],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "net.onnx")
    url = str(tmp_path / "served")
    run, later = tmp_path / "run.html", tmp_path / "later.html"
    done = command("convert", str(tmp_path / "net.onnx"), url, "--report", str(run), *options)
    assert done.code == 0, done.err
    assert command("report", url, "-o", str(later)).code == 0
    facts = json.loads((tmp_path / "served" / "1" / "conversion.json").read_text())
    for page in (Page(run.read_text()), Page(later.read_text())):
        assert "<b>image f32 [?,4]" in page.text
        assert facts["fingerprint"] in page.text
        assert all(about["sha256"] in page.text for about in facts["files"].values())
        assert "b" not in page.names
    assert "Where the time went" in Page(run.read_text()).text
