import copy
import json
import shutil

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from mmpretrain.structures import DataSample

from projects.dat.evaluation.analyses.images import choose_images, set_targets
from projects.dat.evaluation.test_images import build_datasets
from projects.dat.runtime.errors import UserError
from tests.training.coco_case import rewrite


@pytest.fixture
def classes(classifier):
    return copy.deepcopy(classifier[0]), classifier[1] / 'val'


@pytest.fixture
def boxes(detector):
    return copy.deepcopy(detector[0]), detector[1] / 'val2017'


def read(cfg):
    """Names of the test images and what is known of each."""
    (dataset,) = build_datasets(cfg)
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return {info['img_path'].split('/')[-1]: info for info in infos}


def never(cfg):
    raise AssertionError('no prediction is needed')


def test_the_configs_images_evenly_spread(classes, boxes):
    cfg, root = classes
    assert choose_images(cfg, [], None) == sorted(map(str, root.rglob('*.png')))
    names = [file.split('/')[-1] for file in choose_images(cfg, [], 3)]
    assert names == ['cat_0.png', 'dog_0.png', 'owl_0.png']
    assert choose_images(cfg, [], 99) == choose_images(cfg, [], None)
    cfg, root = boxes
    assert choose_images(cfg, [], 2) == [str(root / '0.jpg'), str(root / '1.jpg')]


def test_files_and_folders(classes):
    cfg, root = classes
    found = choose_images(cfg, [str(root / 'owl/owl_1.png'), str(root / 'cat')], None)
    assert found == [str(root / name) for name in ('owl/owl_1.png', 'cat/cat_0.png',
                                                   'cat/cat_1.png')]


@pytest.mark.parametrize(
    'given, count, message',
    [
        (['missing'], None, 'an image or a folder at missing, found nothing'),
        (['EMPTY'], None, r'expected images \(.jpg.* found none'),
        ([], 0, '--num-images to be at least 1, found 0'),
    ],
)
def test_images_that_cannot_be_had(classes, tmp_path, given, count, message):
    given = [text.replace('EMPTY', str(tmp_path)) for text in given]
    with pytest.raises(UserError, match=message):
        choose_images(classes[0], given, count)


def test_no_images_and_no_test_data(classes, boxes):
    for cfg, message in ((classes[0], 'does not exist'), (boxes[0], 'does not exist')):
        cfg.test_dataloader.dataset.data_root = '/nowhere'
        with pytest.raises(UserError, match=message):
            choose_images(cfg, [], None)


def test_labels_of_the_test_data_and_of_folders(classes, tmp_path):
    cfg, root = classes
    shutil.copytree(root, tmp_path / 'moved')
    shutil.copy(root / 'owl/owl_0.png', tmp_path / 'moved/dog/new.png')
    files = choose_images(cfg, [str(tmp_path / 'moved')], None)
    assert set_targets(cfg, files, tmp_path, never) == 'the class labels that the images have'
    labels = {name: info['gt_label'] for name, info in read(cfg).items()}
    assert labels == {'cat_0.png': 0, 'cat_1.png': 0, 'dog_0.png': 1, 'dog_1.png': 1,
                      'new.png': 1, 'owl_0.png': 2, 'owl_1.png': 2}


def test_a_class_at_the_start_of_a_name(classes, tmp_path):
    cfg, root = classes
    shutil.copy(root / 'owl/owl_0.png', tmp_path / 'owl_77.png')
    files = choose_images(cfg, [str(tmp_path)], None)
    set_targets(cfg, files, tmp_path, never)
    assert read(cfg)['owl_77.png']['gt_label'] == 2


def test_labels_that_only_the_model_knows(classes, tmp_path):
    cfg, root = classes
    shutil.copy(root / 'owl/owl_0.png', tmp_path / 'x.png')
    files = [str(tmp_path / 'x.png'), str(root / 'dog/dog_1.png')]

    def predict(asked):
        assert list(read(asked)) == ['x.png']
        return [DataSample().set_pred_label(2)]

    text = set_targets(cfg, files, tmp_path, predict)
    assert text == "the class labels of 1 images and the model's own predictions of the other 1"
    assert {k: v['gt_label'] for k, v in read(cfg).items()} == {'x.png': 2, 'dog_1.png': 1}


def test_boxes_of_the_test_data(boxes, tmp_path):
    cfg, root = boxes
    (tmp_path / 'moved').mkdir()
    shutil.copy(root / '1.jpg', tmp_path / 'moved/1.jpg')
    files = [str(tmp_path / 'moved/1.jpg')]
    assert set_targets(cfg, files, tmp_path, never) == 'the boxes that the images have'
    (name, info), = read(cfg).items()
    (found,) = info['instances']
    assert name == '1.jpg' and found['bbox'] == [8, 8, 48, 38] and found['bbox_label'] == 1
    content = json.loads((tmp_path / 'annotations.json').read_text())
    assert cfg.test_evaluator.ann_file == str(tmp_path / 'annotations.json')
    assert len(content['images']) == len(content['annotations']) == 1


def test_boxes_of_images_of_one_name_are_told_apart(boxes, tmp_path):
    cfg = boxes[0]
    data = shutil.copytree(boxes[1].parent, tmp_path / 'data')
    first, second = data / 'val2017/night/1.jpg', data / 'val2017/1.jpg'
    first.parent.mkdir()
    (data / 'val2017/0.jpg').rename(first)
    rewrite(data, lambda content: content['images'][0].update(file_name='night/1.jpg'), 'val2017')
    cfg.test_dataloader.dataset.data_root = str(data)
    cfg.test_evaluator.ann_file = str(data / 'annotations/instances_val2017.json')
    own = copy.deepcopy(cfg)
    set_targets(own, [str(first), str(second)], tmp_path, never)
    found = json.loads((tmp_path / 'annotations.json').read_text())['annotations']
    assert [(x['image_id'], x['category_id']) for x in found] == [(1, 1), (2, 2)]
    # A copy could be of either.
    shutil.copy(second, tmp_path / '1.jpg')
    nothing = InstanceData(bboxes=torch.empty(0, 4), scores=torch.empty(0), labels=torch.empty(0))
    text = set_targets(
        cfg, [str(tmp_path / '1.jpg')], tmp_path,
        lambda asked: [DetDataSample(pred_instances=nothing)],
    )
    assert text.startswith("the model's own detections")


def test_boxes_that_only_the_model_knows(boxes, tmp_path):
    cfg, root = boxes
    shutil.copy(root / '1.jpg', tmp_path / 'new.jpg')
    found = InstanceData(
        bboxes=torch.tensor([[2.0, 4, 12, 10], [0, 0, 5, 5]]), scores=torch.tensor([0.9, 0.2]),
        labels=torch.tensor([1, 0]),
    )
    text = set_targets(
        cfg, [str(tmp_path / 'new.jpg')], tmp_path,
        lambda asked: [DetDataSample(pred_instances=found)],
    )
    assert text == "the model's own detections with a score of at least 0.3"
    (info,) = read(cfg).values()
    assert [(x['bbox'], x['bbox_label']) for x in info['instances']] == [([2, 4, 12, 10], 1)]
