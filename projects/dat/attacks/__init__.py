"""Adversarial attacks in plain PyTorch: on tokens, and on pixels.

An attack is called as ``attack(images, objective, mask=None) -> AttackResult``. Images are float32
(N, 3, H, W), RGB, 0..1; the objective maps them to a 0-d loss that the attack raises; the mask says
which pixels may change.
"""

from .controller import TokenChangeController
from .det_advprop import DetAdvPropAttack, DetectionObjective
from .discrete import DiscreteAttack
from .gradient import image_gradient
from .isolation import isolate
from .perturbations import L2, PERTURBATIONS, Linf, Raw
from .pixel import PixelAttack
from .result import AttackResult, Objective
from .token_flip import TokenFlipAttack

__all__ = [
    'PERTURBATIONS',
    'AttackResult',
    'TokenChangeController',
    'DetAdvPropAttack',
    'DetectionObjective',
    'DiscreteAttack',
    'L2',
    'Linf',
    'Objective',
    'PixelAttack',
    'Raw',
    'TokenFlipAttack',
    'image_gradient',
    'isolate',
]
