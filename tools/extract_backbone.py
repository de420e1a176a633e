"""Take the backbone out of a self-supervised run's checkpoint, for detectors and classifiers.

`python tools/extract_backbone.py CONFIG CHECKPOINT OUT.pth`, where CONFIG is the one of the
pre-training. Configs of MMPretrain and MMDetection start from the file with

    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='OUT.pth', prefix='backbone'))
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import projects.dat.register  # noqa: E402, F401, I001  # before MMDetection: it completes MMCV

import torch  # noqa: E402

from projects.dat.models.pretraining import backbone_of, tensors_by_part  # noqa: E402
from projects.dat.runtime import cli  # noqa: E402
from projects.dat.runtime.files import replacing  # noqa: E402
from projects.dat.runtime.preflight.parts import build_model  # noqa: E402
from projects.dat.runtime.preflight.weights import (  # noqa: E402
    CURE, check_fits, read_checkpoint,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', metavar='CONFIG', help='of the pre-training')
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help='a file of it, or a URL')
    parser.add_argument('out', metavar='OUT', help='the .pth file to write')
    parser.add_argument(
        '--momentum', action='store_true',
        help="take the momentum encoder's backbone (MoCo, MoCo-v3, BYOL)",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = cli.read_config(args.config)
    model = build_model(cfg)
    backbone, name = backbone_of(model, args.config, args.momentum)
    check_fits(model, read_checkpoint(args.checkpoint, 'checkpoint', CURE), args.checkpoint)
    weights = {f'backbone.{key}': value for key, value in backbone.state_dict().items()}
    with replacing(args.out) as temporary:
        torch.save(dict(state_dict=weights), temporary)
    parts = tensors_by_part(model, name)
    left = ', '.join(f'{count} of {part}' for part, count in parts.items())
    print(
        f'{args.out}: {type(backbone).__name__}, {len(weights)} tensors of {name}; left out: {left}'
    )


if __name__ == '__main__':
    cli.run(main)
