from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from colmodern.config.index import ExactIndexConfig, PlaidIndexConfig
from colmodern.config.load import dump, load_eval_config
from colmodern.config.models import EvalConfig
from colmodern.encoder.text.settings import EncoderSettings
from colmodern.errors import ConfigError, InputError
from colmodern.units import parse_bytes

PLAID = "encoder: {model: m}\nindex: {kind: plaid}"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def test_defaults_name_and_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, "encoder: {model: m}\n")
    config = load_eval_config(path, ["search.k=200", "dataset.name=x", "encoder.skiplist=[a, b]"])
    assert (config.name, config.search.k, config.dataset.name) == ("mine", 200, "x")
    assert config.encoder.settings() == {"skiplist": ("a", "b")}
    assert config.measures == ("nDCG@10", "RR@10", "R@100")


def test_the_index_is_exact_unless_said_and_can_be_replaced(tmp_path: Path) -> None:
    path = write(tmp_path, "encoder: {model: m}\nindex: {exact_max_memory: 2G}\n")
    assert load_eval_config(path).index == ExactIndexConfig(exact_max_memory="2G")
    path = write(tmp_path, f"{PLAID}\n")
    overrides = ["index.nbits=2", "index.build_max_memory=500M"]
    assert load_eval_config(path, overrides).index == PlaidIndexConfig(
        nbits=2, build_max_memory="500M"
    )
    assert load_eval_config(path, ["index={kind: exact}"]).index == ExactIndexConfig()


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:0,cpu", "[cuda:0]", "1"])
def test_devices_of_an_index_are_checked(tmp_path: Path, device: str) -> None:
    path = write(tmp_path, f"{PLAID}\n")
    with pytest.raises(
        ConfigError, match=r"index\.device: .*(choose auto, cpu, cuda|valid string)"
    ):
        load_eval_config(path, [f"index.device={device}"])
    chosen = load_eval_config(
        path, ["index.device=cuda:0,cuda:1", "index.device_max_memory=20G"]
    ).index
    assert (chosen.device, chosen.device_max_memory) == ("cuda:0,cuda:1", "20G")


@pytest.mark.parametrize("index", ["{kind: exact}", "{kind: plaid, nprobe: 4}"])
def test_a_dumped_config_loads_as_itself(tmp_path: Path, index: str) -> None:
    text = f"encoder: {{model: m}}\nsearch: {{k: 300}}\nindex: {index}\n"
    config = load_eval_config(write(tmp_path, text))
    again = tmp_path / "again.yaml"
    again.write_text(dump(config))
    assert load_eval_config(again) == config


def test_all_faults_are_told_at_once_with_their_cure(tmp_path: Path) -> None:
    path = write(tmp_path, "encoder: {modle: m, dtype: int4}\nsearch: {k: 0}\nquux: 1\n")
    with pytest.raises(ConfigError) as caught:
        load_eval_config(path)
    message = str(caught.value)
    assert "encoder.modle: unknown key; did you mean 'model'?" in message
    assert "encoder.model: missing" in message
    assert "encoder.dtype" in message
    assert "search.k: Input should be greater than or equal to 1 (given: 0)" in message
    assert "quux: unknown key; known keys: name, dataset" in message
    assert message.count("mine.yaml:") == 5


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("a: [", [], "not valid YAML"),
        ("- a", [], "holds list, not settings"),
        ("encoder: {model: m}", ["search.k"], "not of the form key.path=value"),
        ("encoder: {model: m}", ["encoder.model.x=1"], "model is a single value"),
        ("encoder: {model: m}", ["search.k=5"], "nDCG@10 needs 10 documents"),
        ("encoder: {model: m}", ["name=../up"], "cannot name a folder"),
        ("encoder: {model: m}", [f"name={'x' * 101}"], "cannot name a folder"),
        ("encoder: {model: m}", ["index.exact_max_memory=lots"], "'lots' is not a size"),
        ("encoder: {model: m}", ["index.kind=[a]"], "index.kind"),
        ("encoder: {model: m}", ["index.kind=hnsw"], "index.kind: choose one of 'exact', 'plaid'"),
        (
            "encoder: {model: m}",
            ["index=plaid"],
            "index='plaid' is one value, it has keys",
        ),
        (
            "encoder: {model: m}",
            ["index.nbits=2"],
            "override index.nbits: unknown key of kind exact; plaid has it: set index.kind=plaid",
        ),
        (
            "encoder: {model: m}",
            ["index={kind: hybrid, of: [bm25]}"],
            "index.of: list at least 2 entries; it has 1",
        ),
        ("encoder: {model: m}", ["measures=nDCG10"], "pass a list, as measures='[nDCG10]'"),
        ("encoder: {model: m}", ["dataset.qrels=q"], "corpus and queries are missing"),
        (PLAID, ["index.nbit=2"], "index.nbit: unknown key of kind plaid; did you mean 'nbits'"),
        (PLAID, ["index.nbits=3"], "index.nbits: Input should be 1, 2, 4 or 8"),
        (PLAID, ["index.build_max_memory=lots"], "'lots' is not a size"),
        (PLAID, ["index.n_candidates=99"], "index.n_candidates=99 is below search.k=100"),
        (PLAID, ["index.nprobe=0"], "index.nprobe"),
        (PLAID, ["index.codec=opq"], "index.codec"),
        ("encoder: {model: m}", ["encoder.seed=-1"], "encoder.seed"),
        ("encoder: {model: m}\nencoder: {model: n}", [], "the key 'encoder' is given twice"),
    ],
)
def test_faults_by_hand(tmp_path: Path, text: str, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace(".", r"\.").replace("[", r"\[")):
        load_eval_config(write(tmp_path, text), overrides)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"cannot read nowhere\.yaml: No such file"):
        load_eval_config("nowhere.yaml")


def test_every_encoder_setting_can_be_configured() -> None:
    from dataclasses import fields

    config = load_config(**{"encoder.model": "m"})
    known = list(type(config.encoder).model_fields)
    settings = known[known.index("query_length") :]
    assert set(settings) == {field.name for field in fields(EncoderSettings)}


def load_config(**values: str) -> EvalConfig:
    nested: dict = {"name": "x"}
    for key, value in values.items():
        parent, child = key.split(".")
        nested.setdefault(parent, {})[child] = yaml.safe_load(value)
    return EvalConfig.model_validate(nested)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512M", 512_000_000),
        ("2G", 2 * 10**9),
        (77, 77),
        ("1.5K", 1500),
        ("3 GB", 3 * 10**9),
        ("2GiB", 2 * 2**30),
    ],
)
def test_sizes(text: str | int, size: int) -> None:
    assert parse_bytes(text, name="x") == size


@pytest.mark.parametrize("text", ["", "0", "-1", "1X", "lots", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"max_memory='.*' is not a size"):
        parse_bytes(text, name="max_memory")


def test_a_home_folder_is_expanded(tmp_path: Path) -> None:
    path = write(tmp_path, "encoder: {model: m}\noutput: ~/runs\n")
    assert load_eval_config(path).output == str(Path("~/runs").expanduser())
