"""Fine-tuning of the chat model, on one processor or many: an adapter or all weights, in the form that is served."""
