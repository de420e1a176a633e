# Det-AdvProp (arXiv:2103.13886), the baseline, in place of dat.py: pixels instead of tokens,
# and an auxiliary batch norm for the adversarial half of the batch.
#
# The paper's training code and the size of its perturbation are not published: eps, step_size and
# steps are ours.
adversarial = dict(
    data_preprocessor=dict(type='AdversarialDetDataPreprocessor', assembly='concat'),
    split_bn='aux',
    hook=dict(
        type='AdversarialTrainingHook',
        tokenizer=None,
        attack=dict(
            type='DetAdvPropAttack',
            norm='Linf',
            eps=1 / 255,
            step_size=1 / 255,
            steps=1,
            selection='batch')),
    random_state=dict(type='RandomStateHook'),
    visualization=dict(type='AttackVisualizationHook', interval=500))
