"""The sections of a report's figures, in their order; a new one is a file here and a name in ``SECTIONS``."""

from jbg.report.sections.configurations import configurations
from jbg.report.sections.maps import maps
from jbg.report.sections.profiles import profiles
from jbg.report.sections.ramachandran import ramachandran
from jbg.report.sections.samples import samples
from jbg.report.sections.section import Drawn, Left, Section
from jbg.report.sections.structure import structure
from jbg.report.sections.training import training

SECTIONS: tuple[Section, ...] = (
    ramachandran,
    profiles,
    maps,
    structure,
    samples,
    configurations,
    training,
)

__all__ = ["SECTIONS", "Drawn", "Left", "Section"]
