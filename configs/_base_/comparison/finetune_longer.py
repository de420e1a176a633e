# Plain training for as long as 4 epochs with DAT take on a CPU.
train_cfg = dict(max_epochs=12)
