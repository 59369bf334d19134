"""Records that the kernels, their reference and the index pass to each other: plain NumPy arrays.

A block is up to 16 or 32 query tokens that are scored side by side, each in its own lane; ``n_lanes`` is
16 where a single block of 16 is enough. A mask has a bit for every lane of a block that holds a query
token. Searches keep masks as uint32, and vector code gets the number of lanes from a mask's type, uint16
or uint32.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Values = npt.NDArray[np.floating]  # embeddings of any floating dtype
Int8s = npt.NDArray[np.int8]
Int16s = npt.NDArray[np.int16]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]
Masks = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]
Mask = np.uint16 | np.uint32
Address = np.uint64  # begin of an array's values in memory
Vector: TypeAlias = Any  # a vector of cpu/ir, inside compiled code only

DOC_PARTS = 8  # bytes of a document vector, for each that a first estimate reads
FEWEST_DOC_PARTS = 4  # bytes that an estimate reads at least
# documents whose whole vectors are read, for each that is pruned: the most telling bytes of vectors
# choose them among twice as many or more
BY_PARTS = 4


class TableQuery(NamedTuple):
    """A query as tables of its products with every codebook entry.

    Attributes:
        tables: (n_blocks, n_bytes, 256, n_lanes) int8.
        factors: (256,) int16, by gain: a sum of table entries, shifted left by ``shift``, times its
            factor and divided by 2**16 is a similarity in units.
        shift: int16 number of bits.
    """

    tables: Int8s
    factors: Int16s
    shift: np.int16


class WeightQuery(NamedTuple):
    """The query itself, for residuals of four bits a dimension.

    Attributes:
        dims: (n_blocks, dim / 4, n_lanes, 4) int8; of each eight dimensions 0, 2, 4, 6 come first.
        starts: (n_blocks, n_lanes) int32, -128 times a lane's sum.
        weights: (16,) uint8, the weight of each code plus 128.
        factors: (256,) float32, by gain: from integer products to units of similarity.
    """

    dims: Int8s
    starts: Int32s
    weights: Bytes
    factors: Floats


ResidualQuery = TableQuery | WeightQuery


class CentroidArrays(NamedTuple):
    """Centroids as int8 rows with a scale each.

    Attributes:
        values: (n_centroids, dim) int8; a row times its scale is the centroid.
        sums: (n_centroids,) int32, 128 times the sum of each row.
        scales: (n_centroids,) float32.
        half_norms: (n_centroids,) float32, half the squared length of each centroid.
    """

    values: Int8s
    sums: Int32s
    scales: Floats
    half_norms: Floats


class TokenGroups(NamedTuple):
    """Tokens in groups that choose among the same run of centroids.

    Attributes:
        order: (n_tokens,) int64, tokens group by group.
        offsets: (n_groups + 1,) int64 into order.
        firsts: (n_groups,) int64, the first centroid of each group.
        lasts: (n_groups,) int64, the centroid behind each group's last.
    """

    order: Int64s
    offsets: Int64s
    firsts: Int64s
    lasts: Int64s


class EntryForm(NamedTuple):
    """How residuals whose bytes name entries of a codebook are scored.

    Attributes:
        largest_entry: Largest table entry for which a sum over all bytes fits int16.
        shift: Bits of int16 that such a sum leaves unused.
    """

    largest_entry: int
    shift: int


class WeightForm(NamedTuple):
    """How residuals of four bits a dimension are scored: a weight is a level times a scale.

    Attributes:
        levels: (16,) int8.
        scales: (dim,) float32.
    """

    levels: Int8s
    scales: Floats


class CentroidRows(NamedTuple):
    """Centroids, or means of clusters of them, as queries are scored with them.

    Attributes:
        values: (n, dim) int8.
        scales: (n,) float32; a row times its scale is the centroid.
        sums: (n,) int32, 128 times the sum of each row.
    """

    values: Int8s
    scales: Floats
    sums: Int32s


class Clusters(NamedTuple):
    """Centroids near each other, for searches that do not score all.

    Attributes:
        means: Means of the clusters.
        members: (n_centroids,) int32 centroids, cluster by cluster.
        offsets: (n_clusters + 1,) int64 into members.
    """

    means: CentroidRows
    members: Int32s
    offsets: Int64s


class CodecArrays(NamedTuple):
    """A codec as kernels take it; ``index.plaid.search.query_tables`` makes it when an index is opened.

    Attributes:
        mean: (dim,) float32, mean of the corpus.
        centroids: (n_centroids, dim) int8 rows.
        centroid_scales: (n_centroids,) float32; a row times its scale is the centroid.
        centroid_sums: (n_centroids,) int32, 128 times the sum of each row.
        longest: Length of the longest centroid.
        codebook: (n_bytes, 256, width) float32.
        gain_step: Length for each step of a residual's gain.
        form: How residuals are scored.
        doc_codebook: (n_doc_bytes, width, 256) float32, the codebook of document vectors, entries last.
        doc_gain_step: Length for each step of a document vector's gain.
        error: Mean squared distance of a token from its decoded self.
        reach: How far a residual of length 1 moves a similarity to a unit query token, at most.
        numbers: (n_centroids,) int32, 0 to n_centroids - 1.
        clusters: Clusters of the centroids, None where every search scores all of them.
    """

    mean: Floats
    centroids: Int8s
    centroid_scales: Floats
    centroid_sums: Int32s
    longest: float
    codebook: Floats
    gain_step: float
    form: EntryForm | WeightForm
    doc_codebook: Floats
    doc_gain_step: float
    error: float
    reach: float
    numbers: Int32s
    clusters: Clusters | None


class SegmentArrays(NamedTuple):
    """Arrays of a segment's documents and their tokens.

    A block of documents is a run of at most 65,536 of them with inverted lists of its own.

    Attributes:
        codes: (n_tokens,) centroid of each token, uint16, or uint32 above 65,536 centroids.
        gains: (n_tokens,) uint8, length of each residual in steps of the codec.
        residuals: (n_tokens, n_bytes) uint8.
        doc_gains: (n_docs,) uint8, length of each document vector in steps of the codec.
        doc_vectors: (n_docs, n_doc_bytes) uint8, direction of each document vector.
        doc_offsets: (n_docs + 1,) int64; document i owns tokens doc_offsets[i] to doc_offsets[i + 1].
        block_docs: (n_blocks + 1,) int64, the first document of each block.
        list_offsets: (n_blocks, n_centroids + 1) uint32, into the block's part of list_docs.
        block_starts: (n_blocks + 1,) int64, where each block's part of list_docs begins.
        list_docs: (n_postings,) uint16, documents counted from the block's first, rising in each list.
    """

    codes: Codes
    gains: Bytes
    residuals: Bytes
    doc_gains: Bytes
    doc_vectors: Bytes
    doc_offsets: Int64s
    block_docs: Int64s
    list_offsets: npt.NDArray[np.uint32]
    block_starts: Int64s
    list_docs: npt.NDArray[np.uint16]


class QueryTables(NamedTuple):
    """One query, as the search kernels take it.

    Attributes:
        n_tokens: Query tokens.
        unit: Similarity of one step of the integer scores.
        constant: What the corpus mean adds to every document's score.
        empty: Integer score of a document without tokens, whose MaxSim is 0.
        padded: (n_blocks * n_lanes, dim up to a multiple of 32) float32, zeros in the rest.
        query_bytes: (n_blocks, dim / 4, n_lanes, 4) uint8, the query quantised to int8, plus 128.
        lane_scales: (n_blocks, n_lanes) float32, from integer products to units; 0 in lanes without a
            query token.
        probed: (n_probed,) int32, the centroids that are scored to be probed.
        known: (n_centroids / 32,) uint32, a bit for every centroid that has been scored; None where all
            are probed.
        floors: (n_blocks, n_lanes) int16, what a centroid that has not been scored counts.
        centroid_scores: (n_blocks, n_centroids, n_lanes) int16, of the known centroids.
        maxima: (n_blocks, n_chunks, n_lanes) int16, the largest scores of each 64 probed centroids.
        lanes: (n_blocks,) masks; n_lanes is 16 for at most 16 query tokens, else 32.
        doc_products: (n_doc_bytes, 256) float32, products of the query's summed tokens with the parts
            of document vectors.
        doc_table: (n_doc_bytes, 256) int16, the same in steps.
        doc_factors: (256,) float32, by gain: from sums of doc_table to units.
        doc_parts: (n,) int64, the bytes of document vectors whose entries of doc_table differ most.
        residual_query: The form of the query that the codec's residuals are scored with.
        refine_slack: (256,) int16, by gain: units that a residual may add before its token is passed
            over when the last candidates are chosen.
        score_slack: (256,) int16, the same for their final scores; at least refine_slack.
        rounding: int16 units by which rounding may change a score.
        loss: int16 units by which rounding and compression may change a score.
    """

    n_tokens: int
    unit: float
    constant: float
    empty: int
    padded: Floats
    query_bytes: Bytes
    lane_scales: Floats
    probed: Int32s
    known: npt.NDArray[np.uint32] | None
    floors: Int16s
    centroid_scores: Int16s
    maxima: Int16s
    lanes: Masks
    doc_products: Floats
    doc_table: Int16s
    doc_factors: Floats
    doc_parts: Int64s
    residual_query: ResidualQuery
    refine_slack: Int16s
    score_slack: Int16s
    rounding: int
    loss: int


class NearTokens(NamedTuple):
    """The tokens of documents that are near the best of some lane; their float32 scores decide.

    Attributes:
        starts: (n_docs,) int64, where a document begins in tokens and lanes: its blocks one after
            another, each as long as the document has tokens.
        tokens: int64 token indices in the segment.
        lanes: uint16 or uint32 masks of the lanes that each token is near in.
        counts: (n_docs, n_blocks) int64, how many tokens of a document's block are filled in.
        best: (n_docs, n_blocks, n_lanes) int16, the best similarity of each lane.
    """

    starts: Int64s
    tokens: Int64s
    lanes: Masks
    counts: Int64s
    best: Int16s

    def select(self, docs: slice | Int64s) -> NearTokens:
        """The same record for some of its documents."""
        return NearTokens(
            self.starts[docs], self.tokens, self.lanes, self.counts[docs], self.best[docs]
        )


class SampledDocs(NamedTuple):
    """Centroids of the tokens of some documents, which stand for all documents of an index.

    Attributes:
        codes: (n_tokens,) uint32 centroids, document after document.
        offsets: (n_docs + 1,) int64; document i owns codes offsets[i] to offsets[i + 1].
    """

    codes: npt.NDArray[np.uint32]
    offsets: Int64s


class StateForm(NamedTuple):
    """What gather keeps of a document in an int32: a sum, and a turn in the lowest bits.

    The turn is the number, from 1, of the last query token with a posting of the document.

    Attributes:
        turn_bits: Bits of the turn, which are never all set by a query token.
        shift: Bits by which scores are shifted right before they are added up.
    """

    turn_bits: int
    shift: int


class StoredDocs(NamedTuple):
    """Stored embeddings of documents, in memory or mapped from disk.

    Attributes:
        addresses: (n,) uint64, where each document's (n_tokens, dim) values begin.
        dim: Width of a token embedding.
        is_half: Whether values are float16; they are float32 otherwise.
    """

    addresses: npt.NDArray[np.uint64]
    dim: int
    is_half: bool


class SearchBudget(NamedTuple):
    """How much a search looks at.

    Attributes:
        nprobe: Centroids of each query token; 0 uses no lists and prunes all documents by centroids.
        n_gathered: Documents that are scored by centroids.
        n_candidates: Documents that are scored with their compressed tokens.
        n_scored: Documents that are scored in float32.
        exhaustive: Whether every token of every candidate is decoded.
        n_postings: Postings of a query token after which it opens no further list, beyond its best
            two; 0 for no bound.
        n_shared: Postings, for each query token, that all of them share: lists that add most to a
            score come first. Never without n_postings; 0 for no bound.
        n_clusters: Clusters of centroids of which each query token scores all centroids; 0 for all.
    """

    nprobe: int
    n_gathered: int
    n_candidates: int
    n_scored: int
    exhaustive: bool = False
    n_postings: int = 0
    n_shared: int = 0
    n_clusters: int = 0
