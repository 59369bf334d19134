"""Encodes texts with one library of this environment: python encode_worker.py REQUEST.json.

An engine is one line of ENGINES: a function that loads a plain backbone with a new projection to
128 dimensions and returns the call that is timed. Needs NumPy; every engine imports its own package.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DIM = 128
Encode = Callable[[list[str]], Any]


def colmodern(request: dict[str, Any]) -> Encode:
    """colmodern; "options" are those of Encoder.from_pretrained."""
    from colmodern import Encoder

    encoder = Encoder.from_pretrained(
        request["model"],
        device="cpu",
        dtype=request["dtype"],
        projection_dim=DIM,
        document_length=request["document_length"],
        **request["options"],
    )
    forward = encoder._forward

    def timed(*arguments: Any) -> Any:
        start = time.perf_counter()
        rows = forward(*arguments)
        request["forward_s"] += time.perf_counter() - start
        return rows

    encoder._forward = timed  # what is not spent in it is tokenisation and overhead
    return encoder.encode_documents


def pylate(request: dict[str, Any]) -> Encode:
    """PyLate's ColBERT.encode; batches of 32 as by default, or "batch_size" of the options."""
    import torch
    from pylate import models

    model = models.ColBERT(
        request["model"],
        device="cpu",
        embedding_size=DIM,
        document_length=request["document_length"],
        model_kwargs={"dtype": getattr(torch, request["dtype"])},
    )
    model = model.to(getattr(torch, request["dtype"]))
    options = {"is_query": False, "show_progress_bar": False, **request["options"]}
    return lambda texts: model.encode(texts, **options)


def sentence_transformers(request: dict[str, Any]) -> Encode:
    """sentence-transformers' MultiVectorEncoder.encode_document; batches as in PyLate."""
    import torch
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(
        request["model"],
        device="cpu",
        model_kwargs={"dtype": getattr(torch, request["dtype"])},
        processor_kwargs={"model_max_length": request["document_length"]},
    )
    model = model.to(getattr(torch, request["dtype"]))
    model.max_seq_length = request["document_length"]
    options = {"show_progress_bar": False, **request["options"]}
    return lambda texts: model.encode_document(texts, **options)


ENGINES: dict[str, Callable[[dict[str, Any]], Encode]] = {
    "colmodern": colmodern,
    "pylate": pylate,
    "sentence-transformers": sentence_transformers,
}


def resident_mb(field: str) -> float:
    """VmRSS, the resident memory of this process, or VmHWM, its peak since the last reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


def main() -> None:
    """Carry out the request: engine, model, texts, dtype, document_length, options, answer."""
    # this folder's kernels.py is not the package of that name, which transformers may import
    sys.path.remove(str(Path(__file__).resolve().parent))
    import torch

    request = json.loads(Path(sys.argv[1]).read_text())
    request["forward_s"] = 0.0
    torch.set_num_threads(request["threads"])
    torch.manual_seed(0)
    encode = ENGINES[request["engine"]](request)
    encode(["a short text to warm up"] * 2)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that of encoding, not of loading
    answer = {"loaded_mb": resident_mb("VmRSS")}
    request["forward_s"] = 0.0
    start, cpu_start = time.perf_counter(), time.process_time()
    embeddings = encode(request["texts"])
    answer["seconds"] = time.perf_counter() - start
    answer["cpu_s"] = time.process_time() - cpu_start
    rows = [len(text) for text in embeddings]
    answer |= {"peak_mb": resident_mb("VmHWM"), "n_rows": sum(rows), "longest": max(rows)}
    answer["forward_s"] = request["forward_s"]
    Path(request["answer"]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
