"""The constants and conversions of jbg; kJ/mol, nm and K outside, reduced energies (kT) inside."""

import math

K_B = 0.00831446261815324  # kJ/(mol K), exact in the 2019 SI


def kt(temperature: float) -> float:
    """Thermal energy k_B T in kJ/mol at ``temperature`` in K.

    Raises:
        ValueError: if the temperature is not a positive finite number.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature must be a positive number of kelvin, got {temperature}")
    return K_B * temperature


def beta(temperature: float) -> float:
    """Inverse thermal energy 1/(k_B T) in mol/kJ at ``temperature`` in K."""
    return 1.0 / kt(temperature)


def kt_in_kcal(temperature: float) -> float:
    """Thermal energy k_B T in kcal/mol at ``temperature`` in K."""
    return kt(temperature) / 4.184
