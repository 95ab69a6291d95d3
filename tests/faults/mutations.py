"""Every file format, damaged in a thousand ways: refused with one line that names the file, or read as it is right."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.box import Box
from tests.faults.formats_of_data import FORMATS as DATA
from tests.faults.formats_of_pipelines import FORMATS as PIPELINES
from tests.faults.formats_of_serving import FORMATS as SERVING
from tests.faults.formats_of_settings import FORMATS as SETTINGS
from tests.faults.outcome import Outcome

FORMATS = (*DATA, *SETTINGS, *PIPELINES, *SERVING)

SUBJECT = "mutations"
EACH = 1000
FULL = EACH * len(FORMATS)


def rounds(seed: int, count: int) -> Iterator[Outcome]:
    """Damage `count` files, the formats in turn."""
    with Box(FORMATS) as box:
        for number in range(count):
            yield box.round(FORMATS[number % len(FORMATS)], seed, number)
