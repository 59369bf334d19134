from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from colmodern import Encoder, TokenEmbeddings
from colmodern.cli.main import main
from colmodern.errors import InputError, StorageError
from colmodern.files import sha256_of_json
from colmodern.pipeline.open.encoder import encoder_of_store
from colmodern.ragged.store import EmbeddingStore

TEXTS = ["parse a date", "sort a list of names"]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.from_pretrained("colmodern/tiny", document_length=64)


@pytest.fixture(scope="module")
def documents(encoder: Encoder) -> TokenEmbeddings:
    return encoder.encode_documents(TEXTS)


@pytest.fixture
def search(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Searches from the shell; gives what is printed."""

    def call(*arguments: object) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["search", *map(str, arguments), "-k", "1"])
        out, err = capfd.readouterr()
        assert ended.value.code == 0, err
        return out

    return call


def test_a_store_written_with_its_encoder_is_searched_from_the_shell(
    tmp_path: Path, encoder: Encoder, documents: TokenEmbeddings, search: Callable[..., str]
) -> None:
    store = EmbeddingStore.write(tmp_path / "e", documents, ["dates", "lists"], encoder=encoder)
    loaded = encoder_of_store(store)
    assert loaded.fingerprint("document") == encoder.fingerprint("document")
    assert "lists" in search(tmp_path / "e", "order the names")
    with pytest.raises(InputError, match="names its model, colmodern/tiny; leave --model out"):
        encoder_of_store(store, model="colmodern/tiny")


def test_a_store_without_its_model_says_how_to_name_it(
    tmp_path: Path, documents: TokenEmbeddings, search: Callable[..., str]
) -> None:
    documents.save(tmp_path / "e", ["dates", "lists"])
    store = EmbeddingStore(tmp_path / "e")
    with pytest.raises(InputError, match=r"does not name the model .*--model"):
        encoder_of_store(store)
    with pytest.raises(StorageError, match="encoded by another state of 'colmodern/tiny'"):
        encoder_of_store(store, model="colmodern/tiny")
    named = ["--model", "colmodern/tiny", "--set", "document_length=64"]
    assert "lists" in search(tmp_path / "e", "order the names", *named)


def test_a_model_is_taken_for_embeddings_of_which_nothing_is_known(
    tmp_path: Path, documents: TokenEmbeddings
) -> None:
    store = EmbeddingStore.write(
        tmp_path / "e", TokenEmbeddings(documents.values, documents.offsets)
    )
    assert encoder_of_store(store, model="colmodern/tiny", device="cpu").dim == store.dim


@pytest.mark.parametrize("name", ["trust_remote_code", "model", "device", "x"])
def test_a_manifest_asks_for_nothing_but_settings_of_an_encoder(
    tmp_path: Path, encoder: Encoder, documents: TokenEmbeddings, name: str
) -> None:
    EmbeddingStore.write(tmp_path / "e", documents, encoder=encoder)
    path = tmp_path / "e" / "manifest.json"
    fields = json.loads(path.read_text())
    fields.pop("checksum")
    fields["encoder"]["settings"][name] = True
    path.write_text(json.dumps({**fields, "checksum": sha256_of_json(fields)}))
    with pytest.raises(StorageError, match=rf"unknown encoder\.settings\.{name}"):
        encoder_of_store(EmbeddingStore(tmp_path / "e"))


def test_the_built_in_model_is_found_from_another_installation(
    tmp_path: Path, encoder: Encoder, documents: TokenEmbeddings
) -> None:
    EmbeddingStore.write(tmp_path / "e", documents, encoder=encoder)
    path = tmp_path / "e" / "manifest.json"
    fields = json.loads(path.read_text())
    fields.pop("checksum")
    fields["encoder"]["path"] = "/another/environment/colmodern/tiny"
    path.write_text(json.dumps({**fields, "checksum": sha256_of_json(fields)}))
    assert encoder_of_store(EmbeddingStore(tmp_path / "e")).checkpoint.name == "colmodern/tiny"
