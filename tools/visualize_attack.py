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
from mmdet.apis import init_detector  # noqa: E402
from mmdet.utils import get_test_pipeline_cfg  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import HOOKS  # noqa: E402
from mmengine.structures import InstanceData  # noqa: E402
from PIL import Image  # noqa: E402

from projects.dat.runtime.errors import UserError  # noqa: E402
from projects.dat.training import Adversary, cli  # noqa: E402
from projects.dat.runtime.preflight.weights import check_load_from  # noqa: E402
from projects.dat.training.visualization import COLUMNS, attack_sheet  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    cli.add_arguments(parser)
    parser.add_argument('checkpoint', help="the detector's weights")
    parser.add_argument('images', nargs='+', help='image files')
    parser.add_argument('--out', default='attack.png', help='picture to write (attack.png)')
    parser.add_argument('--score', type=float, default=0.3, help='of the boxes (default: 0.3)')
    parser.add_argument(
        '--rounds', type=int, default=20, help='in which the step size settles first (default: 20)'
    )
    return parser.parse_args()


def find_hook(cfg: Config) -> dict:
    """The config of the AdversarialTrainingHook.

    Raises:
        UserError: There is none.
    """
    for hook in cfg.get('custom_hooks', []):
        if hook.type == 'AdversarialTrainingHook':
            return hook
    raise UserError(
        f'{cfg.filename} has no AdversarialTrainingHook: give an adversarial config such as '
        'configs/dat_efficientdet_512.py'
    )


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
    hook = HOOKS.build(find_hook(cfg))
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    cfg.load_from = args.checkpoint
    check_load_from(cfg)
    model = init_detector(cfg, args.checkpoint, device=str(device))
    # Random sizes and mixtures belong to training.
    model.data_preprocessor.batch_augments = None
    data = load_batch(cfg, args.images)
    label_with_detections(model, data, args.score)

    adversary = Adversary(hook.build_attack(device), model.train(), hook.loss_pattern)
    model.data_preprocessor.bind(adversary)
    # A controller starts far from the step size that it will hold.
    rounds = args.rounds if getattr(adversary.attack, 'controller', None) else 1
    for _ in range(rounds):
        adversary.keep_result = True
        model.data_preprocessor(data, training=True)
    images, mask, samples, result = adversary.kept
    sheet = attack_sheet(images, mask, result, [s.gt_instances.bboxes for s in samples])
    Image.fromarray(sheet).save(args.out)
    for name, value in result.stats.items():
        print(f'{name}: {value:.4g}')
    print(f'columns: {", ".join(COLUMNS)}\nwrote {args.out}')


if __name__ == '__main__':
    cli.run(main)
