import pytest

from projects.dat.evaluation import tables


@pytest.mark.parametrize(
    'difference, text',
    [(0.0123, '+1.2'), (-0.0123, '-1.2'), (0.0004, ' 0.0'), (-0.0004, ' 0.0')],
)
def test_signed(difference, text):
    assert tables.signed(difference) == text


def test_long_names_are_broken_in_the_terminal_and_whole_in_markdown():
    names = ['x' * 130 + '1', 'x' * 130 + '2']
    table = tables.Table('T', ['run', 'mPC'], [[name, '1.0'] for name in names])
    lines = tables.to_terminal(table).splitlines()[1:]
    assert max(map(len, lines)) <= 100
    assert ''.join(line.split()[0] for line in lines if line.startswith('x')) == ''.join(names)
    assert names[1] in tables.to_markdown(table)


def test_markdown():
    table = tables.Table('T', ['run', 'mPC'], [['a|b', '1.0']])
    assert tables.to_markdown(table) == '## T\n\n| run | mPC |\n| --- | ---: |\n| a\\|b | 1.0 |\n'


def test_markdown_is_read_again():
    found = [tables.Table('T | t', ['run', 'mPC'], [['a|b', '1.0'], ['', '-']])] * 2
    text = '\n'.join(['# Title', *map(tables.to_markdown, found), '![x](x.png)', 'A note.'])
    assert tables.from_markdown(text) == (found, ['A note.'])
    assert tables.from_markdown('| no heading |\n## empty\n') == ([], ['| no heading |'])
