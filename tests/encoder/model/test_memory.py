from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from colmodern.units import parse_bytes

# the width of ModernBERT-base, whose activations are what counts, with few layers and words
WIDE = """
import sys
from pathlib import Path
import checkpoints
checkpoints.HIDDEN = 768
checkpoints.MODERNBERT |= {"hidden_size": 768, "num_hidden_layers": 3, "num_attention_heads": 12}
checkpoints.MODERNBERT |= {"intermediate_size": 1152, "local_attention": 128}
folder = checkpoints.plain(Path(sys.argv[1]), "modernbert")

import gc
from colmodern import Encoder

def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

options = dict(zip(("dtype", "attention", "max_memory"), sys.argv[2:5]))
length = int(sys.argv[5])
encoder = Encoder.from_pretrained(folder, document_length=length, device="cpu", **options)
encoder.encode_documents(["warm up"])
gc.collect()
Path("/proc/self/clear_refs").write_text("5")
before = resident("VmRSS")
texts = ["ab " * length] * 2 + ["ab " * n for n in range(1, 400, 50)]
embeddings = encoder.encode_documents(texts)
assert embeddings.lengths.max() == length
print(resident("VmHWM") - before - embeddings.values.nbytes)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's peak memory")
@pytest.mark.parametrize(
    ("dtype", "attention", "max_memory", "length"),
    [
        ("float32", "packed", "250M", 8192),
        ("bfloat16", "packed", "250M", 8192),
        ("float32", "sdpa", "200M", 2048),
    ],
)
def test_max_memory_holds_at_long_documents(
    dtype: str, attention: str, max_memory: str, length: int, tmp_path: Path
) -> None:
    tests = Path(__file__).parents[2]
    command = [sys.executable, "-c", WIDE, str(tmp_path / "wide"), dtype, attention, max_memory]
    done = subprocess.run(
        [*command, str(length)], cwd=tests, capture_output=True, text=True, check=True
    )
    used = int(done.stdout.split()[-1])
    assert used <= 1.1 * parse_bytes(max_memory, name="max_memory")
