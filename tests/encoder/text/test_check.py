from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import numpy as np
import pytest

from colmodern import Encoder
from colmodern.errors import ConfigError, InputError


class Frame(list):
    """What a data frame is like: it iterates over the names of its columns."""

    columns = ("text",)


@pytest.fixture(scope="module")
def encoder(pylate_bert: Path) -> Encoder:
    return Encoder.from_pretrained(pylate_bert)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints whose tokenizer adds no special tokens, as those of decoders."""
    folder = tmp_path_factory.mktemp("bare")
    made = {
        "marked": checkpoints.pylate(folder / "marked", "modernbert"),
        "plain": checkpoints.plain(folder / "plain", "modernbert"),
        "plain bert": checkpoints.plain(folder / "bert", "bert"),
    }
    for path in made.values():
        tokenizer = json.loads((path / "tokenizer.json").read_text())
        (path / "tokenizer.json").write_text(json.dumps({**tokenizer, "post_processor": None}))
    return made


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"d1": "sort"}, r"texts is a dict, whose keys .* pass list\(texts\.values\(\)\)"),
        ({"sort", "list"}, "texts is a set, which has no order"),
        (frozenset({"sort"}), "texts is a frozenset"),
        ("sort", "texts='sort' is one string"),
        (b"sort", "texts=b'sort' is bytes"),
        (None, "texts=None; pass a list"),
        (7, "texts=7; pass a list"),
        (np.array("sort"), r"texts=array\(.*; pass a list"),
        (Frame(["text"]), "texts is a Frame; pass one of its columns"),
        (["sort", None], r"texts\[1\] is a NoneType; pass strings"),
        (["sort", float("nan")], r"texts\[1\] is a float \(nan\); pass strings"),
        (["sort", b"list"], r"texts\[1\] is a bytes"),
        ([["sort"]], r"texts\[0\] is a list"),
        (["sort", "a\ud83d"], r"texts\[1\] has half a surrogate pair \(U\+D83D at character 1\)"),
    ],
)
def test_what_is_no_list_of_texts_is_refused_by_name(
    encoder: Encoder, texts: object, message: str
) -> None:
    for encode in (encoder.encode_queries, encoder.encode_documents):
        with pytest.raises(InputError, match=message):
            encode(texts)  # type: ignore[operator]


def test_ordered_iterables_of_strings_give_the_same(encoder: Encoder) -> None:
    texts = ["sort a list", "parse a date"]
    expected = encoder.encode_documents(texts).values
    mapping = dict(zip("ab", texts, strict=True))
    for form in (
        tuple(texts),
        iter(texts),
        np.array(texts),
        np.array(texts, object),
        mapping.values(),
    ):
        np.testing.assert_array_equal(encoder.encode_documents(form).values, expected)


@pytest.mark.parametrize("options", [{}, {"overflow": "split"}])
def test_an_empty_document_without_special_tokens_is_its_marker(
    bare: dict[str, Path], options: dict
) -> None:
    encoder = Encoder.from_pretrained(bare["marked"], **options)
    documents = encoder.encode_documents(["a list", "", "   ", "a"])
    marker = encoder.tokenizer._tokenizer.convert_tokens_to_ids("[D] ")
    assert documents.lengths[1:].tolist() == [1, 1, 2]
    assert documents.token_ids is not None
    begin, end = documents.offsets[1:3]
    assert documents.token_ids[begin:end].tolist() == [marker]
    alone = encoder.encode_documents([""])
    np.testing.assert_allclose(alone.values, documents[1], atol=1e-6)


@pytest.mark.parametrize("model", ["plain", "plain bert"])
@pytest.mark.parametrize("options", [{}, {"pool_factor": 2}])
def test_an_empty_document_without_marker_and_special_tokens_has_no_rows(
    bare: dict[str, Path], model: str, options: dict
) -> None:
    encoder = Encoder.from_pretrained(bare[model], **options)
    documents = encoder.encode_documents(["", "a list", ""])
    assert documents.lengths.tolist()[::2] == [0, 0]
    assert encoder.encode_documents([""]).lengths.tolist() == [0]
    np.testing.assert_allclose(documents[1], encoder.encode_documents(["a list"])[0], atol=1e-6)


def test_a_query_that_its_tokenizer_leaves_nothing_of_is_refused(bare: dict[str, Path]) -> None:
    encoder = Encoder.from_pretrained(bare["plain bert"])
    with pytest.raises(InputError, match="query 1 has no token of this vocabulary"):
        encoder.encode_queries(["sort", "\x00\x01"])


@pytest.mark.parametrize(
    "text",
    [
        "\0\0",
        "\ufeff",
        "\u200d\u200b",
        "\u202eשלום",
        "👩‍👩‍👧‍👦",
        "\x1b[31m",
        "\ufffe\uffff",
        " " * 1000,
        "x" * 100_000,
    ],
)
def test_odd_documents_have_unit_rows_that_do_not_depend_on_their_batch(
    encoder: Encoder, text: str
) -> None:
    alone = encoder.encode_documents([text])
    together = encoder.encode_documents(["parse a date string " * 5, text, "sort"])
    assert alone.n_tokens > 0
    np.testing.assert_allclose(np.linalg.norm(alone.values, axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(together[1], alone[0], atol=1e-5)


@pytest.mark.parametrize("role", ["query", "document"])
def test_a_prompt_that_leaves_no_room_for_text_is_refused(pylate_bert: Path, role: str) -> None:
    with pytest.raises(ConfigError, match=rf"{role}_length=16 leaves no room .* take 17 tokens"):
        Encoder.from_pretrained(
            pylate_bert, **{f"{role}_length": 16, f"{role}_prompt": "a list " * 7}
        )
    fits = Encoder.from_pretrained(
        pylate_bert, **{f"{role}_length": 18, f"{role}_prompt": "a list " * 7}
    )
    assert fits.tokenize(["sort a file"], role).cut.tolist() == [2]  # type: ignore[arg-type]


def test_a_prompt_with_half_a_surrogate_is_refused(pylate_bert: Path) -> None:
    with pytest.raises(ConfigError, match=r"document_prompt='a\\ud83d' has half a surrogate"):
        Encoder.from_pretrained(pylate_bert, document_prompt="a\ud83d")
