"""Show what a config's attack does to images, as one picture.

`python tools/visualize_attack.py configs/dat_efficientdet_512.py CHECKPOINT IMAGE [IMAGE ...]`

One row an image: clean, reconstruction, adversarial, amplified difference, changed tokens. For
box detectors. No annotations are needed: what the model detects with a score of at least --score is
what the attack turns it away from.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import projects.dat.register  # noqa: E402, F401, I001  # before MMDetection: it completes MMCV

import torch  # noqa: E402
from mmcv.transforms import Compose  # noqa: E402
from mmdet.utils import get_test_pipeline_cfg  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.model import BaseModel, revert_sync_batchnorm  # noqa: E402
from mmengine.registry import MODELS, init_default_scope  # noqa: E402
from mmengine.structures import InstanceData  # noqa: E402
from PIL import Image  # noqa: E402

from projects.dat.runtime import cli  # noqa: E402
from projects.dat.runtime.errors import UserError  # noqa: E402
from projects.dat.runtime.preflight.weights import (  # noqa: E402
    CURE, check_fits, read_checkpoint,
)
from projects.dat.training import Adversary  # noqa: E402
from projects.dat.training.attack_pictures import COLUMNS, attack_sheet  # noqa: E402
from projects.dat.training.prepare import prepare_model  # noqa: E402
from projects.dat.training.runner import (  # noqa: E402
    check_adversarial, make_hook, settings_of,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    cli.add_arguments(parser)
    parser.add_argument('checkpoint', help="the detector's weights")
    parser.add_argument('images', nargs='+', help='image files')
    parser.add_argument('--out', default='attack.png', help='picture to write (attack.png)')
    parser.add_argument('--score', type=float, default=0.3, help='of the boxes (default: 0.3)')
    return parser.parse_args()


def load_model(cfg: Config, source: str) -> BaseModel:
    """The config's detector, prepared for attacks on whole batches, with a checkpoint's weights."""
    checkpoint = read_checkpoint(source, 'checkpoint', CURE)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    prepare_model(model, **{**settings_of(cfg), 'assembly': 'concat', 'share': 1.0})
    check_fits(model, checkpoint, source)
    # Random sizes and mixtures belong to training.
    model.data_preprocessor.batch_augments = None
    return model.eval()


def load_batch(cfg: Config, images: list[str]) -> dict:
    """The images as the config's test pipeline loads them, without annotations."""
    pipeline = [t for t in get_test_pipeline_cfg(cfg) if 'LoadAnnotations' not in t.type]
    pipeline = Compose(pipeline)
    items = [pipeline(dict(img_path=path, img_id=i)) for i, path in enumerate(images)]
    return {key: [item[key] for item in items] for key in ('inputs', 'data_samples')}


def label_with_detections(model, data: dict, score: float) -> None:
    """Make the model's own detections the targets of the data samples, in place."""
    with torch.no_grad():
        detections = model.test_step(data)
    for sample, detected in zip(data['data_samples'], detections, strict=True):
        found = detected.pred_instances
        found = found[found.scores >= score]
        # Detections are in pixels of the file, targets in pixels of the input.
        scale = found.bboxes.new_tensor(sample.scale_factor).repeat(2)
        sample.gt_instances = InstanceData(bboxes=found.bboxes * scale, labels=found.labels)
        sample.pop('pred_instances', None)
        sample.pop('ignored_instances', None)  # made without boxes where no annotations were loaded


def main() -> None:
    args = parse_args()
    cfg = cli.load_config(args)
    if 'adversarial' not in cfg:
        raise UserError(
            f'{args.config} has no key adversarial: give a config that inherits a fragment of '
            'configs/_base_/attacks, such as configs/dat_efficientdet_512.py'
        )
    check_adversarial(cfg)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    model = load_model(cfg, args.checkpoint).to(device)
    data = load_batch(cfg, args.images)
    label_with_detections(model, data, args.score)

    hook = make_hook(cfg)
    adversary = Adversary(hook.build_attack(device), model.train(), hook.losses, keep_result=True)
    model.data_preprocessor.bind(adversary)
    model.data_preprocessor(data, training=True)
    images, mask, samples, result = adversary.kept
    sheet = attack_sheet(images, mask, result, [s.gt_instances.bboxes for s in samples])
    Image.fromarray(sheet).save(args.out)
    for name, value in result.stats.items():
        print(f'{name}: {value:.4g}')
    print(f'columns: {", ".join(COLUMNS)}\nwrote {args.out}')


if __name__ == '__main__':
    cli.run(main)
