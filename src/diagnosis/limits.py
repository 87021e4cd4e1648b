"""Limits of the findings. Each lies between the good and the broken nets of tests/zoo; docs/diagnosis.md has the table.

The limits of failure modes 1 and 2 are `Thresholds`, which `diagnose` takes as an argument.
"""

JUMP = 13.8  # nats of one layer, a factor of 1000 in size. Good nets: at most 4.3; one layer × 10⁻⁴: 18
CONSTANT = 35.0  # nats by which one layer shrinks the variation over samples. Good nets: 6, CaiT 23; dead parts: 60
TOKENS = (
    0.02  # distance between tokens, relative to that of the inputs. Good nets: from 0.09 on; collapsed: up to 0.009
)
CHAOS = 12.0  # nats by which a small change of the inputs grows. Good nets: 4.3, ResNet-50 11; frequencies × 100: 13
ENTROPY = 0.2  # of attention, relative to its largest. Good nets: 0.67, Swin v2 0.3; queries and keys × 20: up to 0.13
LOST = -40.0  # nats through time. Good nets: at least −14 (LSTMs over 20 steps −28); lost: at most −53
EXPLODES = 9.2  # nats through time. Good nets: at most −1.6; exploding: at least 22
READOUT = 5.0  # times the loss of equal probabilities (of squared errors the root). Good nets: 2.1; × 1000: 100
READOUT_SUBSTITUTE = 100.0  # the same where no loss is known
HUGE = 1e6  # a loss of unknown chance value above it is taken to be too large
DROPOUT = 0.9  # probability of dropout above which little but noise is left
COVERED = 0.2  # share of weighted modules that lie between measured layers, of a net with at least `MANY` of them
MANY = 20
