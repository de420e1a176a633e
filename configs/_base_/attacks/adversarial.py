# What all attacks share; inherit one of the files beside this one instead.
#
# MMEngine allows imports in text configs that have _base_, and here they make the project known to
# whatever command reads the config, from any folder.
_base_ = []

import sys  # noqa: E402

sys.path.insert(0, '{{ fileDirname }}/../../..')

import projects.dat.register  # noqa: E402, F401

runner_type = 'AdversarialRunner'
adversarial = dict(
    # Which losses are attacked: a regular expression for their names, such as 'cls' or 'bbox'.
    losses='loss',
    # 'concat': the clean batch and then the adversarial one; 'replace': adversarial in its place.
    assembly='concat',
    # Part of each batch that is attacked.
    share=1.0,
    # Which views of each image are attacked in self-supervision, from 0 on: (0, 1) for both.
    views=(1,),
    # Modules whose samples are not the batch's images keep plain batch norms.
    keep_bn=('roi_head',),
    log_interval=50,
    picture_interval=500)
