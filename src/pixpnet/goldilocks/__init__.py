"""Which layer of which backbone is just right: accuracy against receptive field, stage by stage."""
