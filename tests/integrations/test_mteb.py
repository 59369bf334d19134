"""mteb itself evaluates a model of ours on a small local task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import CORPUS, QUERIES

from colmodern import Encoder, ExactIndex, evaluate
from colmodern.config.index import PlaidIndexConfig
from colmodern.errors import InputError
from colmodern.integrations.mteb import MtebModel
from colmodern.progress import Silent

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

JUDGED = {"q1": {"d1": 2}, "q2": {"d2": 1, "d6": 0}, "q3": {"d3": 1}}


def table(records: list[dict[str, Any]]) -> Any:
    from datasets import Dataset

    return Dataset.from_list(
        [{"id": r["_id"], **{k: v for k, v in r.items() if k != "_id"}} for r in records]
    )


def small_task(mteb: Any) -> Any:
    """The small collection of conftest.py as a task; mteb takes seconds to load."""

    class Small(mteb.abstasks.AbsTaskRetrieval):
        metadata = mteb.TaskMetadata(
            name="SmallRetrieval",
            dataset={"path": "local/small", "revision": "1"},
            description="Six documents.",
            reference=None,
            type="Retrieval",
            category="t2t",
            modalities=["text"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
            date=None,
            domains=None,
            task_subtypes=None,
            license=None,
            annotations_creators=None,
            dialect=None,
            sample_creation=None,
            bibtex_citation=None,
        )

        def load_data(self, **options: Any) -> None:
            split = {
                "corpus": table(CORPUS),
                "queries": table([q for q in QUERIES if q["_id"] in JUDGED]),
                "relevant_docs": JUDGED,
                "top_ranked": None,
            }
            self.dataset = {"default": {"test": split}}
            self.data_loaded = True

    return Small()


class Steps(Silent):
    """Keeps which tasks began."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    def start(self, task: str, total: int, *, unit: str, done: int = 0) -> None:
        self.begun.append(task)


@pytest.fixture
def encoder(pylate_bert: Path) -> Encoder:
    return Encoder.from_pretrained(pylate_bert, device="cpu")


def scores(model: MtebModel) -> dict[str, float]:
    mteb = pytest.importorskip("mteb", reason="the extra mteb is not installed")
    task = small_task(mteb)
    [result] = mteb.evaluate(model, task, cache=None, show_progress_bar=False).task_results
    [found] = result.scores["test"]
    return found


def test_mteb_gives_the_scores_of_our_own_evaluation(encoder: Encoder, tmp_path: Path) -> None:
    found = scores(MtebModel(encoder, tmp_path, index=PlaidIndexConfig(rescore=True)))
    texts = [f"{document['title']} {document['text']}".strip() for document in CORPUS]
    exact = ExactIndex(encoder.encode_documents(texts), [d["_id"] for d in CORPUS])
    run = {
        q["_id"]: exact.search(encoder.encode_queries([q["text"]])[0], 6)
        for q in QUERIES
        if q["_id"] in JUDGED
    }
    ours = evaluate(run, JUDGED, ["nDCG@10", "AP@1000", "R@1"]).mean
    assert found["ndcg_at_10"] == pytest.approx(ours["nDCG@10"], abs=1e-4)  # mteb rounds
    assert found["map_at_1000"] == pytest.approx(ours["AP@1000"], abs=1e-4)
    assert found["recall_at_1"] == pytest.approx(ours["R@1"], abs=1e-4)


def test_a_second_evaluation_only_searches(encoder: Encoder, tmp_path: Path) -> None:
    steps = Steps()
    first = scores(MtebModel(encoder, tmp_path, progress=steps))
    assert {"encode documents", "compress", "search"} <= set(steps.begun)
    steps.begun.clear()
    assert scores(MtebModel(encoder, tmp_path, progress=steps)) == first
    assert not {"encode documents", "compress"} & set(steps.begun)
    # another budget, same index
    steps.begun.clear()
    scores(MtebModel(encoder, tmp_path, index=PlaidIndexConfig(nprobe=1), progress=steps))
    assert not {"encode documents", "compress"} & set(steps.begun)
    scores(MtebModel(encoder, tmp_path, index=PlaidIndexConfig(nbits=1), progress=steps))
    assert "compress" in steps.begun
    assert "encode documents" not in steps.begun


def test_results_are_filed_under_every_setting(encoder: Encoder, tmp_path: Path) -> None:
    pytest.importorskip("mteb", reason="the extra mteb is not installed")
    plain = MtebModel(encoder, tmp_path).mteb_model_meta
    other = MtebModel(encoder, tmp_path, index=PlaidIndexConfig(nbits=1)).mteb_model_meta
    assert plain.name.startswith("colmodern/")
    assert plain.name == other.name
    assert plain.revision != other.revision
    assert MtebModel(encoder, tmp_path / "x").mteb_model_meta.revision == plain.revision


def test_reranking_scores_the_given_documents_only(encoder: Encoder, tmp_path: Path) -> None:
    model = MtebModel(encoder, tmp_path)
    model.index(table(CORPUS))
    queries = table(QUERIES[:2])
    all_found = model.search(queries, top_k=1000)
    found = model.search(queries, top_k=10, top_ranked={"q1": ["d3", "d1"], "q2": []})
    assert set(found["q1"]) == {"d1", "d3"}
    assert found["q2"] == {}
    for doc_id, score in found["q1"].items():
        assert score == pytest.approx(all_found["q1"][doc_id], abs=1e-4)


def test_what_is_not_plain_text_is_refused(encoder: Encoder, tmp_path: Path) -> None:
    model = MtebModel(encoder, tmp_path)
    with pytest.raises(InputError, match="nothing is indexed"):
        model.search(table(QUERIES), top_k=10)
    with pytest.raises(InputError, match="corpus has no column text"):
        model.index(table([{"_id": "d1", "image": "x"}]))
    model.index(table(CORPUS))
    with pytest.raises(InputError, match="they have instructions"):
        model.search(table([{**QUERIES[0], "instruction": "find it"}]), top_k=10)
    with pytest.raises(InputError, match="'q9' is not text"):
        model.search(table([{"_id": "q9", "text": ["turn", "turn"]}]), top_k=10)
