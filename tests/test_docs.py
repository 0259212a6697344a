"""The documentation's sweep files are what its text says."""

import re
from pathlib import Path

import pytest

from mica.sweep.plan.grid import expand, size
from mica.sweep.plan.spec import load_sweep

DOCS = Path(__file__).parents[1] / "docs"
SWEEPS = [
    (page.stem, text)
    for page in sorted(DOCS.glob("*.md"))
    for text in re.findall(r"```yaml\n((?:# .*\n)?name: .*?)```", page.read_text(), flags=re.DOTALL)
]


@pytest.mark.parametrize(("page", "text"), SWEEPS)
def test_a_sweep_file_is_sound_and_its_trials_are_counted_right(page: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(text)
    spec = load_sweep(file)
    count = len(expand(spec).trials) or size(spec)  # those of a search are yet to come
    assert f"# {count} trials" in (DOCS / f"{page}.md").read_text()


def test_there_is_a_tutorial() -> None:
    assert [page for page, _ in SWEEPS] == ["sweep_file", "tutorial"]
