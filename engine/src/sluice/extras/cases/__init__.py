"""Files of labelled cases."""
