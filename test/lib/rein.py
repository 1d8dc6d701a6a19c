"""What the tests share: a scratch place for one rein, running it, reading its events."""
import contextlib
import json
import os
import shutil
import subprocess
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# A rein with a planted defect in place of both (tool/test_planted.py).
PLANTED = os.environ.get("REIN_TEST_PLANTED")
SANITISED = PLANTED or os.path.join(TOP, "build-test", "rein")
RELEASE = PLANTED or os.path.join(TOP, "build", "rein")


class Place:
    """A workspace and a REIN_HOME in a folder of their own, below `base` or, when the paths in the log have to be the same as in
    another one, at `top`."""

    def __init__(self, binary=SANITISED, base=None, top=None):
        self.top = top or os.path.realpath(tempfile.mkdtemp(prefix="rein-test-", dir=base))
        self.work = os.path.join(self.top, "work")
        self.home = os.path.join(self.top, "home")
        os.makedirs(self.work, exist_ok=True)
        self.binary = binary
        self.wrap = []                  # what stands before rein on the command line, as strace does
        self.env = dict(os.environ, REIN_HOME=self.home, HOME=os.path.join(self.top, "user"),
                        ASAN_OPTIONS="detect_stack_use_after_return=1:abort_on_error=0:exitcode=99",
                        LSAN_OPTIONS="print_suppressions=0:suppressions=" + os.path.join(TOP, "test", "lsan.supp"),
                        UBSAN_OPTIONS="halt_on_error=1:exitcode=99:print_stacktrace=1")
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            self.env.pop(name, None)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        for folder, names, _ in os.walk(self.top):
            for name in names:
                path = os.path.join(folder, name)
                if not os.path.islink(path):
                    os.chmod(path, 0o700)
        shutil.rmtree(self.top, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.work, name)

    def write(self, name, data):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "wb") as f:
            f.write(data if isinstance(data, bytes) else data.encode())

    def read(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()

    def script(self, text):
        """Makes a script for the script provider and returns its --model value."""
        path = os.path.join(self.top, "script")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        open(path + ".requests", "a").close()
        return "script/" + path

    def requests(self):
        with open(os.path.join(self.top, "script.requests"), encoding="utf-8") as f:
            return [json.loads(line) for line in f]

    def rein(self, *args, timeout=60, env=None, stdin=subprocess.DEVNULL):
        wrap = [*self.wrap, *[w for k, v in (env or {}).items() for w in ("-E", f"{k}={v}")]] if self.wrap else []
        return subprocess.run([*wrap, self.binary, *args], cwd=self.work, env=dict(self.env, **(env or {} if not wrap else {})), stdin=stdin,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, check=False)

    def start(self, *args, env=None, **more):
        return subprocess.Popen([self.binary, *args], cwd=self.work, env=dict(self.env, **(env or {})),
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)

    def events(self, session="--last"):
        out = self.rein("show", session, "--json")
        assert out.returncode == 0, out.stderr.decode()
        return [json.loads(line) for line in out.stdout.decode().split("\n")[:-1]]


def story(events, *kinds):
    """The events of some kinds as (kind, body) pairs."""
    return [(e["kind"], e["body"]) for e in events if not kinds or e["kind"] in kinds]


class Failed(AssertionError):
    pass


class Skip(Exception):
    """A test that cannot be shown on this host; its words say why."""


def check(condition, *what):
    if not condition:
        raise Failed(" ".join(str(w) for w in what))


USER = 12345


def give_to_user(place):
    """An ordinary user's place, and programs that it can reach. Returns what stands before rein on the command line then."""
    programs, built = os.path.join(place.top, "bin"), os.path.dirname(place.binary)
    os.makedirs(place.env["HOME"], exist_ok=True)
    os.mkdir(programs)
    for name in ("rein", "rein-box", "rein-files", "rein-html"):
        shutil.copy(os.path.join(built, name), programs)
    subprocess.run(["chown", "-R", f"{USER}:{USER}", place.top], check=True)
    place.binary = os.path.join(programs, "rein")
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]


@contextlib.contextmanager
def over_an_overlay(place):
    """The workspace is on a file system that can carry no layer."""
    parts = [os.path.join(place.top, part) for part in ("lower", "upper", "over")]
    for part in parts:
        os.mkdir(part)
    out = subprocess.run(["mount", "-t", "overlay", "-o", f"lowerdir={parts[0]},upperdir={parts[1]},workdir={parts[2]}", "overlay", place.work], stderr=subprocess.PIPE, check=False)
    if out.returncode:
        raise Skip("no right to mount a file system: " + out.stderr.decode().strip())
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place.work], check=False)


def need_live():
    """Skips a test where this machine gives no live box."""
    with Place(RELEASE) as place:
        if place.rein("box", "--mode", "auto", "-q", "--", "true").returncode == 7:
            raise Skip("this machine gives no live box: not shown")
