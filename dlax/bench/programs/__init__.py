"""One task, D-SGD on a ring with 28x28 inputs and batch 32, as a program in dlax and in its rivals."""
