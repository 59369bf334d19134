# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Compare settings of the index
#
# The same embeddings are indexed with different settings, and each index is held against exact
# search: which share of its best ten documents it returns, and how many bytes a token takes. What a
# setting costs depends on the collection, so run this on documents of your own. Everything is offline.

# %%
import tempfile
from itertools import islice
from pathlib import Path

from colmodern import Encoder, ExactIndex, PlaidIndex, evaluate, load_dataset
from colmodern.report.notebook import tables_html
from colmodern.report.tables import text_table

dataset = load_dataset("stdlib")
texts = {doc.doc_id: doc.text for doc in islice(dataset.corpus, 300)}
queries = {name: text for name, text in dataset.queries.items() if name in texts}
queries = dict(islice(queries.items(), 60))
print(f"{len(texts)} documents, {len(queries)} queries")

# %%
encoder = Encoder.from_pretrained("colmodern/tiny", document_length=64)
documents = encoder.encode_documents(list(texts.values()), progress=True)
asked = encoder.encode_queries(list(queries.values()), progress=True)
exact = ExactIndex(documents, list(texts))
truth = exact.search_batch(asked, k=10)

# %%
folder = Path(tempfile.mkdtemp())
indexes: dict[str, ExactIndex | PlaidIndex] = {"exact": exact}
for nbits in (1, 2, 4, 8):
    name = f"compressed, {nbits} bits"
    indexes[name] = PlaidIndex.build(documents, folder / str(nbits), list(texts), nbits=nbits)

# %% [markdown]
# `rescore` scores the last candidates with the original embeddings, which then have to be kept: it
# makes up for few bits.

# %%
rows = []
for name, index in indexes.items():
    runs = {name: index.search_batch(asked, k=10)}
    if isinstance(index, PlaidIndex):
        runs[f"{name}, rescored"] = index.search_batch(asked, k=10, rescore=documents)
    for label, results in runs.items():
        overlap = sum(
            len({hit.doc_id for hit in best} & {hit.doc_id for hit in true})
            for best, true in zip(results, truth, strict=True)
        ) / sum(map(len, truth))
        qrels = {query_id: dataset.qrels[query_id] for query_id in queries}
        run = dict(zip(queries, results, strict=True))
        ndcg = evaluate(run, qrels, ["nDCG@10"]).mean["nDCG@10"]
        per_token = index.info()["bytes_per_token"]["total"]
        rows.append([label, f"{per_token:.1f}", f"{overlap:.3f}", f"{ndcg:.3f}"])

# %%
table = text_table("", ["index", "bytes per token", "overlap@10", "nDCG@10"], rows)
tables_html(table, headline="Settings held against exact search")

# %%
print(*["\t".join(row) for row in [table.header, *rows]], sep="\n")
