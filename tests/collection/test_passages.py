"""Collections that rank long documents by their passages."""

from __future__ import annotations

from pathlib import Path

import pytest

from colmodern import Collection, Encoder
from colmodern.collection.manifest import read_manifest
from colmodern.encoder.passages import encode_passages
from colmodern.errors import ConfigError, InputError

RECORDS = [
    {
        "id": "guide#1",
        "title": "The guide",
        "text": "Copy a folder every night. " * 6
        + "Restore it from the tape. "
        + "Then rest. " * 12,
        "year": 2021,
    },
    {"id": "note", "text": "Nothing of this is about the tape drive.", "year": 2019},
    {"id": "empty", "text": "", "year": 2020},
]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.from_pretrained(
        "colmodern/tiny", device="cpu", overflow="split", document_length=24, overlap=4
    )


@pytest.fixture
def collection(encoder: Encoder, tmp_path: Path) -> Collection:
    made = Collection.create(tmp_path / "c", encoder, passages="best", device="cpu")
    made.add(RECORDS)
    return made


def test_hits_are_documents_and_name_their_best_passage(collection: Collection) -> None:
    assert list(collection) == ["guide#1", "note", "empty"]
    assert len(collection) == 3
    first = collection.search("restore from the tape", k=3)[0]
    assert first.doc_id == "guide#1"
    assert first.text == RECORDS[0]["text"]
    start, end = first.characters
    assert "Restore it from the tape" in first.text[start:end]
    assert end - start < 150
    assert first.passage > 0
    assert all(start <= span.start < span.end <= end for span in first.spans)
    assert first._replace(rank=5).passage == first.passage
    assert collection.search(["restore", "note"], k=3)[0][0].passage is not None
    assert [hit.characters for hit in collection.search("x", k=3) if hit.doc_id == "empty"] == [
        None
    ]


def test_characters_of_the_first_passage_begin_in_the_text(collection: Collection) -> None:
    hits = collection.search("The guide", k=3)
    hit = next(hit for hit in hits if hit.doc_id == "guide#1" and hit.passage == 0)
    assert hit.characters[0] == 0  # its title stands before
    assert hit.title_spans


def test_filters_pages_and_reranking_are_of_documents(collection: Collection) -> None:
    hits = collection.search("the tape", k=3, filter={"year": {"gte": 2020}})
    assert {hit.doc_id for hit in hits} == {"guide#1", "empty"}
    hits = collection.search("the tape", k=3, filter=["note"])
    assert [hit.doc_id for hit in hits] == ["note"]
    whole = collection.search("the tape", k=3)
    assert collection.search("the tape", k=1, offset=1)[0].doc_id == whole[1].doc_id
    ranked = collection.rerank("the tape", [hit.doc_id for hit in whole])
    assert [hit.doc_id for hit in ranked] == [hit.doc_id for hit in whole]
    assert [hit.passage for hit in ranked] == [hit.passage for hit in whole]
    assert ranked[0].score == pytest.approx(whole[0].score, abs=0.1)
    with pytest.raises(InputError, match="a PassageIndex groups by document"):
        collection.search("the tape", group_by="year")


def test_a_sum_is_of_all_passages(encoder: Encoder, tmp_path: Path) -> None:
    total = Collection.create(tmp_path / "sum", encoder, passages="sum", device="cpu")
    total.add(RECORDS)
    assert total.search("drive", k=3)[0].doc_id == "guide#1"  # it has the most passages
    assert total.info()["passages"] == "sum"


def test_an_explanation_is_of_the_best_passage(collection: Collection) -> None:
    hit = collection.search("restore from the tape", k=1)[0]
    explanation = collection.explain("restore from the tape", "guide#1")
    assert explanation.doc_id == f"guide#1#{hit.passage}"
    assert explanation.score == pytest.approx(hit.score, abs=1e-3)
    with pytest.raises(InputError, match="not in the collection"):
        collection.explain("restore", "guide")


def test_a_changed_document_keeps_no_passage_of_its_old_text(collection: Collection) -> None:
    collection.update([{"id": "guide#1", "text": "Short now.", "year": 2024}])
    passages = collection._state.index.doc_ids
    assert [passage for passage in passages if passage.startswith("guide")] == ["guide#1#0"]
    hits = collection.search("restore from the tape", k=3, filter={"year": 2024})
    assert [hit.text for hit in hits] == ["Short now."]
    assert collection.delete(["guide#1"]) == 1
    assert "guide#1" not in collection
    again = Collection.open(collection.folder, read_only=True, device="cpu")
    assert list(again) == ["note", "empty"]
    again.check()


def test_embeddings_of_passages_give_what_their_texts_do(
    collection: Collection, encoder: Encoder, tmp_path: Path
) -> None:
    changed = [{"id": "note", "title": "Note", "text": "Rest. " * 40}, ("new", "Copy it.")]
    texts, ids = collection.model_texts(changed), ["note", "new"]
    embeddings = encode_passages(encoder, texts, ids, spans=True)
    other = Collection.create(tmp_path / "other", encoder, passages="best", device="cpu")
    other.add(RECORDS)
    other.update(changed)
    collection.update(changed, embeddings=embeddings)
    assert collection._state.index.doc_ids == other._state.index.doc_ids
    expected = [(hit, hit.characters) for hit in other.search("rest", k=5)]
    assert [(hit, hit.characters) for hit in collection.search("rest", k=5)] == expected
    reranked = collection.rerank("rest", ids, embeddings=embeddings)
    assert reranked == collection.rerank("rest", ids)
    assert [hit.passage for hit in reranked] == [
        hit.passage for hit in collection.rerank("rest", ids)
    ]
    version = collection.version
    values, passages = embeddings
    for wrong in (
        (values, passages[1:]),
        (values[1:], passages),
        (values, passages[::-1]),
        encode_passages(encoder, texts, ["note", "old"], spans=True),
    ):
        with pytest.raises(InputError, match="not those of the 2 documents; pass what encode_pa"):
            collection.update(changed, embeddings=wrong)
    with pytest.raises(InputError, match="need the characters"):
        collection.update(changed, embeddings=encode_passages(encoder, texts, ids))
    with pytest.raises(InputError, match="is not the id of a passage"):
        collection.update(changed, embeddings=(values, ["note"] * len(passages)))
    assert collection.version == version


def test_earlier_versions_refuse_such_a_collection(
    collection: Collection, encoder: Encoder, tmp_path: Path
) -> None:
    assert '"version": 3' in (collection.folder / "manifest.json").read_text()
    assert read_manifest(collection.folder).passages == "best"
    plain = Collection.create(tmp_path / "plain", encoder, device="cpu")
    assert '"passages"' not in (plain.folder / "manifest.json").read_text()


def test_what_has_no_passages_is_refused(
    collection: Collection, encoder: Encoder, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="so that they have no passages; set overflow to split"):
        Collection.create(tmp_path / "x", "colmodern/tiny", passages="best", device="cpu")
    with pytest.raises(InputError, match="passages='mean'"):
        Collection.create(tmp_path / "x", encoder, passages="mean")
    assert not (tmp_path / "x").exists()
    whole = encoder.encode_documents(["text"], spans=True)
    message = "the collection has passages of them; pass the pair that encode_passages returns"
    with pytest.raises(InputError, match=message):
        collection.update([("note", "text")], embeddings=whole)
    with pytest.raises(InputError, match=message):
        collection.rerank("text", ["note"], embeddings=whole)
