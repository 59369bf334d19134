from __future__ import annotations

from pathlib import Path

import checkpoints
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from colmodern.encoder.text.settings import EncoderSettings
from colmodern.encoder.text.tokenizer import TextTokenizer
from colmodern.errors import CheckpointError, ConfigError, InputError


@pytest.fixture(scope="module")
def tokenizer(bert: Path):
    return AutoTokenizer.from_pretrained(bert)


def rules(tokenizer, **options) -> TextTokenizer:
    return TextTokenizer(
        tokenizer, EncoderSettings(**{"query_length": 12, "document_length": 10, **options})
    )


def tokens(tokenizer, ids: np.ndarray) -> list[str]:
    return tokenizer.convert_ids_to_tokens(ids.tolist())


def test_marker_comes_after_the_leading_special_token(tokenizer) -> None:
    text = rules(tokenizer, document_marker="[D] ").tokenize(["sort a list"], "document")
    cls_id, marker, *rest = text.ids[0].tolist()
    assert (cls_id, marker) == (tokenizer.cls_token_id, tokenizer.convert_tokens_to_ids("[D] "))
    assert tokens(tokenizer, np.array(rest)) == ["sort", "a", "list", "[SEP]"]


@given(st.integers(4, 40), st.booleans())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_cutting_equals_the_tokenizers_own(tokenizer, limit: int, marked: bool) -> None:
    text = checkpoints.DOCUMENTS[3]
    marker = "[D] " if marked else None
    ours = rules(tokenizer, document_length=limit, document_marker=marker)
    cut = ours.tokenize([text], "document")
    theirs = tokenizer(text, truncation=True, max_length=limit - marked)["input_ids"]
    if marked:
        theirs.insert(1, tokenizer.convert_tokens_to_ids("[D] "))
    assert cut.ids[0].tolist() == theirs
    assert len(theirs) + cut.cut[0] == len(tokenizer(text)["input_ids"]) + marked


def test_expansion_fills_up_scores_and_is_attended_as_told(tokenizer) -> None:
    texts = ["sort", "what is the lift of a wing and why is it not in the list of names"]
    for attends in (False, True):
        found = rules(tokenizer, query_expansion=True, attend_to_expansion=attends).tokenize(
            texts, "query"
        )
        assert found.lengths.tolist() == [12, 12]
        assert tokens(tokenizer, found.ids[0])[3:] == ["[MASK]"] * 9
        assert all(scored.all() for scored in found.scored)
        assert found.attended.tolist() == ([12, 12] if attends else [3, 12])
        assert found.cut.tolist()[0] == 0
        assert found.cut.tolist()[1] > 0


def test_expansion_to_a_shorter_length_cuts_nothing(tokenizer) -> None:
    found = rules(tokenizer, query_expansion=True, expansion_length=6).tokenize(
        ["sort", "what is the lift of a wing"], "query"
    )
    assert found.lengths.tolist() == [6, 9]


def test_documents_are_never_expanded(tokenizer) -> None:
    found = rules(tokenizer, query_expansion=True).tokenize(["sort"], "document")
    assert found.lengths.tolist() == [3]


def test_skiplist_applies_to_documents_and_to_queries_when_asked(tokenizer) -> None:
    options = {"skiplist": (",", ".")}
    text = ["sort, a list."]
    assert rules(tokenizer, **options).tokenize(text, "document").scored[0].sum() == 5
    assert rules(tokenizer, **options).tokenize(text, "query").scored[0].sum() == 7
    both = rules(tokenizer, **options, skip_in_queries=True)
    assert both.tokenize(text, "query").scored[0].sum() == 5


def test_a_skiplist_word_that_is_no_token_is_named_and_never_becomes_unk(tokenizer, caplog) -> None:
    found = rules(tokenizer, skiplist=("sort", "no such word", "☃"))
    assert "'no such word' '☃'" in caplog.text
    assert found.skiplist_ids.tolist() == [tokenizer.convert_tokens_to_ids("sort")]
    text = found.tokenize(["☃ sort"], "document")
    assert tokens(tokenizer, text.ids[0][text.scored[0]]) == ["[CLS]", "[UNK]", "[SEP]"]


def test_unk_itself_can_be_skipped(tokenizer) -> None:
    found = rules(tokenizer, skiplist=("[UNK]",))
    assert found.skiplist_ids.tolist() == [tokenizer.unk_token_id]


def test_prompts_strip_and_lowercase(tokenizer) -> None:
    found = rules(tokenizer, document_prompt="  read the ", strip_text=True).tokenize(
        ["LIST "], "document"
    )
    assert tokens(tokenizer, found.ids[0]) == ["[CLS]", "read", "the", "list", "[SEP]"]


def test_a_marker_outside_the_vocabulary_is_refused(tokenizer) -> None:
    with pytest.raises(CheckpointError, match=r"query_marker='\[X\] '.*query_prompt"):
        rules(tokenizer, query_marker="[X] ")


def test_windows_repeat_special_tokens_marker_and_prompt_but_score_them_once(tokenizer) -> None:
    found = rules(
        tokenizer,
        document_marker="[D] ",
        document_prompt="read: ",
        overflow="split",
        overlap=1,
        skiplist=(":",),
    ).tokenize(["a list", "find the date of the file in the list"], "document")
    short, first, second = [tokens(tokenizer, ids) for ids in found.ids]
    assert short[1].lower() == "[d] "  # transformers 4 keeps the marker's case
    before = ["[CLS]", short[1], "read", ":"]
    assert short == [*before, "a", "list", "[SEP]"]
    assert first == [*before, "find", "the", "date", "of", "the", "[SEP]"]
    assert second == [*before, "the", "file", "in", "the", "list", "[SEP]"]
    assert found.offsets.tolist() == [0, 1, 3]
    assert found.cut.tolist() == [0, 0]
    assert found.begins_text.tolist() == [True, True, False]
    scored = [ids[mask] for ids, mask in zip(found.ids, found.scored, strict=True)]
    assert tokens(tokenizer, np.concatenate(scored[1:])) == [
        *["[CLS]", short[1], "read", "find", "the", "date", "of", "the", "file", "in", "the"],
        *["list", "[SEP]"],
    ]


def test_a_prompt_that_runs_into_the_text_is_no_part_of_the_head(modernbert: Path) -> None:
    byte_pairs = AutoTokenizer.from_pretrained(modernbert)
    found = rules(byte_pairs, document_prompt="of ", strip_text=False, overflow="split").tokenize(
        ["the of the of the of the of the of"], "document"
    )
    whole = byte_pairs("of the of the of the of the of the of")["input_ids"]
    assert len(found.ids) > 1
    kept = [ids[mask] for ids, mask in zip(found.ids, found.scored, strict=True)]
    assert np.concatenate(kept).tolist() == whole
    for ids in found.ids:
        assert ids[:2].tolist() == whole[:2]  # "Ġthe" is in the text


def test_queries_are_never_split(tokenizer) -> None:
    found = rules(tokenizer, overflow="split").tokenize([checkpoints.QUERIES[3]], "query")
    assert found.lengths.tolist() == [12]
    assert found.cut.tolist()[0] > 0


def test_an_overlap_that_fills_the_window_is_refused(tokenizer) -> None:
    with pytest.raises(ConfigError, match=r"overlap=8, but a window of document_length=10"):
        rules(tokenizer, overflow="split", overlap=8)
    rules(tokenizer, overflow="split", overlap=7)


def test_a_word_that_a_tokenizer_without_unknown_words_lacks_is_a_checkpoint_error() -> None:
    small = Tokenizer(WordLevel({"sort": 0, "list": 1, "a": 2}, unk_token="[UNK]"))
    small.pre_tokenizer = Whitespace()
    texts = rules(PreTrainedTokenizerFast(tokenizer_object=small))
    assert texts.tokenize(["sort list"], "document").ids[0].tolist() == [0, 1]
    with pytest.raises(CheckpointError, match=r"tokenizer cannot read a text .*Missing \[UNK\]"):
        texts.tokenize(["sort dates"], "document")


def test_embeddings_without_token_ids_have_no_words(tokenizer) -> None:
    with pytest.raises(InputError, match="ids=None: pooled embeddings"):
        rules(tokenizer).words(None)


def test_words_are_texts_or_else_the_vocabularys_own_strings(tokenizer, modernbert: Path) -> None:
    pieces = rules(tokenizer)
    ids = pieces.tokenize(["Sort a list"], "query").ids[0]
    assert pieces.words(ids) == ["[CLS]", "sort", "a", "list", "[SEP]"]
    letters = rules(AutoTokenizer.from_pretrained(modernbert))
    ids = letters.tokenize(["of the é"], "query").ids[0]
    # a space alone and the bytes of an é are no texts
    assert letters.words(ids) == ["[CLS]", "of", "the", "Ġ", "Ã", "©", "[SEP]"]
    assert letters.words(np.empty(0, np.int32)) == []


@pytest.mark.parametrize("overflow", ["truncate", "split"])
@pytest.mark.parametrize("most", [1, 5, 9, 10, 14, 20, 1000])
def test_at_most_so_many_tokens_of_a_text_are_read(tokenizer, overflow: str, most: int) -> None:
    text = "find the date of the file in the list of the dates of the files " * 2
    options = {"overflow": overflow, "overlap": 1, "document_marker": "[D] "}
    if overflow == "truncate":
        options = {"document_marker": "[D] ", "document_length": 40}
    whole = rules(tokenizer, **{**options, "document_length": 400, "overflow": "truncate"})
    whole = whole.tokenize([text], "document", spans=True)
    short = rules(tokenizer, **options).tokenize(
        [text, "a list"], "document", spans=True, max_tokens=most
    )
    length = options.get("document_length", len(whole.ids[0]))
    n_read = min(max(most, 4), length, len(whole.ids[0]))  # [CLS], [D], one of the text, [SEP]
    windows = slice(*short.offsets[:2])
    kept = np.concatenate(
        [ids[mask] for ids, mask in zip(short.ids[windows], short.scored[windows], strict=True)]
    )
    assert kept.tolist() == [*whole.ids[0][: n_read - 1], whole.ids[0][-1]]
    bounds = np.concatenate(
        [own[mask] for own, mask in zip(short.spans[windows], short.scored[windows], strict=True)]
    )
    np.testing.assert_array_equal(bounds[:-1], whole.spans[0][: n_read - 1])
    assert short.cut[0] == len(whole.ids[0]) - n_read
    assert all(len(ids) <= options.get("document_length", 10) for ids in short.ids)
    if overflow == "split" and most >= 20:
        assert short.offsets[1] > 1
