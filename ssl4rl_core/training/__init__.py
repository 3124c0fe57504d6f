"""Training and evaluation: one `train(recipe)` over TRL's GRPOTrainer, for models with eyes and without.

Nothing is imported here, so that reading a recipe costs no torch.
"""
