import os
import shutil
from pathlib import Path

import checkpoints
import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from colmodern.encoder.checkpoint.checkpoint import read_checkpoint
from colmodern.encoder.encoder import Encoder
from colmodern.errors import CheckpointError

TEXTS = ["parse a date"]


def scaled(source: Path, target: Path) -> Path:
    """The same model with other attention weights, in another file."""
    tensors = {
        name: weight * 1.5 if "attn" in name or "attention" in name else weight
        for name, weight in load_file(source / "model.safetensors").items()
    }
    save_file(tensors, target, metadata={"format": "pt"})
    return target


def test_checksums_are_those_of_the_loaded_files_wherever_the_process_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        checkpoints.pylate(tmp_path / name, "modernbert")
    scaled(tmp_path / "one", tmp_path / "two" / "model.safetensors")
    expected = [Encoder.from_pretrained(tmp_path / x).weights_sha256 for x in ("one", "two")]
    monkeypatch.chdir(tmp_path)
    encoders = [Encoder.from_pretrained(x) for x in ("one", "two")]
    shutil.copytree("two", "elsewhere/one")
    monkeypatch.chdir("elsewhere")
    assert [encoder.weights_sha256 for encoder in encoders] == expected
    assert encoders[0].fingerprint("document") != encoders[1].fingerprint("document")
    assert encoders[0].describe()["path"] == str(tmp_path.resolve() / "one")


def test_a_link_that_is_moved_after_loading_changes_nothing(tmp_path: Path) -> None:
    for name in ("one", "two"):
        checkpoints.pylate(tmp_path / name, "bert")
    scaled(tmp_path / "one", tmp_path / "two" / "model.safetensors")
    (tmp_path / "latest").symlink_to("one")
    encoder = Encoder.from_pretrained(tmp_path / "latest")
    before = encoder.fingerprint("document")
    (tmp_path / "latest").unlink()
    (tmp_path / "latest").symlink_to("two")
    assert encoder.fingerprint("document") == before
    assert Encoder.from_pretrained(tmp_path / "latest").fingerprint("document") != before


@pytest.mark.parametrize("backbone", ["bert", "modernbert"])
def test_a_checkpoint_saved_anew_leaves_the_loaded_encoder_and_its_digest(
    tmp_path: Path, backbone: str
) -> None:
    folder = checkpoints.pylate(tmp_path / "model", backbone)
    encoder = Encoder.from_pretrained(folder)
    before = encoder.fingerprint("document"), encoder.encode_documents(TEXTS).values.copy()
    os.replace(scaled(folder, tmp_path / "new"), folder / "model.safetensors")
    (folder / "tokenizer_config.json").write_text("{}")
    assert encoder.fingerprint("document") == before[0]
    np.testing.assert_array_equal(encoder.encode_documents(TEXTS).values, before[1])
    shutil.rmtree(folder)
    assert encoder.fingerprint("document") == before[0]


@pytest.mark.parametrize("backbone", ["bert", "modernbert"])
def test_weights_written_over_in_place_are_refused_not_used(tmp_path: Path, backbone: str) -> None:
    folder = checkpoints.pylate(tmp_path / "model", backbone)
    encoder = Encoder.from_pretrained(folder)
    before = encoder.weights_sha256
    shutil.copyfile(scaled(folder, tmp_path / "new"), folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="written over in place"):
        encoder.encode_documents(TEXTS)
    assert encoder.weights_sha256 == before
    assert Encoder.from_pretrained(folder).weights_sha256 != before


def test_weights_that_were_touched_or_written_with_the_same_bytes_go_on(tmp_path: Path) -> None:
    folder = checkpoints.pylate(tmp_path / "model", "bert")
    encoder = Encoder.from_pretrained(folder)
    before = encoder.encode_documents(TEXTS).values
    path = folder / "model.safetensors"
    os.utime(path, (1, 1))
    np.testing.assert_array_equal(encoder.encode_documents(TEXTS).values, before)
    shutil.copyfile(path, tmp_path / "copy")
    shutil.copyfile(tmp_path / "copy", path)
    np.testing.assert_array_equal(encoder.encode_documents(TEXTS).values, before)


def test_a_checkpoint_written_while_it_is_loaded_is_refused(tmp_path: Path) -> None:
    folder = checkpoints.pylate(tmp_path / "model", "bert")
    checkpoint = read_checkpoint(folder)
    os.replace(scaled(folder, tmp_path / "new"), folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="written while it was loaded"):
        _ = checkpoint.weights_sha256


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    folder = checkpoints.pylate(tmp_path / "model", "bert")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="has no weights"):
        read_checkpoint(folder)


def test_all_shards_count_and_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = checkpoints.plain(tmp_path / "model", "bert")
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    shards = {"a.safetensors": names[:5], "b.safetensors": names[5:]}
    index = {name: shard for shard, part in shards.items() for name in part}
    for shard, part in shards.items():
        save_file({x: tensors[x] for x in part}, folder / shard, metadata={"format": "pt"})
    (folder / "model.safetensors").unlink()
    checkpoints._write_json(folder / "model.safetensors.index.json", {"weight_map": index})
    whole = read_checkpoint(folder).weights_sha256
    tensors[names[-1]] += 1
    save_file({x: tensors[x] for x in names[5:]}, folder / "b.safetensors")
    assert read_checkpoint(folder).weights_sha256 != whole
    (folder / "b.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"lacks b\.safetensors"):
        read_checkpoint(folder)


def test_a_pickle_that_is_read_counts_beside_safetensors_that_are_not(tmp_path: Path) -> None:
    folder = checkpoints.plain(tmp_path / "model", "bert")
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"one")
    before = read_checkpoint(folder).weights_sha256
    (folder / "pytorch_model.bin").write_bytes(b"two")
    assert read_checkpoint(folder).weights_sha256 != before
