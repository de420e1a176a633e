"""Ten detectors of MMDetection, three iterations each: plain, DAT and Det-AdvProp in one table.

    python tests/detector_table.py [NAME ...]

Not a part of the suite: it takes about a quarter of an hour on two cores. Every detector keeps its
own model, losses and data preprocessor, and starts from random weights on drawn images of 256 px.
Batch norms are thawed, as Det-AdvProp needs it. A cell shows the loss of the third iteration, and
of attacked runs the share of changed tokens; or the sentence that refused the run.
"""

import logging
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import RUNNERS  # noqa: E402

import projects.dat.register  # noqa: E402, F401
from projects.dat.evaluation.tables import Table, to_terminal  # noqa: E402
from projects.dat.runtime.config import walk  # noqa: E402
from projects.dat.runtime.errors import UserError  # noqa: E402
from tools.demo_objects import CLASSES  # noqa: E402
from tools.make_demo_data import make_demo_data  # noqa: E402

DETECTORS = {
    'RetinaNet': 'retinanet/retinanet_r18_fpn_1x_coco.py',
    'Faster R-CNN': 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    'Cascade R-CNN': 'cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py',
    'FCOS': 'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
    'ATSS': 'atss/atss_r50_fpn_1x_coco.py',
    'GFL': 'gfl/gfl_r50_fpn_1x_coco.py',
    'YOLOv3': 'yolo/yolov3_mobilenetv2_8xb24-320-300e_coco.py',
    'YOLOX': 'yolox/yolox_tiny_8xb8-300e_coco.py',
    'RTMDet': 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
    'DETR': 'detr/detr_r50_8xb2-150e_coco.py',
}
METHODS = {'plain': None, 'DAT': 'dat', 'Det-AdvProp': 'det_advprop'}
PAD = {'YOLOX', 'RTMDet'}  # these pad in the pipeline


def make_config(name: str, method: str | None, data: Path, folder: Path) -> Config:
    """A detector's config with a method's fragment, on the drawn images."""
    bases = [f'mmdet::{DETECTORS[name]}']
    if method:
        bases.append(str(ROOT / f'configs/_base_/attacks/{method}.py'))
    file = folder / 'config.py'
    file.write_text(f'_base_ = {bases}\n')
    cfg = Config.fromfile(file)
    for path, node in walk(cfg.model, 'model'):
        if 'init_cfg' in node:
            node['init_cfg'] = None
        if path.split('.')[-1] != 'data_preprocessor' and 'num_classes' in node:
            node['num_classes'] = len(CLASSES)
        for key, value in (('norm_eval', False), ('frozen_stages', -1)):
            if key in node:
                node[key] = value
    if 'backbone' in cfg.model:
        cfg.model.backbone.setdefault('init_cfg', None)
    scale = (240, 240) if name in PAD else (256, 256)
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='Resize', scale=scale, keep_ratio=True),
        *([dict(type='Pad', size=(256, 256), pad_val=dict(img=(114, 114, 114)))] * (name in PAD)),
        dict(type='PackDetInputs'),
    ]
    dataset = dict(
        type='CocoDataset', data_root=str(data), pipeline=pipeline,
        ann_file='annotations/instances_train2017.json', data_prefix=dict(img='train2017/'),
        metainfo=dict(classes=CLASSES),
    )
    cfg.train_dataloader = dict(
        batch_size=2, num_workers=0, dataset=dataset,
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=3)
    cfg.optim_wrapper = dict(optimizer=dict(type='SGD', lr=1e-4))
    cfg.param_scheduler = None
    cfg.custom_hooks = []
    cfg.default_hooks = dict(logger=dict(type='LoggerHook', interval=1), checkpoint=None)
    for split in ('val', 'test'):
        for part in ('dataloader', 'cfg', 'evaluator'):
            cfg[f'{split}_{part}'] = None
    cfg.visualizer = dict(type='DetLocalVisualizer', name=f'{name} {method}')
    cfg.experiment_name = f'{name} {method}'.replace(' ', '_')
    cfg.randomness = dict(seed=0)
    cfg.work_dir = str(folder / 'run')
    cfg.log_level = 'ERROR'
    if method:
        cfg.adversarial.log_interval = 1
    return cfg


def run(cfg: Config) -> str:
    """Three iterations; what a cell of the table shows."""
    try:
        runner = RUNNERS.build(cfg)
        runner.train()
    except UserError as error:
        return str(error)
    scalars = runner.message_hub.log_scalars
    cell = f'{scalars["train/loss"].current():.3g}'
    if not torch.isfinite(torch.tensor(scalars['train/loss'].current())):
        return f'not finite: {cell}'
    if 'train/attack/token_change' in scalars:
        cell += f' ({100 * scalars["train/attack/token_change"].current():.1f} %)'
    return cell


def main() -> None:
    names = sys.argv[1:] or list(DETECTORS)
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        data = make_demo_data(Path(folder) / 'data', train=6, val=1, size=256)
        for i, name in enumerate(names, 1):
            row = [name]
            for method in METHODS.values():
                work = Path(folder) / f'{i}_{method}'
                work.mkdir()
                row.append(run(make_config(name, method, data, work)))
            print(f'[{i}/{len(names)}] {" | ".join(row)}', file=sys.stderr, flush=True)
            rows.append(row)
    title = 'Loss of the third iteration (share of changed tokens)'
    print(to_terminal(Table(title, ['detector', *METHODS], rows)))


if __name__ == '__main__':
    main()
