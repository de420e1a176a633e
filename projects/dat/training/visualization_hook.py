"""Attack pictures during training."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS

from .visualization import attack_sheet


@HOOKS.register_module()
class AttackVisualizationHook(Hook):
    """Writes a picture of the attack to the visualizer's backends.

    One row an image: clean and adversarial with boxes, the reconstruction, the amplified
    difference, and the map of changed tokens; see :func:`attack_sheet`.

    Args:
        interval (int): Iterations between pictures; the first iteration has one too. Defaults to
            500.
        max_images (int): Rows of a picture. Defaults to 4.
    """

    priority = 'NORMAL'

    def __init__(self, interval: int = 500, max_images: int = 4):
        self.interval = interval
        self.max_images = max_images

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Ask the adversary to keep its result, when a picture is due."""
        if runner.iter % self.interval == 0:
            self._adversary(runner).keep_result = True

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Draw what was kept."""
        adversary = self._adversary(runner)
        if adversary.kept is None:
            return
        images, mask, data_samples, result = adversary.kept
        adversary.kept = None
        boxes = [sample.gt_instances.bboxes for sample in data_samples]
        boxes = [getattr(b, 'tensor', b) for b in boxes]  # of MMDetection's box types
        sheet = attack_sheet(images, mask, result, boxes, max_images=self.max_images)
        runner.visualizer.add_image('attack', sheet, step=runner.iter)

    def _adversary(self, runner):
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        return model.data_preprocessor.adversary
