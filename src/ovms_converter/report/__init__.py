"""The story of a conversion as one HTML file: for a person, on a screen or on paper, without a network.

story.py    what is told: the values of a record, and what a listing and a run add to them
page.py     the page, section by section
head.py     its head
charts.py   its pictures, as inline SVG
serving.py  the command that serves the model
markup.py   HTML in which a text cannot become markup
page.html, style.css  the frame and the looks

`story_of_version` or `story_of_run`, then `render`.
"""

from ovms_converter.report.page import render
from ovms_converter.report.story import Run, Story, story_of_run, story_of_version

__all__ = ["Run", "Story", "render", "story_of_run", "story_of_version"]
