from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import pytest

from colmodern.encoder.checkpoint.checkpoint import detect_kind, read_checkpoint
from colmodern.encoder.checkpoint.formats import longest_input
from colmodern.errors import CheckpointError, MissingExtraError


@pytest.mark.parametrize(
    ("library", "name", "kind"),
    [
        ("pylate", "bert", "pylate"),
        ("stanford", "modernbert", "stanford"),
        ("sentence_transformers", "bert-min", "sentence-transformers"),
    ],
)
def test_each_kind_is_told_by_its_files(library: str, name: str, kind: str, tmp_path: Path) -> None:
    assert detect_kind(checkpoints.write(library, name, tmp_path)) == kind


def test_a_backbone_and_a_single_vector_model_are_plain(tmp_path: Path, bert: Path) -> None:
    assert detect_kind(bert) == "plain"
    folder = checkpoints.plain(tmp_path, "bert")
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {
            "idx": 1,
            "name": "1",
            "path": "1_Pooling",
            "type": "sentence_transformers.models.Pooling",
        },
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    assert detect_kind(folder) == "plain"
    assert read_checkpoint(folder).layers == ()


def test_stanford_is_told_without_metadata_by_its_architecture(tmp_path: Path) -> None:
    folder = checkpoints.stanford(tmp_path, "bert")
    (folder / "artifact.metadata").unlink()
    assert detect_kind(folder) == "stanford"
    settings = read_checkpoint(folder).settings
    assert (settings.query_marker, settings.query_length) == ("[unused0]", 32)


def test_settings_are_read_from_the_checkpoint(tmp_path: Path) -> None:
    settings = read_checkpoint(checkpoints.pylate(tmp_path, "bert", skiplist_words=["!"])).settings
    assert settings.query_length == checkpoints.QUERY_LENGTH
    assert settings.document_marker == "[D] "
    assert settings.skiplist == ("!",)


def test_an_unknown_kind_says_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "weights.gguf").write_text("")
    with pytest.raises(CheckpointError, match=r"unknown kind \(found weights\.gguf\)"):
        read_checkpoint(tmp_path)


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"no folder \./nowhere"):
        read_checkpoint("./nowhere")
    with pytest.raises(CheckpointError, match="hub gave no model of that name"):
        read_checkpoint("nobody/nothing", revision="v1")
    with pytest.raises(MissingExtraError, match="pip install no_such_package"):
        read_checkpoint("package:no_such_package/model")


def test_damage_is_named(tmp_path: Path) -> None:
    folder = checkpoints.pylate(tmp_path, "bert")
    (folder / "1_Dense" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"1_Dense has neither model\.safetensors"):
        read_checkpoint(folder)
    (folder / "modules.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"modules\.json is not JSON"):
        read_checkpoint(folder)


def test_an_activation_from_elsewhere_is_not_loaded(tmp_path: Path) -> None:
    folder = checkpoints.pylate(tmp_path, "bert")
    path = folder / "1_Dense" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "activation_function": "os.system"}))
    with pytest.raises(CheckpointError, match=r"only classes of torch\.nn"):
        read_checkpoint(folder)


def test_roberta_counts_positions_from_its_padding() -> None:
    roberta = {"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1}
    assert longest_input(roberta) == 512
    assert longest_input({"model_type": "bert", "max_position_embeddings": 512}) == 512
    assert longest_input({"model_type": "t5"}) is None


def test_checksums_follow_the_bytes(tmp_path: Path) -> None:
    one = read_checkpoint(checkpoints.plain(tmp_path / "one", "bert"))
    same = read_checkpoint(checkpoints.plain(tmp_path / "two", "bert"))
    other = read_checkpoint(checkpoints.stanford(tmp_path / "three", "bert"))
    assert one.weights_sha256 == same.weights_sha256 != other.weights_sha256
    assert one.rules_sha256 == same.rules_sha256


def test_a_pickled_copy_beside_safetensors_is_not_read_or_counted(tmp_path: Path) -> None:
    folder = checkpoints.plain(tmp_path, "bert")
    before = read_checkpoint(folder).weights_sha256
    (folder / "pytorch_model.bin").write_bytes(b"not even a pickle")
    assert read_checkpoint(folder).weights_sha256 == before


def test_a_hub_name_is_read_from_the_local_cache_with_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--tiny"
    checkpoints.pylate(repository / "snapshots" / commit, "bert")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    (repository / "refs" / "v1").write_text(commit)
    for revision in (None, "v1", commit):
        checkpoint = read_checkpoint("someone/tiny", revision=revision)
        assert (checkpoint.revision, checkpoint.kind) == (commit, "pylate")
    with pytest.raises(CheckpointError, match="revision=v2"):
        read_checkpoint("someone/tiny", revision="v2")


def edited(folder: Path, name: str, change: dict) -> Path:
    """Change keys of a JSON file in a checkpoint."""
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    return folder


def test_the_rules_follow_everything_that_changes_an_embedding(tmp_path: Path) -> None:
    base = read_checkpoint(checkpoints.pylate(tmp_path / "base", "bert"))
    changed = checkpoints.pylate(tmp_path / "tanh", "bert")
    edited(changed, "1_Dense/config.json", {"activation_function": "torch.nn.modules.Tanh"})
    residual = checkpoints.pylate(tmp_path / "residual", "bert")
    edited(residual, "1_Dense/config.json", {"use_residual": True})
    code = checkpoints.pylate(tmp_path / "code", "bert")
    (code / "modeling_x.py").write_text("scale = 2\n")
    vocabulary = checkpoints.pylate(tmp_path / "vocabulary", "bert")
    (vocabulary / "added_tokens.json").write_text("{}")
    for folder in (changed, residual, code, vocabulary):
        assert read_checkpoint(folder).rules_sha256 != base.rules_sha256, folder.name


def test_unread_weights_do_not_count(tmp_path: Path) -> None:
    folder = checkpoints.pylate(tmp_path, "bert")
    before = read_checkpoint(folder).weights_sha256
    (folder / "checkpoint-500").mkdir()
    (folder / "checkpoint-500" / "model.safetensors").write_bytes(b"training state")
    assert read_checkpoint(folder).weights_sha256 == before


def test_a_module_that_would_change_embeddings_is_refused(tmp_path: Path) -> None:
    folder = checkpoints.write("sentence_transformers", "bert-none", tmp_path)
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 4, "name": "4", "path": "4", "type": "sentence_transformers.LayerNorm"})
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(CheckpointError, match="does not know: LayerNorm"):
        read_checkpoint(folder)


def test_a_module_that_pylate_leaves_out_is_named(tmp_path: Path, caplog) -> None:
    folder = checkpoints.pylate(tmp_path, "bert")
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 2, "name": "2", "path": "2", "type": "sentence_transformers.Pooling"})
    (folder / "modules.json").write_text(json.dumps(modules))
    assert len(read_checkpoint(folder).layers) == 1
    assert "PyLate does not apply these modules, nor do we: Pooling" in caplog.text


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("modules.json", "{}", "not a list of modules|names no Transformer"),
        ("modules.json", '[{"type": "x"}]', "not a list of modules"),
        ("config.json", "[]", r"config\.json holds list, not an object"),
        ("config_sentence_transformers.json", '{"query_length": "16"}', "query_length='16' is not"),
        (
            "config_sentence_transformers.json",
            '{"prompts": ["a"], "query_prefix": ""}',
            "prompts is",
        ),
        ("1_Dense/model.safetensors", "junk", r"model\.safetensors is damaged"),
        (
            "1_Dense/config.json",
            '{"activation_function": "torch.nn.Linear"}',
            "is not an activation",
        ),
    ],
)
def test_malformed_files_are_named(tmp_path: Path, file: str, content: str, message: str) -> None:
    from colmodern import Encoder

    folder = checkpoints.pylate(tmp_path, "bert")
    (folder / file).write_text(content)
    with pytest.raises(CheckpointError, match=message):
        Encoder.from_pretrained(folder)


def test_a_junk_pickle_is_named(tmp_path: Path) -> None:
    folder = checkpoints.pylate(tmp_path, "bert")
    (folder / "1_Dense" / "model.safetensors").unlink()
    (folder / "1_Dense" / "pytorch_model.bin").write_bytes(b"junk that is no pickle")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is damaged"):
        read_checkpoint(folder)
