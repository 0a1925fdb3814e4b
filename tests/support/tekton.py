"""Runs the steps of a Task of Tekton on this machine."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support import tools


def run_task(task: Mapping[str, Any], folder: Path, env: Mapping[str, str], values: Mapping[str, Any]) -> str:
    """Run the steps of a Task as Tekton does: replace $(…), set the variables, run the script with its args.

    Source: Tekton's docs, "Variable Substitutions". Return the result DIGEST.
    """
    result = folder / "result"
    known = {f"params.{one['name']}": one.get("default") for one in task["spec"]["params"]}
    known |= {"results.DIGEST.path": str(result), "workspaces.storage.path": "", **values}

    def filled(text: str) -> str:
        return re.sub(r"\$\(([\w.]+)\)", lambda found: str(known[found[1]]), text)

    for number, step in enumerate(task["spec"]["steps"]):
        script = folder / f"step-{number}"
        script.write_text(step["script"])
        script.chmod(0o755)
        arguments = known["params.IMAGES"] if step.get("args") == ["$(params.IMAGES[*])"] else []
        variables = {one["name"]: filled(one["value"]) for one in step.get("env", [])}
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin:/usr/sbin:/sbin"
        tools.run(script, *arguments, cwd=folder, env={**env, **variables, "PATH": path})
    return result.read_text().strip()
