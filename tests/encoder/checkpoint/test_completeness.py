from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import checkpoints
import pytest

from colmodern.encoder.checkpoint.checkpoint import read_checkpoint
from colmodern.errors import CheckpointError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
# what transformers' AutoModel and AutoTokenizer fetch
BY_TRANSFORMERS = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
WRITERS: dict[str, Callable[[Path], Path]] = {
    "pylate": lambda folder: checkpoints.pylate(folder, "bert"),
    "stanford": lambda folder: checkpoints.stanford(folder, "bert"),
    "multi": lambda folder: checkpoints.sentence_transformers(folder, "bert", expansion=None),
    "plain": lambda folder: checkpoints.plain(folder, "bert"),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sources")
    return {name: write(folder / name) for name, write in WRITERS.items()}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def cached(hub: Path, source: Path, without: set[str]) -> Path:
    """Put a checkpoint in the hub's cache as org/NAME."""
    repository = hub / f"models--org--{source.name}"
    snapshot = repository / "snapshots" / COMMIT
    shutil.copytree(source, snapshot, ignore=lambda _, names: without & set(names))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return snapshot


def all_but(source: Path, files: set[str]) -> set[str]:
    return {file.name for file in source.iterdir()} - files


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        ("pylate", "modules.json and artifact.metadata"),
        ("stanford", "artifact.metadata"),
        ("multi", "modules.json and artifact.metadata"),
        ("plain", "modules.json and artifact.metadata"),
    ],
)
def test_a_cache_that_transformers_filled_is_refused_offline_and_warned_of_else(
    hub: Path,
    sources: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    missing: str,
) -> None:
    from colmodern.encoder.checkpoint import completeness

    source = sources[kind]
    snapshot = cached(hub, source, all_but(source, BY_TRANSFORMERS))
    message = rf"org/{kind} .*lacks {missing}.*hf download org/{kind} --revision {COMMIT}"
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(f"org/{kind}")
    # the network fails, and the hub's library falls back to its cache
    monkeypatch.setattr(completeness, "_is_offline", lambda: False)
    read_checkpoint(f"org/{kind}")
    assert len(caplog.messages) == 1
    assert missing in caplog.messages[0]
    read_checkpoint(snapshot)  # the cure for a plain backbone


def test_a_plain_backbone_that_was_fetched_as_a_whole_is_read_offline(
    hub: Path, sources: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    snapshot = cached(hub, sources["plain"], set())
    (snapshot / ".gitattributes").write_text("")
    assert read_checkpoint("org/plain").kind == "plain"
    (snapshot / ".gitattributes").unlink()
    absent = hub / "models--org--plain" / ".no_exist" / COMMIT / "modules.json"
    absent.parent.mkdir(parents=True)
    absent.write_text("")  # the hub was asked for it and has none
    assert read_checkpoint("org/plain").kind == "plain"
    assert not caplog.messages


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("pylate", "config_sentence_transformers.json"),
        ("multi", "config_sentence_transformers.json"),
        ("multi", "sentence_bert_config.json"),
        ("multi", "2_MultiVectorMask"),
        ("stanford", "artifact.metadata"),
    ],
)
def test_settings_that_are_missing_are_named(
    hub: Path,
    sources: dict[str, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    file: str,
) -> None:
    cached(hub, sources[kind], {file})
    with pytest.raises(CheckpointError, match=f"org/{kind} lacks {file}.*HF_HUB_OFFLINE"):
        read_checkpoint(f"org/{kind}")
    local = tmp_path / "local"
    shutil.copytree(sources[kind], local, ignore=lambda _, names: {file} & set(names))
    read_checkpoint(local)
    assert f"lacks {file}" in caplog.messages[0]


@pytest.mark.parametrize("kind", ["pylate", "multi"])
def test_parts_of_a_late_interaction_checkpoint_are_no_plain_backbone(
    sources: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    local = tmp_path / "local"
    shutil.copytree(sources[kind], local, ignore=lambda _, names: {"modules.json"} & set(names))
    with pytest.raises(CheckpointError, match=r"has .*1_Dense/.* but no modules\.json"):
        read_checkpoint(local)
    shutil.rmtree(local / "1_Dense")
    with pytest.raises(CheckpointError, match=r"has config_sentence_transformers\.json"):
        read_checkpoint(local)


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_not_the_working_folder(name: str) -> None:
    with pytest.raises(CheckpointError, match="the model's name is"):
        read_checkpoint(name)
