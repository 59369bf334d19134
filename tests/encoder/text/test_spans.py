"""Spans of tokens, against the text itself."""

from __future__ import annotations

import re
import string
from unicodedata import category

import checkpoints
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE, Unigram
from transformers import PreTrainedTokenizerFast

from colmodern.encoder.text.settings import EncoderSettings
from colmodern.encoder.text.tokenized import TokenizedTexts
from colmodern.encoder.text.tokenizer import TextTokenizer
from colmodern.errors import ConfigError

BYTE_OF = dict(
    zip(
        sorted(pre_tokenizers.ByteLevel.alphabet(), key=lambda c: (ord(c) > 255, ord(c))),
        [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
        + [b for b in range(256) if not (33 <= b <= 126 or 161 <= b <= 172 or b >= 174)],
        strict=True,
    )
)
LETTERS = string.ascii_lowercase + string.punctuation + "éàß語"


def _unigram() -> Tokenizer:
    pieces = [("[UNK]", 0.0), ("▁", -2.0), *((letter, -3.0) for letter in LETTERS)]
    tokenizer = Tokenizer(Unigram([*pieces, ("▁the", -1.5), ("▁an", -1.6)], 0))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    return checkpoints._finish(tokenizer)


def _byte_fallback() -> Tokenizer:
    vocabulary = {"[UNK]": 0, **{f"<0x{byte:02X}>": byte + 1 for byte in range(256)}}
    for letter in "▁" + string.ascii_lowercase:
        vocabulary[letter] = len(vocabulary)
    tokenizer = Tokenizer(BPE(vocabulary, [], unk_token="[UNK]", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    return checkpoints._finish(tokenizer)


def _decomposing() -> Tokenizer:
    tokenizer = checkpoints._wordpiece()
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()]
    )
    return tokenizer


MADE = {
    "WordPiece": checkpoints._wordpiece,
    "WordPiece of NFD": _decomposing,
    "bytes": checkpoints._byte_bpe,
    "Metaspace of NFKC": _unigram,
    "byte fallback": _byte_fallback,
}
TOKENIZERS = {
    kind: PreTrainedTokenizerFast(
        tokenizer_object=make(),
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
    )
    for kind, make in MADE.items()
}
RULES = {
    "plain": {},
    "marker": {"document_marker": "[D] "},
    "prompt": {"document_prompt": "read İt: "},
    "lowered": {"lowercase": True},
    "unstripped": {"strip_text": False},
    "lowered prompt and marker": {
        "lowercase": True, "document_prompt": "  İ ", "document_marker": "[D] ",
    },
}  # fmt: skip

HARD = [
    "the 👩‍👩‍👧 é e\u0301 ab\r\n\tx  the...", "ﬁne Ⅳ İx ß ÀB", "  hi  ", "日本語 zz", "",
    "\u0301\u0323a\u0323\u0301b", "İİ the\u0307", "a\u00a0b\u3000c", "🇫🇷🏳️‍🌈", "Σας ΟΔΟΣ",
]  # fmt: skip
TEXTS = st.text(
    st.one_of(
        st.sampled_from("the of in ab.,!  \r\n\t"),
        st.sampled_from("éàßİſﬁⅣ語👩\u200d\u0301\u0323\u00a0\ufe0f🇫"),
        st.characters(blacklist_categories=("Cs", "Cc")),
    ),
    max_size=60,
)


def tokenize(kind: str, text: str, **rules: object) -> tuple[TextTokenizer, TokenizedTexts]:
    made = {"query_length": 512, "document_length": 512, **rules}
    tokenizer = TextTokenizer(TOKENIZERS[kind], EncoderSettings(**made))
    return tokenizer, tokenizer.tokenize([text], "document", spans=True)


def surface(kind: str, tokens: list[str]) -> str:
    """The text that tokens stand for, without what a tokenizer adds to it."""
    if kind == "bytes":
        return bytes(BYTE_OF[c] for token in tokens for c in token).decode(errors="ignore")
    if kind.startswith("WordPiece"):
        return "".join(token.removeprefix("##") for token in tokens)
    raw = b"".join(
        bytes([int(token[3:5], 16)]) if re.fullmatch("<0x..>", token) else token.encode()
        for token in tokens
    )
    return raw.decode(errors="ignore")


def bare(text: str) -> str:
    """Text without white space, and with one form of sigma, whose last form depends on its word."""
    return re.sub(r"[\s▁]+", "", text).replace("ς", "σ")


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
@pytest.mark.parametrize("kind", TOKENIZERS)
@given(text=TEXTS)
@example(text=" ".join(HARD))
@example(text=HARD[2])
@settings(max_examples=20, deadline=None)
def test_spans_lie_in_the_text_in_order(kind: str, rules: dict[str, object], text: str) -> None:
    _, found = tokenize(kind, text, **rules)
    [spans], [ids] = found.spans, found.ids
    assert len(spans) == len(ids)
    assert np.all(spans[:, 0] <= spans[:, 1])
    assert np.all(np.diff(spans[:, 0]) >= 0)
    assert spans.min() >= 0
    assert spans.max() <= len(text)


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("kind", TOKENIZERS)
@given(text=TEXTS)
@example(text=" ".join(HARD))
@settings(max_examples=40, deadline=None)
def test_a_token_is_the_text_of_its_span(kind: str, lowercase: bool, text: str) -> None:
    _, found = tokenize(kind, text, lowercase=lowercase)
    library = TOKENIZERS[kind]
    normalize = library.backend_tokenizer.normalizer
    tokens = library.convert_ids_to_tokens(found.ids[0].tolist())
    spans = found.spans[0].tolist()
    groups: list[tuple[list[str], int, int]] = []  # tokens of one letter share its span
    for token, (start, end) in zip(tokens, spans, strict=True):
        if start == end:
            continue
        if groups and start < groups[-1][2]:
            groups[-1] = ([*groups[-1][0], token], groups[-1][1], max(end, groups[-1][2]))
        else:
            groups.append(([token], start, end))
    for members, start, end in groups:
        piece = text[start:end].lower() if lowercase else text[start:end]
        if normalize is not None:
            piece = normalize.normalize_str(piece)
        if "[UNK]" not in members:
            assert bare(surface(kind, members)) == bare(piece), (members, text[start:end])


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
@pytest.mark.parametrize("kind", TOKENIZERS)
@given(text=TEXTS)
@example(text=" ".join(HARD))
@settings(max_examples=20, deadline=None)
def test_spans_cover_all_that_is_not_removed(
    kind: str, rules: dict[str, object], text: str
) -> None:
    _, found = tokenize(kind, text, **rules)
    covered = np.zeros(len(text), bool)
    for start, end in found.spans[0].tolist():
        covered[start:end] = True
    normalize = TOKENIZERS[kind].backend_tokenizer.normalizer
    for position in np.flatnonzero(~covered).tolist():
        letter = text[position]
        left = letter if normalize is None else normalize.normalize_str(letter)
        removed = bare(left) == "" or category(letter)[0] in "MZC"
        assert letter.isspace() or removed, (position, letter)


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_windows_have_the_spans_of_the_whole_text(kind: str) -> None:
    text = "the 👩‍👩‍👧 an index é of the words, " * 8
    rules = {"overflow": "split", "document_prompt": "a: ", "document_marker": "[D] "}
    _, whole = tokenize(kind, text, **rules)
    _, split = tokenize(kind, text, document_length=24, **rules)
    assert len(split.ids) > 3
    kept_ids = np.concatenate([i[s] for i, s in zip(split.ids, split.scored, strict=True)])
    kept = np.concatenate([b[s] for b, s in zip(split.spans, split.scored, strict=True)])
    assert np.array_equal(kept_ids, whole.ids[0])
    assert np.array_equal(kept, whole.spans[0])


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_cut_text_has_the_spans_of_its_first_tokens(kind: str) -> None:
    text = "  the index of the words"
    _, whole = tokenize(kind, text)
    _, cut = tokenize(kind, text, document_length=6)
    assert np.array_equal(cut.spans[0][:5], whole.spans[0][:5])
    assert cut.spans[0][5, 0] == cut.spans[0][5, 1]


def test_spans_and_skipped_tokens_go_together() -> None:
    _, found = tokenize("WordPiece", "Read, the file.", skiplist=(",", "."))
    [spans], [scored] = found.spans, found.scored
    words = ["Read, the file."[start:end] for start, end in spans[scored].tolist()]
    assert [word for word in words if word] == ["Read", "the", "file"]


def test_expansion_covers_nothing() -> None:
    rules = EncoderSettings(query_length=12, document_length=12, query_expansion=True)
    found = TextTokenizer(TOKENIZERS["WordPiece"], rules).tokenize(
        ["the file"], "query", spans=True
    )
    assert found.spans[0].tolist() == [[0, 0], [0, 3], [4, 8], *[[8, 8]] * 9]


def test_a_text_without_any_token_has_no_spans() -> None:
    assert tokenize("WordPiece", "")[1].spans[0].tolist() == [[0, 0], [0, 0]]
    rules = EncoderSettings(query_length=12, document_length=12)
    assert (
        TextTokenizer(TOKENIZERS["bytes"], rules).tokenize([], "document", spans=True).spans == []
    )


def test_a_tokenizer_without_offsets_is_refused() -> None:
    class Slow:
        is_fast = False

        def __getattr__(self, name: str) -> object:
            return getattr(TOKENIZERS["WordPiece"], name)

        def __call__(self, *texts: object, **options: object) -> object:
            return TOKENIZERS["WordPiece"](*texts, **options)

    rules = EncoderSettings(query_length=12, document_length=12)
    with pytest.raises(ConfigError, match=r"spans=True.*tokenizer\.json"):
        TextTokenizer(Slow(), rules).tokenize(["a"], "document", spans=True)
