"""Choice of samples, and sizes in words."""

from collections import Counter

import pytest

from projects.dat.corruptions.coco_c.cell_worker import Task
from projects.dat.corruptions.coco_c.disk_space import choose_samples, in_words
from projects.dat.corruptions.coco_c.source import SourceImage
from projects.dat.corruptions.names import BENCHMARK, SEVERITIES


@pytest.mark.parametrize(
    'size, words',
    [(0, '0 B'), (999, '999 B'), (1000, '1 kB'), (999_600, '1 MB'), (1.5e9, '1.5 GB'),
     (2.345e13, '23.4 TB')],
)
def test_in_words(size, words):
    assert in_words(size) == words


def test_samples_cover_corruptions_severities_and_images():
    cells = tuple((name, severity) for name in BENCHMARK for severity in SEVERITIES)
    tasks = [Task(SourceImage(i, f'{i}.png', f'{i}.png'), cells) for i in range(100)]
    tasks[::2] = [Task(task.image, ()) for task in tasks[::2]]
    samples = choose_samples(tasks, Counter(name for name, _ in cells))
    assert {name for _, (name, _) in samples} == set(BENCHMARK)
    assert {severity for _, (_, severity) in samples} == set(SEVERITIES)
    assert len({image for image, _ in samples}) == len(samples)
    assert all(image.image_id % 2 for image, _ in samples)
    assert max(image.image_id for image, _ in samples) > 90
