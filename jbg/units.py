"""The constants and conversions of jbg; kJ/mol, nm and K outside, reduced energies (kT) inside."""

import math
from typing import Any

K_B = 0.00831446261815324  # kJ/(mol K), exact in the 2019 SI
KJ_PER_KCAL = 4.184


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
    return kt(temperature) / KJ_PER_KCAL


def in_molar_units(temperature: float, **numbers: Any) -> dict[str, dict[str, Any]]:
    """Numbers in kT (or pairs, or None) at ``temperature`` in K as ``{"kJ/mol": ..., "kcal/mol": ...}``."""
    units = {"kJ/mol": kt(temperature), "kcal/mol": kt_in_kcal(temperature)}
    return {
        unit: {name: _scaled(value, factor) for name, value in numbers.items()}
        for unit, factor in units.items()
    }


def _scaled(value: Any, factor: float) -> Any:
    if value is None:
        return None
    if isinstance(value, tuple | list):
        return [_scaled(each, factor) for each in value]
    return float(value) * factor
