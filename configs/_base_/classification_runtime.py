# What every run of MMPretrain's models shares: default_runtime.py, but for MMDetection's parts.
_base_ = './default_runtime.py'

default_scope = 'mmpretrain'
default_hooks = dict(visualization=dict(_delete_=True, type='VisualizationHook', enable=False))
visualizer = dict(
    _delete_=True, type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
