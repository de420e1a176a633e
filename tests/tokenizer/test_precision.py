import pytest
import torch

from projects.dat.runtime.errors import ArgumentError
from projects.dat.tokenizer.precision import per_part, true_fp32

OPERATORS = (
    torch.backends.cudnn.conv,
    torch.backends.cuda.matmul,
    torch.backends.mkldnn.conv,
    torch.backends.mkldnn.matmul,
)


def settings():
    return [operator.fp32_precision for operator in OPERATORS]


@pytest.fixture
def lowered():
    before = settings()
    for operator, value in zip(OPERATORS, ('tf32', 'tf32', 'bf16', 'bf16'), strict=True):
        operator.fp32_precision = value
    yield
    for operator, value in zip(OPERATORS, before, strict=True):
        operator.fp32_precision = value


def test_fp32_is_fp32_inside_and_as_before_outside(lowered):
    before = settings()
    with true_fp32():
        assert settings() == ['ieee'] * 4
    assert settings() == before


def test_settings_come_back_after_an_error(lowered):
    before = settings()
    with pytest.raises(KeyError), true_fp32():
        raise KeyError
    assert settings() == before


def test_torchs_older_switches_still_answer():
    with true_fp32():
        pass
    assert torch.backends.cudnn.allow_tf32 is True
    assert torch.backends.cuda.matmul.allow_tf32 is False


@pytest.mark.parametrize(
    'precision, parts',
    [
        ('bf16', ('bf16', 'bf16')),
        (dict(encode='fp32', decode='fp16'), ('fp32', 'fp16')),
    ],
)
def test_per_part(precision, parts):
    assert per_part(precision) == dict(zip(('encode', 'decode'), parts, strict=True))


@pytest.mark.parametrize(
    'precision, message',
    [
        ('fp8', "expected precision to be one of fp32, bf16, fp16, got 'fp8' for encode"),
        (dict(encode='fp32', decode='half'), "got 'half' for decode"),
        (dict(encode='bf16'), 'expected a precision for each of encode and decode'),
        (dict(encode='bf16', decode='bf16', search='bf16'), 'expected a precision for each of'),
        (16, 'got 16 for encode'),
    ],
)
def test_bad_precision(precision, message):
    with pytest.raises(ArgumentError, match=message):
        per_part(precision)
