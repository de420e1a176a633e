"""The page of what runs have: its contents, and that nothing in it is markup from files."""

import base64
import io
from html.parser import HTMLParser

import pytest
from PIL import Image

from projects.dat.evaluation.page import write_page
from projects.dat.evaluation.report import write_report
from projects.dat.runtime.errors import UserError
from tests.evaluation.result_case import make_classifier_result, make_comparison, make_result

from .run_case import CONFIG, EVIL, write_analysis, write_comparison, write_run

VOID = ('meta', 'img', 'link', 'br', 'hr', 'input')


class Page(HTMLParser):
    """Elements and texts of a page; every element has to be closed."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(path.read_text(encoding='utf-8'))
        assert self.open == []
        self.text = ' '.join(' '.join(self.texts).split())

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ['style']:
            self.texts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def sections(self):
        return [x['id'] for x in self.all('h2')]


def page_of(folder):
    return Page(write_page(folder))


def test_a_comparison_has_everything(tmp_path):
    page = page_of(write_comparison(tmp_path / 'cup'))
    assert page.sections == [
        'setup', 'robustness', 'training', 'attack', 'images', 'analyses', 'configs',
    ]
    assert [x['href'] for x in page.all('a')[1:]] == [f'#{name}' for name in page.sections]
    assert page.all('title') and page.text.startswith('cup')
    for words in ('How the methods differ', 'Summary (coco/bbox_mAP x 100; mean ± standard '
                  'deviation over 2 seeds)', 'Difference from plain, paired by seed', 'Rise of the '
                  'loss by the attack', 'DiscreteAttack: norm L2, alpha 0.00392', 'dat, seed 0, '
                  'iteration 40', 'Every cell has 50 images.', '0.1235', 'The peak is at 0.95'):
        assert words in page.text, words
    # That of no batch that was not attacked is not drawn.
    assert 'attack/skipped' not in page.text
    assert 'Not compared' not in page.text and 'Left out' not in page.text


def test_texts_of_files_are_not_markup(tmp_path):
    page = page_of(write_comparison(tmp_path))
    assert not page.all('script') and not page.all('b')
    assert page.text.count(EVIL) > 5 and '$a$ & <b>"c' in page.text
    assert not any(name.startswith('on') for _, found in page.elements for name in found)


def test_the_page_needs_nothing_else_and_no_script_may_run(tmp_path):
    page = page_of(write_comparison(tmp_path))
    for _, attributes in page.elements:
        for name in ('src', 'href', 'xlink:href'):
            assert attributes.get(name, '#').startswith(('#', 'data:image/'))
    policy = next(x['content'] for x in page.all('meta') if 'http-equiv' in x)
    assert "default-src 'none'" in policy and 'script' not in policy
    ids = [found['id'] for _, found in page.elements if 'id' in found]
    assert len(ids) == len(set(ids))


def test_every_picture_is_small_and_has_words(tmp_path):
    page = page_of(write_comparison(tmp_path))
    pictures = page.all('img')
    assert len(pictures) == 3  # the attack's last, a test image, the analysis's
    for found in pictures:
        kind, content = found['src'].removeprefix('data:image/').split(';base64,')
        image = Image.open(io.BytesIO(base64.b64decode(content)))
        assert image.format.lower() == kind
        assert image.size == (int(found['width']), int(found['height']))
        assert image.width <= 1600 and found['alt'].strip()
    attack, example, analysis = pictures
    assert 'image/jpeg' in attack['src'] and attack['alt'].startswith('dat, seed 0, iteration 40')
    assert analysis['alt'] == f'histogram: The peak is at 0.95, {EVIL}.'
    # Only what is drawn on white may be turned to white on black.
    assert [x.get('class') for x in pictures] == [None, None, 'drawn']
    for found in page.all('svg'):
        assert found.get('aria-label', '').strip() or found.get('aria-hidden') == 'true'


def test_curves_in_words(tmp_path):
    write_run(tmp_path / 'dat', 0, True)
    labels = [x['aria-label'] for x in page_of(tmp_path / 'dat').all('svg')]
    assert 'Training loss, iteration 10 to 40: dat from 0.4 to 0.1.' in labels
    assert 'Validation: coco/bbox_mAP, epoch 1 to 2: dat from 0.1 to 0.2.' in labels


def test_pictures_of_one_seed_of_each_method(tmp_path):
    for place in ('dat/seed0/evaluation', 'dat/seed1/evaluation', 'plain', 'wide'):
        folder = tmp_path / place / 'pictures'
        folder.mkdir(parents=True)
        Image.new('RGB', (30, 10)).save(folder / 'val_1.png')
        make_result(len(place)).save(folder.parents[place.count('evaluation')] / 'x.json')
    captions = [x['alt'].rpartition(':')[0] for x in page_of(tmp_path).all('img')]
    assert captions == ['plain: val_1', 'dat, seed 0: val_1', 'wide: val_1']


def test_one_run_has_its_first_and_last_picture(tmp_path):
    page = page_of(write_run(tmp_path / 'dat', 0, True))
    assert [x['alt'].split(':')[0] for x in page.all('img')] == [
        'dat, iteration 0', 'dat, iteration 40',
    ]
    assert 'How the methods differ' not in page.text and 'fog' in page.text


def test_what_is_missing_has_no_heading(tmp_path):
    make_result(0).save(tmp_path / 'robustness.json')
    page = page_of(tmp_path)
    assert page.sections == ['robustness'] and not page.all('img')
    write_analysis(tmp_path / 'other')
    assert page_of(tmp_path / 'other').sections == ['analyses']
    # The config of an analysis is there where it left it.
    data = tmp_path / 'other' / '20260102_030405' / 'vis_data'
    data.mkdir(parents=True)
    (data / 'config.py').write_text(CONFIG)
    assert page_of(tmp_path / 'other').sections == ['setup', 'analyses', 'configs']


def test_a_damaged_result_alone_is_named(tmp_path):
    (tmp_path / 'coco_c.json').write_text('{"schema": 2}')
    with pytest.raises(UserError, match='found .*coco_c.json is damaged'):
        write_page(tmp_path)


@pytest.mark.parametrize('name', ['no', 'empty'])
def test_nothing_is_a_sentence(tmp_path, name):
    (tmp_path / 'empty' / '20260101_000000').mkdir(parents=True)
    with pytest.raises(UserError, match='does not exist|but found none'):
        write_page(tmp_path / name)
    assert not (tmp_path / name / 'report.html').exists()


def test_runs_that_are_not_all_done_are_compared_as_far_as_they_can_be(tmp_path):
    for i, (method, seed) in enumerate([('plain', 0), ('plain', 1), ('dat', 1)]):
        corruptions = ['fog', 'frost'] if i else ['fog', 'frost', 'snow']
        folder = tmp_path / method / f'seed{seed}'
        folder.mkdir(parents=True)
        make_result(i, corruptions, [3], clean=0.3 + i / 10).save(folder / 'robustness.json')
    page = page_of(tmp_path)
    assert '1 of 3 runs, whose seed not all methods have; 1 cells' in page.text
    assert 'plain 40.0' in page.text and 'dat 50.0' in page.text and '30.0' not in page.text


def test_results_that_cannot_be_compared_stand_alone(tmp_path):
    for i, method in enumerate(['plain', 'dat']):
        (tmp_path / method).mkdir()
        make_result(i, ['fog'], seed=i).save(tmp_path / method / 'robustness.json')
    page = page_of(tmp_path)
    assert 'Each run stands alone: plain and dat cannot be compared (seed of coco_c' in page.text
    assert 'robustness.json, plain, seed 0' in page.text


def test_classifiers_and_sets_of_a_users_names(tmp_path):
    result = make_classifier_result(0, others=[(f'$x$ {EVIL}', 0), ('fgsm', '4/255')])
    result.save(tmp_path / 'robustness.json')
    page = page_of(tmp_path)
    assert 'mCE ↓' in page.text and f'$x$ {EVIL}' in page.text and not page.all('script')


def test_a_report_without_its_results(tmp_path):
    write_report(make_comparison(['plain', 'd|t'], corruptions=['fog']), tmp_path)
    page = page_of(tmp_path)
    assert page.sections == ['robustness'] and len(page.all('img')) == 3
    assert 'd|t' in page.text and 'Every cell has 50 images.' in page.text
    assert [x['class'] for x in page.all('img')] == ['drawn'] * 3


def test_broken_files_are_named(tmp_path):
    folder = write_run(tmp_path / 'dat', 0, False)
    (folder / 'pictures').mkdir()
    (folder / 'pictures' / 'x.png').write_bytes(b'no picture')
    (folder / 'bad.json').write_text('{"schema": 2}')
    page = page_of(folder)
    assert page.sections[-1] == 'amiss' and 'images' not in page.sections
    assert 'x.png cannot be read as a picture' in page.text and 'bad.json is damaged' in page.text


def test_the_same_page_again(tmp_path):
    folder = write_comparison(tmp_path, seeds=1)
    first = write_page(folder).read_bytes()
    assert write_page(folder).read_bytes() == first
