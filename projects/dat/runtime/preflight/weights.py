"""Can weights be read, and are they of the model that the config describes?"""

import os.path as osp
import pickle
import re
from collections import OrderedDict
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.runner import CheckpointLoader, find_latest_checkpoint, load_state_dict
from torch import nn

from projects.dat.runtime.errors import UserError

from ..annotations import some
from ..config import type_name, walk

CURE = 'give a .pth file that tools/train.py saved (work_dirs/<config name>/*.pth)'
# Never part of what a model has learned, and kept or left out by the versions of MMDetection.
IGNORED = re.compile(r'(^|\.)num_batches_tracked$|^data_preprocessor\.|^ema_')
HEAD = re.compile(r'\w*head\.')
MOST = 3  # keys of a kind that a sentence names


def check_checkpoint(cfg: Config, model: nn.Module, new_head: bool = False) -> dict | None:
    """Check the checkpoint that a run of this config would load, if any.

    Args:
        cfg (Config): ``load_from`` counts, or with ``resume`` the latest one in ``work_dir``.
        model (nn.Module): Built from it; gets the weights.
        new_head (bool): The head's layers that do not fit will be trained anew. Defaults to False.

    Returns:
        dict | None: Its content.

    Raises:
        UserError: It cannot be had, read or gone on from, or is of another model.
    """
    source = cfg.get('load_from')
    if cfg.get('resume') and not source:
        source = latest_checkpoint(cfg.work_dir)
    if not source:
        return None
    checkpoint = read_checkpoint(source, 'checkpoint', CURE)
    if cfg.get('resume'):
        check_resumable(checkpoint, source)
    check_fits(model, checkpoint, source, new_head)
    return checkpoint


def check_labels_kept(checkpoint: dict, classes: Sequence[str]) -> None:
    """Check that classes of the data which the checkpoint's run knew have the labels of then.

    Folders of images make labels of their own: with one folder more and another less, as many
    classes have other labels.

    Args:
        checkpoint (dict): MMEngine saves the class names with it; others are passed over.
        classes (Sequence[str]): Those of the data, in the order of their labels.

    Raises:
        UserError: One has another label.
    """
    trained = ((checkpoint.get('meta') or {}).get('dataset_meta') or {}).get('classes') or ()
    before = {name: label for label, name in enumerate(trained)}
    now = {name: label for label, name in enumerate(classes)}
    for name, label in now.items():
        if before.get(name, label) != label:
            raise UserError(
                f'the class {name!r} has the label {label} in the data, but {before[name]} in the '
                f'training of the checkpoint: give data of the same classes ({some(trained)})'
            )


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


def latest_checkpoint(work_dir: str) -> str | None:
    """The checkpoint that ``work_dir/last_checkpoint`` names, None where there is no such file.

    Raises:
        UserError: The named one does not exist.
    """
    latest = find_latest_checkpoint(work_dir)
    if latest is not None and '://' not in latest and not osp.isfile(latest):
        raise UserError(
            f'{osp.join(work_dir, "last_checkpoint")} names the checkpoint {latest!r}, which does '
            'not exist: name the one to go on from with --resume CHECKPOINT'
        )
    return latest


def read_checkpoint(source: str, what: str, cure: str) -> dict:
    """Read a checkpoint as MMEngine does, on the CPU; nothing in it is executed.

    Args:
        source (str): A file, or a URL, which is downloaded to torch hub's cache.
        what (str): What it is, for messages.
        cure (str): What to do without it, for messages.

    Raises:
        UserError: It does not exist, cannot be downloaded or read, or holds more than values.
    """
    if '://' not in source and not osp.isfile(osp.expanduser(source)):
        raise UserError(f'the {what}, {source}, does not exist: {cure}')
    try:
        checkpoint = CheckpointLoader.load_checkpoint(source, map_location='cpu', logger='silent')
    except UserError:
        raise
    except Exception as error:  # from sockets to pickles: each source fails in ways of its own
        asked = re.search(r'GLOBAL (\S+)', str(error))
        if isinstance(error, pickle.UnpicklingError) and asked:
            raise UserError(
                f'the {what}, {source}, is refused for safety: it asks to load {asked[1]}, and '
                f'what is no tensor or plain value could run code: {cure}'
            ) from None
        if '://' in source:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip('.')
            verb = 'downloaded'
        else:  # torch has many words for it, and its advice is to read the file unsafely
            size = osp.getsize(osp.expanduser(source))
            reason = getattr(error, 'filename', None) and error.strerror
            reason = reason or f'its {size:,} bytes are no whole file of torch.save'
            verb = 'read'
        raise UserError(f'the {what}, {source}, cannot be {verb} ({reason}): {cure}') from None
    if not isinstance(checkpoint, dict):
        raise UserError(
            f'the {what}, {source}, holds a {type(checkpoint).__name__}, not weights by name: '
            f'{cure}'
        )
    return checkpoint


def check_resumable(checkpoint: dict, source: str) -> None:
    """Check that a run can go on from a checkpoint.

    Raises:
        UserError: It holds weights alone.
    """
    if 'message_hub' not in checkpoint or 'iter' not in checkpoint.get('meta', {}):
        raise UserError(
            f'{source} holds weights but no state of a run, so that --resume cannot go on from it: '
            f'start a run from its weights with --cfg-options load_from={source}'
        )


def check_fits(model: nn.Module, checkpoint: dict, source: str, new_head: bool = False) -> None:
    """Load weights into a model, as MMEngine does, and look whether all of them found a place.

    Overlooked are counters and statistics of the data, which come and go with the versions of
    MMDetection, and auxiliary batch norms of adversarial training, which a plain model has not.

    Args:
        model (nn.Module): Gets the weights.
        checkpoint (dict): With a ``state_dict``, or one itself.
        source (str): Its name, for messages.
        new_head (bool): Overlook layers of heads too. Defaults to False.

    Raises:
        UserError: Names the first keys that are of another shape, missing or unexpected.
    """
    weights = checkpoint.get('state_dict', checkpoint)
    metadata = getattr(weights, '_metadata', {})  # versions, by which modules rename old keys
    weights = OrderedDict((re.sub('^module\\.', '', key), value) for key, value in weights.items())
    weights._metadata = metadata
    try:
        load_state_dict(model, weights, strict=True)
        return
    except RuntimeError as error:
        text = str(error)
    shapes = re.findall(r'size mismatch for (\S+): .*?Size\((.*?)\).*?Size\((.*?)\)', text)
    found = {
        'of another shape': {name: f'{name} ({a}, not {b})' for name, a, b in shapes},
        'missing': _named('missing keys in source', text),
        'unexpected': _named('unexpected key in source', text),
    }
    for name in list(found['unexpected']):
        if '.aux.' in name and name.replace('.aux.', '.') in weights:
            del found['unexpected'][name]
    differing = [name for kind in found.values() for name in kind if not IGNORED.search(name)]
    in_body = [name for name in differing if not HEAD.match(name)]
    if not differing or (new_head and not in_body):
        return
    named = []
    for kind, texts in found.items():
        texts = [text for name, text in texts.items() if name in differing]
        more = f' and {len(texts) - MOST} more' if len(texts) > MOST else ''
        named += [f'{kind}: {", ".join(texts[:MOST])}{more}'] if texts else []
    cure = 'give the config that it was trained with'
    if not in_body:
        cure += ', or train a new head from its other weights with tools/train.py --new-head'
    raise UserError(
        f'the checkpoint, {source}, is of another {"model" if in_body else "head"} than the '
        f"config's ({'; '.join(named)}): {cure}"
    )


def _named(what: str, text: str) -> dict[str, str]:
    names = re.search(rf'{what} state_dict: (.*)', text)
    return {name: name for name in names[1].split(', ')} if names else {}
