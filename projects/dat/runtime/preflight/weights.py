"""Can the weights that a config starts from be had: backbone and checkpoint?"""

import os.path as osp
import re

from mmengine.config import Config
from mmengine.runner import CheckpointLoader

from projects.dat.runtime.errors import UserError

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
            _try_loading(node['checkpoint'], f'pretrained weights of {owner}', cure)


def check_load_from(cfg: Config) -> None:
    """Load ``cfg.load_from`` once.

    Raises:
        UserError: The file is missing, broken or cannot be downloaded.
    """
    if cfg.get('load_from'):
        cure = 'give a .pth file that tools/train.py saved (work_dirs/<config name>/*.pth)'
        _try_loading(cfg.load_from, 'checkpoint', cure)


def _try_loading(source: str, what: str, cure: str) -> None:
    if '://' not in source and not osp.isfile(osp.expanduser(source)):
        raise UserError(f'the {what}, {source}, does not exist: {cure}')
    try:
        CheckpointLoader.load_checkpoint(source, map_location='cpu', logger='silent')
    except Exception as error:  # from sockets to pickles: each source fails in ways of its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip('.')
        verb = 'downloaded' if '://' in source else 'read'
        raise UserError(f'the {what}, {source}, cannot be {verb} ({reason}): {cure}') from None
