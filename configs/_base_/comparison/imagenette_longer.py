# Plain fine-tuning on Imagenette for about as long as the 4 epochs with DAT take on a CPU.
train_cfg = dict(max_epochs=14)
