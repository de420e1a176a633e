"""MMEngine glue of training: runner, data preprocessors, hooks, split batch norm, tokenizers."""

from .adversary import Adversary
from .channels_last_hook import ChannelsLastHook
from .hook import AdversarialTrainingHook
from .image_files import ImageFiles
from .preprocessors import (
    AdversarialClsDataPreprocessor,
    AdversarialDetDataPreprocessor,
    AdversarialSelfSupDataPreprocessor,
    make_adversarial,
)
from .random_state_hook import RandomStateHook, seed_worker
from .reconstruction import ReconstructionHook, ReconstructionMetric
from .runner import AdversarialRunner
from .split_bn import SplitBN
from .tokenizer_training import TokenizerTraining

__all__ = [
    'AdversarialClsDataPreprocessor',
    'AdversarialDetDataPreprocessor',
    'AdversarialRunner',
    'AdversarialSelfSupDataPreprocessor',
    'AdversarialTrainingHook',
    'Adversary',
    'ChannelsLastHook',
    'ImageFiles',
    'RandomStateHook',
    'ReconstructionHook',
    'ReconstructionMetric',
    'SplitBN',
    'TokenizerTraining',
    'make_adversarial',
    'seed_worker',
]
