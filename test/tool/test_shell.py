"""What commands have of a shell: a terminal on request, the user's environment, and, when the harness asks for it, memory."""
import os
import shutil
import subprocess

from lib.rein import TOP, Place, check
from lib.script import call, results, script


def test_terminal():
    """A terminal on request: programs see it, its codes do not reach the model, and what waits for input is said."""
    with Place() as place:
        model = script(place, call("bash", command="test -t 0 && test -t 1 && tput cols; printf '\\033[31mred\\033[0m\\n'", tty=True),
                       call("bash", command="test -t 0 || echo none"),
                       call("bash", command="printf 'Name: '; read x; echo hello $x", tty=True),
                       call("bash", command="printf 'Name: '; read x; echo hello $x", background=True, tty=True),
                       call("job", action="look", wait=20), call("job", action="send", text="Ann\n"), call("job", action="look", wait=10),
                       call("bash", command="printf 'Sure? '; read x; echo $x", background=True), call("job", action="look", wait=20),
                       call("job", action="end_input"), call("job", action="look", wait=10),
                       call("bash", command="cat", background=True, tty=True), call("job", action="end_input"), call("job", action="look", wait=10),
                       "say ok")
        out = place.rein("exec", "--mode", "open", "--model", model, "go", timeout=120)
        check(out.returncode == 0, out)
        text = [r["text"] for r in results(place)]
        check(text[0] == "120\nred\n[exit status 0]" and text[1] == "none\n[exit status 0]", text[:2])
        check(text[2].startswith("Name: \n[stopped: it waits for input") and results(place)[2]["outcome"] == "error", text[2])
        check("it waits for input" in text[4], text[4])
        check("hello Ann" in text[6] and "[exit status 0]" in text[6], text[6])
        check("it waits for input" in text[8] and "[exit status 0]" in text[10], text[8:11])
        check("[exit status 0]" in text[13], text[11:])


def test_shell_that_persists():
    """When the harness asks for it, directory and variables go from one command to the next, over a kill and into a fork."""
    with Place() as place:
        harness = os.path.join(place.top, "harness")
        shutil.copytree(os.path.join(TOP, "harness", "coder"), harness)
        with open(os.path.join(harness, "harness.yaml"), "a", encoding="utf-8") as f:
            f.write("shell: {persistent: true}\n")
        odd = "it's \"odd\"\n$HOME `x`"
        model = script(place, call("bash", command="mkdir -p sub/deep; cd sub/deep; plain=1; export SHOWN=2; odd=\"$(cat ../../odd)\""),
                       call("bash", command="pwd; echo $plain; sh -c 'echo $SHOWN$plain'; printf %s \"$odd\"; false"),
                       call("bash", command="cd ..; exit 3"), call("bash", command="pwd; kill -9 $$"), call("bash", command="pwd; echo $plain"),
                       call("bash", command="rmdir ../sub/deep; cd /; pwd"), call("bash", command="pwd", background=True), call("job", action="look", wait=5),
                       call("bash", command="cd \"$(mktemp -d)\"; rmdir \"$PWD\""), call("bash", command="pwd"), "say ok")
        place.write("odd", odd)
        out = place.rein("exec", "--harness", harness, "--mode", "open", "--model", model, "go")
        check(out.returncode == 0, out)
        text = [r["text"] for r in results(place)]
        check(text[1] == f"{place.work}/sub/deep\n1\n2\n{odd}\n[exit status 1]", text[1])
        check("[exit status 3]" in text[2] and text[3].startswith(f"{place.work}/sub\n"), text[2:4])
        check(text[4] == f"{place.work}/sub\n1\n[exit status 0]", text[4])
        check(text[5] == "/\n[exit status 0]" and text[6].startswith("/\n") or text[7].startswith("/\n"), text[5:8])
        check("back in" in text[9] and place.work in text[9], text[9])
        first = next(e["seq"] for e in place.events() if e["kind"] == "result")
        os.makedirs(place.path("sub/deep"))
        script(place, "say ok", call("bash", command="pwd; echo $plain"), "say ok")
        out = place.rein("fork", f"{place.events()[0]['session']}@{first}", "go on")
        check(out.returncode == 0, out)
        check(results(place)[-1]["text"] == f"{place.work}/sub/deep\n1\n[exit status 0]", results(place)[-1])


def test_environment_of_the_users_shell():
    """A rein that no shell has started asks the user's once."""
    with Place() as place:
        shell = os.path.join(place.top, "shell")
        with open(shell, "w", encoding="utf-8") as f:
            f.write(f"#!/bin/sh\necho asked >> {place.top}/asked\nexport FROM_PROFILE=yes\n[ \"$1 $2 $3\" = '-l -i -c' ] && exec sh -c \"$4\"\n")
        os.chmod(shell, 0o755)
        model = script(place, call("bash", command="echo $FROM_PROFILE"), call("bash", command="echo $FROM_PROFILE"), "say ok")
        env = {k: v for k, v in place.env.items() if k != "SHLVL"}
        out = subprocess.run([place.binary, "exec", "--mode", "open", "--model", model, "go"], cwd=place.work, env=dict(env, SHELL=shell),
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, check=False)
        check(out.returncode == 0, out)
        check([r["text"] for r in results(place)] == ["yes\n[exit status 0]"] * 2, results(place))
        with open(os.path.join(place.top, "asked"), encoding="utf-8") as f:
            check(f.read() == "asked\n", "asked once")
        out = subprocess.run([place.binary, "exec", "--mode", "open", "--model", model, "go"], cwd=place.work, env=dict(env, SHELL=shell, SHLVL="1"),
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, check=False)
        check([r["text"] for r in results(place)] == ["\n[exit status 0]"] * 2, results(place))
