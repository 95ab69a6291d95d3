"""documents: texts found by their codes, by tf-idf and by BM25, and how many share a topic with the query.

Hinton and Salakhutdinov, Science 313 (2006), figure 4: latent semantic analysis beside a deep autoencoder of as many
numbers. BM25 is Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009, by bm25s. Queries are texts of
the test split, and the training split is searched.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from components.data import PreparedDataset, open_dataset
from components.data.raw import Outline
from components.settings import SettingError
from items.sparse import SparseRows
from items.spec import ItemSpec
from pipelines.metrics.topics import CUTS, Ranked, judge, macro, macro_interval, merge, rank
from pipelines.project import StageError
from pipelines.studies.bundles import open_bundle
from pipelines.studies.contract import Picture, Study, StudySettings, Table, write_page
from pipelines.studies.needs import Need
from pipelines.studies.plan import StudyPlan
from pipelines.studies.text import mean_text
from pipelines.units.unit import Unit
from serving.bundle import Bundle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray[Any, np.dtype[Any]]

AT_ONCE = 256  # queries that are ranked at once
WORDS = {"tf-idf": ":", "BM25": "--"}  # searches by all words, and their lines in the picture
SHARE, POINTS = "{:.1%}", "{:+.1%}"
QUESTION = (
    "Each text of the test split is a query, and the texts of the training split are ranked by how similar they are to "
    "it: codes by their cosine, which ranks bits as the Hamming distance does; tf-idf by its cosine; and all words by "
    "BM25. A text is relevant if it shares a topic with the query. No model saw a topic."
)


class DocumentsSettings(StudySettings):
    """Texts found by the codes of some experiments, by tf-idf and by BM25.

    Attributes:
        models: the experiments. Each search is compared with the first model whose code takes as many bits or
            numbers, or else with the first of all.
    """

    kind: Literal["documents"] = "documents"
    models: tuple[str, ...] = Field(min_length=1)

    def experiments(self) -> dict[str, str]:
        """See :class:`StudySettings`."""
        return {f"models.{place}": name for place, name in enumerate(self.models)}

    def needs(self) -> dict[str, list[Need]]:
        """See :class:`StudySettings`."""
        return {key: [] for key in self.experiments()}

    def errors(self, data: Outline) -> Iterator[SettingError]:
        """See :class:`StudySettings`."""
        if data.item.layout != "csr":
            yield SettingError("kind", self.kind, f"needs counts of words; the items are of kind {data.item.kind}")
        elif data.classes is None:
            yield SettingError("kind", self.kind, "needs topics, and the items have none")

    def units(self, plan: StudyPlan) -> Unit:
        """See :class:`StudySettings`."""
        inputs = {"data": plan.data} | {f"bundle_{n}": plan.bundle(name) for n, name in enumerate(self.models)}
        return plan.page(self.kind, write, inputs, seconds=20, models=self.models)


def write(out: Path, study: dict[str, str], models: list[str], data: Path, **bundles: Path) -> None:
    """Write the page."""
    dataset = open_dataset(data)
    opened = {name: open_bundle(bundles[f"bundle_{n}"]) for n, name in enumerate(models)}
    train, test = topics_of(dataset)
    found = {name: rank(bundle.embed(dataset.items("train")), train, bundle.embed(dataset.items("test")), test)
             for name, bundle in opened.items()}  # fmt: skip
    found |= dict(zip(WORDS, (rank_tf_idf(dataset, train, test), rank_bm25(dataset, train, test)), strict=True))
    page = describe(study, found, {name: cost(bundle) for name, bundle in opened.items()}, test, dataset)
    made_from = {name: bundle.manifest.digest for name, bundle in opened.items()}
    write_page(out, page.model_copy(update={"made_from": made_from}), {"precision.png": draw(found)})


def topics_of(dataset: PreparedDataset) -> tuple[SparseRows, SparseRows]:
    """Return the topics of the training and the test split, (items, topics); a single label is one topic.

    Raises:
        StageError: there are none.
    """
    found = []
    for split in ("train", "test"):
        topics, labels = dataset.topics(split), dataset.labels(split)
        if topics is None:
            if labels is None:
                raise StageError(f"dataset {dataset.schema.name}: has no topics")
            topics = SparseRows.of(np.eye(len(dataset.schema.classes or ()), dtype=np.int32)[labels])
        found.append(topics)
    return found[0], found[1]


def rank_tf_idf(dataset: PreparedDataset, train_topics: SparseRows, test_topics: SparseRows) -> Ranked:
    """Rank by the cosine of tf-idf, whose rows have length 1."""
    train = weighted(dataset.schema.item, dataset.items("train"))
    parts = []
    for start in range(0, dataset.count("test"), AT_ONCE):
        chosen = np.arange(start, min(start + AT_ONCE, dataset.count("test")))
        rows = weighted(dataset.schema.item, dataset.items("test"), chosen)
        parts.append(judge((rows @ train.T).toarray(), train_topics, test_topics.take(chosen)))
    return merge(parts)


def rank_bm25(dataset: PreparedDataset, train_topics: SparseRows, test_topics: SparseRows) -> Ranked:
    """Rank by BM25 of the words of the vocabulary, with bm25s's own k1 = 1.5 and b = 0.75."""
    import bm25s  # here: reading params.yaml imports this module

    index = bm25s.BM25()
    vocabulary = {str(word): word for word in range(dataset.schema.item.values)}
    texts = [words.tolist() for words in words_of(dataset.items("train"))]
    index.index((texts, vocabulary), show_progress=False)
    queries = words_of(dataset.items("test"))
    parts = []
    for start in range(0, len(queries), AT_ONCE):
        some = queries[start : start + AT_ONCE]
        scores = np.array([index.get_scores_from_ids(words.tolist()) for words in some])
        chosen = np.arange(start, start + len(some))
        parts.append(judge(scores, train_topics, test_topics.take(chosen)))
    return merge(parts)


def weighted(item: ItemSpec, rows: Array | SparseRows, chosen: Array | None = None) -> Any:
    """Return the tf-idf of counts, a sparse array (rows, words) whose rows have length 1; see ItemSpec.scaled."""
    from scipy.sparse import csr_array

    taken = sparse(rows) if chosen is None else sparse(rows).take(chosen)
    return csr_array((item.sparse_tf_idf(taken), taken.indices, taken.indptr), shape=taken.shape)


def words_of(rows: Array | SparseRows) -> list[Array]:
    """Return the words of each text by their places in the vocabulary, each as often as it is there."""
    rows = sparse(rows)
    spans = zip(rows.indptr[:-1], rows.indptr[1:], strict=True)
    return [np.repeat(rows.indices[a:b], rows.counts[a:b]) for a, b in spans]


def sparse(rows: Array | SparseRows) -> SparseRows:
    """Return items as sparse rows, which texts are stored as."""
    return rows if isinstance(rows, SparseRows) else SparseRows.of(rows)


def cost(bundle: Bundle) -> str:
    """Return what a code takes: `10 numbers`, `128 bits`."""
    code = bundle.manifest.code
    size = int(np.prod(code.shape))
    return f"{size} numbers" if code.levels is None else f"{code.bits_per_item:,.0f} bits"


def peer_of(name: str, costs: dict[str, str]) -> str:
    """Return the model that a search is compared with: the first of as many bits or numbers, or the first of all."""
    as_much = next((model for model in costs if costs[model] == costs.get(name)), name)
    return as_much if as_much != name else next(iter(costs))


def describe(
    study: dict[str, str], found: dict[str, Ranked], costs: dict[str, str], topics: SparseRows, dataset: PreparedDataset
) -> Study:
    """Return the page."""
    macros = {name: macro(ranked.precisions[10], topics) for name, ranked in found.items()}
    by_topic, by_query = [], []
    for name, ranked in found.items():
        tens = ranked.precisions[10]
        peer = peer_of(name, costs)
        against = "–"
        if peer != name:
            against = f"{macro_text(tens - found[peer].precisions[10], topics, POINTS, ' to ')} from {peer}"
        by_topic.append((name, costs.get(name, "all words"), macro_text(tens, topics), against))
        precisions = (mean_text(ranked.precisions[cut], SHARE) for cut in CUTS)
        by_query.append((name, *precisions, mean_text(ranked.average_precisions, SHARE)))
    metrics = {
        f"{key(name)}_{metric}": float(value)
        for name, ranked in found.items()
        for metric, value in (
            *((f"precision_at_{cut}", ranked.precisions[cut].mean()) for cut in CUTS),
            ("macro_precision_at_10", macros[name]),
            ("mean_average_precision", ranked.average_precisions.mean()),
        )
    }
    shown = "; ".join(f"{name} {SHARE.format(value)}" for name, value in macros.items())
    return Study(
        **study,
        title="Texts found by topic",
        question=QUESTION,
        summary=f"Precision at 10, averaged over topics: {shown}.",
        tables=(
            Table(
                caption=f"Precision at 10, averaged over the queries of each topic and then over topics, with 95 % "
                f"intervals over {dataset.count('test'):,} queries; {dataset.count('train'):,} texts are searched",
                columns=("Search by", "Stored", "Precision at 10", "Difference, on the same queries"),
                rows=tuple(by_topic),
            ),
            Table(
                caption="Means over queries with 95 % intervals",
                columns=("Search by", *(f"Precision at {cut}" for cut in CUTS), "Mean average precision"),
                rows=tuple(by_query),
            ),
        ),
        pictures=(
            Picture(
                file="precision.png",
                caption="Left: precision by recall, each a mean over queries after 1, 2, 4, … and all texts. Right: "
                "precision among the first 1, 10 and 100 texts.",
            ),
        ),
        metrics=metrics,
    )


def macro_text(values: Array, topics: SparseRows, style: str = SHARE, dash: str = "–") -> str:
    """Return the mean over topics of values of queries (n,) with its 95 % interval: `52.8% (49.1%–56.2%)`."""
    low, high = macro_interval(values, topics)
    return f"{style.format(macro(values, topics))} ({style.format(low)}{dash}{style.format(high)})"


def key(name: str) -> str:
    """Return a search's name as it stands in the names of metrics."""
    return name.lower().replace("-", "_").replace(".", "_")


def draw(found: dict[str, Ranked]) -> Figure:
    """Draw precision by recall and by the number of texts found."""
    from matplotlib.figure import Figure

    from pipelines.plots.style import MUTED, PALETTE

    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    recalls, axes = figure.subplots(1, 2, sharey=True)
    for place, (name, ranked) in enumerate(found.items()):
        color, line = (MUTED, WORDS[name]) if name in WORDS else (PALETTE[place % len(PALETTE)], "-")
        values = [100 * ranked.precisions[cut].mean() for cut in CUTS]
        axes.plot(CUTS, values, marker="o", ms=4, label=name, color=color, ls=line)
        precision, recall = 100 * ranked.curve.mean(0).T
        recalls.plot(recall, precision, color=color, ls=line)
    recalls.set(xlabel="recall, %", ylabel="precision, %", ylim=0)
    recalls.spines[["top", "right"]].set_visible(False)
    axes.set(xscale="log", xticks=CUTS, xlabel="texts found")
    axes.set_xticks(CUTS, [str(cut) for cut in CUTS])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
