"""Choice of samples."""

from projects.dat.corruptions.coco_c.cell_worker import Task
from projects.dat.corruptions.coco_c.disk_space import choose_samples
from projects.dat.corruptions.coco_c.tree import SourceImage
from projects.dat.corruptions.names import BENCHMARK, SEVERITIES


def test_samples_cover_corruptions_severities_and_images():
    cells = tuple((name, severity) for name in BENCHMARK for severity in SEVERITIES)
    tasks = [Task(SourceImage(i, f'{i}.png', f'{i}.png'), cells) for i in range(100)]
    tasks[::2] = [Task(task.image, ()) for task in tasks[::2]]
    samples = choose_samples(tasks)
    assert {name for _, (name, _) in samples} == set(BENCHMARK)
    assert {severity for _, (_, severity) in samples} == set(SEVERITIES)
    assert len({image for image, _ in samples}) == len(samples)
    assert all(image.image_id % 2 for image, _ in samples)
    assert max(image.image_id for image, _ in samples) > 90
