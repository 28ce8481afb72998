"""Operators that go into a network of a dense task, one file each; `attended_head` is segmentation's head for them."""
