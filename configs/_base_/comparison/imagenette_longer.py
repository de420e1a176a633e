# Plain fine-tuning on Imagenette for as long as DAT takes: 14 epochs in the time of its 4.
train_cfg = dict(max_epochs=14)
