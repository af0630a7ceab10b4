"""The house itself: what ARCHITECTURE.md says exists, and what must stand nowhere."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).parents[2]


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, capture_output=True, check=True)
    return [TOP / name for name in done.stdout.decode().split("\0") if name]


def documents() -> list[Path]:
    """What people read: at the top, and all below docs/."""
    found = [*TOP.glob("*.md"), *(TOP / "docs").rglob("*.md")]
    assert len(found) > 12
    return sorted(found)


def test_every_file_of_the_table_exists() -> None:
    text = (TOP / "ARCHITECTURE.md").read_text()
    section = text.split("## To change", 1)[1].split("\n## ", 1)[0]
    names = re.findall(r"`([a-z_]+/[A-Za-z0-9_./-]+|[a-z_]+\.py|Makefile)`", section)
    assert len(names) > 20
    package = TOP / "src/phoenix_hypervisor"
    missing = [n for n in names if not (package / n).exists() and not (TOP / n).exists()]
    assert missing == []


def test_every_module_is_in_the_table_and_says_what_it_owns() -> None:
    text = (TOP / "ARCHITECTURE.md").read_text()
    package = TOP / "src/phoenix_hypervisor"
    for path in sorted(package.rglob("*.py")):
        name = str(path.relative_to(package))
        source = path.read_text()
        assert source.startswith('"""'), name
        made = "`make reference` writes it: do not edit it" in source.partition("\n")[0]
        assert made or len(source.splitlines()) <= 450, f"{name} is longer than one room"
        if path.name != "__init__.py" and path.name != "__main__.py":
            # A folder whose modules are all of one kind has one row.
            folder = f"`{path.parent.relative_to(package)}/`"
            assert f"`{name}`" in text or (folder.count("/") > 1 and folder in text), (
                f"{name} is in no row of ARCHITECTURE.md"
            )


def test_the_schema_is_one_file() -> None:
    """Beside the configuration, where editors look for it, is a link to the one in the package."""
    name = "phoenix_lxc_configs.schema.json"
    assert (TOP / "etc" / name).is_symlink()
    assert (TOP / "etc" / name).samefile(TOP / "src/phoenix_hypervisor/data" / name)


def test_no_registry_host_is_written_anywhere() -> None:
    hosts = ["pypi" + ".org", "pythonhosted" + ".org", "deb.debian" + ".org", "registry.npmjs" + ".org"]
    for path in tracked():
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            for host in hosts:
                assert host.encode() not in data, f"{path} names {host}"


def test_every_link_of_the_documents_exists() -> None:
    for document in documents():
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document}: {target}"


def test_no_conflict_marker_is_left() -> None:
    for path in tracked():
        if path.is_file() and not path.is_symlink():
            for line in path.read_bytes().split(b"\n"):
                assert not line.startswith((b"<" * 7 + b" ", b">" * 7 + b" ")), path


def test_what_a_container_id_is_stands_once() -> None:
    package = TOP / "src/phoenix_hypervisor"
    found = [p.name for p in package.rglob("*.py") if re.search(r"\[1-9\]\[0-9\]\{2,8\}", p.read_text())]
    assert sorted(found) == ["declared.py", "validator.py"], "the second is made from the schema"


def test_plan_names_no_program_of_a_runtime() -> None:
    for path in (TOP / "src/phoenix_hypervisor/plan").glob("*.py"):
        assert not re.findall(r"\b(?:pct|pvecm|lxc-start|lxc-create)\b", path.read_text()), path


PACKAGE = TOP / "src/phoenix_hypervisor"
MODULES = {str(path.relative_to(PACKAGE)): ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}


def _classes() -> Iterator[tuple[str, ast.ClassDef]]:
    for name, module in MODULES.items():
        yield from ((name, node) for node in ast.walk(module) if isinstance(node, ast.ClassDef))


def test_a_dataclass_of_more_than_five_fields_takes_them_by_name() -> None:
    """Two swapped strings would type-check."""
    found = []
    for name, node in _classes():
        decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
        if any(text.startswith("dataclass") and "kw_only=True" not in text for text in decorators):
            fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
            if len(fields) > 5:
                found.append(f"{name}: {node.name}")
    assert found == []


def test_nothing_is_found_out_by_looking_behind_the_language() -> None:
    """No module makes its names when asked; nobody reads an object's dictionary or a traceback's frames."""
    found = []
    for name, module in MODULES.items():
        made = [n for n in module.body if isinstance(n, ast.FunctionDef) and n.name == "__getattr__"]
        behind = ("__dict__", "tb_frame", "tb_next", "f_globals", "f_locals", "f_back")
        read = [n for n in ast.walk(module) if isinstance(n, ast.Attribute) and n.attr in behind]
        found += [f"{name}:{node.lineno}" for node in made] + [f"{name}:{node.lineno}" for node in read]
    assert found == []


def test_no_two_modules_share_a_name() -> None:
    """Who searches for one must not find the other."""
    names = Counter(Path(name).name for name in MODULES if not name.endswith("__init__.py"))
    assert [name for name, times in names.items() if times > 1] == []


def prose(document: Path) -> list[tuple[int, str]]:
    """The lines of a document with their numbers, without tables and code."""
    found, code = [], False
    for number, line in enumerate(document.read_text().splitlines(), 1):
        if line.startswith("```"):
            code = not code
        elif not code and not line.startswith(("|", "    ")):
            found.append((number, line))
    return found


def test_no_line_of_a_document_is_over_110_characters() -> None:
    """Outside of tables and code; a link that is longer alone cannot be broken."""
    for document in documents():
        for number, line in prose(document):
            assert len(line) <= 110 or " " not in line.strip(), f"{document}:{number}: {len(line)}"
