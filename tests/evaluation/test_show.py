"""Which cells are shown of each image."""

from projects.dat.evaluation.evaluate import Trial
from projects.dat.evaluation.results import CLEAN
from projects.dat.evaluation.show import chosen_cells


def test_the_middle_level_of_every_set_of_the_same_images():
    cells = [
        ('fog', 1), CLEAN, ('fog', 5), ('fog', 3), ('frost', 2), ('frost', 4),
        ('coco_o', 'cartoon'),
    ]
    trials = {cell: Trial({}) for cell in cells}
    attacked = Trial({}, attack=lambda model: None)
    trials |= {('pgd', eps): attacked for eps in ('4/255', '16/255', '8/255')}
    expected = [CLEAN, ('fog', 3), ('frost', 4), ('pgd', '8/255')]
    assert chosen_cells(trials) == expected
