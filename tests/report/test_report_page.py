"""The page of a report: what it tells, and that nothing in it is anything but text."""

import base64
import hashlib
import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovms_converter.engine.job import Timing
from ovms_converter.events import Stage
from ovms_converter.report import Run, Story, render, story_of_run, story_of_version
from published import HOSTILE, Page, publish, record


def told(facts: dict[str, Any], url: str = "s3://models/net", run: Run | None = None) -> Story:
    return story_of_run(facts, url, 3, run or Run({}, 1.0))


def page_of(facts: dict[str, Any], url: str = "s3://models/net", run: Run | None = None) -> Page:
    return Page(render(told(facts, url, run)))


def test_what_a_record_holds_is_on_the_page() -> None:
    text = page_of(record()).text
    for fact in (
        "net", "version 3", "s3://models/run42/net.onnx", "An ONNX model",
        "net.onnx begins as an ONNX model does",
        "2.00 kB", "1.00 kB", "50 % smaller", "ab" * 32, "cd" * 32, "ef" * 32,
        "image f32 [?,3,224,224]", "scores i64 [?,10]", "batch 4 environment", "data_type FP16 command line",
        "Equal to ONNX Runtime 1.20.0 on 16 samples.", "scores 3.5e-06 0 0.5000000",
        "the model has a scalar input", "OpenVINO 2023.3", "0.1.0", "2026.4.1", f"sha256:{'12' * 32}",
    ):  # fmt: skip
        assert fact in text, fact


def test_the_times_of_a_run_are_told_and_drawn() -> None:
    run = Run({Stage.FETCH: 0.5, Stage.CONVERT: 2.0}, 2.25)
    page = page_of(record(), run=run)
    assert "Fetch 0.50 s Convert 2.00 s 2.25 s in all" in page.text
    widths = [about["width"] for name, about in page.elements if about.get("class") == "bar"]
    assert widths[:2] == ["100.00%", "50.00%"]  # sizes
    assert widths[-2:] == ["25.00%", "100.00%"]  # times


def test_a_difference_too_small_for_any_scale_is_drawn() -> None:
    """The smallest number that there is: no power of ten of the axis is that small."""
    tiny = [{"name": "y", "max_abs": 5e-324, "max_rel": 5e-324, "cosine": 1.0}]
    assert "4.9e-324" in page_of(record(comparison=tiny)).text


def test_timings_are_told_and_drawn() -> None:
    timings = (
        Timing("ONNX Runtime 1.20.0", 0.5, (0.004, 0.005, 0.006, 0.5)),
        Timing("OpenVINO 2026.4.1", 1.0, (0.001, 0.002, 0.003)),
    )
    page = page_of(record(), run=Run({}, 1.0, timings=timings))
    assert "Time to load ONNX Runtime 1.20.0 0.50 s OpenVINO 2026.4.1 1.00 s" in page.text
    assert "ONNX Runtime 1.20.0 5.50 ms OpenVINO 2026.4.1 2.00 ms" in page.text
    assert "4 answers" in page.text
    assert "How fast it is" not in page_of(record()).text


def test_answers_that_take_no_time_can_be_drawn() -> None:
    run = Run({}, 1.0, timings=(Timing("OpenVINO", 0.0, (0.0, 0.0)),))
    assert "2 answers" in page_of(record(), run=run).text


def test_operations_before_and_after() -> None:
    text = page_of(record()).text
    assert "Before: 102 operations Conv 53 Relu 49" in text
    assert "After: 103 operations Convolution 53 ReLU 49 Add 1" in text
    many = {"source": {f"Op{index}": 100 - index for index in range(20)}, "result": {"Add": 1}}
    text = page_of(record(operations=many)).text
    assert "Op7 93 12 other types 1,038" in text
    assert "After: 1 operation Add 1" in text
    assert "Operations" not in page_of(record(operations={})).text


def test_without_a_run_no_time_is_told(tmp_path: Path) -> None:
    url = publish(tmp_path / "net", record())
    page = Page(render(story_of_version(url, {}, dict)))
    assert "Where the time went" not in page.text
    assert "Took" not in page.text


def test_a_difference_ten_times_larger_is_a_step_to_the_right() -> None:
    comparison = [
        {"name": str(power), "max_abs": 10.0**power, "max_rel": 0.0, "cosine": 1.0} for power in range(-6, -2)
    ]
    page = page_of(record(comparison=comparison))
    places = [
        float(str(about["cx"]).rstrip("%"))
        for _, about in page.elements
        if about.get("class") == "disc" and about["cx"] != "50%"
    ]
    steps = [right - left for left, right in itertools.pairwise(places)]
    assert len(steps) == 3
    assert steps == pytest.approx([steps[0]] * 3, abs=0.02)
    assert steps[0] > 5


def test_parameters_without_effect_are_named_with_the_reason() -> None:
    parameters = {"silent": {"value": "true", "origin": "flag"}}
    text = page_of(record(parameters=parameters)).text
    assert "Accepted, and changing nothing silent : use the flag --quiet" in text


def test_an_mlflow_artifact_is_named() -> None:
    source = record()["source"] | {"mlflow": {"run_id": "c0ffee", "model_uuid": None}}
    text = page_of(record(source=source)).text
    assert "MLflow artifact: run_id c0ffee" in text
    assert "model_uuid" not in text


@pytest.mark.parametrize(
    ("verification", "comparison", "verdict"),
    [
        ("equal to ONNX Runtime", record()["comparison"], "✓ Compared with its source"),
        ("loaded, compiled and run on CPU", [], "✓ Loaded"),
        ("not verified: switched off", [], "✗ No"),
    ],
)
def test_the_verdict_does_not_say_more_than_was_done(
    verification: str, comparison: list[object], verdict: str
) -> None:
    text = page_of(record(verification=verification, comparison=comparison)).text
    assert f"Verified {verdict} {verification}" in text


def test_it_asks_for_nothing_and_runs_nothing() -> None:
    page = page_of(record(), run=Run({Stage.FETCH: 1.0}, 1.0))
    assert page.open == []
    assert not page.names & {
        "script",
        "img",
        "iframe",
        "object",
        "embed",
        "a",
        "form",
        "base",
        "use",
        "image",
    }
    assert [about["href"] for name, about in page.elements if name == "link"] == ["data:,"]
    assert not {key for _, about in page.elements for key in about} & {"src", "style", "srcset", "xlink:href"}
    assert "@import" not in page.html
    assert "url(" not in page.html


def test_the_browser_is_told_to_ask_for_nothing() -> None:
    html = render(told(record()))
    (style,) = re.findall("<style>(.*?)</style>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = re.findall('Content-Security-Policy" content="([^"]*)"', html)
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:"


def test_a_hostile_record_stays_text(tmp_path: Path) -> None:
    port = {"name": HOSTILE, "type": HOSTILE, "shape": HOSTILE}
    facts = record(
        fingerprint=HOSTILE,
        source={
            "url": HOSTILE, "format": HOSTILE, "evidence": f"`{HOSTILE}` {HOSTILE}",
            "files": [{"path": HOSTILE, "size": 1, "sha256": HOSTILE}], "mlflow": {HOSTILE: HOSTILE},
        },
        parameters={HOSTILE: {"value": HOSTILE, "origin": HOSTILE}},
        without_effect=[HOSTILE],
        versions={HOSTILE: HOSTILE},
        minimum_openvino=HOSTILE,
        inputs=[port],
        outputs=[port],
        verification=HOSTILE,
        comparison=[{"name": HOSTILE, "max_abs": 1, "max_rel": 1, "cosine": 1}],
        notes=[HOSTILE],
        files={HOSTILE: {"size": 1, "sha256": HOSTILE}},
    )  # fmt: skip
    clean = page_of(record(source=record()["source"] | {"mlflow": {"a": "b"}}, without_effect=["silent"]))
    page = page_of(facts, url="./<b>$id")
    page.html.encode()
    assert page.open == []
    assert page.names == clean.names
    assert (
        page.text.count("<script>alert('1')</script><img src=x onerror=\"alert(2)\">&amp;$style ${title}")
        > 20
    )
    assert not re.search("[\u202e\x00\ud800]", page.html)
    keys = {key for _, about in clean.elements for key in about}
    assert {key for _, about in page.elements for key in about} <= keys


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_record_makes_a_page(data: st.DataObject) -> None:
    facts = record()
    for name in facts:
        if data.draw(st.booleans()):
            facts[name] = data.draw(_JSON)
    facts["comparison"] = data.draw(
        st.lists(st.fixed_dictionaries({"max_abs": _JSON | st.floats(), "max_rel": st.floats()}), max_size=3)
    )
    page = page_of(facts)
    page.html.encode()
    assert page.open == []


def test_what_lies_there_now_is_compared_by_size(tmp_path: Path) -> None:
    url = publish(tmp_path / "net", record())
    (tmp_path / "net" / "1" / "net.bin").write_bytes(b"short")
    (tmp_path / "net" / "1" / "net.xml").unlink()
    text = Page(render(story_of_version(f"{url}/1", {}, dict))).text
    assert "3 things to know" in text
    assert "net.bin is not what was published: its size in bytes is 5 now" in text
    assert "net.xml is not what was published: it is not there any more" in text
