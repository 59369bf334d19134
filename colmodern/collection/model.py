"""The encoder of a collection: described when it is created, loaded again when it is opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from colmodern.checks import shown
from colmodern.collection.manifest import CollectionManifest
from colmodern.encoder.encoder import Encoder
from colmodern.encoder.recipe import recorded_arguments, unknown_settings
from colmodern.errors import InputError, StorageError
from colmodern.index.plaid.search.queries import expect_encoder
from colmodern.index.plaid.write.settings import settle
from colmodern.passages import document_and_number, passage_ids
from colmodern.ragged.doc_ids import id_list
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.manifest import EncoderRecord
from colmodern.units import parse_bytes

# embeddings of whole documents; or of passages with their ids, as encode_passages returns them
EncodedDocuments = TokenEmbeddings | tuple[TokenEmbeddings, Sequence[str]]
_INDEX_SETTINGS = ("nbits", "n_centroids", "seed", "max_memory", "codec")


def encoder_for(model: Encoder | str | Path, options: dict[str, Any]) -> Encoder:
    """The encoder of a new collection; raises InputError for options beside an Encoder."""
    if isinstance(model, Encoder):
        if options:
            raise InputError(
                f"options {sorted(options)} come too late: model is an Encoder already"
            )
        return model
    if not isinstance(model, str | Path):
        raise InputError(
            f"model={shown(model)}; pass an Encoder, or the name or folder of a checkpoint"
        )
    return Encoder.from_pretrained(model, **options)


def record_of(encoder: Encoder) -> EncoderRecord:
    """What the manifest keeps of an encoder."""
    return EncoderRecord.model_validate(
        {name: value for name, value in encoder.describe().items() if name != "device"}
    )


def encoder_of(
    folder: Path, manifest: CollectionManifest, *, device: str, trust_remote_code: bool
) -> Encoder:
    """Load the encoder of a collection.

    Raises:
        CheckpointError: It is not there.
        StorageError: It has changed since the documents were encoded.
    """
    record = manifest.encoder
    if unknown := unknown_settings(record):
        raise StorageError(
            f"{folder} has the unknown setting encoder.{unknown[0]}; use the colmodern that wrote it"
        )
    arguments = recorded_arguments(record)
    encoder = Encoder.from_pretrained(
        arguments.pop("model"), device=device, trust_remote_code=trust_remote_code, **arguments
    )
    expect_same(folder, manifest, encoder)
    return encoder


def expect_same(folder: Path, manifest: CollectionManifest, encoder: Encoder) -> None:
    """Raise StorageError for an encoder other than the one of the collection's documents."""
    record = manifest.encoder
    if encoder.fingerprint("document") == record.fingerprint:
        return
    raise StorageError(
        f"{folder} was encoded by another state of {record.model!r} than {encoder.checkpoint.name!r} "
        "(weights, tokenizer or settings differ), so that scores would mean nothing; open it with "
        "the model that it was created with, or create a new collection of its documents"
    )


class OwnEmbeddings(NamedTuple):
    """What the collection's encoder made of documents.

    Attributes:
        values: Embeddings of the documents, or of their passages.
        passages: The ids of these passages; None for whole documents.
    """

    values: TokenEmbeddings
    passages: Sequence[str] | None

    def stored_ids(self, doc_ids: Sequence[str]) -> list[str]:
        """The ids that the embeddings of these documents have in the index.

        Raises:
            InputError: They are embeddings of other documents, or of other numbers of them.
        """
        if self.passages is None:
            if self.values.n_docs != len(doc_ids):
                raise InputError(
                    f"embeddings has {self.values.n_docs} texts for {len(doc_ids)} documents; pass "
                    "those of all"
                )
            return list(doc_ids)
        counts = Counter(document_and_number(passage)[0] for passage in self.passages)
        expected = passage_ids(doc_ids, [max(1, counts[doc_id]) for doc_id in doc_ids])
        if list(self.passages) != expected or len(expected) != self.values.n_docs:
            raise InputError(
                f"embeddings has {self.values.n_docs} passages with {len(self.passages)} ids, which are "
                f"not those of the {len(doc_ids)} documents; pass what encode_passages makes of the "
                "documents' texts and ids"
            )
        return expected


def own_embeddings(
    manifest: CollectionManifest, embeddings: object, *, needs_spans: bool
) -> OwnEmbeddings:
    """Embeddings that the collection's encoder has made of documents; raises InputError for others."""
    passages: Sequence[str] | None = None
    if manifest.passages is not None:
        if not isinstance(embeddings, tuple) or len(embeddings) != 2:
            raise InputError(
                "embeddings are of whole documents, and the collection has passages of them; pass the "
                "pair that encode_passages returns, or leave embeddings out"
            )
        passages = id_list("embeddings[1]", embeddings[1], is_ordered=True)
        embeddings = embeddings[0]
    if not isinstance(embeddings, TokenEmbeddings):
        raise InputError(f"embeddings is a {type(embeddings).__name__}; pass TokenEmbeddings")
    if embeddings.fingerprint is None:
        raise InputError(
            "embeddings.fingerprint is None, so that their encoder is not known; pass what the "
            "collection's encoder returned, or leave embeddings out"
        )
    expect_encoder(embeddings.fingerprint, manifest.encoder.fingerprint)
    if needs_spans and embeddings.spans is None:
        raise InputError(
            "passages need the characters of tokens, and embeddings have none; encode with spans=True"
        )
    return OwnEmbeddings(embeddings, passages)


def checked_index_settings(index: object, dim: int) -> dict[str, object]:
    """Arguments of PlaidIndex.build; raises InputError for those that it does not take."""
    if index is None:
        return {}
    if not isinstance(index, dict):
        raise InputError(f"index={shown(index)}; pass settings as {{'nbits': 2}}, or None")
    if unknown := [name for name in index if name not in _INDEX_SETTINGS]:
        raise InputError(
            f"index has the unknown setting {shown(unknown[0])}; use {', '.join(_INDEX_SETTINGS)}"
        )
    defaults = {"nbits": 4, "n_centroids": None, "seed": 0, "max_memory": "4G", "codec": None}
    values: dict[str, Any] = {**defaults, **index}
    values["max_memory"] = parse_bytes(values["max_memory"], name="max_memory")
    settle(1 << 20, dim, n_docs=1 << 14, **values)
    return dict(index)
