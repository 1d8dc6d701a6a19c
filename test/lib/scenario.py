"""Plays one test/script/*.t file against the script provider.

    # comment
    file NAME TEXT            a file of the workspace; TEXT with Python escapes
    options ARGS              for the runs that follow; --mode open unless said
    user TEXT                 run: exec with the prompt, later resume with it
    resume ARGS               run: resume --last with these arguments
    fork ARGS                 run: fork with these arguments
    model LINE                the next answer, in the words of src/provider/script.c
    model+ LINE               one more line of the same answer
    expect status N           of the run
    expect screen "TEXT"      stdout or stderr of the run holds it
    expect no-screen "TEXT"
    expect event KIND K=V K~"TEXT" ...     the next such event after the one that was expected before; K.L goes deeper
    expect no-event KIND ...  no such event at all
    expect file NAME TEXT     exact content;   expect no-file NAME
    expect request ROLE "TEXT"             the last request has a message of that role that holds TEXT;   expect no-request: none

A run happens when everything that belongs to it is known, that is before the next user or resume line, or at the end; the
expect lines after it are judged then.
"""
import json
import shlex

from lib.rein import Place, check, story


def unescape(text):
    return text.encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1")


def deep(body, key):
    for part in key.split("."):
        body = body.get(part) if isinstance(body, dict) else None
    return body


def matches(event, kind, terms):
    if event[0] != kind:
        return False
    for term in terms:
        at = min(i for i in (term.find("="), term.find("~")) if i >= 0)
        key, op, want = term[:at], term[at], term[at + 1:]
        value = deep(event[1], key)
        text = value if isinstance(value, str) else json.dumps(value)
        if not (text == want if op == "=" else want in text):
            return False
    return True


class Player:
    def __init__(self, place):
        self.place = place
        self.options = ["--mode", "open"]
        self.answers = []
        self.run = None
        self.expects = []
        self.begun = False
        self.cursor = 0

    def flush(self):
        if self.run is None:
            return
        model = self.place.script("\n--\n".join("\n".join(a) for a in self.answers) + "\n")
        if self.run[0] == "user" and not self.begun:
            self.result = self.place.rein("exec", "--model", model, *self.options, self.run[1])
        elif self.run[0] == "user":
            self.result = self.place.rein("resume", "--last", self.run[1])
        elif self.run[0] == "fork":
            self.result = self.place.rein("fork", *shlex.split(self.run[1]))
        else:
            self.result = self.place.rein("resume", "--last", *shlex.split(self.run[1]))
        self.begun = True
        check(self.result.returncode != 99, "sanitizer report:", self.result.stderr.decode()[-3000:])
        for number, words in self.expects:
            try:
                self.expect(words)
            except AssertionError as e:
                raise AssertionError(f"line {number}: expect {' '.join(words)}: {e}\n{self.result.stderr.decode()}") from e
        self.run = None
        self.expects = []

    def expect(self, words):
        what, rest = words[0], words[1:]
        screen = (self.result.stdout + self.result.stderr).decode(errors="replace")
        if what == "status":
            check(self.result.returncode == int(rest[0]), "status is", self.result.returncode)
        elif what == "screen":
            check(rest[0] in screen, "screen is:", screen)
        elif what == "no-screen":
            check(rest[0] not in screen, "screen is:", screen)
        elif what == "event":
            events = story(self.place.events())
            for i in range(self.cursor, len(events)):
                if matches(events[i], rest[0], rest[1:]):
                    self.cursor = i + 1
                    return
            raise AssertionError("events are: " + "\n".join(map(str, events[self.cursor:])))
        elif what == "no-event":
            check(not any(matches(e, rest[0], rest[1:]) for e in story(self.place.events())), "there is one")
        elif what == "file":
            data = self.place.read(rest[0])
            check(data == unescape(rest[1]), "it is", data)
        elif what == "no-file":
            try:
                self.place.read(rest[0])
            except FileNotFoundError:
                return
            raise AssertionError("it is there")
        elif what in ("request", "no-request"):
            messages = self.place.requests()[-1]["messages"]
            found = any(m["role"] == rest[0] and rest[1] in json.dumps(m, ensure_ascii=False) for m in messages)
            check(found == (what == "request"), messages)
        else:
            raise AssertionError("unknown expectation")


def play(path):
    with Place() as place, open(path, encoding="utf-8") as f:
        player = Player(place)
        for number, line in enumerate(f, 1):
            line = line.strip("\n")
            word, _, rest = line.strip().partition(" ")
            rest = rest.lstrip()
            if not word or word.startswith("#"):
                continue
            if word in ("user", "resume", "fork"):
                player.flush()
                player.run = (word, rest)
            elif word == "model":
                player.answers.append([rest])
            elif word == "model+":
                player.answers[-1].append(rest)
            elif word == "options":
                player.options = shlex.split(rest)
            elif word == "file":
                name, _, text = rest.partition(" ")
                place.write(name, unescape(text))
            elif word == "expect":
                what, _, more = rest.partition(" ")
                more = more.lstrip()
                if what == "file":
                    name, _, text = more.partition(" ")
                    player.expects.append((number, [what, name, text]))
                else:
                    player.expects.append((number, shlex.split(rest)))
            else:
                raise AssertionError(f"line {number}: unknown word {word}")
        player.flush()
