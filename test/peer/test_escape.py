"""Ways out of the box. Each is proved real first: without the box it has its effect. Then it must not, as root and as an ordinary user,
in each tier that this machine has."""
import ctypes
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading

from lib.rein import RELEASE, Skip, check

SECRET = "the-secret-7e1f93"
USER = 1234                             # any number that owns nothing here
CTYPES = "import ctypes, os, sys; c = ctypes.CDLL(None, use_errno=True)\ndef call(*a):\n    r = c.syscall(*a)\n    return r\n"


class World:
    """A user's machine in a folder: a home with secrets, a workspace with a repository, things beside it, and a host process."""

    def __init__(self, uid):
        self.uid = uid
        self.top = os.path.realpath(tempfile.mkdtemp(prefix="rein-escape-"))
        os.chmod(self.top, 0o755)
        for name in ("home", "work", "rein", "out", "bin"):
            os.mkdir(os.path.join(self.top, name))
        self.home, self.work, self.out = (os.path.join(self.top, n) for n in ("home", "work", "out"))
        for binary in ("rein", "rein-box", "rein-files", "rein-html"):
            shutil.copy(os.path.join(os.path.dirname(RELEASE), binary), os.path.join(self.top, "bin"))
        self.binary = os.path.join(self.top, "bin", "rein")
        for path in (".ssh/id_rsa", ".aws/credentials", ".netrc", ".config/gh/hosts.yml", ".npmrc", ".docker/config.json", ".bash_history",
                     ".mozilla/firefox/p/logins.json", "other/.env", ".cargo/credentials.toml", ".pypirc", ".kube/config", ".git-credentials"):
            self.put(os.path.join(self.home, path), SECRET + "\n", 0o600)
        self.put(os.path.join(self.home, ".cargo/bin/tool"), "#!/bin/sh\n", 0o755)
        self.put(os.path.join(self.out, "file"), "outside\n")
        self.put(os.path.join(self.out, "secret"), SECRET + "\n", 0o600)
        self.put(os.path.join(self.top, "rein", "config.yaml"), f"# {SECRET}\n", 0o600)
        self.git("init", "-q", ".")
        self.git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "first")
        deep = "a/b/c/d/e/f"
        os.makedirs(os.path.join(self.work, deep))
        self.git("init", "-q", deep)
        self.git("init", "-q", "--bare", "bare.git")
        modules = os.path.join(self.work, ".git", "modules", "sub")
        shutil.copytree(os.path.join(self.work, "bare.git"), modules)
        os.symlink(os.path.join(self.out, "file"), os.path.join(self.work, "link"))
        os.symlink(self.out, os.path.join(self.work, "dirlink"))
        os.link(os.path.join(self.out, "file"), os.path.join(self.work, "hard"))
        os.link(os.path.join(self.out, "secret"), os.path.join(self.work, "hardsecret"))
        self.own(self.top)
        self.saved = self.top + ".tar"
        subprocess.run(["tar", "-C", self.top, "-cf", self.saved, "."], check=True)
        self.begin()

    def as_user(self):
        return {"user": self.uid, "group": self.uid, "extra_groups": []} if self.uid else {}

    def begin(self):
        self.host = subprocess.Popen(["sleep", "1000"], env={"TOKEN": SECRET}, **self.as_user())

    def put(self, path, text, mode=0o644):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, mode)

    def git(self, *args):
        subprocess.run(["git", *args], cwd=self.work, check=True, capture_output=True,
                       env=dict(os.environ, HOME=self.home, GIT_CONFIG_GLOBAL="/dev/null"))

    def own(self, top):
        for folder, names, files in os.walk(top):
            for name in [*names, *files]:
                os.lchown(os.path.join(folder, name), self.uid, self.uid)
        os.lchown(top, self.uid, self.uid)

    def __enter__(self):
        return self

    def end(self):
        self.host.kill()
        self.host.wait()
        if os.path.ismount(self.out):
            subprocess.run(["umount", self.out], check=False)
        for path in (f"/tmp/rein-escape-{self.host.pid}", f"/dev/shm/rein-escape-{self.host.pid}"):
            if os.path.exists(path):
                os.remove(path)

    def reset(self):
        """As it was: a case has left its marks."""
        self.end()
        for name in os.listdir(self.top):
            shutil.rmtree(os.path.join(self.top, name))
        subprocess.run(["tar", "-C", self.top, "-xpf", self.saved], check=True)
        self.begin()

    def __exit__(self, *unused):
        self.end()
        os.remove(self.saved)
        shutil.rmtree(self.top, ignore_errors=True)

    def run(self, argv, **env):
        full = dict(os.environ, HOME=self.home, REIN_HOME=os.path.join(self.top, "rein"), MY_TOKEN=SECRET, HOST=str(self.host.pid), OUT=self.out,
                    TOP=self.top, PY=sys.executable if os.access(sys.executable, os.X_OK) and not self.uid else "/usr/bin/python3", **env)
        return subprocess.run(argv, cwd=self.work, env=full, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=60, check=False, **self.as_user())

    def plain(self, command):
        return self.run(["/bin/sh", "-c", command])

    def boxed(self, command, tier):
        # What a case needs to know is no secret; the box passes on none of it.
        words = f"HOST={self.host.pid} OUT={self.out} TOP={self.top} PY=/usr/bin/python3; REIN_HOME={self.top}/rein; export HOST OUT TOP PY REIN_HOME\n"
        more = ["--tier", "landlock", "--mode", "ask"] if tier == "landlock" else ["--mode", "auto"]
        return self.run([self.binary, "box", *more, "--report", os.path.join(self.out, "report"), "--", words + command])

    def text(self, path):
        try:
            with open(os.path.join(self.top, path), encoding="utf-8", errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def there(self, path):
        return os.path.lexists(os.path.join(self.top, path))

    def mode(self, path):
        try:
            return os.lstat(os.path.join(self.top, path)).st_mode
        except OSError:
            return 0


def said(w, out):
    del w
    return SECRET.encode() in out.stdout + out.stderr


def wrote(path, words="evil"):
    return lambda w, out: words in w.text(path)


def appeared(path):
    return lambda w, out: w.there(path)


def python(code):
    return f"$PY - <<'END'\n{CTYPES}{code}\nEND\n"


def success(w, out):
    del w
    return b"WORKED" in out.stdout


def hook(path):
    return lambda w, out: bool(w.mode(path) & stat.S_IXUSR)


# name: (command, whether it had its effect); what a tier does not promise is in NOT_LANDLOCK.
CASES = {
    "write outside": ("echo evil > $OUT/new", appeared("out/new")),
    "write through a link that was there": ("echo evil > link", wrote("out/file")),
    "write through a folder's link": ("echo evil > dirlink/new", appeared("out/new")),
    "write through a link made for it": ("ln -s $OUT l2; echo evil > l2/new", appeared("out/new")),
    "write by /proc/self/root": ("echo evil > /proc/self/root$OUT/new", appeared("out/new")),
    "write by /proc/self/cwd": ("echo evil > /proc/self/cwd/../out/new", appeared("out/new")),
    "write by a parent's descriptor": ("echo evil > /proc/$PPID/root$OUT/new || "
                                       "echo evil > /proc/$HOST/root$OUT/new", appeared("out/new")),
    "write a hard link": ("echo evil >> hard", wrote("out/file")),
    "truncate a hard link": ("truncate -s 0 hard", lambda w, out: w.text("out/file") == ""),
    "replace a parent": ("mv $TOP/work $TOP/moved && mkdir $TOP/work", appeared("moved")),
    "delete outside": ("rm -f $OUT/file", lambda w, out: not w.there("out/file")),
    "chmod outside": ("chmod 777 $OUT/file", lambda w, out: w.mode("out/file") & 0o777 == 0o777),
    "archive with dots": ("mkdir t; echo evil > t/x; tar -C t -cPf a.tar --transform 's,^x,../out/new,' x; tar -xPf a.tar", appeared("out/new")),
    "start-up file of the shell": ("echo evil >> ~/.bashrc; echo evil >> $TOP/home/.bashrc", wrote("home/.bashrc")),
    "profile": ("echo evil >> $TOP/home/.profile", wrote("home/.profile")),
    "service of the user": ("mkdir -p $TOP/home/.config/systemd/user; echo evil > $TOP/home/.config/systemd/user/x.service",
                            appeared("home/.config/systemd/user/x.service")),
    "autostart": ("mkdir -p $TOP/home/.config/autostart; echo evil > $TOP/home/.config/autostart/x.desktop", appeared("home/.config/autostart/x.desktop")),
    "keys that let someone in": ("echo evil >> $TOP/home/.ssh/authorized_keys", wrote("home/.ssh/authorized_keys")),
    "a program on the path": ("echo evil > $TOP/home/.cargo/bin/tool", wrote("home/.cargo/bin/tool")),
    "the harness": ("rm -f $TOP/bin/rein-box; echo evil > $TOP/bin/rein-box", wrote("bin/rein-box")),
    "its records": ("echo evil > $REIN_HOME/rein.db", wrote("rein/rein.db")),
    "its configuration": ("echo evil >> $REIN_HOME/config.yaml", wrote("rein/config.yaml")),
    "settings of an agent": ("mkdir -p .claude; echo evil > .claude/settings.json", appeared("work/.claude/settings.json")),
    "servers of an agent": ("echo evil > .mcp.json", appeared("work/.mcp.json")),
    "tasks of an editor": ("mkdir -p x/.vscode; echo evil > x/.vscode/tasks.json", appeared("work/x/.vscode/tasks.json")),
    "the same in other letters": ("mkdir -p .VSCode; echo evil > .VSCode/Tasks.json", appeared("work/.VSCode/Tasks.json")),
    "the same made elsewhere and moved": ("mkdir -p t/q; echo evil > t/q/tasks.json; mv t/q t/.vscode", appeared("work/t/.vscode/tasks.json")),
    "the same as a link": ("echo evil > ok.json; ln -s ok.json .mcp.json", appeared("work/.mcp.json")),
    "start-up file in the workspace": ("echo evil > .bashrc", appeared("work/.bashrc")),
    "hook": ("echo evil > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit", hook("work/.git/hooks/pre-commit")),
    "hooks moved away": ("mv .git/hooks .git/h; mkdir .git/hooks; echo evil > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit",
                         hook("work/.git/hooks/pre-commit")),
    "repository moved away": ("mv .git .g; cp -r .g .git; echo evil > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit",
                              hook("work/.git/hooks/pre-commit")),
    "hook at depth six": ("echo evil > a/b/c/d/e/f/.git/hooks/pre-commit; chmod +x a/b/c/d/e/f/.git/hooks/pre-commit",
                          hook("work/a/b/c/d/e/f/.git/hooks/pre-commit")),
    "hook in a folder moved away": ("mv a z; cp -r z a; echo evil > a/b/c/d/e/f/.git/hooks/pre-commit; chmod +x a/b/c/d/e/f/.git/hooks/pre-commit",
                                    hook("work/a/b/c/d/e/f/.git/hooks/pre-commit")),
    "hook of a new repository": ("git init -q new; echo evil > new/.git/hooks/pre-commit; chmod +x new/.git/hooks/pre-commit",
                                 hook("work/new/.git/hooks/pre-commit")),
    "hook of a bare repository": ("echo evil > bare.git/hooks/post-receive; chmod +x bare.git/hooks/post-receive", hook("work/bare.git/hooks/post-receive")),
    "monitor": ("git config core.fsmonitor 'evil'", wrote("work/.git/config")),
    "monitor by hand": ("printf '[core]\\nfsmonitor = evil\\n' >> .git/config", wrote("work/.git/config")),
    "configuration replaced": ("cp .git/config c; printf '[core]\\nfsmonitor = evil\\n' >> c; mv c .git/config", wrote("work/.git/config")),
    "configuration of a module": ("printf '[core]\\nfsmonitor = evil\\n' >> .git/modules/sub/config", wrote("work/.git/modules/sub/config")),
    "configuration of a new repository": ("git init -q new; git -C new config alias.st '!evil'", wrote("work/new/.git/config")),
    "include in a new repository": ("git init -q new; printf '[include]\\npath = ../evil\\n' >> new/.git/config", wrote("work/new/.git/config")),
    "setting on the section's line": ("git init -q new; printf '[core] fsmonitor = evil\\n' >> new/.git/config", wrote("work/new/.git/config")),
    "a repository without a head": ("mkdir -p r/objects r/refs g; printf '[core]\\nfsmonitor = evil\\n' > r/config; echo ../r > g/commondir; "
                                    "echo ref: refs/heads/x > g/HEAD", wrote("work/r/config")),
    "setuid": ("cp /bin/true s; chmod 4755 s", lambda w, out: w.mode("work/s") & stat.S_ISUID),
    "setgid": ("cp /bin/true s; chmod 2755 s", lambda w, out: w.mode("work/s") & stat.S_ISGID),
    "setuid by open": (python("os.umask(0); fd = os.open('s', os.O_CREAT | os.O_WRONLY, 0o4755); os.fchmod(fd, 0o4755)"),
                       lambda w, out: w.mode("work/s") & stat.S_ISUID),
    "host's temporary files": ("echo evil > /tmp/rein-escape-$HOST", lambda w, out: os.path.exists(f"/tmp/rein-escape-{w.host.pid}")),
    "host's shared memory": ("echo evil > /dev/shm/rein-escape-$HOST", lambda w, out: os.path.exists(f"/dev/shm/rein-escape-{w.host.pid}")),
    "key": ("cat $TOP/home/.ssh/id_rsa", said),
    "key by /proc/self/root": ("cat /proc/self/root$TOP/home/.ssh/id_rsa", said),
    "key by a link": ("ln -s $TOP/home/.ssh/id_rsa k; cat k", said),
    "key by tar": ("tar -cf - -C $TOP/home .ssh | cat", said),
    "key by a mount's other name": ("cat /proc/$HOST/root$TOP/home/.ssh/id_rsa /proc/$HOST/cwd/$TOP/home/.ssh/id_rsa", said),
    "cloud credentials": ("cat $TOP/home/.aws/credentials", said),
    "netrc": ("cat $TOP/home/.netrc", said),
    "tokens of programs": ("cat $TOP/home/.config/gh/hosts.yml $TOP/home/.npmrc $TOP/home/.docker/config.json $TOP/home/.pypirc $TOP/home/.kube/config "
                           "$TOP/home/.git-credentials", said),
    "browser": ("cat $TOP/home/.mozilla/firefox/p/logins.json", said),
    "history": ("cat $TOP/home/.bash_history", said),
    "another project": ("cat $TOP/home/other/.env", said),
    "token of a toolchain": ("cat $TOP/home/.cargo/credentials.toml", said),
    "hard link to a secret": ("cat hardsecret", said),
    "hard link to a secret, copied": ("cp hardsecret copy; cat copy", said),
    "environment": ("env", said),
    "environment of the host": ("cat /proc/$HOST/environ; cat /proc/[0-9]*/environ", said),
    "the harness's secrets": ("cat $REIN_HOME/config.yaml", said),
    "everything readable": (f"grep -rs --exclude-dir=proc {SECRET} $TOP 2>/dev/null | head -c 1000", said),
    "signal": ("kill -9 $HOST", lambda w, out: ended(w.host)),
    "stop": (python("import signal\nos.kill(int(os.environ['HOST']), signal.SIGSTOP)"), lambda w, out: state_of(w.host.pid) == "T"),
    "ptrace": (python("pid = int(os.environ['HOST'])\nprint('WORKED' if c.ptrace(16, pid, 0, 0) == 0 else '')"), success),
    "memory of the host": (python("""
pid = int(os.environ['HOST'])
start = [l.split('-')[0] for l in open(f'/proc/{pid}/maps') if 'stack' in l]
f = open(f'/proc/{pid}/mem', 'rb'); f.seek(int(start[0], 16)); f.read(16); print('WORKED')"""), success),
    "priority of the host": (python("pid = int(os.environ['HOST'])\nos.setpriority(os.PRIO_PROCESS, pid, 7); print('WORKED')"),
                             lambda w, out: os.getpriority(os.PRIO_PROCESS, w.host.pid) == 7),
    "io_uring": (python("print('WORKED' if call(425, 4, ctypes.create_string_buffer(256)) >= 0 else '')"), success),
    "userfaultfd": (python("print('WORKED' if call(323, 1) >= 0 else '')"), success),
    "keyring": (python("print('WORKED' if call(248, b'user', b'rein', b'x', 1, ctypes.c_int(-2)) >= 0 else '')"), success),
    "perf": (python("print('WORKED' if call(298, ctypes.create_string_buffer(bytes([1,0,0,0,128,0,0,0]) + bytes(120)), 0, -1, -1, 0) >= 0 else '')"), success),
    "bpf": (python("print('WORKED' if call(321, 0, ctypes.create_string_buffer(bytes([2,0,0,0,4,0,0,0,4,0,0,0,1,0,0,0]) + bytes(100)), 72) >= 0 else '')"), success),
    "vsock": (python("import socket\nsocket.socket(40, socket.SOCK_STREAM); print('WORKED')"), success),
    "packets": (python("import socket\nsocket.socket(17, socket.SOCK_RAW, 768); print('WORKED')"), success),
    "namespace": (python("print('WORKED' if c.unshare(0x10000000) == 0 else '')"), success),
    "namespace by clone": (python("r = call(56, 0x10000000 | 17, 0, 0, 0, 0)\nif r == 0: os._exit(0)\nprint('WORKED' if r > 0 else '')"), success),
    "namespace by clone3": (python("r = call(435, ctypes.create_string_buffer((0x10000000).to_bytes(8, 'little') + bytes(24) + (17).to_bytes(8, 'little')"
                                   " + bytes(48)), 88)\nif r == 0: os._exit(0)\nprint('WORKED' if r > 0 else '')"), success),
    "mount": ("mount -t tmpfs x $OUT && touch $OUT/mounted", lambda w, out: os.path.ismount(w.out)),
    "shared memory of System V": (python("print('WORKED' if SEGMENT else '')".replace("SEGMENT", "call(29, 0x7e1f93, 0, 0) >= 0")), success),
    "local server": ("$PY -c \"import socket,os; s=socket.create_connection(('127.0.0.1', int(open('port').read())), 3); s.sendall(b'out'); print(s.recv(9))\"",
                     lambda w, out: b"WORKED" in out.stdout),
    "local server by bash": ("bash -c 'exec 3<>/dev/tcp/127.0.0.1/$(cat port); echo out >&3; head -c 6 <&3'", lambda w, out: b"WORKED" in out.stdout),
    "local server by UDP": ("$PY -c \"import socket; s=socket.socket(2,2); s.settimeout(2); s.sendto(b'out', ('127.0.0.1', int(open('port').read()))); "
                            "print(s.recv(9))\"", lambda w, out: b"WORKED" in out.stdout),
    "local server by another name": ("$PY -c \"import socket; s=socket.create_connection(('::ffff:127.0.0.1', int(open('port').read())), 3); "
                                     "s.sendall(b'out'); print(s.recv(9))\"", lambda w, out: b"WORKED" in out.stdout),
    "socket of a service": ("$PY -c \"import socket,os; s=socket.socket(1); s.connect(os.environ['OUT'] + '/service'); s.sendall(b'out'); print(s.recv(9))\"",
                            lambda w, out: b"WORKED" in out.stdout),
    "abstract socket": ("$PY -c \"import socket,os; s=socket.socket(1); s.connect(chr(0) + 'rein-escape-' + open('port').read()); s.sendall(b'out'); "
                        "print(s.recv(9))\"", lambda w, out: b"WORKED" in out.stdout),
    "outlive the call": ("setsid sh -c 'sleep 3; echo evil > late' >/dev/null 2>&1 & sleep 0.1; (setsid sleep 7$HOST >/dev/null 2>&1 &) ; true",
                         lambda w, out: running(f"sleep 7{w.host.pid}$")),
}
AS_ROOT = {
    "shadow": ("head -c 5 /etc/shadow && echo WORKED", success),
    "device": ("mknod d c 1 1 && head -c 1 d > /dev/null; test -c d && echo WORKED", success),
    "core pattern": ("cat /proc/sys/kernel/core_pattern > c; cat c > /proc/sys/kernel/core_pattern && echo WORKED", success),
    "module": (python("call(175, 0, 0, b''); print('WORKED' if ctypes.get_errno() != 1 else '')"), success),
    "system's files": ("touch /usr/rein-escape && rm /usr/rein-escape && echo WORKED", success),
    "system's settings": ("touch /etc/rein-escape && rm /etc/rein-escape && echo WORKED", success),
    "chroot": ("chroot / /bin/echo WORKED", success),
    "host's name": ("hostname \"$(hostname)\" && echo WORKED", success),
}
# Without a view of its own a box cannot keep some files of the workspace from what may write to it all, has no view of its own of
# System V's memory, and keeps what is already linked into the workspace as it finds it. So the mode that promises it (auto) is refused.
NOT_LANDLOCK = {"settings of an agent", "servers of an agent", "tasks of an editor", "the same in other letters", "the same made elsewhere and moved",
                "the same as a link", "start-up file in the workspace", "hook", "hooks moved away", "repository moved away", "hook at depth six",
                "hook in a folder moved away", "hook of a new repository", "hook of a bare repository", "monitor", "monitor by hand",
                "configuration replaced", "configuration of a module", "configuration of a new repository", "include in a new repository",
                "setting on the section's line", "a repository without a head", "write a hard link", "truncate a hard link", "hard link to a secret",
                "hard link to a secret, copied", "shared memory of System V", "priority of the host", "everything readable", "chmod outside", "host's name"}


def landlock_abi():
    return ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1)


if 0 < landlock_abi() < 6:              # signals are in its scope from Linux 6.12 on
    NOT_LANDLOCK |= {"signal", "stop"}


def ended(p):
    try:
        return p.wait(0.3) is not None
    except subprocess.TimeoutExpired:
        return False


def state_of(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        return f.read().rsplit(")", 1)[1].split()[0]


def running(words):
    out = subprocess.run(["pgrep", "-f", words], stdout=subprocess.PIPE, check=False)
    for pid in out.stdout.split():
        os.kill(int(pid), signal.SIGKILL)
    return bool(out.stdout)


class Servers:
    """What listens on the host: TCP and UDP on a port, a socket in the file system, an abstract one, and a segment of System V."""

    def __init__(self, w):
        tcp = socket.socket(socket.AF_INET6)
        tcp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        tcp.bind(("::", 0))
        self.port = tcp.getsockname()[1]
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", self.port))
        named = socket.socket(socket.AF_UNIX)
        named.bind(os.path.join(w.out, "service"))
        os.chmod(os.path.join(w.out, "service"), 0o777)
        abstract = socket.socket(socket.AF_UNIX)
        abstract.bind(f"\0rein-escape-{self.port}")
        self.all = [tcp, named, abstract, udp]
        for s in self.all:
            s.settimeout(0.1)           # a thread that waits in accept() keeps a descriptor, also when its socket is long closed
        for s in self.all[:3]:
            s.listen(8)
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()
        threading.Thread(target=self.answer, args=(udp,), daemon=True).start()
        w.put(os.path.join(w.work, "port"), str(self.port))

    @staticmethod
    def serve(s):
        while s.fileno() >= 0:
            try:
                c, _ = s.accept()
                c.settimeout(5)
                c.recv(9)
                c.sendall(b"WORKED")
                c.close()
            except OSError:
                pass

    @staticmethod
    def answer(s):
        while s.fileno() >= 0:
            try:
                _, who = s.recvfrom(99)
                s.sendto(b"WORKED", who)
            except OSError:
                pass

    def close(self):
        for s in self.all:
            s.close()


def try_out(name, w, tier):
    """Whether a case has its effect; tier None: without a box. And what it printed."""
    command, took_effect = {**CASES, **AS_ROOT}[name]
    w.reset()
    servers = Servers(w)
    segment = None
    if name == "shared memory of System V":
        segment = subprocess.run(["ipcmk", "-M", "8"], stdout=subprocess.PIPE, check=True).stdout.decode().split()[-1]
        listed = subprocess.run(["ipcs", "-m"], stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()
        command = command.replace("0x7e1f93", [line.split()[0] for line in listed if line.split()[1:2] == [segment]][0])
    try:
        out = w.plain(command) if tier is None else w.boxed(command, tier)
        report = json.loads(w.text("out/report") or "null")
        if tier is not None:
            check(report and "failed" not in report and report["tier"] == tier, name, tier, report, out)
        return bool(took_effect(w, out)), out
    finally:
        servers.close()
        if segment:
            subprocess.run(["ipcrm", "-m", segment], check=False)


def best_tier():
    with tempfile.TemporaryDirectory() as top:
        out = subprocess.run([RELEASE, "box", "--mode", "ask", "-C", top, "--report", os.path.join(top, "r"), "--", "true"], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, env=dict(os.environ, REIN_HOME=os.path.join(os.path.dirname(top), "none-" + os.path.basename(top))),
                             check=False)
        shutil.rmtree(os.path.join(os.path.dirname(top), "none-" + os.path.basename(top)), ignore_errors=True)
        if out.returncode == 7:
            return None
        with open(os.path.join(top, "r"), encoding="utf-8") as f:
            return json.load(f)["tier"]


def suite(uid, tier):
    best = best_tier()
    if best is None or (tier == "live" and best != "live"):
        raise Skip(f"tier {tier} is not to be had on this machine: not shown")
    if uid is None or (uid and os.getuid() != 0):
        raise Skip("only root can become another user: not shown")
    if uid and subprocess.run(["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        raise Skip("no other user can be had here: not shown")
    names = [*CASES, *(AS_ROOT if uid == 0 else ())]
    real, out_of_box, unreal, not_promised = [], [], [], []
    with World(uid) as w:
        for name in names:
            if tier == "landlock" and name in NOT_LANDLOCK:
                not_promised.append(name)
                continue
            if not try_out(name, w, None)[0]:
                unreal.append(name)
                continue
            real.append(name)
            effect, out = try_out(name, w, tier)
            if effect:
                out_of_box.append((name, out))
    print(f"peer/escape: {tier}, {'root' if uid == 0 else 'user'}: {len(real)} ways out work without the box, {len(out_of_box)} with it; not possible here "
          f"anyway: {', '.join(unreal) or 'none'}" + (f"; not promised by this tier: {len(not_promised)}" if not_promised else ""), flush=True)
    check(not out_of_box, out_of_box)
    check(len(real) >= (40 if tier == "landlock" else 70), "too few are real here", unreal)
    return len(real)


def test_live_as_root():
    if os.getuid() != 0:
        raise Skip("this is not root: not shown")
    return suite(0, "live")


def test_live_as_user():
    return suite(USER if os.getuid() == 0 else 0, "live")


def test_landlock_as_root():
    if os.getuid() != 0:
        raise Skip("this is not root: not shown")
    return suite(0, "landlock")


def test_landlock_as_user():
    return suite(USER if os.getuid() == 0 else 0, "landlock")
