"""Functions of a data loader that another library's config names."""

import functools

from mmengine.runner import Runner


def keep_scopes_from_loader_functions() -> None:
    """Let a config inherit one of another library, such as ``mmpretrain::simsiam/...``, whose
    loader names a ``collate_fn``.

    Bug: mmengine 0.10.7 marks every dict of such a config with ``_scope_``, and hands the mark on
    to the loader's functions as an argument: "default_collate() got an unexpected keyword argument
    '_scope_'" (https://github.com/FishAndWasabi/YOLO-MS/issues/8).
    """
    original = Runner.build_dataloader
    if hasattr(original, '__wrapped__'):
        return

    @functools.wraps(original)
    def build_dataloader(dataloader, *args, **kwargs):
        if isinstance(dataloader, dict):
            dataloader = {
                key: {k: v for k, v in value.items() if k != '_scope_'}
                if key in ('collate_fn', 'worker_init_fn') and isinstance(value, dict) else value
                for key, value in dataloader.items()
            }
        return original(dataloader, *args, **kwargs)

    Runner.build_dataloader = staticmethod(build_dataloader)
