"""Rules for what may run outside the box: lines that do more than they say, each shown to do it, are never allowed by themselves; ordinary
ones mostly are."""
import os
import random
import shutil
import signal
import subprocess

from lib.rein import RELEASE, Place, check

# What a person might have allowed, of which each bypass abuses one.
ALLOWED = ["git status", "git diff", "git log", "git show", "git grep", "git branch", "git commit", "git add", "find", "grep", "rg", "sort", "sed", "awk",
           "ls", "cat", "echo", "date", "head", "tail", "wc", "uniq", "xxd", "file", "tar", "diff", "tree", "sort -u", "python3", "env", "xargs", "timeout", "nice",
           "npm test", "make", "printf", "test", "tee", "split", "gcc", "cp", "git"]
HOME_RC = "echo 'touch pwned' > rc"
# class: (what is prepared by hand, the line). Each makes the file `pwned` in the workspace when it is simply run.
BYPASSES = {
    "substitution": ["echo $(touch pwned)", "echo `touch pwned`", 'echo "$(touch pwned)"', 'echo "`touch pwned`"', "ls -la $(touch pwned)",
                     "git status $(touch pwned)", "echo ${x:-$(touch pwned)}", "echo $((1$(touch pwned)))"],
    "process substitution": ["bash -c 'cat <(touch pwned)'", "diff <(touch pwned) <(true)"],
    "redirection": ["echo x > pwned", "echo x >> pwned", "ls > pwned", "cat a >pwned", "echo x >| pwned", "echo x 1> pwned", ": > pwned",
                    "cat a 2> pwned", "cat a &> pwned", "sort a > pwned"],
    "here document": ["cat <<E > pwned\nx\nE", "sh <<E\ntouch pwned\nE", "cat <<E | sh\ntouch pwned\nE"],
    "background and newline": ["echo x & touch pwned", "echo x\ntouch pwned", "echo x;touch pwned", "echo x || true; touch pwned", "true && touch pwned",
                               "echo x |tee pwned", "echo touch pwned | sh", "ls\n\n\ntouch pwned", "echo 'x'\ntouch pwned"],
    "grouping": ["{ touch pwned; }", "(touch pwned)", "if true; then touch pwned; fi", "for i in 1; do touch pwned; done", "f() { touch pwned; }; f",
                 "while touch pwned; do break; done", "case x in x) touch pwned;; esac", "! touch pwned"],
    "environment before a command": ["GIT_PAGER='touch pwned' git -p log", "PAGER='touch pwned' git -p log", "GIT_EXTERNAL_DIFF='sh -c \"touch pwned\"' git diff",
                                     "BASH_ENV=rc bash -c true", "ENV=rc sh -ic true", "PATH=.:$PATH ls", "GIT_SSH_COMMAND='touch pwned;' git fetch ssh://x/y",
                                     "GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=core.fsmonitor GIT_CONFIG_VALUE_0='touch pwned;false' git status",
                                     "GIT_EDITOR='touch pwned;' git commit --allow-empty", "LESSOPEN='|touch pwned' less a", "export PATH=.:$PATH; ls",
                                     "RIPGREP_CONFIG_PATH=rgrc rg x"],
    "find": ["find . -name a -exec touch pwned ;", "find . -name a -exec touch pwned \\;", "find . -name a -exec touch pwned +", "find . -name a -execdir touch pwned ;",
             "find . -maxdepth 0 -fprint pwned", "find . -maxdepth 0 -fprintf pwned x", "find . -maxdepth 0 -fls pwned", "find . -name a -ok touch pwned ; < y",
             "find . -maxdepth 1 -name a -fprint0 pwned", "find a -exec sh -c 'touch pwned' ';'"],
    "sed and awk": ["sed -n '1e touch pwned' a", "sed '1w pwned' a", "sed -i.bak s/x/y/ a && cp a.bak pwned", "sed --expression='w pwned' a",
                    "sed 's/x/touch pwned/e' a", "awk 'BEGIN { system(\"touch pwned\") }'", "awk 'BEGIN { print > \"pwned\" }'", "awk -f prog.awk",
                    "gawk 'BEGIN { \"touch pwned\" | getline }'"],
    "options that write": ["sort -o pwned a", "sort --output=pwned a", "sort -uo pwned a", "sort -u -opwned a", "uniq a pwned", "xxd -r hex pwned", "xxd a pwned",
                           "tree -o pwned", "split a && cp xaa pwned", "tee pwned < a", "cp a pwned", "mv b pwned", "ln -s a pwned", "dd if=a of=pwned",
                           "date -r a && touch pwned", "git diff --output=pwned", "git log --output=pwned", "git show --output=pwned", "split -l 1 a && mv xaa pwned",
                           "file -C -m mg && cp mg.mgc pwned", "install a pwned", "sort --outpu=pwned a", "git diff --outpu=pwned", "truncate -s 1 pwned"],
    "options that run": ["sort --compress-program=./evil -S 200k big", "rg --pre ./evil x", "rg --pre=./evil x a", "tar -cf x.tar --checkpoint=1 --checkpoint-action=exec=./evil a",
                         "tar --to-command=./evil -xf t.tar", "tar -I ./evil -cf x.tar a", "split --filter=./evil a", "gcc -wrapper ./evil -c m.c", "gcc -B./ m.c",
                         "git grep --open-files-in-pager=./evil x", "git grep -O./evil x", "git diff --ext-diff a", "git -c core.pager=./evil -p log",
                         "git -c core.fsmonitor=./evil status", "git --exec-path=. evil", "git -c alias.x='!touch pwned' x", "git --config-env=core.fsmonitor=EV status",
                         "man -P ./evil ls", "xargs -a a touch pwned", "echo pwned | xargs touch", "fd -x touch pwned", "rg --hostname-bin ./evil --hyperlink-format=x{host} x a",
                         "make -f evil.mk", "make SHELL=./evil", "npm test --script-shell=./evil"],
    "git": ["git x", "git -p log", "git submodule foreach 'touch pwned'", "git rebase -x 'touch pwned' HEAD~1", "git bisect start; git bisect run touch pwned",
            "git filter-branch --tree-filter 'touch pwned' HEAD", "git commit -m x", "git fetch ext::./evil", "git clone ext::./evil c", "git diff",
            "git log --show-signature", "git log --format=%G?", "git log --pretty=evil", "git status", "git archive --remote=ext::./evil HEAD", "git difftool -y -x ./evil"],
    "interpreters and wrappers": ["python3 -c 'open(\"pwned\",\"w\")'", "perl -e 'open(F,\">pwned\")'", "node -e 'require(\"fs\").writeFileSync(\"pwned\",\"\")'",
                                  "env touch pwned", "timeout 5 touch pwned", "nice touch pwned", "nohup touch pwned", "setsid touch pwned", "stdbuf -o0 touch pwned",
                                  "time touch pwned", "exec touch pwned", "command touch pwned", "eval touch pwned", "sh -c 'touch pwned'", "bash evil",
                                  ". ./evil", "trap 'touch pwned' EXIT", "./evil", "sh evil", "env -S 'touch pwned'", "busybox touch pwned", "python3.11 -c 'open(\"pwned\",\"w\")'",
                                  "/bin/sh -c 'touch pwned'", "xargs touch pwned < e", "ld.so ./true; touch pwned", "/lib64/ld-linux-x86-64.so.2 /bin/touch pwned",
                                  "printf -v x y; touch pwned", "echo 'touch pwned' | bash", "cat evil | sh", "watch -n 9 -g touch pwned"],
    "words that are not what they seem": ["t\\ouch pwned", "to''uch pwned", "'touch' pwned", "\"touch\" pwned", "$'touch' pwned", "touch$IFS''pwned", "touch${IFS}pwned",
                                          "X=touch; $X pwned", "echo x;\ttouch pwned", "echo a #\ntouch pwned", "ls {-la,$(touch\\ pwned)}", "l\\\ns; touch pwned",
                                          "alias ls='touch pwned'; ls", "echo x " + "y" * 5000 + "; touch pwned", " ".join(["true;"] * 60) + " touch pwned",
                                          "echo \u202e; touch pwned", "echo '\u200b'; touch pwned"],
}
# A line that would run unguarded with what a person has allowed is not a bypass: that is what was allowed.
ORDINARY_WORDS = {
    "git status": ["", "-s", "--short", "-sb", "--porcelain", "src"],
    "git diff": ["", "--stat", "--cached", "HEAD~1", "--name-only", "main...HEAD", "-- src/a.c", "-w"],
    "git log": ["--oneline", "--oneline -10", "-5", "-n 3 --stat", "--graph --oneline --all", "--since=2.weeks", "-p src/a.c", "--author=me --oneline", "--format='%h %s'"],
    "git show": ["", "HEAD", "HEAD:src/a.c", "--stat HEAD~2"],
    "git branch": ["", "-a", "-vv", "--show-current"], "git blame": ["src/a.c", "-L 1,10 src/a.c"], "git remote": ["-v"], "git stash list": [""],
    "git rev-parse": ["HEAD", "--short HEAD", "--abbrev-ref HEAD", "--show-toplevel"], "git ls-files": ["", "src", "--others --exclude-standard"],
    "git grep": ["-n main", "-n 'int main' src"], "git describe": ["--tags", "--tags --always"], "git config": ["--get user.name", "--list"],
    "ls": ["", "-la", "-l src", "src", "-lah", "-R src", "-1 src", "-t"], "cat": ["README.md", "src/a.c", "-n src/a.c", "Makefile src/a.c"],
    "head": ["src/a.c", "-20 src/a.c", "-n 5 README.md", "-c 100 README.md"], "tail": ["src/a.c", "-20 src/a.c", "-n 50 README.md"],
    "wc": ["-l src/a.c", "src/a.c README.md", "-w README.md"],
    "grep": ["-rn main src", "-n 'int main' src/a.c", "-rl TODO .", "-c x README.md", "-rnE 'a|b' src", "-i readme README.md", "-rn --include=x.c main src", "-A3 -B3 main src/a.c"],
    "rg": ["main", "-n main src", "-l TODO", "-i 'some words'", "--files", "-t c main", "-g x.c main", "-C 3 main src"],
    "find": [". -name '*.c'", "src -type f", ". -maxdepth 2 -type d", ". -name a.c -newer README.md", ". -type f -size +1k", ". -not -path './x/*' -name '*.h'"],
    "sort": ["README.md", "-u README.md", "-k 2 -n README.md", "-rn README.md"], "uniq": ["-c README.md", "README.md"], "diff": ["src/a.c src/b.c", "-u src/a.c src/b.c"],
    "pwd": [""], "whoami": [""], "date": ["", "+%Y-%m-%d", "-u"], "uname": ["-a"], "nproc": [""], "id": ["", "-u"], "echo": ["hello", "'some words'", "-n done"],
    "du": ["-sh .", "-sh src", "-a src"], "df": ["-h ."], "stat": ["src/a.c"], "file": ["src/a.c"], "tree": ["", "-L 2", "-a src"], "which": ["gcc", "python3 node"],
    "sha256sum": ["README.md"], "basename": ["src/a.c"], "dirname": ["src/a.c"], "realpath": ["src"], "cut": ["-d, -f1 README.md"], "test": ["-f README.md", "-d src"],
    "gcc": ["--version"], "node": ["--version"], "python3": ["--version"], "cargo": ["--version"], "make": ["--version", "", "test", "-j4", "clean"],
    "npm": ["test", "run build", "install"], "cargo": ["build", "test"], "go": ["build ./...", "test ./..."], "pytest": ["", "-q", "tests/test_a.py"],
    "mkdir": ["-p build"], "touch": ["x"], "rm": ["x", "-rf build"], "cp": ["a b"], "mv": ["a b"], "sed": ["-n 1,20p src/a.c", "-i s/a/b/ src/a.c"],
    "git add": [".", "-A", "src/a.c"], "git commit": ["-m 'a message'"], "git checkout": ["-b x", "main"], "git push": [""], "git pull": [""],
    "curl": ["-s http://localhost"], "docker": ["ps"], "python3 x.py": [""], "./configure": [""], "cmake": ["-B build", "--build build"], "ninja": ["-C build"],
}
JOINS = ["{}", "cd src && {}", "{} | head -20", "{} && echo ok", "{}; pwd", "{} | wc -l", "{} | sort | uniq -c", "{} 2>/dev/null", "{} || true"]


def prepare(place):
    for path, text in {"a": "x\n", "b": "x\n", "README.md": "readme\n", "src/a.c": "int main;\n", "src/b.c": "int b;\n", "Makefile": "t:\n\ttouch pwned\n", "rc": "touch pwned\n",
                       "evil": "#!/bin/sh\ntouch pwned\nexec cat\n", "evil.mk": "x:\n\ttouch pwned\n", "prog.awk": "BEGIN { system(\"touch pwned\") }", "e": "e\n",
                       "hex": "00000000: 7878\n", "rgrc": "--pre=./evil\n", "mg": "0 string x y\n", "m.c": "int m;\n", "y": "y\n",
                       "git-evil": "#!/bin/sh\ntouch pwned\n", "as": "#!/bin/sh\ntouch pwned\n",
                       "package.json": '{"scripts": {"test": "true"}}', "big": "".join(f"{i * 7919 % 100003} some words\n" for i in range(20000))}.items():
        place.write(path, text)
    for name in ("evil", "git-evil", "as"):
        os.chmod(place.path(name), 0o755)
    shell(place, "tar -cf t.tar a; git init -q .; git config user.name a; git config user.email a@b; git add a; git commit -qm one; git commit -q --allow-empty -m two; echo x >> a;"
                 "git config alias.x '!touch pwned'; git config core.pager 'touch pwned;cat'; git config diff.external 'sh -c \"touch pwned\"'; "
                 "git config gpg.program ./evil; git config protocol.ext.allow always; git config pretty.evil '%G?'; "
                 "git config core.fsmonitor 'touch pwned;false'; printf '#!/bin/sh\\ntouch pwned\\n' > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit; rm -f pwned; cp a ls; "
                 "printf '#!/bin/sh\\ntouch pwned\\n' > ls; chmod +x ls")


# What a repository brings that makes git run a program, what has to be prepared, and the line. All of it lies in the workspace.
EVIL = "'touch pwned;'"
REPOSITORIES = [
    ("monitor", f"git config core.fsmonitor {EVIL}false", "git status"),
    ("monitor in another's name", f"printf '[CORE]\\n\\tFsMonitor = touch pwned;false\\n' >> .git/config", "git status"),
    ("behind a head", f"printf '[core] fsmonitor = touch pwned;false\\n' >> .git/config", "git status"),
    ("old head", f"printf '[diff.x]\\ntextconv = touch pwned; cat\\n' >> .git/config; echo 'a diff=x' > .gitattributes", "git diff"),
    ("included", "printf '[core]\\nfsmonitor = touch pwned;false\\n' > more; git config include.path ../more", "git status"),
    ("included if", "printf '[core]\\nfsmonitor = touch pwned;false\\n' > more; git config includeIf.gitdir:**.path ../more", "git status"),
    ("worktree configuration", "git config extensions.worktreeConfig true; git config --worktree core.fsmonitor 'touch pwned;false'", "git status"),
    ("external diff", f"git config diff.external {EVIL}", "git diff"),
    ("driver", f"git config diff.x.command {EVIL}; echo 'a diff=x' > .gitattributes", "git diff"),
    ("text conversion", f"git config diff.x.textconv 'touch pwned; cat'; echo 'a diff=x' > .gitattributes", "git diff"),
    ("text conversion of blame", f"git config diff.x.textconv 'touch pwned; cat'; echo 'a diff=x' > .gitattributes", "git blame a"),
    ("clean filter", "git config filter.x.clean 'touch pwned; cat'; echo 'a filter=x' > .gitattributes; echo more >> a", "git diff"),
    ("clean filter of status", "git config filter.x.clean 'touch pwned; cat'; echo 'a filter=x' > .git/info/attributes; echo z > a; touch -d '1 hour ago' a", "git status"),
    ("filter process", "git config filter.x.process 'touch pwned; false'; echo 'a filter=x' > .gitattributes; echo more >> a", "git diff"),
    ("signatures", "git config log.showSignature true; git config gpg.program ./evil; GIT_COMMITTER_DATE=now git commit -q --allow-empty -m s; printf x > /dev/null; "
     "git cat-file commit HEAD > c; sed -i 's/^committer.*/&\\ngpgsig -----BEGIN PGP SIGNATURE-----\\n \\n -----END PGP SIGNATURE-----/' c; "
     "git update-ref HEAD $(git hash-object -t commit -w c); rm c", "git log"),
    ("index hook", "printf '#!/bin/sh\\ntouch pwned\\n' > .git/hooks/post-index-change; chmod +x .git/hooks/post-index-change; echo more >> a; touch -d '1 hour ago' b", "git status"),
    ("index hook elsewhere", "mkdir h; printf '#!/bin/sh\\ntouch pwned\\n' > h/post-index-change; chmod +x h/post-index-change; git config core.hooksPath h; "
     "touch -d '1 hour ago' b", "git status"),
    ("commit hook", "printf '#!/bin/sh\\ntouch pwned\\n' > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit", "git commit -q -a -m x"),
    ("commit hook elsewhere", "mkdir .husky; printf '#!/bin/sh\\ntouch pwned\\n' > .husky/commit-msg; chmod +x .husky/commit-msg; git config core.hooksPath .husky",
     "git commit -q -a -m x"),
    ("signing", "git config commit.gpgsign true; git config gpg.program ./evil", "git commit -q -a -m x"),
    ("checkout hook", "git branch other; printf '#!/bin/sh\\ntouch pwned\\n' > .git/hooks/post-checkout; chmod +x .git/hooks/post-checkout", "git switch -q other"),
    ("smudge filter", "git config filter.x.smudge 'touch pwned; cat'; echo 'a filter=x' > .gitattributes; rm a", "git restore a"),
    ("alias", "git config alias.x '!touch pwned'", "git x"),
    ("bare repository", "mkdir sub; git init -q --bare sub; git -C sub config core.bare false; git -C sub config core.worktree .; "
     "git -C sub config core.fsmonitor 'touch ../pwned;touch pwned;false'", "cd sub && git status"),
    ("submodule", "git init -q sub; git -C sub config user.name a; git -C sub config user.email a@b; git -C sub commit -q --allow-empty -m x; "
     "git add sub; git -C sub config core.fsmonitor 'touch ../pwned;false'", "git status"),
    ("submodule of version 4", "git init -q sub; git -C sub config user.name a; git -C sub config user.email a@b; git -C sub commit -q --allow-empty -m x; "
     "git add sub; git update-index --index-version 4; git -C sub config core.fsmonitor 'touch ../pwned;false'", "git status"),
    ("submodule of a split index", "git init -q sub; git -C sub config user.name a; git -C sub config user.email a@b; git -C sub commit -q --allow-empty -m x; "
     "git add sub; git update-index --split-index; git -C sub config core.fsmonitor 'touch ../pwned;false'", "git status"),
    ("folder of its own", "git clone -q . sub; git -C sub config core.fsmonitor 'touch ../pwned;false'", "cd sub && git status"),
    ("elsewhere", "mv .git real; echo 'gitdir: real' > .git; git --git-dir=real config core.fsmonitor 'touch pwned;false'", "git status"),
    ("worktree", "git worktree add -q sub; git config core.fsmonitor 'touch ../pwned;false'", "cd sub && git status"),
    ("remote helper", "git config remote.origin.url 'ext::sh -c touch% pwned'; git config protocol.ext.allow always", "git fetch"),
    ("partial clone", "git config remote.origin.url 'ext::./evil'; git config protocol.ext.allow always; git config remote.origin.promisor true; "
     "git config extensions.partialClone origin; o=$(git rev-parse HEAD:a); rm -f .git/objects/$(echo $o | cut -c1-2)/$(echo $o | cut -c3-)", "git show HEAD:a"),
]


def ordinary(place):
    """A repository as most are."""
    for path, text in {"a": "x\n", "b": "x\n", "README.md": "readme\n", "src/a.c": "int main;\n", "src/b.c": "int b;\n", "Makefile": "t:\n\ttrue\n",
                       "evil": "#!/bin/sh\ntouch pwned\nexec cat\n"}.items():
        place.write(path, text)
    os.chmod(place.path("evil"), 0o755)
    shell(place, "git init -q .; git config user.name a; git config user.email a@b; git add .; git commit -qm one; git commit -q --allow-empty -m two; echo x >> a; "
                 "git remote add origin https://example.org/a.git; git config branch.master.remote origin; git config branch.master.merge refs/heads/master")


def shell(place, line):
    """Runs a line as it stands, for three seconds at most, and ends whatever is left of it."""
    p = subprocess.Popen(["bash", "-c", line], cwd=place.work, env=dict(place.env, EV="./evil", HOME=place.top, FILTER_BRANCH_SQUELCH_WARNING="1"),
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        p.wait(3)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(p.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    p.wait()


def judge(place, line, allow=()):
    out = place.rein("rules", "test", *[w for a in allow for w in ("--allow", a)], line)
    check(out.returncode in (0, 10, 11), line, out)
    return out


def test_rules_of_bypasses():
    """Run as they stand they have their effect; judged with all that a person might have allowed, none of them runs by itself."""
    real, unreal, allowed = 0, [], []
    with Place(RELEASE) as place:
        prepare(place)
        saved = os.path.join(place.top, "saved")
        shutil.copytree(place.work, saved, symlinks=True)
        for lines in BYPASSES.values():
            for line in lines:
                shutil.rmtree(place.work)
                shutil.copytree(saved, place.work, symlinks=True)
                shell(place, line)
                if not os.path.lexists(place.path("pwned")):
                    unreal.append(line[:60])
                else:
                    real += 1
                if judge(place, line, ALLOWED).returncode == 0:
                    allowed.append(line[:60])
    print(f"tool/rules: {real} lines do more than they say, 0 of them allowed; without effect here: {unreal}", flush=True)
    check(not allowed, "allowed:", allowed)
    check(real >= 120, "too few are real", real, unreal)
    return real


def test_rules_of_repositories():
    """What a repository itself makes git do; the same lines in an ordinary one are allowed."""
    unreal, allowed, asked = [], [], []
    allow = ["git commit", "git switch", "git restore", "git fetch", "git x"]
    for name, evil, line in REPOSITORIES:
        with Place(RELEASE) as place:
            ordinary(place)
            if name == "checkout hook":
                shell(place, "git branch other")
            before = judge(place, line.replace("cd sub && ", ""), allow)
            if before.returncode != 0:
                asked.append((name, before.stdout))
            shell(place, evil + "; rm -f pwned")
            verdict = judge(place, line, allow)
            if verdict.returncode == 0:
                allowed.append((name, verdict.stdout))
            shell(place, line)
            if not os.path.exists(place.path("pwned")):
                unreal.append(name)
    print(f"tool/rules: of {len(REPOSITORIES)} repositories that make git run a program 0 are allowed; without effect here: {', '.join(unreal) or 'none'}", flush=True)
    check(not allowed and not asked, "allowed:", allowed, "asked:", asked)
    check(len(REPOSITORIES) - len(unreal) >= 24, "too few are real", unreal)
    return len(REPOSITORIES)


def test_rules_of_broken_repositories():
    """Whatever stands where an index or a configuration should: a verdict, never memory that is not there, and where it is allowed git runs nothing."""
    r, verdicts = random.Random(11), {0: 0, 10: 0}
    with Place() as place:
        ordinary(place)
        shell(place, "git init -q sub; git -C sub commit -q --allow-empty -m x; git add sub; git update-index --index-version 4")
        files = {}
        for name in (".git/index", ".git/config"):
            files[name] = place.read(name)
        for i in range(300):
            name = r.choice(list(files))
            data = bytearray(files[name])
            for _ in range(r.randrange(1, 6)):
                how, at = r.randrange(4), r.randrange(len(data)) if data else 0
                if how == 0 and data:
                    data[at] = r.choice([0, 1, 0x7f, 0x80, 0xff, r.randrange(256)])
                elif how == 1:
                    data[at:at + r.randrange(40)] = b""
                elif how == 2:
                    data[at:at] = r.randbytes(r.randrange(20))
                else:
                    data[at:at] = r.choice([b"[core]\n", b"\tfsmonitor = touch pwned;false\n", b"[a \"b\\", b"\\\n", b'"', b"\r\n", b"[diff.x]textconv=y\n"])
            place.write(name, bytes(data))
            verdict = judge(place, "git status").returncode
            verdicts[verdict] += 1
            if verdict == 0:            # git reads the same in it
                shell(place, "git status")
                check(not os.path.exists(place.path("pwned")), "git read more than was seen", name, bytes(data))
            place.write(name, files[name])
    print(f"tool/rules: 300 broken repositories: {verdicts[0]} allowed, {verdicts[10]} asked about", flush=True)
    return 300


def test_rules_of_ordinary_lines():
    lines = [join.format(f"{command} {words}".strip()) for command, all_words in ORDINARY_WORDS.items() for words in all_words for join in JOINS]
    asked, plain = 0, 0
    with Place(RELEASE) as place:
        ordinary(place)
        for line in lines:
            code = judge(place, line).returncode
            check(code != 11, "denied", line)
            asked += code == 10
            plain += code == 10 and line in [f"{c} {w}".strip() for c, ws in ORDINARY_WORDS.items() for w in ws]
    single = sum(len(w) for w in ORDINARY_WORDS.values())
    print(f"tool/rules: of {len(lines)} ordinary lines {asked} are asked about ({100 * asked // len(lines)} %); of the {single} without a join "
          f"{plain} ({100 * plain // single} %)", flush=True)
    check(len(lines) >= 1000 and asked < len(lines) * 0.6, asked, len(lines))
    return len(lines)


def test_rules_of_prefixes():
    """What a person allowed is held to what it says."""
    with Place(RELEASE) as place:
        ordinary(place)
        os.symlink("/etc/passwd", place.path("link"))
        os.symlink("/etc", place.path("link2"))
        for line, allow, code in [("git commit -m 'x'", ["git commit"], 0), ("git commit -m 'x'", [], 10), ("git add .", ["git add"], 0), ("git push", ["git push"], 0),
                                  ("git push --force", ["git push"], 10), ("npm test", ["npm test"], 0), ("npm test -- --x", ["npm test"], 10),
                                  ("npm testing", ["npm test"], 10), ("python3 x.py", ["python3"], 10), ("make", ["make"], 10), ("cat /etc/passwd", ["cat"], 10),
                                  ("cat ../x", [], 10), ("cat link", [], 10), ("ls /", [], 10), ("grep -r x /", [], 10), ("find / -name x", ["find"], 10),
                                  ("cat src/../README.md", [], 0), ("rm -rf /", ["rm"], 11), ("ls; rm -rf /usr", [], 11), ("sudo ls", [], 10), ("mkfs.ext4 /dev/sda", [], 11),
                                  ("git log --format='%h %G?'", [], 10), ("git log --format='%h %an'", [], 0), ("date -s 2020-01-01", [], 10), ("date 010100002020", [], 10),
                                  ("hostname evil", [], 10), ("git config user.name x", [], 10), ("git branch x", [], 10), ("git tag x", [], 10), ("uniq a b", [], 10),
                                  ("cd src && cat a.c", [], 0), ("cd src && cat ../README.md", [], 10), ("cd .. && ls", [], 10), ("cd link2 && cat x", [], 10),
                                  ("cd src | cat a", [], 10), ("cd && ls", [], 10), ("cd - && ls", [], 10), ("", [], 10), ("   ", [], 10), ("&&", [], 10), ("ls &&", [], 10), ("ls ;", [], 0), ("; ls", [], 10), ("ls | | wc", [], 10),
                                  ("echo 'unclosed", [], 10), ("echo \"a $HOME\"", [], 10), ("echo *", [], 10), ("echo ~", [], 10), ("ls -la | wc -l && pwd", [], 0)]:
            out = judge(place, line, allow)
            check(out.returncode == code, line, allow, out)
        out = place.rein("rules", "test", "--json", "ls -la 'a b' | wc -l")
        check(b'"argv":["ls","-la","a b"]' in out.stdout and b'"argv":["wc","-l"]' in out.stdout, out)
