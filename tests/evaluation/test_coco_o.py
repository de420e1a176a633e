"""COCO-O: its folder, its cells and its summary."""

import json
import shutil

import cv2
import pytest
from mmengine.config import Config

from projects.dat.evaluation.coco_o import CocoO
from projects.dat.evaluation.evaluate import evaluate, identify
from projects.dat.evaluation.results import CLEAN, Result
from projects.dat.evaluation.summaries import DOMAINS, coco_c
from projects.dat.runtime.errors import UserError
from tests.evaluation.bright_boxes import write_case
from tests.evaluation.result_case import METRIC, make_identity


@pytest.fixture(scope='module')
def case(tmp_path_factory):
    """A detector, and six copies of its images, each brighter and with fewer images."""
    folder = tmp_path_factory.mktemp('case')
    config, checkpoint = write_case(folder)
    for i, domain in enumerate(DOMAINS):
        shutil.copytree(folder / 'data', folder / 'ood_coco' / domain)
        file = folder / 'ood_coco' / domain / 'annotations/instances_val2017.json'
        content = json.loads(file.read_text())
        content['images'] = content['images'][i // 2:]
        kept = {image['id'] for image in content['images']}
        content['annotations'] = [a for a in content['annotations'] if a['image_id'] in kept]
        file.write_text(json.dumps(content))
        for image in (folder / 'ood_coco' / domain / 'val2017').iterdir():
            cv2.imwrite(str(image), cv2.imread(str(image)) // (i + 2) * (i + 2) + 4 * i)
    cfg = Config.fromfile(config)
    cfg.merge_from_dict({
        'load_from': str(checkpoint), 'test_dataloader.num_workers': 0,
        'test_dataloader.persistent_workers': False,
    })
    return cfg, folder / 'ood_coco'


def effective_robustness(result):
    return coco_c(result).get('effective robustness')


def measure(cfg, found, work_dir):
    cfg.work_dir = str(work_dir)
    identity = identify(cfg, found.data(cfg), METRIC)
    return evaluate(cfg, found.trials(cfg), identity, work_dir / 'result.json')


def test_a_domain_is_evaluated_as_coco_in_its_place(case, tmp_path):
    cfg, root = case
    result = measure(cfg, CocoO(str(root)), tmp_path)
    assert list(result.cells) == [CLEAN, *(('coco_o', domain) for domain in DOMAINS)]
    assert [c.num_images for c in result.cells.values()] == [7, 7, 7, 6, 6, 5, 5]
    for domain in DOMAINS[1::4]:  # as the benchmark says: --data-root of the domain's folder
        moved = Config(cfg.to_dict(), filename=cfg.filename)
        folder = root / domain
        moved.test_dataloader.dataset.data_root = str(folder)
        moved.test_evaluator.ann_file = str(folder / 'annotations/instances_val2017.json')
        clean = measure(moved, CocoO(str(root)), tmp_path / domain).cells[CLEAN]
        assert result.cells['coco_o', domain] == clean != result.cells[CLEAN]
    values = [result.value(('coco_o', domain)) for domain in DOMAINS]
    expected = sum(values) / 6 - 0.45 * result.value(CLEAN)
    assert effective_robustness(result) == pytest.approx(expected)


def test_effective_robustness_needs_every_cell():
    result = Result(make_identity())
    for ap, domain in zip((0.1, 0.2, 0.3, 0.4, 0.5, 0.3), DOMAINS, strict=True):
        result.add(('coco_o', domain), {METRIC: ap}, 9)
        assert effective_robustness(result) is None
    result.add(CLEAN, {METRIC: 0.4}, 9)
    assert effective_robustness(result) == pytest.approx(0.3 - 0.18)
    del result.cells['coco_o', 'weather']
    assert effective_robustness(result) is None


def test_other_annotations_are_other_data(case, tmp_path):
    cfg, root = case
    before = CocoO(str(root)).data(cfg)
    shutil.copytree(root, tmp_path / 'moved')
    assert CocoO(str(tmp_path / 'moved')).data(cfg) == before
    with open(tmp_path / 'moved/weather/annotations/instances_val2017.json', 'a') as file:
        file.write('\n')
    after = CocoO(str(tmp_path / 'moved')).data(cfg)
    assert [k for k, v in after['coco_o'].items() if v != before['coco_o'][k]] == [
        'annotations_sha256'
    ]



@pytest.mark.parametrize(
    'spoil, message',
    [
        (lambda root: [shutil.rmtree(root / name) for name in DOMAINS],
         'expected the six domains.*there is no sketch/annotations/instances_val2017.json, no '
         r'sketch/val2017/, no cartoon/annotations/\S+, \.\.\.: download ood_coco.zip.*easyrobust'
         r'.*--on coco_o=FOLDER'),
        (lambda root: shutil.rmtree(root / 'tattoo/val2017'),
         'there is no tattoo/val2017/: download'),
        (lambda root: (root / 'painting/val2017/3.jpg').unlink(),
         'the image .*painting/val2017/3.jpg, named in .* does not exist'),
        (lambda root: (root / 'handmake/annotations/instances_val2017.json').write_text('{'),
         'handmake/annotations/instances_val2017.json cannot be read as JSON'),
    ],
    ids=['all', 'images', 'image', 'json'],
)
def test_folders_that_are_not_whole(case, tmp_path, spoil, message):
    cfg, root = case
    shutil.copytree(root, tmp_path / 'root')
    spoil(tmp_path / 'root')
    with pytest.raises(UserError, match=message):
        CocoO(str(tmp_path / 'root')).trials(cfg)


def test_configs_that_do_not_fit(case):
    cfg, root = case
    other = Config(cfg.to_dict())
    other.test_dataloader.dataset.metainfo.classes = ('blue', 'red')
    with pytest.raises(UserError, match="class 0 is 'blue' in the config but 'red' in .*sketch"):
        CocoO(str(root)).trials(other)
    dataset = other.test_dataloader.dataset
    other.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[dataset, dataset])
    with pytest.raises(UserError, match='expected one data set in test_dataloader.*datasets.1'):
        CocoO(str(root)).trials(other)
