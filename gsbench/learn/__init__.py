"""Training and scoring of networks: data, augmentation, the training loop, probes, checkpoints, evaluation."""
