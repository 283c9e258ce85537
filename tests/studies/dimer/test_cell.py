"""One labelling of the dimer's identical particles."""

import numpy as np

from jbg.studies.dimer.cell import in_cell, one_labelling, symmetry
from jbg.systems import lj_dimer


def test_labelling_leaves_the_energy_as_it_is():
    system = lj_dimer()
    rng = np.random.default_rng(0)
    x = np.repeat(system.start, 20, axis=0) + 0.05 * rng.normal(size=(40, 76))
    order = np.concatenate([[1, 0], 2 + rng.permutation(36)])  # the dimer turned, the discs mixed
    mixed = x.reshape(40, 38, 2)[:, order].reshape(40, 76)
    assert not in_cell(mixed).any()
    again = one_labelling(mixed)
    assert in_cell(again).all()
    np.testing.assert_allclose(system.potential(again.T), system.potential(x.T), rtol=1e-4)


def test_a_symmetry_may_be_a_region_only():
    whole = symmetry()
    alone = whole.not_averaged()
    assert alone.in_cell is whole.in_cell
    assert len(whole.group.index) > 1
    np.testing.assert_array_equal(alone.group.index, [np.arange(76)])
    np.testing.assert_array_equal(alone.group.sign, np.ones((1, 76)))
