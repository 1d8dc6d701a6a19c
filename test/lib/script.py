"""Sessions played from a script: its lines, and what came of them."""
import json

from lib.rein import story


def call(name, **args):
    return f"call {name} {json.dumps(args)}"


def script(place, *answers):
    """The model that gives these answers, one after the other."""
    return place.script("\n--\n".join(answers) + "\n")


def results(place):
    return [b for _, b in story(place.events(), "result")]
