"""Puts what stands beside the package in a checkout inside it in a wheel: the search spaces, how to cite it."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithSpaces(build_py):
    """Builds the package with what ships beside it."""

    def run(self) -> None:
        """Build, and copy the search spaces, profiles, recipes and the teacher, and how to cite it all."""
        super().run()
        if not self.editable_mode:
            shutil.copy("CITATION.cff", Path(self.build_lib) / "dks_study")
            shutil.copytree("search_spaces", Path(self.build_lib) / "dks_study" / "search_spaces", dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithSpaces})
