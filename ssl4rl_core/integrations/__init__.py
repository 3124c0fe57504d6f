"""Other trainers: what each needs of ours, and nothing that needs it installed."""
