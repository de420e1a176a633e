import os

import pytest
from mmengine.registry import DATASETS

from projects.dat.evaluation.labelled_images import (
    LabelledImages,
    images_of,
    labelled_sha256,
    read_labelled,
)
from tests.evaluation.color_labels import write_image

PIPELINE = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]


@pytest.fixture
def root(tmp_path):
    for name in ('b/2.PNG', 'b/deep/1.png', 'a/x.png', 'single.png'):
        write_image(tmp_path / name, 1)
    (tmp_path / 'b/notes.txt').touch()
    (tmp_path / 'empty').mkdir()
    return tmp_path


def test_images_below_a_folder_by_name(root):
    assert images_of(root, 'b') == ['b/2.PNG', 'b/deep/1.png']
    assert images_of(root, 'empty') == [] and images_of(root, 'single.png') == ['single.png']


def test_the_data_set_has_labels_by_folder_and_file(root):
    labels = {'single.png': 3, 'b': 7, 'a': 0}
    config = dict(type='LabelledImages', root=str(root), labels=labels, pipeline=PIPELINE)
    with DATASETS.switch_scope_and_registry('mmpretrain') as registry:
        dataset = registry.build(config)
    assert isinstance(dataset, LabelledImages)
    found = [(os.path.relpath(x['data_samples'].img_path, root), x['data_samples'].gt_label.item())
             for x in dataset]
    assert found == [('a/x.png', 0), ('b/2.PNG', 7), ('b/deep/1.png', 7), ('single.png', 3)]


def test_a_loader_that_reads_other_images_keeps_the_rest(root):
    inner = dict(type='CustomDataset', data_root='missing', pipeline=PIPELINE)
    loader = dict(batch_size=3, dataset=dict(type='RepeatDataset', times=2, dataset=inner))
    read_labelled(loader, root, {'a': 5})
    assert loader == dict(batch_size=3, dataset=dict(
        type=LabelledImages, root=str(root), labels={'a': 5}, pipeline=PIPELINE))
    loader['dataset'] = inner
    read_labelled(loader, root, {'a': 5}, lambda steps: list(steps)[1:])
    assert loader['dataset']['pipeline'] == PIPELINE[1:]


def test_the_hash_is_of_names_and_labels(root, tmp_path):
    labels = {'b': 7, 'a': 0}
    hashes = {labelled_sha256(root, labels)}
    assert labelled_sha256(root, dict(a=0, b=7)) in hashes
    hashes.add(labelled_sha256(root, {'b': 7, 'a': 1}))
    write_image(root / 'a/y.png', 0)
    hashes.add(labelled_sha256(root, labels))
    assert len(hashes) == 3
