"""The whole way on data made on the spot: `make demo`, or `python tools/demo.py`.

Makes a small data set, trains an EfficientDet on it plainly, with Det-AdvProp and with Discrete
Adversarial Training, compares the three on clean and corrupted images, and leaves in one folder the
DAT checkpoint, its curves, a picture of the attack, detections on validation images and the
comparison. A demo that was interrupted goes on where it stopped.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import projects.dat.register  # noqa: E402, F401, I001  # before MMDetection: it completes MMCV

import matplotlib  # noqa: E402

matplotlib.use('Agg')

import matplotlib.pyplot as plt  # noqa: E402
import mmcv  # noqa: E402
import torch  # noqa: E402
from mmdet.apis import inference_detector, init_detector  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import VISUALIZERS  # noqa: E402
from torchvision.utils import make_grid, save_image  # noqa: E402

from projects.dat.runtime import cli  # noqa: E402
from tools.make_demo_data import make_demo_data  # noqa: E402

CONFIG = ROOT / 'configs' / 'efficientdet_demo.py'

# One corruption of each group: the whole benchmark takes 75 passes over the validation images.
CORRUPTIONS = ['gaussian_noise', 'defocus_blur', 'fog', 'jpeg_compression']
SEVERITIES = ['1', '3']

# glibc gives large blocks back to the system and asks for them again at every operator; keeping
# them makes a training step on the CPU up to one and a half times as fast.
ALLOCATOR = dict(MALLOC_MMAP_MAX_='0', MALLOC_TRIM_THRESHOLD_='8589934592')


def compare(out: Path) -> Path:
    """Train and compare the three methods, or go on with it; gives the folder of the DAT run."""
    comparison = out / 'comparison'
    command = [sys.executable, '-W', 'ignore', str(ROOT / 'tools' / 'compare_det_advprop.py')]
    command += [str(CONFIG), '--data-root', str(out / 'data'), '--out', str(comparison)]
    command += ['--cfg-options', 'adversarial.hook.interval=10']
    command += ['adversarial.visualization.interval=120']
    command += ['--corruptions', *CORRUPTIONS, '--severities', *SEVERITIES]
    done = subprocess.run(command, env={**os.environ, **ALLOCATOR})
    if done.returncode:
        sys.exit(done.returncode)
    return comparison / 'dat'


def read_scalars(run: Path) -> tuple[list[dict], list[dict]]:
    """What all starts of a run logged: entries of training, entries of validation."""
    lines = []
    for file in sorted(run.glob('*/vis_data/scalars.json')):
        lines += [json.loads(line) for line in file.read_text().splitlines()]
    return [x for x in lines if 'loss' in x], [x for x in lines if 'coco/bbox_mAP_50' in x]


def draw_curves(training: list[dict], validation: list[dict], path: Path) -> None:
    """Loss, share of changed tokens and mAP_50 over the run."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.5), layout='constrained')
    steps = [x['step'] for x in training]
    axes[0].plot(steps, [x['loss'] for x in training], label='total')
    axes[0].plot(steps, [x['loss_cls'] for x in training], label='classification')
    axes[0].plot(steps, [x['loss_bbox'] for x in training], label='boxes')
    axes[0].set(title='training loss, clean and adversarial', xlabel='iteration', ylim=(0, None))
    axes[0].legend()
    attacked = [x for x in training if 'attack/token_change' in x]
    steps = [x['step'] for x in attacked]
    axes[1].plot(steps, [100 * x['attack/token_change'] for x in attacked])
    axes[1].axhline(3.8, color='gray', linestyle=':', label='target')
    axes[1].set(title='tokens changed by the attack, %', xlabel='iteration', ylim=(0, None))
    axes[1].legend()
    steps = [x['step'] for x in validation]
    axes[2].plot(steps, [x['coco/bbox_mAP_50'] for x in validation], 'o-')
    axes[2].set(title='bbox_mAP_50 on validation images', xlabel='epoch', ylim=(0, 1))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_detections(checkpoint: Path, images: list[Path], path: Path) -> None:
    """Detections of a score of at least 0.3 on some images, side by side."""
    device = 'cuda:0' if torch.cuda.is_available() else 'cpu'
    cfg = Config.fromfile(CONFIG)
    model = init_detector(cfg, str(checkpoint), device=device)
    visualizer = VISUALIZERS.build(dict(type='DetLocalVisualizer', name='detections'))
    visualizer.dataset_meta = model.dataset_meta
    pictures = []
    for file in images:
        result = inference_detector(model, str(file))
        image = mmcv.imread(str(file), channel_order='rgb')
        visualizer.add_datasample(file.stem, image, result, draw_gt=False, pred_score_thr=0.3)
        pictures.append(torch.from_numpy(visualizer.get_image().copy()).permute(2, 0, 1) / 255)
    save_image(make_grid(torch.stack(pictures), nrow=4, padding=4, pad_value=1.0), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/demo'), help='folder to fill')
    out = parser.parse_args().out
    make_demo_data(out / 'data')
    run = compare(out)
    training, validation = read_scalars(run)

    checkpoint = out / 'checkpoint.pth'
    shutil.copyfile(run / 'checkpoint.pth', checkpoint)
    draw_curves(training, validation, out / 'curves.png')
    pictures = sorted(
        run.glob('*/vis_data/vis_image/attack_*.png'), key=lambda p: int(p.stem.split('_')[1])
    )
    shutil.copyfile(pictures[-1], out / 'attack.png')
    images = sorted((out / 'data' / 'val2017').iterdir())[:8]
    draw_detections(checkpoint, images, out / 'detections.png')

    print(f'\nbbox_mAP_50 of DAT on held-out images: {validation[-1]["coco/bbox_mAP_50"]:.3f}')
    for name, what in (
        ('checkpoint.pth', 'the detector trained with DAT'),
        ('curves.png', 'its loss, changed tokens and mAP_50 over the run'),
        ('attack.png', 'clean, reconstruction, adversarial, difference, changed tokens'),
        ('detections.png', 'its detections on validation images'),
        ('comparison', 'plain, Det-AdvProp and DAT: tables, plots, logs and configs of the runs'),
    ):
        print(f'  {out / name}: {what}')


if __name__ == '__main__':
    cli.run(main)
