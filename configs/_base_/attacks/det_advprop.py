# Det-AdvProp (arXiv:2103.13886), the baseline, in place of dat.py: pixels instead of tokens, and an
# auxiliary batch norm for the adversarial half of the batch.
#
# The paper's training code and the size of its perturbation are not published: eps, alpha and steps
# are ours. Every batch norm has to train: MMDetection's ResNet configs need
#   --cfg-options model.backbone.norm_eval=False model.backbone.frozen_stages=-1
_base_ = './adversarial.py'

adversarial = dict(
    tokenizer=None,
    attack=dict(
        type='DetAdvPropAttack',
        norm='Linf',
        eps=1 / 255,
        alpha=1 / 255,
        steps=1,
        selection='batch'),
    split_bn='aux')
