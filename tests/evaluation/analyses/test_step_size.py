import csv
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from projects.dat.attacks import DiscreteAttack
from projects.dat.evaluation.analyses import step_size
from projects.dat.evaluation.analyses.quality import find_lpips, psnr
from projects.dat.evaluation.analyses.selective import SelectiveAttack
from projects.dat.evaluation.results import CLEAN, Result
from projects.dat.tokenizer import TokenizerError, load_tokenizer, write_state_dict
from tests.training.toy_detector import toy_tokenizer

OPTIONS = dict(alphas=[1.0], rates=[0.1], radii=['1/255'], lpips=[])


def test_every_attack_and_strength(subject, toy):
    result = step_size.analyze(subject, [toy], **OPTIONS)
    names = {('dat', 1.0), ('random_tokens', 0.1), ('dat_selective', 0.1), ('reconstruction', 0),
             ('fgsm', '1/255'), ('pgd', '1/255'), CLEAN,
             *((f'dat_flip k={k}', 0.1) for k in step_size.NEIGHBORS)}
    assert set(result.cells) == names
    metrics = {name: found.metrics for (name, _), found in result.cells.items()}
    assert metrics['reconstruction']['attack/token_change'] == 0
    assert metrics['reconstruction']['psnr_q'] is None  # the same, hence infinite
    # The gradient was taken at Q(x), whose loss is the reconstruction's.
    after = metrics['reconstruction']['attack/objective_after']
    assert metrics['dat']['attack/objective_before'] == pytest.approx(after, rel=1e-4)
    clean = metrics['clean']['attack/objective_after']
    assert metrics['fgsm']['attack/objective_before'] == pytest.approx(clean, rel=1e-4)
    assert metrics['fgsm']['psnr'] > 48 and 'psnr_q' not in metrics['fgsm']
    for name in ('dat_selective', 'dat_flip k=8'):
        assert 0 < metrics[name]['attack/token_change'] <= 0.13

    folder = Path(subject.cfg.work_dir, 'analyses/step_size')
    lines = (folder / 'table.csv').read_text().splitlines()
    rows = {(row['set'], row['level']): row for row in csv.DictReader(lines)}
    assert float(rows['fgsm', '1/255']['psnr']) == metrics['fgsm']['psnr']
    for name in ('step_size.png', 'quality.png'):
        assert (folder / name).read_bytes()[:4] == b'\x89PNG'
    text = (folder / 'summary.md').read_text()
    assert f'On {subject.num_images} clean images' in text and 'dat_flip k=32' in text


@pytest.mark.parametrize('subject', ['classifier'], indirect=True)
def test_it_goes_on_where_it_was_cut_off(subject, toy):
    expected = step_size.analyze(subject, [toy], **OPTIONS)
    path = Path(subject.cfg.work_dir, 'analyses/step_size/result.json')
    content = json.loads(path.read_text())
    dropped = [cell for cell in content['cells'] if cell['set'] in ('dat', 'pgd')]
    content['cells'] = [cell for cell in content['cells'] if cell not in dropped]
    path.write_text(json.dumps(content))
    measured, measure = [], subject.measure
    subject.measure = lambda attack, look: (measured.append(attack), measure(attack, look))[1]
    found = step_size.analyze(subject, [toy], **OPTIONS)
    assert len(measured) == 2 and found.cells == expected.cells == Result.load(path).cells


@pytest.mark.parametrize('subject', ['classifier'], indirect=True)
def test_several_tokenizers(subject, toy, tmp_path):
    network = toy_tokenizer().network
    network.quantize.embedding.weight.data.mul_(2)
    write_state_dict(network.state_dict(), tmp_path / 'other.safetensors', {})
    sources = [toy, str(tmp_path / 'other.safetensors')]
    result = step_size.analyze(subject, sources, **OPTIONS)
    found = {name for name, _ in result.cells if name.startswith('dat,')}
    assert found == {f'dat, {source}' for source in sources}
    facts = [result.identity.data[name]['tokenizer_sha256'] for name in found]
    assert facts[0] != facts[1]


def test_psnr():
    images = torch.zeros(2, 3, 4, 4)
    others = images.clone()
    others[0, :, :2], others[1] = 0.1, 0.5
    mask = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    assert psnr(images, others, mask).tolist() == pytest.approx([23.0103, 6.0206], abs=1e-3)
    mask[0, :, 2:] = False
    assert psnr(images, others, mask)[0].item() == pytest.approx(20, abs=1e-3)


def test_lpips_that_is_not_there():
    with pytest.raises(TokenizerError, match='found no nowhere'):
        find_lpips(['nowhere'])


@pytest.fixture
def case():
    torch.manual_seed(0)
    images = torch.rand(2, 3, 64, 64)
    weights = torch.randn(3, 64, 64)
    return images, lambda x: (x * weights).sum(dim=(1, 2, 3)).mean()


def test_the_selective_attack_keeps_the_most_harmful(case):
    """Fewer than the step turns, of images without padding; and that stays."""
    images, objective = case
    tokenizer = load_tokenizer()
    mask = torch.ones(2, 1, 64, 64, dtype=torch.bool)
    mask[1, :, :, 32:] = False
    result = SelectiveAttack(tokenizer, 0.1, alpha=20.0)(images, objective, mask)
    assert torch.equal(result.images[1, :, :, 32:], images[1, :, :, 32:])
    assert result.changed.sum((1, 2)).tolist() == [6, 3]  # of 64 and 32
    plain = DiscreteAttack(tokenizer, alpha=20.0 * 64 / 224)(images, objective, mask)
    assert objective(result.images) > objective(result.reconstruction)
    assert plain.stats['attack/token_change'] > result.stats['attack/token_change']
    nothing = SelectiveAttack(tokenizer, rate=0.0)(images, objective, mask)
    assert torch.equal(nothing.images, nothing.reconstruction) and not nothing.changed.any()


def test_a_loss_that_is_not_finite_changes_nothing(case):
    images, _ = case
    result = SelectiveAttack(toy_tokenizer(), rate=0.5)(images, lambda x: x.sum() * torch.nan)
    assert result.stats['attack/skipped'] == 1 and torch.equal(result.images, result.reconstruction)
    assert F.mse_loss(result.reconstruction, images) > 0
