"""A version on disk with a record that a test writes, and a reader of pages."""

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

HOSTILE = "<script>alert('1')</script><img src=x onerror=\"alert(2)\">&amp;$style ${title} \u202e\x00\ud800"
"""A name that tries to be markup, a template's variable, and what no file can hold."""


def record(**changes: Any) -> dict[str, Any]:
    """A whole record of a small model."""
    whole = {
        "schema": "ovms-converter/conversion/1",
        "fingerprint": f"sha256:{'12' * 32}",
        "source": {
            "url": "s3://models/run42/net.onnx",
            "format": "onnx",
            "evidence": "`net.onnx` begins as an ONNX model does",
            "files": [{"path": "net.onnx", "size": 2000, "sha256": "ab" * 32}],
        },
        "parameters": {
            "batch": {"value": "4", "origin": "environment"},
            "data_type": {"value": "FP16", "origin": "flag"},
        },
        "versions": {"ovms_converter": "0.1.0", "openvino": "2026.4.1"},
        "minimum_openvino": "2023.3",
        "inputs": [{"name": "image", "type": "f32", "shape": "[?,3,224,224]"}],
        "outputs": [{"name": "scores", "type": "i64", "shape": "[?,10]"}],
        "verification": "equal to ONNX Runtime 1.20.0 on 16 samples",
        "operations": {
            "source": {"Conv": 53, "Relu": 49},
            "result": {"Convolution": 53, "ReLU": 49, "Add": 1},
        },
        "comparison": [{"name": "scores", "max_abs": 3.5e-6, "max_rel": 0.0, "cosine": 0.5}],
        "notes": ["the model has a scalar input"],
        "files": {
            "net.bin": {"size": 600, "sha256": "cd" * 32},
            "net.xml": {"size": 400, "sha256": "ef" * 32},
        },
    }
    return whole | changes


def publish(repository: Path, facts: dict[str, Any], number: int = 1) -> str:
    """Write a version whose files have the sizes of its record; the repository as text."""
    version = repository / str(number)
    version.mkdir(parents=True)
    (version / "conversion.json").write_text(json.dumps(facts))
    for name, about in facts["files"].items():
        (version / name).write_bytes(b"x" * about["size"])
    return str(repository)


@dataclass
class Page(HTMLParser):
    """A page as a browser reads it: elements with their attributes, and the text outside of the style."""

    html: str
    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.feed(self.html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"`{tag}` ends where it does not"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.pieces.append(data)

    @property
    def text(self) -> str:
        """All text, with single spaces."""
        return " ".join(" ".join(self.pieces).split())

    @property
    def names(self) -> set[str]:
        """The names of all elements."""
        return {name for name, _ in self.elements}
