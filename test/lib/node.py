"""Running JavaScript from the registry as a second opinion."""
import os
import shutil
import subprocess

from lib.rein import TOP, Skip

MODULES = os.path.join(TOP, "build", "node", "node_modules")


def node(script, stdin, *needs):
    """Output of a script of this folder, fed with text."""
    if not shutil.which("node"):
        raise Skip("node is not installed")
    for package in needs:
        if not os.path.isdir(os.path.join(MODULES, package)):
            raise Skip(f"{package} is not installed; ./dev setup fetches it from the npm registry")
    out = subprocess.run(["node", os.path.join(TOP, "test", "lib", script)], input=stdin.encode(), stdout=subprocess.PIPE,
                         env=dict(os.environ, NODE_PATH=MODULES), timeout=120, check=True)
    return out.stdout.decode()
