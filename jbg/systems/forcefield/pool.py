"""The compiled potential as simulations ask for it: batches on the host in, batches on the host out."""

import jax
import jax.numpy as jnp
import numpy as np
import openmm
from jax import Array

from jbg.systems.forcefield.potential import compiled_potential


class CompiledPool:
    """Energies, forces and leapfrog steps of one System on JAX's default device, in float32.

    It takes the place of `openmm_pool.ContextPool`: configurations are batch first ``(B, atoms, 3)`` in nm,
    energies kJ/mol, forces kJ/mol/nm, velocities nm/ps, masses dalton, all float64 on the host. A trajectory is
    one program, whatever its length; another batch size compiles anew.

    Args:
        system_xml: a serialised ``openmm.System``; see `compiled_potential`.
        masses: (atoms,) positive, in place of the System's own in `leapfrog`.

    Raises:
        ConfigError: a System that cannot be compiled.
        ValueError: masses that are not positive.
    """

    def __init__(self, system_xml: str, *, masses: np.ndarray | None = None):
        system = openmm.XmlSerializer.deserialize(system_xml)
        self.n_atoms = system.getNumParticles()
        own = [system.getParticleMass(i)._value for i in range(self.n_atoms)]
        self.masses = np.array(own if masses is None else masses, float)
        if self.masses.shape != (self.n_atoms,) or not (self.masses > 0).all():
            raise ValueError(
                f"CompiledPool: masses must be {self.n_atoms} positive numbers, got {self.masses}"
            )
        potential = compiled_potential(system)
        inverse_masses = np.repeat(1 / self.masses, 3)[:, None]

        def forces(x: Array) -> tuple[Array, Array]:
            energy, pull_back = jax.vjp(potential, x)
            return energy, -pull_back(jnp.ones_like(energy))[0]

        def leapfrog(x: Array, v: Array, f: Array, dt: Array, n_steps: Array) -> tuple[Array, ...]:
            per_mass = jnp.asarray(inverse_masses, x.dtype)

            def step(_, carry):
                x, v, _, f = carry
                v = v + 0.5 * dt * per_mass * f
                x = x + dt * v
                energy, f = forces(x)
                return x, v + 0.5 * dt * per_mass * f, energy, f

            return jax.lax.fori_loop(0, n_steps, step, (x, v, jnp.zeros_like(x[0]), f))

        self._energies, self._forces = jax.jit(potential), jax.jit(forces)
        self._leapfrog = jax.jit(leapfrog)

    def energies(self, x: np.ndarray) -> np.ndarray:
        """Potential energies ``(B,)`` in kJ/mol of ``x`` (B, atoms, 3)."""
        return np.asarray(self._energies(self._flat(x)), np.float64)

    def energies_and_forces(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies ``(B,)`` and forces -dU/dx ``(B, atoms, 3)`` of ``x`` (B, atoms, 3)."""
        energy, force = self._forces(self._flat(x))
        return np.asarray(energy, np.float64), self._frames(force)

    def leapfrog(
        self, x: np.ndarray, v: np.ndarray, f: np.ndarray, dt_ps: float, n_steps: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """``n_steps`` of velocity Verlet for each of B independent replicas.

        Args and returned values as those of `ContextPool.leapfrog`: positions, velocities, energies ``(B,)`` and
        forces at the end, not finite where a replica blew up.
        """
        arrays = (self._flat(a) for a in (x, v, f))
        dt = np.float32(dt_ps)
        x_new, v_new, energy, f_new = self._leapfrog(*arrays, dt, np.int32(n_steps))
        energy = np.asarray(energy, np.float64)
        return self._frames(x_new), self._frames(v_new), energy, self._frames(f_new)

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> "CompiledPool":
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def _flat(self, frames: np.ndarray) -> Array:
        if frames.ndim != 3 or frames.shape[1:] != (self.n_atoms, 3):
            raise ValueError(
                f"CompiledPool: expected shape (B, {self.n_atoms}, 3), got {frames.shape}"
            )
        return jnp.asarray(frames.reshape(len(frames), -1).T, jnp.float32)

    def _frames(self, flat: Array) -> np.ndarray:
        return np.asarray(flat, np.float64).T.reshape(-1, self.n_atoms, 3)
