# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Search a collection, and ask why
#
# Documents of Python's standard library are encoded with the small model inside colmodern, indexed,
# searched and explained. Everything is offline. `jupytext --to ipynb search_and_explain.py` makes a
# notebook of this file; `python search_and_explain.py` runs it as a script.

# %%
import tempfile
from pathlib import Path

from colmodern import Encoder, PlaidIndex, load_dataset
from colmodern.report.notebook import explanation_html, results_html

dataset = load_dataset("stdlib")
dataset

# %% [markdown]
# A few modules are enough here. A document's id is the name of a function or a class.

# %%
MODULES = ("datetime.", "json.", "random.", "shutil.", "statistics.", "textwrap.")
texts = {doc.doc_id: doc.text for doc in dataset.corpus if doc.doc_id.startswith(MODULES)}
encoder = Encoder.from_pretrained("colmodern/tiny", document_length=128)
documents = encoder.encode_documents(list(texts.values()), progress=True)
documents

# %%
folder = Path(tempfile.mkdtemp()) / "index"
index = PlaidIndex.build(documents, folder, list(texts), progress=True)
index

# %% [markdown]
# ## Search
#
# Results are a list, best first. With texts at hand they can be read.

# %%
QUERY = "remove indentation from every line of a text"
query = encoder.encode_queries([QUERY])
hits = index.search(query[0], k=5)
results_html(hits, texts)

# %%
print(*[f"{hit.score:.2f} {hit.doc_id}" for hit in hits], sep="\n")

# %% [markdown]
# ## Why is this document a result?
#
# MaxSim adds up, over the tokens of the query, the largest similarity with a token of the document.
# The stronger the colour of a word, the more it adds.

# %%
best = hits[0].doc_id
explanation = index.explain(query[0], best, k=5)
words = encoder.tokenizer.words
position = list(texts).index(best)
explanation_html(
    explanation, words(query.token_ids), words(documents[position : position + 1].token_ids)
)

# %% [markdown]
# ## Why is that document none?
#
# The explanation names the stage that lost the document, or its rank below the results.

# %%
missing = "random.Random.randint"
assert missing in index
assert missing not in {hit.doc_id for hit in hits}
print(f"{missing}: {index.explain(query[0], missing, k=5).reason}")
