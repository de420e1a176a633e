import csv
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from projects.dat.training import ReconstructionHook, ReconstructionMetric
from projects.dat.training.reconstruction import figures_as_text, read_validations


def sample(difference, tokens, **figures):
    image = torch.full((3, 8, 8), 0.5)
    figures = {k: torch.tensor(v) for k, v in figures.items()}
    tokens = torch.tensor(tokens)
    return dict(
        image=image, reconstruction=image + difference, tokens=tokens, num_tokens=8, **figures
    )


def test_metric():
    metric = ReconstructionMetric()
    metric.process(None, [sample(0.1, [[0, 1]], lpips=0.25), sample(0.01, [[1, 5]], lpips=0.75)])
    figures = metric.compute_metrics(metric.results)
    # 20 dB and 40 dB; tokens 0, 1 and 5.
    assert figures == pytest.approx(dict(psnr=30, lpips=0.5, tokens_used=3 / 8), rel=1e-4)


def test_metric_without_lpips():
    metric = ReconstructionMetric()
    metric.process(None, [sample(0.1, [[0]])])
    assert set(metric.compute_metrics(metric.results)) == {'psnr', 'tokens_used'}


class Recorder:
    def __init__(self):
        self.images = []

    def add_image(self, name, image, step):
        self.images.append((name, image, step))


def validate(hook, folder, iteration, psnr):
    runner = SimpleNamespace(
        work_dir=folder, iter=iteration, rank=0, val_dataloader=[0, 0], visualizer=Recorder()
    )
    hook.before_val_epoch(runner)
    for difference in (0.1, 0.2):
        hook.after_val_iter(runner, 0, outputs=[sample(difference, [[0]])] * 2)
    hook.after_val_epoch(runner, dict(psnr=psnr, tokens_used=0.5))
    return runner.visualizer.images


def test_picture_has_each_image_above_its_reconstruction(tmp_path):
    ((name, picture, step),) = validate(ReconstructionHook(num_images=3), tmp_path, 7, 20.0)
    assert (name, step, picture.shape) == ('reconstruction', 7, (16, 24, 3))
    assert (picture[:8] == 128).all()
    assert np.unique(picture[8:, :16]).tolist() == [153]
    assert np.unique(picture[8:, 16:]).tolist() == [178]


@pytest.mark.parametrize('started_at, rows', [(0, ['5']), (3, ['1', '5'])])
def test_a_new_run_drops_the_curves_of_an_older_one(tmp_path, started_at, rows):
    for iteration in (1, 9):
        validate(ReconstructionHook(), tmp_path, iteration, 20.0)
    hook = ReconstructionHook()
    hook.before_train(SimpleNamespace(work_dir=tmp_path, iter=started_at, rank=0))
    validate(hook, tmp_path, 5, 20.0)
    with open(tmp_path / 'validation.csv', newline='') as file:
        assert [row['iter'] for row in csv.DictReader(file)] == rows


def test_curves_go_on_after_a_restart(tmp_path):
    for iteration, psnr in ((10, 20.0), (20, 21.0), (30, 22.0)):
        validate(ReconstructionHook(), tmp_path, iteration, psnr)
    # Resumed from a checkpoint of iteration 15: what came later is replaced.
    validate(ReconstructionHook(), tmp_path, 20, 21.5)
    rows = read_validations(tmp_path / 'validation.csv')
    assert [(row['iter'], row['psnr']) for row in rows] == [('10', '20.0000'), ('20', '21.5000')]
    with Image.open(tmp_path / 'validation.png') as plot:
        assert plot.width > plot.height


def test_figures_as_text():
    """LPIPS was measured from the second validation on."""
    rows = {
        '500': dict(psnr='20.1234', lpips='', tokens_used='0.9931'),
        '1000': dict(psnr=21.0, lpips=0.0, tokens_used=1.0),
    }
    assert figures_as_text('iteration', rows) == [
        ['iteration', 'PSNR [dB]', 'LPIPS', 'share of tokens used'],
        ['500', '20.12', '-', '99.3%'],
        ['1000', '21.00', '0.000', '100.0%'],
    ]
