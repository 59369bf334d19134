"""colmodern encode DATASET --output FOLDER."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from colmodern.cli import terminal
from colmodern.cli.options import PATH, encoder_config, encoder_options
from colmodern.cli.overflow import overflow

if TYPE_CHECKING:
    from colmodern.encoding.store import ShardWorkers


@click.command("encode")
@click.argument("dataset")
@click.option("--output", "-o", required=True, type=PATH, help="New folder.")
@click.option(
    "--store-dtype",
    type=click.Choice(["float16", "float32"]),
    default="float16",
    show_default=True,
    help="Type of the stored values.",
)
@click.option("--shard-tokens", default=262_144, show_default=True, help="Tokens in a shard.")
@click.option("--titles/--no-titles", default=True, show_default=True, help="Join titles to texts.")
@click.option("--spans", is_flag=True, help="Keep the characters that each token covers.")
@click.option(
    "--passages",
    is_flag=True,
    help="Keep the windows of --set overflow=split apart, as passages that rank their documents.",
)
@click.option("--devices", help="Devices that share the work, for example cuda:0,cuda:1.")
@click.option("--ray", metavar="ADDRESS", help="Ray cluster that encodes: auto, local, HOST:PORT.")
@click.option(
    "--encoders", type=click.IntRange(1), help="Encoders on the cluster.  [default: all that fit]"
)
@click.option(
    "--gpus-per-encoder",
    type=click.FloatRange(0, 1),
    help="GPUs of each of its encoders, or a part of one.  [default: 1 where it has GPUs]",
)
@encoder_options
def command(
    dataset: str,
    output: Path,
    store_dtype: str,
    shard_tokens: int,
    titles: bool,
    spans: bool,
    passages: bool,
    devices: str | None,
    ray: str | None,
    encoders: int | None,
    gpus_per_encoder: float | None,
    model: str | None,
    revision: str | None,
    device: str,
    dtype: str,
    settings: tuple[str, ...],
) -> None:
    """Encode the documents of DATASET (a BEIR folder, a corpus.jsonl, or stdlib).

    An interrupted run resumes after its last finished shard. With --ray, the machines of a cluster
    encode; all of them mount FOLDER at the same path. The last line printed is the folder.
    """
    from colmodern.cli.progress import TerminalProgress
    from colmodern.datasets.load import load_corpus
    from colmodern.encoding.store import encode_corpus
    from colmodern.pipeline.machine_faults import ENCODING, check_address_space
    from colmodern.pipeline.open.encoder import encoder_from_config

    if model is None:
        raise click.UsageError("give a checkpoint with --model")
    if shard_tokens < 1:
        raise click.UsageError(f"--shard-tokens={shard_tokens} is below 1")
    workers = None
    if ray is not None:
        workers = _cluster_encoders(output, devices, ray, encoders, gpus_per_encoder)
    elif encoders is not None or gpus_per_encoder is not None:
        raise click.UsageError("--encoders and --gpus-per-encoder belong to --ray ADDRESS")
    corpus = load_corpus(dataset)
    if devices is not None:
        settings = (*settings, f"devices=[{devices}]")
    config = encoder_config(model, revision, device, dtype, settings)
    encoder = encoder_from_config(config)
    check_address_space(ENCODING, "encoding")
    with TerminalProgress() as progress:
        store, reused = encode_corpus(
            corpus,
            encoder,
            output,
            join_titles=titles,
            dtype=store_dtype,
            shard_tokens=shard_tokens,
            progress=progress,
            devices=config.devices or (),
            workers=workers,
            spans=spans,
            passages=passages,
        )
        if reused:
            progress.note("already encoded: nothing to do")
    facts = store.manifest["facts"]
    counted = f"{store.n_docs:,} documents"
    if store.has_passages:
        counted = f"{facts['n_texts']:,} documents in {store.n_docs:,} passages"
    terminal.put(
        f"{counted}, {store.n_tokens:,} tokens of {store.dim} dimensions, "
        f"{store.n_bytes / 1e6:,.1f} MB, {overflow(facts)}"
    )
    terminal.put(store.folder)


def _cluster_encoders(
    output: Path,
    devices: str | None,
    address: str,
    encoders: int | None,
    gpus_per_encoder: float | None,
) -> ShardWorkers:
    """The encoders of a cluster, which is reached before anything is read."""
    from colmodern.cluster.connection import connected
    from colmodern.cluster.encode import ClusterEncoders
    from colmodern.config.cluster import ClusterConfig, shared_folder
    from colmodern.config.load import build

    if devices is not None:
        raise click.UsageError("give either --devices, of this machine, or --ray")
    shared_folder("output", output)
    values = {"address": address, "encoders": encoders, "gpus_per_encoder": gpus_per_encoder}
    config = build(ClusterConfig, values, source="command line")
    connected(config.address)
    return ClusterEncoders(config)
