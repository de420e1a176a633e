"""MMEngine glue: adversarial data preprocessors, hooks, split batch norm, tokenizer training."""

from .adversarial_config import apply_adversarial
from .adversarial_hook import AdversarialTrainingHook
from .adversary import Adversary
from .channels_last_hook import ChannelsLastHook
from .image_files import ImageFiles
from .preprocessor import AdversarialDetDataPreprocessor
from .random_state_hook import RandomStateHook, seed_worker
from .reconstruction import ReconstructionHook, ReconstructionMetric
from .split_bn import SplitBN, SplitSyncBN
from .tokenizer_training import TokenizerTraining
from .visualization_hook import AttackVisualizationHook

__all__ = [
    'AdversarialDetDataPreprocessor',
    'AdversarialTrainingHook',
    'Adversary',
    'AttackVisualizationHook',
    'ChannelsLastHook',
    'ImageFiles',
    'RandomStateHook',
    'ReconstructionHook',
    'ReconstructionMetric',
    'SplitBN',
    'SplitSyncBN',
    'TokenizerTraining',
    'apply_adversarial',
    'seed_worker',
]
