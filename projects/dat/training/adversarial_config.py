"""From a plain config and an ``adversarial`` fragment to an adversarial config."""

from mmengine.config import Config, ConfigDict

_SPLIT = {'BN': 'SplitBN', 'BN2d': 'SplitBN', 'SyncBN': 'SplitSyncBN'}


def apply_adversarial(cfg: Config) -> None:
    """Spread ``cfg.adversarial`` over the config, in place; nothing happens without that key.

    MMEngine does not let two base files write to the same key, so that a fragment cannot itself
    change ``model`` and ``custom_hooks`` of whatever config it is combined with. It states, under
    one key of its own (configs/_base_/attacks/*.py):

    - ``data_preprocessor``: merged into the model's; mean, std and padding stay.
    - ``split_bn``: 'shared', 'clean', 'aux' or None; every BN and SyncBN of the model's
      ``norm_cfg`` becomes a SplitBN or SplitSyncBN. RoI heads keep theirs: their samples are no
      two halves.
    - everything else: a hook, appended to ``custom_hooks`` where there is none of its type yet.

    The result is an ordinary config without the key; it is what a run saves in its work folder.
    """
    adversarial = cfg.pop('adversarial', None)
    if adversarial is None:
        return
    cfg.model.data_preprocessor = cfg.model.get('data_preprocessor', {})
    cfg.model.data_preprocessor.update(adversarial.pop('data_preprocessor'))
    split = adversarial.pop('split_bn')
    if split is not None:
        _split_norms(cfg.model, split)
    present = [*cfg.get('default_hooks', {}).values(), *cfg.get('custom_hooks', [])]
    present = {hook.type for hook in present if hook is not None}
    hooks = [hook for hook in adversarial.values() if hook and hook.type not in present]
    cfg.custom_hooks = [*cfg.get('custom_hooks', []), *hooks]
    imports = cfg.get('custom_imports', {}).get('imports', [])
    imports = [imports] if isinstance(imports, str) else imports
    cfg.custom_imports = dict(
        imports=sorted({*imports, 'projects.dat.register'}), allow_failed_imports=False
    )


def _split_norms(node, split: str) -> None:
    if isinstance(node, ConfigDict):
        norm = node.get('norm_cfg')
        if norm is not None and norm.get('type') in _SPLIT:
            # A copy: one dict may serve several parts of the model.
            node.norm_cfg = ConfigDict(norm, type=_SPLIT[norm.type], split=split)
        for key, child in node.items():
            if key != 'roi_head':
                _split_norms(child, split)
    elif isinstance(node, (list, tuple)):
        for child in node:
            _split_norms(child, split)
