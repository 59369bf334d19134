"""The page at / in a real browser, against a real server: it shows what the API answers, and no more."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from service.conftest import RunningServer

from colmodern import Collection, Encoder, PlaidIndex

HOSTILE_ID = "<img src=x onerror=alert(1)>"
HOSTILE_TEXT = (
    "A parser of dates </script><script>document.title='run'</script> <img src=x "
    "onerror=\"document.title='run'\"> \u202eright to left\u202c 🗂️👩‍🚀 é naïve. "
    "It reads a date string & a number."
)
RECORDS: list[dict[str, Any]] = [
    {"id": HOSTILE_ID, "title": "<b>Dates</b> 👩‍🚀", "text": HOSTILE_TEXT},
    {
        "id": "backup/1#?&%",
        "title": "Backups",
        "text": "The tool copies folders 🗂️ to another disk every night. It keeps the last seven copies and "
        "writes a log.\r\nTo restore a single file, name it and the day. " + "Then wait. " * 60,
    },
    {"id": "rename", "text": "To rename a single file, choose it and type another name."},
    {"id": "עברית", "title": "שלום", "text": "קובץ אחד בלבד. A single file."},
    *(
        {"id": f"d{i}", "text": f"Heat and speed of wing number {i} in the flow."}
        for i in range(20)
    ),
]
QUERY = "restore one file"
KEY = "a-key-of-thirty-two-characters-00"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, by Playwright."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs Playwright: pip install playwright"
    )
    program = os.environ.get("COLMODERN_CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if program is None:
        pytest.skip(
            "needs Chromium: apt-get install chromium, or name the program in COLMODERN_CHROMIUM"
        )
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Path:
    path = tmp_path_factory.mktemp("page") / "docs"
    with Collection.create(path, encoder) as collection:
        collection.add(RECORDS)
    return path


@pytest.fixture(scope="module")
def served(
    folder: Path, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    bare = tmp_path_factory.mktemp("bare") / "i"
    embeddings = encoder.encode_documents([record["text"] for record in RECORDS])
    PlaidIndex.build(embeddings, bare, [record["id"] for record in RECORDS])
    folders = {"docs": str(folder), "more": str(folder), "plain": str(bare)}
    running = RunningServer(encoder, indexes=folders)
    yield running
    running.close()


class Visit:
    """A page of the browser; it notes requests, errors of scripts and of the console, and dialogs."""

    def __init__(self, browser: Any, url: str, **context: Any) -> None:
        self.context = browser.new_context(
            **{"viewport": {"width": 1000, "height": 800}, **context}
        )
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.faults: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on(
            "console",
            lambda message: self.faults.append(message.text) if message.type == "error" else None,
        )
        self.page.on("dialog", lambda dialog: (self.faults.append("dialog"), dialog.dismiss()))
        self.url = url

    def search(self, query: str) -> None:
        self.page.fill("#query", query)
        self.page.keyboard.press("Enter")
        self.wait_for_title(query)
        self.wait_for_results()

    def wait_for_results(self) -> None:
        self.page.wait_for_selector("#results:not(.stale) .result")

    def wait_for_title(self, text: str) -> None:
        for _ in range(1000):  # the page's policy forbids functions that wait by themselves
            if text in self.page.title():
                return
            self.page.wait_for_timeout(20)
        raise AssertionError(f"the title stayed {self.page.title()!r}")

    def marks(self, selector: str) -> list[str]:
        return self.page.locator(f"{selector} mark").all_text_contents()

    def texts(self, selector: str) -> list[str]:
        return self.page.locator(selector).all_text_contents()


@pytest.fixture
def visit(browser: Any, served: RunningServer) -> Iterator[Visit]:
    """A visit without any fault: no error of a script, and no request to another host."""
    made = Visit(browser, served.url)
    made.page.goto(served.url)
    made.page.wait_for_selector("#index option", state="attached")
    yield made
    made.context.close()
    assert made.faults == []
    assert all(url.startswith(f"{served.url}/") for url in made.requests)


def answer(served: RunningServer, query: str, path: str = "search", **body: Any) -> Any:
    body = {"queries": query, **body} if path == "search" else {"query": query, **body}
    response = served.client.post(f"/v1/indexes/docs/{path}", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def passages(text: str, spans: list[dict[str, Any]]) -> list[str]:
    return [text[span["start"] : span["end"]] for span in spans]


def test_typing_a_query_shows_the_results_of_the_api(visit: Visit, served: RunningServer) -> None:
    visit.search(QUERY)
    hits = answer(served, QUERY)["results"][0]["hits"]
    assert visit.texts(".result .name") == [hit["title"] or hit["id"] for hit in hits]
    assert visit.texts(".result .score") == [f"{hit['score']:.2f}" for hit in hits]
    assert visit.texts(".result .rank") == [str(hit["rank"]) for hit in hits]
    for number, hit in enumerate(hits, 1):
        marked = visit.marks(f".result:nth-child({number}) .snippet")
        # \r\n is one line end in a page's text
        assert marked == passages(hit["text"], hit["spans"]), hit["id"]
        assert visit.marks(f".result:nth-child({number}) .name") == passages(
            hit["title"], hit["title_spans"]
        )
    assert any("restore a single file" in " ".join(visit.marks(".snippet")) for _ in hits)
    assert "10 results in" in visit.page.inner_text("#status")
    assert len(visit.page.inner_text(".result:nth-child(1) .snippet")) < 600


def test_a_result_is_explained_by_keyboard(visit: Visit, served: RunningServer) -> None:
    visit.page.keyboard.press("Tab")  # away from the query
    visit.page.keyboard.press("/")
    assert visit.page.evaluate("document.activeElement.id") == "query"
    visit.page.keyboard.type(QUERY)
    visit.page.keyboard.press("Enter")
    visit.wait_for_title(QUERY)
    visit.wait_for_results()
    visit.page.keyboard.press("ArrowDown")
    visit.page.keyboard.press("ArrowDown")
    visit.page.keyboard.press("ArrowUp")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert visit.page.evaluate(outline) == "solid"  # the focus is seen
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector(".result:nth-child(1) .explanation .heat")
    first = answer(served, QUERY)["results"][0]["hits"][0]
    explained = answer(served, QUERY, "explain", doc_id=first["id"])
    shown = explained["heat_map"]
    assert visit.texts(".heat thead th") == shown["document_words"]
    assert visit.texts(".heat tbody th") == shown["query_words"]
    best = [max(row) for row in shown["similarities"]]
    cells = visit.texts(".heat .best")
    assert [float(cell.replace(".", "0.", 1)) for cell in cells] == pytest.approx(best, abs=0.006)
    assert visit.texts(".stages tbody th") != []
    assert visit.marks(".explanation .text") == passages(explained["text"], explained["spans"])
    text = visit.page.eval_on_selector(".explanation .text", "e => e.textContent")
    assert text == explained["text"]
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector(".explanation", state="detached")
    visit.page.keyboard.press("Escape")
    assert visit.page.evaluate("document.activeElement.id") == "query"


def test_an_absent_document_is_explained(visit: Visit) -> None:
    visit.search(QUERY)
    hits = visit.texts(".result .name")
    absent = next(f"d{i}" for i in range(20) if f"d{i}" not in hits)
    visit.page.click("#absent summary")
    visit.page.fill("#absent-id", absent)
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector("#absent-explanation .stages .lost")
    reason = visit.page.inner_text("#absent-explanation .doc")
    assert "raise" in reason
    assert "Score" in reason
    visit.page.reload()  # the address holds the query and the document
    visit.page.wait_for_selector("#absent-explanation .stages .lost")
    assert visit.page.input_value("#absent-id") == absent
    visit.faults.clear()
    visit.page.fill("#absent-id", "nowhere <b>")
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector("#absent-explanation [role=alert]")
    shown = visit.page.inner_text("#absent-explanation")
    assert "nowhere <b>" in shown
    assert "check the id" in shown
    visit.faults[:] = [fault for fault in visit.faults if "404" not in fault]


def test_hostile_ids_and_texts_stay_text(visit: Visit, served: RunningServer) -> None:
    visit.search("a parser of dates that reads a number")
    assert visit.texts(".result:nth-child(1) .id") == [HOSTILE_ID]
    visit.page.click(".result:nth-child(1) > button")
    visit.page.wait_for_selector(".result:nth-child(1) .heat")
    assert visit.page.eval_on_selector(".explanation .text", "e => e.textContent") == HOSTILE_TEXT
    assert visit.page.locator("img, b, iframe").count() == 0
    assert visit.page.locator("script").count() == 1  # the page's own
    assert visit.page.title().startswith("a parser of dates")
    visit.search("<img src=x onerror=alert(1)></script>")
    assert visit.page.locator("img").count() == 0
    visit.search("קובץ אחד")
    assert visit.texts(".result:nth-child(1) .id") == ["עברית"]


def test_an_address_is_shared_and_the_back_button_works(
    visit: Visit, served: RunningServer
) -> None:
    visit.search(QUERY)
    visit.search("heat of a wing")
    assert "heat" in visit.page.title()
    visit.page.go_back()
    visit.wait_for_title(QUERY)
    visit.wait_for_results()
    assert visit.page.input_value("#query") == QUERY
    visit.page.click(".result:nth-child(1) > button")
    visit.page.wait_for_selector(".heat")
    address = visit.page.url
    other = visit.context.new_page()
    other.goto(address)
    other.wait_for_selector(".result:nth-child(1) .heat")
    assert other.input_value("#query") == QUERY
    other.goto(f"{served.url}/#q=file&index=more&k=3")
    other.wait_for_selector(".result:nth-child(3):last-child")
    assert other.input_value("#index") == "more"
    assert other.input_value("#k") == "3"


def test_an_error_is_shown_with_its_cure(visit: Visit, served: RunningServer) -> None:
    visit.page.goto(f"{served.url}/#q=file&index=nowhere")
    visit.page.reload()
    visit.page.wait_for_selector("#error:not([hidden])")
    shown = visit.page.inner_text("#error")
    assert "nowhere" in shown
    assert "docs, more, plain" in shown
    visit.faults[:] = [fault for fault in visit.faults if "404" not in fault]
    visit.page.select_option("#index", "docs")
    visit.search("file")
    assert visit.page.is_hidden("#error")
    visit.page.goto(f"{served.url}/#q=file&index=docs&k=100000")
    visit.page.wait_for_selector("#error:not([hidden])")
    assert "ask for at most" in visit.page.inner_text("#error")
    assert visit.texts(".result") == []
    visit.faults[:] = [fault for fault in visit.faults if "422" not in fault]


def test_a_server_that_is_gone_or_not_ready_is_named(visit: Visit) -> None:
    visit.page.route("**/search", lambda route: route.abort())
    visit.page.fill("#query", QUERY)
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector("#error:not([hidden])")
    assert "the server does not answer" in visit.page.inner_text("#error")
    visit.page.unroute("**/search")
    body = '{"error": {"code": "not_ready", "message": "the server loads", "cure": "wait"}}'
    visit.page.route("**/search", lambda route: route.fulfill(status=503, body=body))
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector("#error:has-text('the server loads')")
    visit.page.unroute("**/search")
    visit.wait_for_results()  # the page asks again by itself
    visit.faults.clear()  # the failures of this test


def test_an_index_without_texts_shows_ids_and_tokens(visit: Visit, served: RunningServer) -> None:
    visit.page.goto(f"{served.url}/#q=rename+a+file&index=plain")
    visit.wait_for_results()
    assert "rename" in visit.texts(".result .name")
    assert visit.texts(".snippet") == []
    visit.page.click(".result:nth-child(1) > button")
    visit.page.wait_for_selector(".result:nth-child(1) .heat")
    assert visit.texts(".explanation .text") == []
    assert "file" in visit.texts(".heat tbody th")


def test_a_result_shows_its_best_passage(browser: Any, encoder: Encoder, tmp_path: Path) -> None:
    split = encoder.with_settings(overflow="split", document_length=24, overlap=4)
    text = "🗂️ Copy a folder. " * 20 + "Restore it from the tape. " + "Then rest. " * 20
    with Collection.create(tmp_path / "long", split, passages="best") as collection:
        collection.add([("guide", text)])
        [hit] = collection.search("restore from the tape")
    running = RunningServer(split, indexes={"long": str(tmp_path / "long")})
    visit = Visit(browser, running.url)
    try:
        visit.page.goto(f"{running.url}/#q=restore+from+the+tape&index=long")
        visit.wait_for_results()
        start, end = hit.characters
        [line] = visit.texts(".result .passage")
        assert line == f"passage {hit.passage + 1}, characters {start} to {end}"
        [snippet] = visit.texts(".result .snippet")
        assert snippet.split(" … ")[0].strip() in text[start:end]
        assert "Restore it from the tape" in snippet
        assert visit.marks(".snippet") == list(hit.passages)
        visit.page.click("#facts summary")
        visit.page.wait_for_selector("#facts-rows tr")
        assert "their best passage" in visit.page.inner_text("#facts-rows")
        assert visit.faults == []
    finally:
        visit.context.close()
        running.close()


def test_facts_of_the_index_are_shown(visit: Visit, served: RunningServer) -> None:
    facts = served.client.get("/v1/indexes/docs").json()
    visit.page.click("#facts summary")
    visit.page.wait_for_selector("#facts-rows tr")
    shown = visit.page.inner_text("#facts-rows")
    assert f"documents\t{len(RECORDS)}" in shown
    assert facts["index_version"][:16] in shown
    assert "colmodern/tiny" in shown


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_never_scrolls_sideways(browser: Any, served: RunningServer, scheme: str) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": scheme}
    visit = Visit(browser, served.url, **phone)
    visit.page.goto(f"{served.url}/#q=restore+one+file&index=docs&doc=backup%2F1%23%3F%26%25")
    visit.page.wait_for_selector(".heat")
    visit.page.click("#absent summary")
    visit.page.click("#facts summary")
    root = "document.documentElement"
    assert visit.page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
    paper = visit.page.evaluate(f"getComputedStyle({root}.querySelector('body')).backgroundColor")
    assert paper == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(18, 22, 29)")
    visit.context.close()


def test_a_key_is_asked_for_and_kept_in_the_tab(
    browser: Any, folder: Path, encoder: Encoder, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n")
    keys.chmod(0o600)
    running = RunningServer(encoder, indexes={"docs": str(folder)}, api_key_file=str(keys))
    visit = Visit(browser, running.url)
    try:
        visit.page.goto(f"{running.url}/#q=file&index=docs")
        visit.page.wait_for_selector("#key:not([hidden])")
        visit.page.fill("#key-input", "wrong")
        visit.page.keyboard.press("Enter")
        visit.page.wait_for_selector("#key:not([hidden])")
        visit.page.fill("#key-input", KEY)
        visit.page.keyboard.press("Enter")
        visit.wait_for_results()
        assert visit.page.is_hidden("#key")
        assert KEY not in visit.page.url
        assert visit.page.evaluate("localStorage.length") == 0
        visit.page.reload()
        visit.wait_for_results()
        visit.page.click("#forget-key")
        visit.page.wait_for_selector("#key:not([hidden])")
        assert visit.page.evaluate("sessionStorage.length") == 0
    finally:
        visit.context.close()
        running.close()
