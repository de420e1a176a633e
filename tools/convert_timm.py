"""Make a classifier's checkpoint in timm's layout one of MMPretrain.

`python tools/convert_timm.py resnet50_dat.pth OUT.pth` converts the released DAT checkpoints
(https://github.com/alibaba/easyrobust, examples/imageclassification/imagenet/dat: ResNet-50,
ViT-B/16, MAE-ViT-H/14), and others of these architectures, for configs/classification.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import projects.dat.register  # noqa: E402, F401, I001  # before MMDetection: it completes MMCV

import torch  # noqa: E402

from projects.dat.models.timm_weights import (  # noqa: E402
    architecture_of, read_timm, rename_timm,
)
from projects.dat.runtime import cli  # noqa: E402
from projects.dat.runtime.errors import UserError  # noqa: E402
from projects.dat.runtime.files import replacing  # noqa: E402
from projects.dat.runtime.preflight.parts import build_model  # noqa: E402

CONFIGS = {
    'resnet50': 'configs/classification/dat_resnet50_in1k.py',
    'vit-b16': 'configs/classification/dat_vit-b16_in1k.py',
    'vit-h14': 'configs/classification/dat_mae-vit-h14_in1k_ft.py',
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', metavar='IN', help='a checkpoint file, or its URL')
    parser.add_argument('out', metavar='OUT', help='the .pth file to write')
    parser.add_argument(
        '--arch', choices=CONFIGS, help='architecture (default: told by the first layer)'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    weights = read_timm(args.source)
    arch = args.arch or architecture_of(weights)
    if arch is None:
        raise UserError(
            f"{args.source}: expected one of {', '.join(CONFIGS)} in timm's layout, found keys "
            f"such as {', '.join(list(weights)[:3])}: give a checkpoint of one of these, or say "
            'with --arch which it should be, to hear where it differs'
        )
    cfg = cli.read_config(str(ROOT / CONFIGS[arch]))
    cfg.model.pop('train_cfg', None)  # mixup and cutmix, which log that they are there
    state_dict = rename_timm(weights, build_model(cfg))
    with replacing(args.out) as temporary:
        torch.save(dict(state_dict=state_dict), temporary)
    print(
        f'{args.out}: {arch}, {len(state_dict)} tensors; '
        f'python tools/test.py {CONFIGS[arch]} {args.out}'
    )


if __name__ == '__main__':
    cli.run(main)
