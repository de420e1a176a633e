"""COCO-O (arXiv:2307.12730): the objects of COCO in six domains of other images."""

import copy
from pathlib import Path

from mmengine.config import Config

from projects.dat.runtime.config import metrics_of
from projects.dat.runtime.errors import UserError
from projects.dat.runtime.preflight.data import check_data

from .evaluate import Trial
from .results import CLEAN, Cell
from .summaries import DOMAINS
from .test_images import annotations_sha256, clean_loader, datasets_of, images_sha256

# Each domain's folder is laid out as COCO's is.
ANNOTATIONS = 'annotations/instances_val2017.json'
IMAGES = 'val2017/'
PLACE = 'https://github.com/alibaba/easyrobust/tree/main/benchmarks/coco_o'


class CocoO:
    """The domains of COCO-O, a cell each.

    Args:
        root: A folder as the authors distribute it,
            ``<domain>/{annotations/instances_val2017.json,val2017/*.jpg}``.

    Raises:
        UserError: It is no such folder.
    """

    name = 'coco_o'

    def __init__(self, root: str) -> None:
        self.root = Path(root)
        wanted = [f'{domain}/{part}' for domain in DOMAINS for part in (ANNOTATIONS, IMAGES)]
        missing = [part for part in wanted if not (self.root / part).exists()]
        if missing:
            raise UserError(
                f'expected the six domains of COCO-O in {self.root}, but there is no '
                f'{", no ".join(missing[:3])}{", ..." * (len(missing) > 3)}: download ood_coco.zip '
                f'as {PLACE} says, unpack it and write --on coco_o=FOLDER'
            )

    def data(self, cfg: Config) -> dict[str, dict[str, str | int]]:
        """What the figures depend on besides model and metric, for their identity."""
        return {self.name: dict(
            clean_sha256=images_sha256(cfg),
            annotations_sha256=annotations_sha256(
                dict(ann_file=str(self.root / domain / ANNOTATIONS)) for domain in DOMAINS
            ),
        )}

    def trials(self, cfg: Config) -> dict[Cell, Trial]:
        """The clean images, then each domain, read and evaluated as the config does it with COCO.

        Raises:
            UserError: The config tests several data sets, or a domain does not fit it.
        """
        found = [path for path, _ in datasets_of(cfg)]
        if len(found) != 1:
            raise UserError(
                f'expected one data set in test_dataloader, in whose place COCO-O is read, found '
                f'{", ".join(found)}: leave one'
            )
        trials = {CLEAN: Trial(clean_loader(cfg))}
        for domain in DOMAINS:
            test = copy.deepcopy(cfg)
            test.test_dataloader = clean_loader(cfg)
            (_, dataset), = datasets_of(test)
            dataset.update(
                data_root=f'{self.root / domain}/', ann_file=ANNOTATIONS,
                data_prefix=dict(img=IMAGES),
            )
            for _, metric in metrics_of(test, 'test'):
                if metric.get('ann_file'):
                    metric['ann_file'] = str(self.root / domain / ANNOTATIONS)
            check_data(test, ['test'])
            trials[self.name, domain] = Trial(test.test_dataloader, test.test_evaluator)
        return trials
