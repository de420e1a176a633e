"""Can the weights that backbones start from be had?"""

import re

from mmengine.config import Config

from ..checkpoints import read_checkpoint
from ..config import type_name, walk


def check_pretrained(cfg: Config) -> None:
    """Load every ``init_cfg=dict(type='Pretrained', checkpoint=...)`` once.

    A URL thereby lands in torch hub's cache, where the run finds it.

    Raises:
        UserError: The file is missing, broken or cannot be downloaded.
    """
    for path, node in walk(cfg.model, 'model'):
        if type_name(node) == 'Pretrained' and node.get('checkpoint'):
            init_cfg = re.sub(r'(\.\d+)+$', '', path)
            cure = (
                'download it by hand and give its path with --cfg-options '
                f'{path}.checkpoint=FILE, or train from scratch with --cfg-options {init_cfg}=None'
            )
            owner = init_cfg.rsplit('.', 1)[0]
            read_checkpoint(node['checkpoint'], f'pretrained weights of {owner}', cure)
