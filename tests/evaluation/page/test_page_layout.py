"""The layout of the page, measured by a browser at the widths of a desktop and of a phone."""

import html
import json
import re
import shutil
import subprocess

import pytest

from projects.dat.evaluation.page import write_page

from .run_case import write_comparison

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
WIDTHS = (1280, 360)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason='no Chromium is installed (on Debian: apt-get install chromium)'
)

# The page stands in frames, which can be narrower than a window, and is looked at from outside: in
# it no script may run. --dump-dom needs no driver and no package.
HARNESS = """<!doctype html><meta charset="utf-8"><body>{frames}<script>
function light(color) {{
  const part = color.match(/[\\d.]+/g).slice(0, 3).map(x => x / 255)
    .map(x => x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
  return .2126 * part[0] + .7152 * part[1] + .0722 * part[2];
}}
function behind(element, view) {{
  for (; element; element = element.parentElement) {{
    const color = view.getComputedStyle(element).backgroundColor;
    if (!/, 0\\)$/.test(color)) return color;
  }}
}}
function look(frame) {{
  const view = frame.contentWindow, page = frame.contentDocument;
  const all = x => [...page.querySelectorAll(x)];
  all('details').forEach(x => x.open = true);
  const named = x => (x.getAttribute('alt') || x.getAttribute('aria-label') || '').trim();
  const texts = all('body *:not(svg *)').filter(
    x => [...x.childNodes].some(y => y.nodeType == 3 && y.data.trim()));
  const contrast = x => {{
    const pair = [light(view.getComputedStyle(x).color), light(behind(x, view))];
    return (Math.max(...pair) + .05) / (Math.min(...pair) + .05);
  }};
  const focus = x => {{ x.focus(); return page.activeElement == x; }};
  const skip = page.querySelector('.skip');
  skip.focus();
  return {{
    dark: view.matchMedia('(prefers-color-scheme: dark)').matches,
    width: view.innerWidth,
    overflow: page.documentElement.scrollWidth - view.innerWidth,
    pictures: all('img').length,
    loaded: all('img').filter(x => x.naturalWidth > 0).length,
    plots: all('svg:not([aria-hidden])').length,
    unnamed: all('img, svg:not([aria-hidden])').filter(x => !named(x)).length,
    narrow: all('.curves svg, figure img')
      .filter(x => x.getBoundingClientRect().width < 200).length,
    headings: all('h1, h2, h3, h4').map(x => +x.tagName[1]),
    landmarks: ['header', 'nav', 'main', 'footer'].map(x => all(x).length),
    tables: all('table').length,
    captions: all('caption').length,
    loose: all('th:not([scope])').length,
    skip: skip.getBoundingClientRect().left,  // before others get the focus
    scrolled: all('body *').filter(x => x.scrollWidth > x.clientWidth + 1
      && /auto|scroll/.test(view.getComputedStyle(x).overflowX)).map(x => [x.className, focus(x)]),
    contrast: Math.min(...texts.map(contrast)),
    texts: texts.length,
  }};
}}
onload = () => {{
  const found = [...document.querySelectorAll('iframe')].map(look);
  document.body.textContent = 'FOUND' + JSON.stringify(found) + 'END';
}};
</script>"""


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    return write_page(write_comparison(tmp_path_factory.mktemp('cup'))).read_text()


@pytest.fixture(scope='module', params=['light', 'dark'])
def found(request, page, tmp_path_factory):
    """What a browser says of the page in one color scheme, at each width."""
    folder = tmp_path_factory.mktemp('browser')
    frames = ''.join(
        f'<iframe width="{width}" height="800" style="border: 0" srcdoc="{html.escape(page)}">'
        '</iframe>' for width in WIDTHS
    )
    file = folder / 'harness.html'
    file.write_text(HARNESS.format(frames=frames))
    command = [
        BROWSER, '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage',
        f'--user-data-dir={folder / "profile"}', '--dump-dom',
        f'--blink-settings=preferredColorScheme={["dark", "light"].index(request.param)}',
        file.as_uri(),
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    text = re.search(r'FOUND(.*)END', run.stdout, re.DOTALL)
    assert text, f'{run.stdout[-500:]}\n{run.stderr[-2000:]}'
    measured = json.loads(html.unescape(text[1]))
    assert [x['width'] for x in measured] == list(WIDTHS)
    assert all(x['dark'] == (request.param == 'dark') for x in measured)
    return measured


def test_the_page_does_not_scroll_sideways(found):
    assert all(x['overflow'] <= 0 for x in found)
    # Wide tables and pictures do, inside of what the keyboard reaches.
    assert all(x == ['wide', True] for at_width in found for x in at_width['scrolled'])
    assert len(found[1]['scrolled']) > 3


def test_every_picture_is_there_large_enough_and_has_words(found):
    for at_width in found:
        assert at_width['loaded'] == at_width['pictures'] == 3 and at_width['plots'] > 5
        assert at_width['unnamed'] == at_width['narrow'] == 0


def test_headings_landmarks_and_tables(found):
    for at_width in found:
        levels = at_width['headings']
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
        assert at_width['landmarks'] == [1, 1, 1, 1]
        assert at_width['captions'] == at_width['tables'] > 3 and at_width['loose'] == 0


def test_texts_stand_out_and_the_skip_link_shows(found):
    for at_width in found:
        assert at_width['texts'] > 50
        assert at_width['contrast'] >= 4.5  # WCAG 2.1, AA
        assert at_width['skip'] == 0
