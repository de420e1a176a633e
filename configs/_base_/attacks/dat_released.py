# The variant of DAT's released classification code (https://github.com/alibaba/easyrobust), in
# place of dat.py: PGD in pixels around Q(x) with a random start, then Q(Q(x) + delta).
#
# Q is not idempotent, so many tokens change whatever the step, and no controller can hold a share.
_base_ = './dat.py'

adversarial = dict(
    attack=dict(
        _delete_=True,
        type='DiscreteAttack',
        variant='released',
        norm='L2',
        eps=0.1,
        alpha=0.1,
        random_start=0.8),
    # What two forward passes through one batch norm do.
    split_bn='shared')
