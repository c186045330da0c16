"""Every reason that the manager makes has a sentence and all its parameters."""

import ast
from pathlib import Path
from string import Formatter

import pytest

import bai_jupyter.manager
from bai_jupyter.common.reasons import SENTENCES

ROOT = Path(bai_jupyter.manager.__file__).parent


def _made() -> list[tuple[str, str, set[str]]]:
    found = []
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Reason.of" and len(node.args) == 1:
                code = node.args[0]
                if isinstance(code, ast.Constant) and all(one.arg for one in node.keywords):
                    where = f"{path.relative_to(ROOT)}:{node.lineno}"
                    found.append((where, code.value, {str(one.arg) for one in node.keywords}))
    return found


@pytest.mark.parametrize(("where", "code", "given"), _made(), ids=lambda value: value if isinstance(value, str) else "")
def test_parameters(where, code, given):
    wanted = {name for _, name, _, _ in Formatter().parse(SENTENCES[code]) if name}
    assert given == wanted
