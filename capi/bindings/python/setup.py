"""Builds a wheel that carries libtreehead, which TREEHEAD_LIBRARY names: `pip wheel .`"""

import os
import pathlib
import shutil

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:
    from wheel.bdist_wheel import bdist_wheel


class BuildWithLibrary(build_py):
    def run(self):
        super().run()
        library = os.environ.get("TREEHEAD_LIBRARY")
        if library:
            target = pathlib.Path(self.build_lib, "treehead", "libtreehead.so.0")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(library, target)


class Wheel(bdist_wheel):
    """For every Python 3 on this kind of machine."""

    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self):
        return ("py3", "none", super().get_tag()[2])


class Binary(Distribution):
    def has_ext_modules(self):
        return True


setup(packages=["treehead"], cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": Wheel}, distclass=Binary)
