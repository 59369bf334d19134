"""The files of the page at / are served whole, with headers that keep other code and other hosts out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from service.conftest import RunningServer

from colmodern.service.routes import page as route

ROOT = Path(route.__file__).parents[2]
FOLDER = ROOT / "service" / "page"


def test_every_file_is_served_and_nothing_else(server: RunningServer) -> None:
    files = {path.name for path in FOLDER.iterdir()} - {"index.html"}
    html = server.client.get("/")
    assert html.status_code == 200
    assert html.content == (FOLDER / "index.html").read_bytes()
    for name in files:
        answer = server.client.get(f"/page/{name}")
        assert answer.status_code == 200
        assert answer.content == (FOLDER / name).read_bytes()
    assert set(re.findall(r'(?:src|href)="page/([^"]+)"', html.text)) <= files
    for name in ("index.html", "nothing.js", "..%2Fpage.py", "%2e%2e/routes/page.py"):
        answer = server.client.get(f"/page/{name}")
        assert answer.status_code == 404
        assert answer.json()["error"]["cure"]


@pytest.mark.parametrize("path", ["/", "/page/page.js", "/page/page.css"])
def test_only_files_of_the_server_run(server: RunningServer, path: str) -> None:
    headers = server.client.get(path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "*" not in policy
    assert headers["x-content-type-options"] == "nosniff"


def test_scripts_never_make_markup_of_texts() -> None:
    for path in FOLDER.glob("*.js"):
        code = path.read_text("utf-8")
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert word not in code, f"{path.name}: {word}"
    everything = "".join(path.read_text("utf-8") for path in FOLDER.iterdir())
    hosts = set(re.findall(r"https?://([^/\"']+)", everything))
    assert hosts <= {"www.w3.org"}  # the name of SVG, which nobody fetches


def test_the_colours_are_those_of_the_reports() -> None:
    report = (ROOT / "report" / "page.html").read_text("utf-8")
    own = (FOLDER / "page.css").read_text("utf-8")
    variables = re.compile(r"(--[a-z]+): ([^;]+);")
    screen, _, _ = report.partition("@media print")
    assert variables.findall(own)[:18] == variables.findall(screen)[:18]
    for shade in range(11):
        rule = re.compile(rf"\.s{shade}[ ,][^{{]*{{ --a: ([0-9.]+)")
        [of_report], [of_page] = rule.findall(report), rule.findall(own)
        assert of_report == of_page
