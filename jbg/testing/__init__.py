"""Conformance checks for parts of your own: a bijector, a target, a loss. Each raises AssertionError with what is
wrong.

    from jbg.testing import check_bijector
    check_bijector(my_bijector, params, z)
"""

from jbg.testing.bijector import check_bijector
from jbg.testing.loss import check_loss
from jbg.testing.target import check_target

__all__ = ["check_bijector", "check_loss", "check_target"]
