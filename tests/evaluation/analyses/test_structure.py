import numpy as np
import pytest

from projects.dat.evaluation.analyses import structure
from projects.dat.evaluation.analyses.structure import ChangeTest


def metrics_of(maps, objects=None):
    test = ChangeTest(np.random.default_rng(0))
    for i, one in enumerate(maps):
        test.add(one.astype(float), objects[i] if objects is not None else None)
    return test.metrics()





def blobs(generator, place=None):
    found = np.zeros((12, 16))
    y, x = place or (generator.integers(0, 10), generator.integers(0, 14))
    found[y:y + 3, x:x + 3] = 1
    return found


def test_clusters_are_told_from_scattered_changes():
    generator = np.random.default_rng(1)
    clustered = metrics_of([blobs(generator) for _ in range(10)])
    assert clustered['clustering'] > 3 and clustered['clustering_p'] == 1 / 1000
    scattered = [generator.random((12, 16)) < 0.1 for _ in range(200)]
    found = metrics_of(scattered)
    assert found['clustering'] == pytest.approx(1, abs=0.1) and found['clustering_p'] > 0.01
    assert 'on_objects' not in found


def test_changes_on_objects_are_told_from_those_anywhere():
    generator = np.random.default_rng(2)
    places = [(generator.integers(0, 9), generator.integers(0, 12)) for _ in range(30)]
    objects = [blobs(generator, place) for place in places]
    on = metrics_of(objects, objects)
    assert on['on_objects'] == pytest.approx(1) and on['on_objects_p'] == 1 / 1000
    area = np.mean([x.mean() for x in objects])
    assert on['on_objects_chance'] == pytest.approx(area, abs=0.02)
    anywhere = metrics_of([blobs(generator) for _ in range(30)], objects)
    assert anywhere['on_objects_p'] > 0.01


def test_images_that_say_nothing():
    generator = np.random.default_rng(3)
    assert metrics_of([np.zeros((4, 4))]) == dict(clustering=1, clustering_p=1)
    found = metrics_of([blobs(generator)] * 2, [np.ones((12, 16)), np.zeros((12, 16))])
    assert 'on_objects' not in found


def test_of_every_attack(subject, toy):
    result = structure.analyze(subject, toy, 0.2)
    boxes = subject.metric.startswith('coco')
    flips = result.cells['dat_flip 0.2', 0].metrics
    assert flips['attack/token_change'] == pytest.approx(0.2, abs=0.02)
    for found in result.cells.values():
        assert ('on_objects' in found.metrics) == boxes
        if boxes:
            # The boxes are 40 x 30 of images of 96 x 64, wherever the changes are.
            assert found.metrics['on_objects_chance'] == pytest.approx(1200 / 6144, abs=0.08)
    folder = f'{subject.cfg.work_dir}/analyses/structure'
    for name in ('dat', 'places'):
        with open(f'{folder}/{name}.png', 'rb') as file:
            assert file.read(4) == b'\x89PNG'
    with open(f'{folder}/summary.md') as file:
        assert ('inside boxes' in file.read()) == boxes
