from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import colmodern
from colmodern import errors

ERRORS = {
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, Exception)
}
PUBLIC = ERRORS | {
    "BM25Index",
    "Collection",
    "CollectionHit",
    "StoredDocument",
    "EmbeddingStore",
    "Encoder",
    "ExactIndex",
    "GroupedHit",
    "Hit",
    "HybridIndex",
    "PassageHit",
    "PassageIndex",
    "PlaidIndex",
    "RemoteIndex",
    "RerankIndex",
    "Reranker",
    "ShardedIndex",
    "ScoredDoc",
    "Span",
    "SpanSettings",
    "TokenEmbeddings",
    "TokenSpans",
    "create_app",
    "encode_passages",
    "evaluate",
    "fuse",
    "load_dataset",
    "matched_spans",
    "run_eval",
    "shard_index",
    "shard_of",
}


def test_the_public_names_are_these_and_load() -> None:
    assert set(colmodern.__all__) == PUBLIC == set(colmodern._HOMES)
    for name in PUBLIC:
        home = importlib.import_module(colmodern._HOMES[name])
        assert getattr(colmodern, name) is getattr(home, name)
        assert getattr(colmodern, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Colbert'"):
        colmodern.Colbert  # noqa: B018


def test_dir_offers_the_public_names() -> None:
    for name in PUBLIC:
        getattr(colmodern, name)
    assert set(dir(colmodern)) >= PUBLIC
    assert len(dir(colmodern)) == len(set(dir(colmodern)))


def test_type_checkers_see_every_public_name() -> None:
    """The names are loaded lazily, so only the block for type checkers declares them."""
    tree = ast.parse(Path(colmodern.__file__).read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    declared = {
        alias.name: node.module
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert declared == colmodern._HOMES


@pytest.mark.parametrize("name", ["__version__", "InputError", "ScoredDoc"])
def test_light_names_load_no_heavy_package(name: str) -> None:
    heavy = {"torch", "transformers", "numba", "numpy", "scipy", "pydantic", "yaml", "click"}
    code = f"import sys, colmodern; colmodern.{name}; print(*{heavy} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.split() == []


def test_searching_an_index_loads_no_torch() -> None:
    code = "import sys; from colmodern import PlaidIndex; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_entry_of_a_served_version_loads_nothing_else() -> None:
    from colmodern.cluster.entry import ShardsVersion

    code = f"import sys, {ShardsVersion.__module__}; sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_a_person_prints_says_what_it_is(tmp_path: Path) -> None:
    texts = colmodern.TokenEmbeddings.from_list([[[1.0] + [0.0] * 7]])
    texts.save(tmp_path / "store")
    store = colmodern.EmbeddingStore(tmp_path / "store")
    index = colmodern.PlaidIndex.build(store, tmp_path / "index")
    size = "n_docs=1, n_tokens=1, dim=8, dtype=float32"
    assert repr(store) == f"EmbeddingStore('{tmp_path}/store', {size})"
    per_token = index.info()["bytes_per_token"]["total"]
    assert repr(index) == (
        f"PlaidIndex('{tmp_path}/index', n_docs=1, dim=8, nbits=4, bytes_per_token={per_token}, "
        "device='cpu')"
    )
    assert repr(colmodern.ExactIndex(texts, precision="int8")) == (
        "ExactIndex(TokenEmbeddings(n_docs=1, n_tokens=1, dim=8, dtype=float32), precision='int8', "
        "bytes_per_token=32.0, device='cpu')"
    )
    index.close()
    assert repr(index) == "PlaidIndex(closed)"
    assert repr(texts) == "TokenEmbeddings(n_docs=1, n_tokens=1, dim=8, dtype=float32)"
    encoder = colmodern.Encoder.from_pretrained("colmodern/tiny", device="cpu", query_length=32)
    lengths = f"query_length=32, document_length={encoder.settings.document_length}"
    size = f"dim={encoder.dim}, device='cpu', dtype=float32"
    assert repr(encoder) == f"Encoder('colmodern/tiny', {size}, {lengths})"


def test_a_device_is_named_alike_everywhere() -> None:
    import torch

    from colmodern.kernels.device import CPU, resolve_device

    for device in ("cpu", "cpu:0", torch.device("cpu")):
        assert resolve_device(device) == resolve_device(device, kernels="torch") == CPU
