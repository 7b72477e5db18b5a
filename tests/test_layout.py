"""The folder of tests mirrors the package, and no file outgrows one idea."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Only text that other files import, or a single call of the command line.
EXEMPT = {"__init__.py", "__main__.py"}
MODULES = sorted(
    path.relative_to(ROOT / "medimg") for path in (ROOT / "medimg").rglob("*.py") if path.name not in EXEMPT
)
# Tests of the repository and not of one module.
OF_THE_WHOLE = {
    Path(f"test_{what}.py")
    for what in ("case_study", "configs", "documents", "image_sets", "layout", "processes", "site")
} | {Path("commands/test_report_page.py"), Path("docs/test_blocks.py"), Path("docs/test_pages.py")}
TESTS = sorted(path.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_every_module_has_its_test(module):
    expected = ROOT / "tests" / module.with_name(f"test_{module.name}")
    assert expected.is_file(), f"medimg/{module} needs tests/{module.with_name(f'test_{module.name}')}"


@pytest.mark.parametrize("test", TESTS, ids=str)
def test_every_test_has_its_module(test):
    if test not in OF_THE_WHOLE:
        assert test.with_name(test.name.removeprefix("test_")) in MODULES


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_file_is_one_idea(module):
    lines = (ROOT / "medimg" / module).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 400, f"medimg/{module} has {len(lines)} lines: split its idea"


def test_every_folder_is_a_package_with_a_line_of_its_own():
    folders = {path.parent for path in (ROOT / "medimg").rglob("*.py")}
    for folder in sorted(folders):
        text = (folder / "__init__.py").read_text(encoding="utf-8")
        assert text.startswith('"""'), f"{folder.relative_to(ROOT)}/__init__.py has no docstring"


def test_tests_are_no_packages():
    assert not list((ROOT / "tests").rglob("__init__.py"))
