#!/usr/bin/env python3
"""Checks the Terraform modules without a provider: every file parses (python-hcl2), every variable,
local, resource, data source and module that is named exists, every variable is used and described, and
calls of modules here give what the module requires and nothing it does not know.

`validate.py FOLDER...`; prints what is wrong, one a line."""

import pathlib
import re
import sys

import hcl2


def plain(value):
    """hcl2 keeps the quotes of labels and strings in some versions."""
    return value.strip('"') if isinstance(value, str) else value


def blocks(parsed, kind):
    for block in parsed.get(kind, []):
        for label, body in block.items():
            if not plain(label).startswith("__"):
                yield plain(label), body


def module(folder):
    texts, found = [], {"var": {}, "local": set(), "module": {}, "resource": set(), "data": set(), "output": {}}
    for path in sorted(folder.glob("*.tf")):
        text = path.read_text()
        texts.append(text)
        parsed = hcl2.loads(text)
        found["var"].update(blocks(parsed, "variable"))
        found["output"].update(blocks(parsed, "output"))
        found["module"].update(blocks(parsed, "module"))
        for body in parsed.get("locals", []):
            found["local"].update(plain(key) for key in body)
        for kind in ("resource", "data"):
            for block_type, named in blocks(parsed, kind):
                found[kind].update(f"{block_type}.{plain(name)}" for name in named)
    return found, re.sub(r"^\s*#.*$", "", "\n".join(texts), flags=re.M)


def check(folder):
    found, text = module(folder)
    code = re.sub(r"^\s*description\s*=.*$", "", text, flags=re.M)
    for name in set(re.findall(r"\bvar\.(\w+)", code)) - set(found["var"]):
        yield f"{folder}: var.{name} is not declared"
    for name in set(found["var"]) - set(re.findall(r"\bvar\.(\w+)", code)):
        yield f"{folder}: variable {name} is not used"
    for name in set(re.findall(r"\blocal\.(\w+)", code)) - found["local"]:
        yield f"{folder}: local.{name} is not declared"
    for name in set(re.findall(r"\bmodule\.(\w+)", code)) - set(found["module"]):
        yield f"{folder}: module.{name} is not declared"
    for name in set(re.findall(r"(?<![\w-])data\.(\w+\.\w+)", code)) - found["data"]:
        yield f"{folder}: data.{name} is not declared"
    for name in set(re.findall(r"(?<![\w.])((?:aws|local)_\w+\.\w+)", code)) - found["resource"]:
        yield f"{folder}: {name} is not declared"
    for kind in ("var", "output"):
        for name, body in found[kind].items():
            if "description" not in body:
                yield f"{folder}: {kind} {name} has no description"
    for template in folder.glob("*.tftpl"):
        given = re.search(rf'{re.escape(template.name)}",\s*\{{(.*?)\}}', text, flags=re.S)
        keys = set(re.findall(r"^\s*(\w+)\s*=", given.group(1), flags=re.M)) if given else set()
        wanted = set(re.findall(r"(?<!\$)\$\{(\w+)\}", template.read_text()))
        if keys != wanted:
            yield f"{template}: given {sorted(keys)}, wants {sorted(wanted)}"
    for name, body in found["module"].items():
        called, _ = module((folder / plain(body["source"])).resolve())
        given = {plain(key) for key in body if not plain(key).startswith("__")} - {"source", "for_each", "count", "providers", "depends_on"}
        for key in given - set(called["var"]):
            yield f"{folder}: module {name} has no variable {key}"
        for key in {key for key, value in called["var"].items() if "default" not in value} - given:
            yield f"{folder}: module {name} needs {key}"
        for key in set(re.findall(rf"\bmodule\.{name}\.(\w+)", code)) - set(called["output"]):
            yield f"{folder}: module {name} has no output {key}"


if __name__ == "__main__":
    wrong = [line for folder in sys.argv[1:] for line in check(pathlib.Path(folder))]
    print("\n".join(wrong) or f"{len(sys.argv) - 1} modules good")
    sys.exit(1 if wrong or len(sys.argv) < 2 else 0)
